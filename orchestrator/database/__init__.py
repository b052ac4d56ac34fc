"""The sweeps' database: what a driver writes there, holds by a lease, and anyone may read."""
