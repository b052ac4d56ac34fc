"""Views of a sweep for people."""

from __future__ import annotations

from orchestrator.settings import Settings
from orchestrator.tracking.base import Illustrate, NoTracker, Tracker


def open_tracker(settings: Settings, illustrate: Illustrate | None = None) -> Tracker:
    """Return the tracker that the settings ask for; UserError where its server refuses the user.

    With `illustrate` it shows report and figures on the parent run, anew now and then.
    """
    if settings.tracking_uri == "none":
        return NoTracker()
    from orchestrator.tracking.credentials import check_credentials

    check_credentials(settings.tracking_uri)
    from orchestrator.tracking.mlflow import MlflowTracker

    return MlflowTracker(settings, illustrate=illustrate)
