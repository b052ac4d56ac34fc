"""Sweeps over recurrent networks: durable, scheduled on Ray, searched by Optuna, recorded in MLflow."""

__version__ = "0.1.0"
