"""Sitting out an outage: what is waited for, how long, and what is said."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from orchestrator import outage
from orchestrator.outage import Outage, sit_out

BUSY = Outage(
    words="the store is away",
    passes=lambda error: "busy" in str(error),
    patience_s=20.0,
    pauses_s=(1.0, 4.0),
    give_up=lambda waited_s, why: RuntimeError(f"after {waited_s:.0f} s: {why}"),
)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let no pause be waited for, but the clock go on by it."""
    made: list[float] = []
    monkeypatch.setattr(outage, "time", SimpleNamespace(sleep=made.append, monotonic=lambda: sum(made)))
    return made


def fails(times: int, with_words: str) -> SimpleNamespace:
    """Return work that fails so many times and counts its calls."""
    work = SimpleNamespace(calls=0)

    def do() -> str:
        work.calls += 1
        if work.calls <= times:
            raise OSError(with_words)
        return "done"

    work.do = do
    return work


def test_work_is_tried_anew_with_growing_pauses_and_said_once(
    pauses: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    logging.disable()  # as good as what Optuna's changes of its tables do to the loggers
    try:
        assert sit_out(BUSY, fails(4, "busy at s3://key:secret@bucket").do) == "done"
    finally:
        logging.disable(logging.NOTSET)
    assert pauses == [1.0, 2.0, 4.0, 4.0]
    said = capsys.readouterr().err
    assert said.startswith("bptt: the store is away; waiting for it: busy at s3://")
    assert said.count("\n") == 1
    assert "secret" not in said


def test_from_the_second_try_on_the_other_work_is_done() -> None:
    work = fails(1, "busy")
    assert sit_out(BUSY, work.do, again=lambda: "there already") == "there already"
    assert work.calls == 1


def test_an_outage_that_outlasts_its_patience_is_given_up(pauses: list[float]) -> None:
    with pytest.raises(RuntimeError, match="after 19 s: busy") as caught:
        sit_out(BUSY, fails(99, "busy").do)
    assert isinstance(caught.value.__cause__, OSError)
    assert sum(pauses) <= BUSY.patience_s


def test_what_no_waiting_mends_is_raised_at_once(pauses: list[float]) -> None:
    with pytest.raises(OSError, match="refused"):
        sit_out(BUSY, fails(1, "refused").do)
    assert pauses == []
