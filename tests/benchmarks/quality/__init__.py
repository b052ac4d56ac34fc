"""Time to quality: sweeps replayed over recorded learning curves."""
