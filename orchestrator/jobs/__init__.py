"""Sweeps as jobs on a cluster: sent there, started again, taken up."""
