"""Whether a tracking server lets this user in: asked before a sweep starts, since a wrong password is soon mended.

Asked too before anyone looks: MLflow itself tries a server that is away for minutes, and says nothing meanwhile.
"""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import Unreachable, UserError

if TYPE_CHECKING:
    from requests import Response

ANSWER_S = 5.0
"""How long a server may take to answer; one that does not is away, which stops no sweep."""
CREDENTIALS = Path("~/.mlflow/credentials")
REFUSED = (401, 403)
BROKEN = 500
"""From this status on a server is at fault, or what stands before one that is away."""


def refusal(uri: str) -> str:
    """Say how a tracking server refuses this user; empty where it does not, is away, or is no server.

    User and password are taken where MLflow takes them: from its variables, its file of credentials, or the URI.
    """
    try:
        answer = _ask(uri)
    except (OSError, ValueError):  # requests' own are such
        return ""
    return "" if answer is None else _refusal_in(answer, uri)


def _refusal_in(answer: Response, uri: str) -> str:
    if answer.status_code not in REFUSED:
        return ""
    user, _ = _credentials()
    if user or os.environ.get("MLFLOW_TRACKING_TOKEN") or "@" in uri:
        return f"{uri} refuses {user or 'these credentials'}: the user or the password is wrong"
    return f"{uri} asks for a password"


def _ask(uri: str) -> Response | None:
    """Return what a tracking server answers this user; None where the URI is no server's."""
    if not uri.startswith(("http://", "https://")):
        return None
    import requests

    headers, user, password = {}, *_credentials()
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    return requests.get(
        f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search",
        params={"max_results": "1"},
        headers=headers,
        auth=(user.encode(), password.encode()) if user else None,
        timeout=ANSWER_S,
        verify=os.environ.get("MLFLOW_TRACKING_INSECURE_TLS") != "true",
    )


def check_credentials(uri: str) -> None:
    """Raise UserError where a tracking server refuses this user."""
    if why := refusal(uri):
        raise UserError(f"tracking_uri: {why}; {ADVICE}")


def check_server(uri: str) -> None:
    """Raise UserError where a tracking server refuses this user, and Unreachable where it is away."""
    try:
        answer = _ask(uri)
    except (OSError, ValueError) as error:
        raise Unreachable(f"tracking_uri: {uri} does not answer: {error}") from error
    if answer is None:
        return
    if why := _refusal_in(answer, uri):
        raise UserError(f"tracking_uri: {why}; {ADVICE}")
    if answer.status_code >= BROKEN:
        raise Unreachable(f"tracking_uri: {uri} answers with status {answer.status_code}; see the server's log")


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
