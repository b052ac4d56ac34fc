"""What must not be shown: the secrets that this process knows of, in every form in which a message may hold them."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote, unquote_plus

SECRET_VARIABLES = (
    *("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD", "RAY_AUTH_TOKEN"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
)
URL_VARIABLES = ("BPTT_STUDY_URL", "BPTT_TRACKING_URI", "BPTT_ARTIFACTS", "BPTT_CHECKPOINTS", "MLFLOW_TRACKING_URI")
SHORTEST = 6
"""Characters. A shorter one, taken out wherever it stands, would take words out of messages that hold no secret."""

IN_URL = re.compile(r"://([^\s/:@]*):(\S*)@")
TOKEN_IN_URL = re.compile(r"(?i)\b(https?)://([^\s/:@]+)@")
IN_QUERY = re.compile(r"(?i)([?&](?:ssl)?(?:password|\w*token|secret\w*|\w*_key(?:_id)?)=)([^&\s'\"]+)")
IN_STORE = re.compile(r"(?i)\b(s3|gs|gcs)://[^\s/:@]+:\*\*\*@")
"""The keys of an object store, of which the first one is not a user's name."""

_known: set[str] = set()


def remember_url(url: str) -> None:
    """Mask from now on what is secret in a URL, wherever it appears."""
    _known.update(_secrets_of(url))


def password_of(url: str) -> str:
    """Return the password in a URL as it is written there, up to the last `@`; empty where there is none."""
    found = IN_URL.search(url)
    return found[2] if found else ""


def _secrets_of(url: str) -> Iterator[str]:
    if found := IN_URL.search(url):
        yield found[2]
        if url.partition(":")[0].lower() in ("s3", "gs", "gcs"):
            yield found[1]
    if found := TOKEN_IN_URL.search(url):
        yield found[2]
    for query in IN_QUERY.finditer(url):
        yield query[2]


def _in_file(path: str) -> str:
    """Return the secret that a file holds alone; empty where there is no such file."""
    try:
        return Path(path).read_text().strip() if path else ""
    except (OSError, ValueError):
        return ""


def _all() -> Iterator[str]:
    yield from _known
    for variable in SECRET_VARIABLES:
        yield os.environ.get(variable, "")
    yield _in_file(os.environ.get("RAY_AUTH_TOKEN_PATH", ""))
    for variable in URL_VARIABLES:
        yield from _secrets_of(os.environ.get(variable, ""))
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{part}", "") for part in ("USERNAME", "PASSWORD"))
    if password:
        yield base64.b64encode(f"{user}:{password}".encode()).decode()  # as HTTP's headers have it


def forms(secret: str) -> set[str]:
    """Return a secret as it is, as URLs write it, read from a URL, in Python's quotes, and in base 64."""
    plain = {secret, unquote(secret), unquote_plus(secret)}
    written = {
        form for text in plain for form in (text, quote(text, safe=""), quote(text), quote_plus(text), repr(text)[1:-1])
    }
    return written | {form.lower() for form in written if "%" in form} | {_base64(text) for text in plain}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode(errors="surrogateescape")).decode().rstrip("=")


def masked(text: str) -> str:
    """Mask the secrets known here and the passwords of URLs; better too much than too little.

    A password may hold a slash or an @.
    """
    text = IN_URL.sub(r"://\1:***@", text)
    text = TOKEN_IN_URL.sub(r"\1://***@", text)
    text = IN_STORE.sub(r"\1://***@", text)
    text = IN_QUERY.sub(r"\1***", text)
    found = {form for secret in _all() if len(secret) >= SHORTEST for form in forms(secret) if len(form) >= SHORTEST}
    for form in sorted(found, key=len, reverse=True):
        text = text.replace(form, "***")
    return text
