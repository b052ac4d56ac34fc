"""The report as one HTML file, and its figures."""

from orchestrator.report.html.files import figures_and_page, html_report

__all__ = ["figures_and_page", "html_report"]
