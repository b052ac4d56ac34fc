"""Names, addresses and URIs that no one means well with: one line, exit status 2, and nothing happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli.main import run

ODD = [
    *("../../x", "a/b", "x;rm -rf y", "$(touch pwned)", "`touch pwned`", "two\nlines", "n\0ul", "x" * 5000, "", " "),
    *("ünïcödé", "\u202etxt", "-", "..", "|touch pwned", "\ud800"),
]
COMMANDS = [
    ["run", "NAME", "--in-process"],
    ["validate", "NAME"],
    ["status", "NAME"],
    ["stop", "NAME"],
    ["resume", "NAME", "--in-process"],
    ["extend", "NAME", "--trials", "1"],
    ["report", "NAME"],
    ["predict", "NAME"],
    ["models", "show", "NAME"],
    ["models", "promote", "NAME"],
    ["list", "--study-url", "NAME://"],
    ["status", "x", "--study-url", "NAME:x"],
]


@pytest.mark.parametrize("name", ODD, ids=[ascii(name[:20]) for name in ODD])
@pytest.mark.parametrize("command", COMMANDS, ids=[" ".join(command) for command in COMMANDS])
def test_an_odd_name_does_nothing(
    command: list[str],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = tmp_path / "deep" / "down"
    home.mkdir(parents=True)
    monkeypatch.chdir(home)
    monkeypatch.setenv("BPTT_RUNS", str(home / "runs"))
    assert run([word.replace("NAME", name) for word in command]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert said.count("\n") == 1, said
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_relative_to(home / "runs")]
    assert outside == []
