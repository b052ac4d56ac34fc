"""Whether a tracking server lets this user in: asked before a sweep starts, since a wrong password is soon mended."""

from __future__ import annotations

import configparser
import os
from pathlib import Path

from orchestrator.errors import UserError

ANSWER_S = 5.0
"""How long a server may take to answer; one that does not is away, which stops no sweep."""
CREDENTIALS = Path("~/.mlflow/credentials")
REFUSED = (401, 403)


def refusal(uri: str) -> str:
    """Say how a tracking server refuses this user; empty where it does not, is away, or is no server.

    User and password are taken where MLflow takes them: from its variables, its file of credentials, or the URI.
    """
    if not uri.startswith(("http://", "https://")):
        return ""
    import requests

    headers, user, password = {}, *_credentials()
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    where = f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search"
    try:
        answer = requests.get(
            where,
            params={"max_results": "1"},
            headers=headers,
            auth=(user.encode(), password.encode()) if user else None,
            timeout=ANSWER_S,
            verify=os.environ.get("MLFLOW_TRACKING_INSECURE_TLS") != "true",
        )
    except (requests.RequestException, ValueError):
        return ""
    if answer.status_code not in REFUSED:
        return ""
    if user or token or "@" in uri:
        return f"{uri} refuses {user or 'these credentials'}: the user or the password is wrong"
    return f"{uri} asks for a password"


def check_credentials(uri: str) -> None:
    """Raise UserError where a tracking server refuses this user."""
    if why := refusal(uri):
        raise UserError(f"tracking_uri: {why}; {ADVICE}")


ADVICE = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"


def _credentials() -> tuple[str, str]:
    found = tuple(os.environ.get(f"MLFLOW_TRACKING_{part}", "") for part in ("USERNAME", "PASSWORD"))
    if not found[0]:
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(CREDENTIALS.expanduser())
        except (configparser.Error, UnicodeDecodeError):
            return "", ""
        names = ("mlflow_tracking_username", "mlflow_tracking_password")
        found = tuple(parser.get("mlflow", name, fallback="") for name in names)
    return found[0], found[1]
