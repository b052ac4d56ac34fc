"""`bptt data fetch`: what it says, where, and with which exit status."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.orchestrator.cli.conftest import Bptt
from tests.web import Site, half_then_silence, plain, serving, status, whole
from workloads.data.catalogue import ENTRIES, Download, Entry

CONTENT = b"date,OT\n" * 20_000


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site that serves a table, which the catalogue knows by that name."""
    monkeypatch.setenv("BPTT_DATA", str(tmp_path / "data"))
    with serving() as site:
        site.answers = [whole(CONTENT)]
        pin = Download(site.url, len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
        entry = Entry("table", "forecast", "a table", "CC0", file="table/t.csv", attribution="nobody", download=pin)
        monkeypatch.setitem(ENTRIES, "table", entry)
        yield site


def test_a_fetch_says_what_came_and_the_next_that_it_is_here(site: Site, tmp_path: Path, bptt: Bptt) -> None:
    first = bptt("data", "fetch", "table")
    assert (first.status, first.err) == (0, "")
    assert "table: 160,000 of 160,000 bytes" in first.out
    assert "table fetched: 160,000 bytes, verified" in first.out
    assert f"in {tmp_path / 'data' / 'table' / 't.csv'}" in first.out
    assert "licence: CC0; please name nobody" in first.out
    assert "\x1b" not in first.out
    second = bptt("data", "fetch", "table")
    assert second.status == 0
    assert second.out.startswith("table is already here: 160,000 bytes, verified")
    assert len(site.ranges) == 1
    assert bptt("data", "fetch", "table", "--force").out.splitlines()[-3].startswith("table fetched")
    assert len(site.ranges) == 2


@pytest.mark.parametrize("arguments", [("fetch", "table", "--json"), ("--json", "fetch", "table")])
def test_json_is_one_object(site: Site, tmp_path: Path, bptt: Bptt, arguments: tuple[str, ...]) -> None:
    told = [json.loads(bptt("data", *arguments).out) for _ in range(2)]
    assert [facts.pop("outcome") for facts in told] == ["fetched", "already here"]
    assert told[0] == told[1]
    assert told[0] == {
        "name": "table",
        "place": str(tmp_path / "data" / "table" / "t.csv"),
        "files": 1,
        "bytes": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "verified": True,
    }


def test_a_fetched_set_is_listed_as_here(site: Site, bptt: Bptt) -> None:
    def listed() -> str:
        return next(line for line in bptt("data").out.splitlines() if line.startswith("table "))

    assert "missing" in listed()
    bptt("data", "fetch", "table")
    assert "here" in listed()


def test_what_the_site_does_wrong_is_one_line_and_status_1(site: Site, bptt: Bptt) -> None:
    for answer, says in ((status(404), "404 Not Found"), (whole(CONTENT[::-1]), "gives other data")):
        site.answers = [answer]
        answered = bptt("data", "fetch", "table")
        assert answered.status == 1
        assert answered.err.count("\n") == 1
        assert says in answered.err


def test_what_the_user_has_to_mend_is_one_line_and_status_2(
    site: Site, tmp_path: Path, bptt: Bptt, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "data" / "table" / "t.csv"
    place.parent.mkdir(parents=True)
    place.write_text("mine")
    for arguments, says in (
        (["table"], "--force replaces it"),
        (["table", "--any-version"], "one version only"),
        (["tabel"], "there are python-reference"),
    ):
        answered = bptt("data", "fetch", *arguments)
        assert answered.status == 2
        assert answered.err.count("\n") == 1
        assert says in answered.err
    monkeypatch.setenv("BPTT_DATA", str(place))
    refused = bptt("data", "fetch", "table")
    assert refused.status == 2
    assert "set BPTT_DATA to a folder of yours" in refused.err
    assert place.read_text() == "mine"


def test_what_comes_with_a_package_is_not_fetched_but_installed(bptt: Bptt, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "comes with Python; there is nothing to fetch" in bptt("data", "fetch", "python-reference").out
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name, extra in (("sp500", "series"), ("spoken-digits", "speech"), ("dates", "translation")):
        missing = bptt("data", "fetch", name)
        assert missing.status == 2
        assert f"pip install 'bptt[{extra}]'" in missing.err


def test_describe_names_address_digest_licence_and_whom_to_cite(bptt: Bptt) -> None:
    for name, entry in ENTRIES.items():
        told = json.loads(bptt("data", "describe", name, "--json").out)
        assert (told["licence"], told["attribution"], told["split"]) == (entry.licence, entry.attribution, entry.split)
        assert told["use"] == f"bptt train {entry.kind} --set {entry.option}={name}"
        if entry.download is not None:
            assert (told["address"], told["bytes"], told["sha256"]) == (
                entry.download.url,
                entry.download.size,
                entry.download.sha256,
            )
    shown = bptt("data", "describe", "tatoeba-fra-eng").out
    assert "newer versions, which the check refuses" in shown
    assert "--any-version" in shown


SCRIPT = """
import sys
from orchestrator.cli.main import main
from workloads.data.catalogue import ENTRIES, Download, Entry

url, size, sha256 = sys.argv[1:]
ENTRIES["table"] = Entry("table", "forecast", "", "CC0", file="t.csv", download=Download(url, int(size), sha256))
main(["data", "fetch", "table"])
"""


def command(site: Site) -> list[str]:
    return [sys.executable, "-c", SCRIPT, site.url, str(len(CONTENT)), hashlib.sha256(CONTENT).hexdigest()]


def test_a_fetch_that_was_interrupted_says_how_to_go_on(site: Site, tmp_path: Path, bptt: Bptt) -> None:
    site.answers = [half_then_silence(CONTENT), whole(CONTENT)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command(site), text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}, **pipes) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the download is under way
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "`bptt data fetch table` goes on from there" in errors
    assert errors.count("\n") == 1
    assert subprocess.run(command(site), capture_output=True, check=False).returncode == 0
    assert (tmp_path / "data" / "t.csv").read_bytes() == CONTENT


def test_a_terminal_gets_a_bar_that_is_gone_at_the_end(site: Site) -> None:
    site.answers = [plain(CONTENT, Content_Length=len(CONTENT))]
    terminal, its_end = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(command(site), stdout=subprocess.PIPE, stderr=its_end, env=environment, text=True, check=True)
    os.close(its_end)
    drawn = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    assert "160.0/160.0 kB" in drawn
    assert done.stdout.startswith("table fetched: 160,000 bytes, verified")
