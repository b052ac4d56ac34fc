"""The command `bptt`."""

from orchestrator.cli.main import main

__all__ = ["main"]
