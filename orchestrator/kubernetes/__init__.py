"""This project on Kubernetes through the user's own `kubectl`: rendered, installed, looked at; sweeps as RayJobs."""
