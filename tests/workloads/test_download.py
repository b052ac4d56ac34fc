"""Downloads against a real server that breaks off, lies, redirects, changes and hangs."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.web import Answer, Site, half_then_silence, part, plain, serving, silence, status, whole
from workloads.data.download import Downloader, FetchError, PlaceError, label_of

CONTENT = random.Random(7).randbytes(300_000)
OTHER = random.Random(8).randbytes(len(CONTENT))
HALF = len(CONTENT) // 2


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


@pytest.fixture
def arriving(tmp_path: Path) -> Path:
    return tmp_path / "file.part"


def download(
    site: Site, arriving: Path, *, size: int | None = len(CONTENT), tries: int = 3
) -> list[tuple[int, int | None]]:
    told: list[tuple[int, int | None]] = []
    downloader = Downloader(
        told=lambda done, total: told.append((done, total)), timeout_s=0.3, tries=tries, wait_s=0.01
    )
    downloader.download(site.url, arriving, size=size, limit=2 * len(CONTENT))
    return told


def test_a_file_arrives_and_is_told_of_byte_by_byte(site: Site, arriving: Path) -> None:
    site.answers = [whole(CONTENT)]
    told = download(site, arriving)
    assert arriving.read_bytes() == CONTENT
    assert told[0] == (0, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_a_broken_download_goes_on_where_it_broke_off(site: Site, arriving: Path) -> None:
    site.answers = [whole(CONTENT, breaks_after=HALF), whole(CONTENT)]
    download(site, arriving)
    assert arriving.read_bytes() == CONTENT
    assert site.ranges == [None, f"bytes={HALF}-"]
    assert site.conditions == [None, '"one"']


def test_the_next_process_goes_on_too(site: Site, arriving: Path) -> None:
    site.answers = [whole(CONTENT, breaks_after=HALF), whole(CONTENT)]
    with pytest.raises(FetchError, match=f"broken off after {HALF:,} of {len(CONTENT):,} bytes"):
        download(site, arriving, tries=1)
    assert arriving.read_bytes() == CONTENT[:HALF]
    told = download(site, arriving, tries=1)
    assert arriving.read_bytes() == CONTENT
    assert site.ranges == [None, f"bytes={HALF}-"]
    assert told[0] == (HALF, len(CONTENT))


def test_what_arrived_whole_is_not_asked_for_again(site: Site, arriving: Path) -> None:
    site.answers = [whole(CONTENT)]
    download(site, arriving)
    download(site, arriving)
    assert site.ranges == [None]


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, len(CONTENT)), max_size=4))
def test_wherever_it_breaks_the_file_is_the_same(tmp_path_factory: pytest.TempPathFactory, cuts: list[int]) -> None:
    arriving = tmp_path_factory.mktemp("cuts") / "file.part"
    with serving() as site:
        site.answers = [*(whole(CONTENT, breaks_after=cut) for cut in cuts), whole(CONTENT)]
        download(site, arriving, tries=len(cuts) + 1)
    assert arriving.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "second",
    [
        plain(CONTENT, Content_Length=len(CONTENT)),
        plain(CONTENT),
        whole(CONTENT, tag='"two"'),
    ],
    ids=["Range ignored", "Range ignored, no length", "another version"],
)
def test_a_server_that_does_not_go_on_is_taken_from_the_start(site: Site, arriving: Path, second: Answer) -> None:
    site.answers = [whole(OTHER, breaks_after=HALF), second]
    download(site, arriving)
    assert arriving.read_bytes() == CONTENT
    assert site.ranges == [None, f"bytes={HALF}-"]


@pytest.mark.parametrize(
    "second",
    [
        part(CONTENT[HALF:], f"bytes {HALF}-{len(CONTENT) - 1}/{len(CONTENT)}", ETag='"two"'),
        part(CONTENT[HALF:], f"bytes {HALF}-{len(CONTENT) - 1}/{len(CONTENT) + 1}", ETag='"one"'),
        part(CONTENT[HALF + 1 :], f"bytes {HALF + 1}-{len(CONTENT) - 1}/{len(CONTENT)}", ETag='"one"'),
        part(CONTENT[HALF:], "bytes", ETag='"one"'),
        status(416),
    ],
    ids=["another version", "another length", "another part", "no part", "no such range"],
)
def test_a_rest_that_does_not_fit_is_thrown_away_with_its_beginning(site: Site, arriving: Path, second: Answer) -> None:
    site.answers = [whole(OTHER, breaks_after=HALF), second, whole(CONTENT)]
    download(site, arriving)
    assert arriving.read_bytes() == CONTENT
    assert site.ranges == [None, f"bytes={HALF}-", None]


def test_without_a_version_to_ask_for_it_begins_anew(site: Site, arriving: Path) -> None:
    site.answers = [plain(OTHER[:HALF], Content_Length=len(CONTENT), ETag='W/"weak"'), whole(CONTENT)]
    download(site, arriving)
    assert arriving.read_bytes() == CONTENT
    assert site.ranges == [None, None]


def test_the_date_of_a_file_serves_as_its_version(site: Site, arriving: Path) -> None:
    date = "Fri, 29 Sep 2017 00:01:00 GMT"
    rest = part(CONTENT[HALF:], f"bytes {HALF}-{len(CONTENT) - 1}/{len(CONTENT)}", Last_Modified=date)
    site.answers = [plain(CONTENT[:HALF], Content_Length=len(CONTENT), Last_Modified=date), rest]
    download(site, arriving)
    assert arriving.read_bytes() == CONTENT
    assert site.conditions == [None, date]


def test_a_part_of_another_address_is_not_gone_on_with(site: Site, arriving: Path) -> None:
    arriving.write_bytes(OTHER[:HALF])
    label_of(arriving).write_text('{"url": "http://elsewhere/", "version": "one", "total": null}')
    site.answers = [whole(CONTENT)]
    download(site, arriving)
    assert arriving.read_bytes() == CONTENT
    assert site.ranges == [None]


@pytest.mark.parametrize("label", ["", "[]", "{", '{"url": 1}', "\0"])
def test_a_torn_label_costs_only_a_new_start(site: Site, arriving: Path, label: str) -> None:
    arriving.write_bytes(OTHER[:HALF])
    label_of(arriving).write_text(label)
    site.answers = [whole(CONTENT)]
    download(site, arriving)
    assert arriving.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (plain(CONTENT, Content_Length=len(CONTENT) - 1), r"announces 299,999 bytes where 300,000 are expected"),
        (plain(CONTENT, Content_Length=len(CONTENT) + 1), r"announces 300,001 bytes where 300,000 are expected"),
        (plain(CONTENT + b"x"), r"more comes than the 300,000 bytes expected"),
        (plain(CONTENT[:-1]), r"broken off after 299,999 of 300,000 bytes \(tried 3 times\)"),
        (plain(CONTENT[:-1], Content_Length=len(CONTENT)), r"broken off after 299,999 of 300,000 bytes"),
    ],
    ids=["announces less", "announces more", "sends more", "sends less", "sends less than announced"],
)
def test_a_wrong_length_is_found_out(site: Site, arriving: Path, answer: Answer, says: str) -> None:
    site.answers = [answer]
    with pytest.raises(FetchError, match=says):
        download(site, arriving)


@pytest.mark.parametrize("headers", [{}, {"Content_Length": 2 * len(CONTENT) + 1}], ids=["unannounced", "announced"])
def test_a_file_of_unknown_size_may_not_grow_without_end(site: Site, arriving: Path, headers: dict[str, int]) -> None:
    site.answers = [plain(2 * CONTENT + b"x", **headers)]
    with pytest.raises(FetchError, match=r"more (comes )?than the 600,000 (bytes expected|allowed)"):
        download(site, arriving, size=None)
    assert not arriving.exists()


def test_a_file_of_unknown_size_is_as_long_as_announced(site: Site, arriving: Path) -> None:
    site.answers = [whole(CONTENT, breaks_after=HALF), whole(CONTENT)]
    assert download(site, arriving, size=None)[-1] == (len(CONTENT), len(CONTENT))
    assert arriving.read_bytes() == CONTENT


def test_a_redirection_is_followed_with_the_range(site: Site, arriving: Path) -> None:
    onward = status(302, Location="/elsewhere")
    site.answers = [onward, whole(CONTENT, breaks_after=HALF), onward, whole(CONTENT)]
    download(site, arriving)
    assert arriving.read_bytes() == CONTENT
    assert site.ranges == [None, None, f"bytes={HALF}-", f"bytes={HALF}-"]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,x", "javascript:1"])
def test_a_redirection_to_anything_but_the_web_is_refused(site: Site, arriving: Path, code: int, target: str) -> None:
    site.answers = [status(code, Location=target)]
    with pytest.raises(FetchError, match=target.split(":")[0]):
        download(site, arriving)
    assert not arriving.exists()
    assert len(site.ranges) == 1


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,x", "nothing"])
def test_an_address_must_be_of_the_web(arriving: Path, address: str) -> None:
    with pytest.raises(FetchError):
        Downloader(wait_s=0).download(address, arriving, size=None, limit=9)
    assert not arriving.exists()


def test_redirections_in_a_circle_end(site: Site, arriving: Path) -> None:
    site.answers = [status(302, Location="/file")]
    with pytest.raises(FetchError, match="infinite loop"):
        download(site, arriving)
    assert len(site.ranges) < 15


def test_a_missing_file_is_not_tried_again(site: Site, arriving: Path) -> None:
    with pytest.raises(FetchError, match="the server answers 404 Not Found"):
        download(site, arriving)
    assert len(site.ranges) == 1


def test_a_server_that_is_busy_is_tried_again(site: Site, arriving: Path) -> None:
    site.answers = [status(503), status(429), whole(CONTENT)]
    download(site, arriving)
    assert arriving.read_bytes() == CONTENT


def test_a_server_that_stays_busy_is_given_up(site: Site, arriving: Path) -> None:
    site.answers = [status(503)]
    with pytest.raises(FetchError, match=r"503 Service Unavailable \(tried 3 times\)"):
        download(site, arriving)
    assert len(site.ranges) == 3


def test_an_answer_that_was_not_asked_for_is_refused(site: Site, arriving: Path) -> None:
    site.answers = [part(CONTENT, f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}")]
    with pytest.raises(FetchError, match="answers 206, which was not asked for"):
        download(site, arriving)


def test_a_silent_server_is_given_up(site: Site, arriving: Path) -> None:
    site.answers = [silence]
    with pytest.raises(FetchError, match=r"the server is silent for 0.3 s \(tried 2 times\)"):
        download(site, arriving, tries=2)


def test_a_server_that_falls_silent_half_way_is_asked_for_the_rest(site: Site, arriving: Path) -> None:
    site.answers = [half_then_silence(CONTENT), whole(CONTENT)]
    download(site, arriving)
    assert arriving.read_bytes() == CONTENT
    assert site.ranges == [None, f"bytes={HALF}-"]


def test_nobody_at_the_port_is_tried_again_and_then_said(arriving: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        with pytest.raises(FetchError, match=r"refused.*\(tried 2 times\)"):
            Downloader(tries=2, wait_s=0.01).download(address, arriving, size=1, limit=1)


def test_a_host_without_an_address_is_said_at_once(arriving: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    with pytest.raises(FetchError, match=r"data.invalid cannot be found \(is this machine offline\?\)"):
        Downloader(wait_s=60).download("http://data.invalid/x", arriving, size=1, limit=1)


LIMITED = """
import resource, sys
from pathlib import Path
from workloads.data.download import Downloader, FetchError

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    Downloader(wait_s=0.01).download(sys.argv[1], Path(sys.argv[2]), size=int(sys.argv[3]), limit=int(sys.argv[3]))
except FetchError as error:
    print(type(error).__name__, error)
"""


def test_a_disk_without_room_is_said_and_the_next_fetch_goes_on(site: Site, arriving: Path) -> None:
    # Files of this process may not grow beyond 100 kB, which the system reports where a full disk would be.
    site.answers = [whole(CONTENT)]
    command = [sys.executable, "-c", LIMITED, site.url, str(arriving), str(len(CONTENT))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"NoRoom {arriving}: File too large; make room")
    here = arriving.stat().st_size
    assert 0 < here <= 100_000
    download(site, arriving)
    assert arriving.read_bytes() == CONTENT
    assert site.ranges == [None, f"bytes={here}-"]


def test_a_folder_that_is_none_is_the_users_to_mend(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    site.answers = [whole(CONTENT)]
    with pytest.raises(PlaceError, match=r"cannot be written: Not a directory; set BPTT_DATA"):
        download(site, tmp_path / "file" / "x.part")
