"""Messages: one line, and no password in it."""

from __future__ import annotations

import pytest

from orchestrator.errors import UserError, presentable


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("no such\n  thing", "no such thing"),
        ("http://me:secret@host:5000/x is away", "http://me:***@host:5000/x is away"),
        ("https://abc123token@host/api is away", "https://***@host/api is away"),
        ("postgresql+psycopg2://me:s3cr:t@host/db?x=1", "postgresql+psycopg2://me:***@host/db?x=1"),
        ("postgresql://u:pa/ss@host/db", "postgresql://u:***@host/db"),
        ("postgresql://u:p@ss@host/db", "postgresql://u:***@host/db"),
        ("postgresql://host/db?user=u&password=sec&x=1", "postgresql://host/db?user=u&password=***&x=1"),
        ("http://host:5000/x and me:you@home", "http://host:5000/x and me:you@home"),
        ("models:/demo@champion in sqlite:////a:b/c@d.db", "models:/demo@champion in sqlite:////a:b/c@d.db"),
    ],
)
def test_a_message_is_one_line_without_passwords(given: str, shown: str) -> None:
    assert presentable(given) == shown
    assert str(UserError(given)) == shown
