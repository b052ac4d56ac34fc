"""A cluster on one machine: hosts with addresses of their own, the servers of a shared deployment, and faults."""
