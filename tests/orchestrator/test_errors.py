"""Messages: one line, and no password in it."""

from __future__ import annotations

import pytest

from orchestrator.errors import UserError, presentable


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("no such\n  thing", "no such thing"),
        ("http://me:secret@host:5000/x is away", "http://me:***@host:5000/x is away"),
        ("postgresql+psycopg2://me:s3cr:t@host/db?x=1", "postgresql+psycopg2://me:***@host/db?x=1"),
        ("http://host:5000/a@b and me:you@home", "http://host:5000/a@b and me:you@home"),
    ],
)
def test_a_message_is_one_line_without_passwords(given: str, shown: str) -> None:
    assert presentable(given) == shown
    assert str(UserError(given)) == shown
