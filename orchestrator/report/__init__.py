"""What a sweep found: gathered as plain data, then put in words."""

from orchestrator.report.gather import make_report

__all__ = ["make_report"]
