"""Every exception that this package raises on purpose, and the exit status each stands for."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote, unquote_plus

SECRETS = (
    "BPTT_STUDY_URL",
    "BPTT_TRACKING_URI",
    "BPTT_CHECKPOINTS",
    "BPTT_ARTIFACTS",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "RAY_AUTH_TOKEN",
)
"""Variables that are secret, or URLs in which a password stands."""
SHORTEST = 6
"""Characters. A shorter password would be masked in the middle of ordinary words."""
_hidden: set[str] = set()


def presentable(text: str) -> str:
    """Return a text that may hold what a user gave as one line, without passwords."""
    return masked(" ".join(text.split()))


def masked(text: str) -> str:
    """Mask every secret known to this process, and the passwords of URLs, known or not.

    Better too much than too little, for a password may hold a slash or an @.
    """
    for secret in sorted(_hidden | _secrets_of_environment(), key=len, reverse=True):
        text = text.replace(secret, "***")
    text = re.sub(r"(://[^\s/:@]*):\S*@", r"\1:***@", text)
    return re.sub(r"(?i)([?&](?:ssl)?(?:password|token|secret\w*|\w*_key)=)[^&\s'\"]+", r"\1***", text)


def hide(secret: str) -> None:
    """Mask a secret, or the password in a URL, from now on in whatever this process says."""
    _hidden.update(_forms(secret))


def _forms(value: str) -> set[str]:
    """Return what has to be masked of a secret or of a URL: the password as it is, encoded and decoded."""
    if "://" in value:
        found = re.search(r"://[^\s/:@]*:(\S*)@", value)
        passwords = {found[1]} if found else set()
        passwords |= set(re.findall(r"(?i)[?&](?:ssl)?(?:password|token|secret\w*|\w*_key)=([^&\s]+)", value))
    else:
        passwords = {value}
    forms = {form(password) for password in passwords for form in (str, quote, quote_plus, unquote, unquote_plus)}
    forms |= {quote(form, safe="") for form in forms} | {repr(form)[1:-1] for form in forms}
    return {form for form in forms if len(form) >= SHORTEST}


def _secrets_of_environment() -> set[str]:
    # Read anew each time: a worker has no settings, but the environment; and it is done only where something is said.
    found: set[str] = set()
    for name in SECRETS:
        found |= _forms(os.environ.get(name, ""))
    if file := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        with contextlib.suppress(OSError, ValueError):
            found |= _forms(Path(file).expanduser().read_text(encoding="utf-8").strip())
    return found


class BpttError(Exception):
    """Base of all. The message is one line for people: what was given, what is allowed, what to do."""

    exit_status = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(presentable(message))


class UserError(BpttError):
    """Something that the user asked for cannot be done as asked."""

    exit_status = 2


class SpecError(UserError):
    """A sweep file is wrong; the message begins with the field."""


class SpecChanged(UserError):
    """A sweep of this name exists with another spec; the message shows the difference."""


class SweepHeld(UserError):
    """Another driver runs this sweep."""


class SweepNotFound(UserError):
    """No sweep of this name is in the database."""


class LeaseLost(BpttError):
    """Another driver took this sweep over while this one was not looking; nothing more may be written."""


class Interrupted(BpttError):
    """The user stopped the command; the sweep can go on."""

    exit_status = 130
