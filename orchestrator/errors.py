"""Every exception that this package raises on purpose, and the exit status each stands for."""

from __future__ import annotations

from orchestrator.secrets import masked

__all__ = [
    "BpttError",
    "Interrupted",
    "LeaseLost",
    "SpecChanged",
    "SpecError",
    "SweepHeld",
    "SweepNotFound",
    "Unreachable",
    "UserError",
    "masked",
    "presentable",
]


def presentable(text: str) -> str:
    """Return a text that may hold what a user gave as one line, without passwords."""
    return masked(" ".join(text.split()))


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


class Unreachable(BpttError):
    """What a sweep needs was away for longer than it could be waited for; nothing is lost, and the sweep can go on."""


class LeaseLost(BpttError):
    """Another driver took this sweep over while this one was not looking; nothing more may be written."""


class Interrupted(BpttError):
    """The user stopped the command; the sweep can go on."""

    exit_status = 130
