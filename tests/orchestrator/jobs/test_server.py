"""The lines of a job come once each, though the stream breaks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.errors import BpttError, UserError
from orchestrator.jobs import server as jobs
from orchestrator.jobs.server import JobsServer

PIECES = ["one\n", "two\nthree\n", "four\n"]


class BrokenStream(JobsServer):
    """A server whose streams begin with the first line and break after so many pieces as the script says."""

    def __init__(self, *pieces_until_broken: int) -> None:
        self.address, self.script = "http://head:8265", list(pieces_until_broken)

    def _stream(self, name: str) -> Iterator[str]:
        until = self.script.pop(0)
        yield from PIECES[:until]
        if until < len(PIECES):
            raise RuntimeError("the connection was lost")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs.time, "sleep", lambda _: None)


@pytest.mark.parametrize("script", [(3,), (1, 3), (0, 2, 2, 3), (2, 0, 0, 0, 3)])
def test_every_line_comes_once(script: tuple[int, ...]) -> None:
    assert "".join(BrokenStream(*script).follow("x")) == "".join(PIECES)


def test_a_stream_that_breaks_again_and_again_is_given_up() -> None:
    lines = BrokenStream(1, *[0] * 10).follow("x")
    assert next(lines) == PIECES[0]
    with pytest.raises(BpttError, match="lines stopped coming: the connection was lost"):
        list(lines)


def test_where_nothing_listens_is_said_at_once() -> None:
    with pytest.raises(UserError, match=r"address: http://127\.0\.0\.1:9 cannot be reached"):
        JobsServer("http://127.0.0.1:9")
