"""What a run shows: lines in a pipe, a view in a terminal, and the pace."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pyte
import pytest
from rich.console import Console

from orchestrator.cli.lines import Lines, Tally, conclusion, describe
from orchestrator.cli.live import show
from orchestrator.cli.pace import Pace
from orchestrator.cli.screen import LINES_ABOVE, Screen
from orchestrator.driver import Driver, Outcome
from orchestrator.event import Event, Happening
from orchestrator.executors.local import LocalExecutor
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec
from orchestrator.sweep import Sweep
from orchestrator.tracking.base import NoTracker
from orchestrator.trial import TrialRecord, TrialState
from tests.fakes import KIND
from tests.orchestrator.conftest import make_spec
from workloads.protocol import Progress

WIDE = {
    "cell_type": ["rnn", "gru", "lstm"],
    "truncation_length": {"int": [8, 256], "log": True},
    "hidden_size": {"int": [8, 256], "log": True},
    "learning_rate": {"float": [1e-4, 1e-2], "log": True},
    "dropout": {"float": [0.0, 0.5]},
}


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def open_driver(sweep_settings: Settings) -> Iterator[Callable[..., Driver]]:
    """Return a function that opens a driver on a spec; nothing runs yet."""
    opened: list[Driver] = []

    def open_one(spec: SweepSpec, slots: int = 2) -> Driver:
        driver = Driver(sweep_settings, spec, executor=LocalExecutor(slots), tracker=NoTracker())
        opened.append(driver)
        return driver.__enter__()

    yield open_one
    for driver in opened:
        driver.__exit__(None, None, None)


def sweep_of(driver: Driver) -> Sweep:
    assert driver.sweep is not None
    return driver.sweep


def add_trial(sweep: Sweep, evaluations: int, loss: float = 2.0, state: TrialState = TrialState.RUNNING) -> TrialRecord:
    """Put a trial into the sweep as if it had been trained so far."""
    trial = sweep.study.ask()
    trial.state = state
    trial.evaluations = [
        Progress(index, (index + 1) * 1000, {"valid_loss": loss - index / 10}, "", 0.0) for index in range(evaluations)
    ]
    sweep.trials.append(trial)
    if not state.is_final:
        sweep.under_way[trial.number] = trial
    return trial


def draw(screen: Screen) -> str:
    """Return the screen as a terminal would show it."""
    out, width, height = io.StringIO(), screen.console.width, screen.console.height
    Console(file=out, width=width, height=height, force_terminal=True).print(screen.render())
    terminal = pyte.Screen(width, height)
    terminal.set_mode(pyte.modes.LNM)
    pyte.Stream(terminal).feed(out.getvalue())
    return "\n".join(line.rstrip() for line in terminal.display).rstrip()


def screen_of(driver: Driver, width: int, height: int = 40, **options: Any) -> Screen:
    return Screen(sweep_of(driver), Console(width=width, height=height, force_terminal=True), **options)


@pytest.mark.parametrize("width", [40, 60, 100, 160])
def test_the_view_fits_every_width(open_driver: Callable[..., Driver], width: int) -> None:
    driver = open_driver(make_spec(space=WIDE))
    add_trial(sweep_of(driver), 5, state=TrialState.COMPLETE)
    add_trial(sweep_of(driver), 3)
    text = draw(screen_of(driver, width, watch="bptt ui"))
    assert max(map(len, text.splitlines())) <= width
    assert "1 complete, 1" in text
    assert "3/5" in text
    assert "1.800" in text
    assert "cell" in text


def test_a_wide_view_shows_every_swept_hyperparameter_and_a_narrow_one_the_first(
    open_driver: Callable[..., Driver],
) -> None:
    driver = open_driver(make_spec(space=WIDE))
    add_trial(sweep_of(driver), 1)
    heads = ("cell", "truncation", "hidden", "learning", "dropout")
    wide = draw(screen_of(driver, 160))
    assert all(head in wide for head in heads)
    narrow = draw(screen_of(driver, 48))
    assert [head in narrow for head in heads] == [True, True, True, False, False]


def test_the_view_shows_the_best_and_where_to_watch(open_driver: Callable[..., Driver]) -> None:
    driver = open_driver(make_spec())
    screen = screen_of(driver, 160, watch="bptt ui --runs x")
    assert "no trial is complete yet" in draw(screen)
    add_trial(sweep_of(driver), 1, loss=4.0)
    assert "no trial is complete yet: valid_loss 4.000 after 1 of" in draw(screen)
    add_trial(sweep_of(driver), 5, loss=3.0, state=TrialState.COMPLETE)
    add_trial(sweep_of(driver), 5, loss=2.0, state=TrialState.COMPLETE)
    text = draw(screen)
    assert "best  valid_loss 1.600, trial 2  █▁\n      quality 0." in text
    assert "`bptt ui --runs x`" in text


def test_more_trials_than_lines_are_counted(open_driver: Callable[..., Driver]) -> None:
    driver = open_driver(make_spec(budget={"trials": 100}))
    for _ in range(20):
        add_trial(sweep_of(driver), 1)
    lines = draw(screen_of(driver, 100, height=20)).splitlines()
    shown = sum("1/10" in line for line in lines)
    assert shown >= 4
    assert f"and {20 - shown} more under way" in lines
    assert len(lines) <= 20 - LINES_ABOVE


def test_the_best_value_is_drawn_trial_by_trial(open_driver: Callable[..., Driver]) -> None:
    driver = open_driver(make_spec(budget={"trials": 9}))
    for loss in (3.0, 2.0, 1.0):
        add_trial(sweep_of(driver), 5, loss, TrialState.COMPLETE)
    assert "█" in draw(screen_of(driver, 60))


def test_a_stopping_view_says_what_is_waited_for(open_driver: Callable[..., Driver]) -> None:
    driver = open_driver(make_spec())
    add_trial(sweep_of(driver), 1)
    driver.stop("interrupted")
    assert "stopping: interrupted; waiting for 1 evaluation under way" in draw(screen_of(driver, 100))


def test_the_hours_left_limit_the_time_left(open_driver: Callable[..., Driver]) -> None:
    clock = Clock()
    driver = open_driver(make_spec(budget={"trials": 1000, "hours": 1.0}))
    screen = screen_of(driver, 100, pace=Pace(clock))
    clock.now += 1800
    screen.take(Event(Happening.EVALUATED, add_trial(sweep_of(driver), 1)))
    assert "about 30 min 00 s left" in draw(screen)


def test_a_terminal_gets_the_view_and_then_the_summary(
    open_driver: Callable[..., Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setattr("orchestrator.cli.live.Console", lambda **_: Console(file=out, width=100, force_terminal=True))
    show(open_driver(make_spec()), quiet=False)
    text = out.getvalue()
    assert "sampler random, pruner none, 2 trials at once" in text
    assert "[6/6] trial" in text
    assert text.rstrip().endswith("report  bptt report test\n  curves  bptt ui")


def test_quiet_leaves_stdout_alone(open_driver: Callable[..., Driver], capfd: pytest.CaptureFixture[str]) -> None:
    show(open_driver(make_spec()), quiet=True)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "test finished: 6 trials (6 complete)" in captured.err


def test_evaluations_of_a_short_trial_are_no_lines(open_driver: Callable[..., Driver]) -> None:
    lines: list[str] = []
    driver, clock = open_driver(make_spec(budget={"trials": 1, "evaluations": 5}), 1), Clock()
    view = Lines(sweep_of(driver), lines.append, clock)
    for event in driver.run():
        view.take(event)
    assert lines[0].startswith("trial 0 begins: quality")
    assert lines[1].startswith("[1/1] trial 0 complete: valid_loss")
    assert len(lines) == 2


def test_evaluations_of_a_long_trial_are_a_line_each_ten_seconds(open_driver: Callable[..., Driver]) -> None:
    lines: list[str] = []
    driver, clock = (
        open_driver(make_spec(budget={"trials": 1, "evaluations": 10, "sequence_steps": 10_000}), 1),
        Clock(),
    )
    view = Lines(sweep_of(driver), lines.append, clock)
    for event in driver.run():
        if event.happening is Happening.EVALUATED:
            clock.now += 4.0
        view.take(event)
    assert [line.split(":")[0] for line in lines[1:-1]] == [f"trial 0, evaluation {n} of 10" for n in (3, 6, 9)]


@pytest.mark.parametrize(
    ("happening", "message", "words"),
    [
        (Happening.RESUMED, "", "trial 0 goes on after evaluation 2 of 5"),
        (
            Happening.LOST,
            "the worker died",
            "trial 0 lost its worker (the worker died) after evaluation 2 of 5; it will be taken up again",
        ),
        (Happening.EVALUATED, "", "trial 0, evaluation 2 of 5: valid_loss 1.900"),
    ],
)
def test_happenings_are_lines(
    open_driver: Callable[..., Driver], happening: Happening, message: str, words: str
) -> None:
    sweep = sweep_of(open_driver(make_spec()))
    assert describe(Event(happening, add_trial(sweep, 2), message), sweep) == words


def test_an_end_says_why_and_whether_it_is_the_best(open_driver: Callable[..., Driver]) -> None:
    sweep = sweep_of(open_driver(make_spec()))
    diverged = add_trial(sweep, 1, state=TrialState.DIVERGED)
    diverged.reason = "the loss became nan"
    first = add_trial(sweep, 5, state=TrialState.COMPLETE)
    assert describe(Event(Happening.ENDED, diverged), sweep) == "[2/6] trial 0 diverged: the loss became nan"
    assert describe(Event(Happening.ENDED, first), sweep) == "[2/6] trial 1 complete: valid_loss 1.600, the best so far"
    worse = add_trial(sweep, 5, loss=9.0, state=TrialState.COMPLETE)
    assert describe(Event(Happening.ENDED, worse), sweep) == "[3/6] trial 2 complete: valid_loss 8.600"


def test_trials_that_end_together_are_counted_one_by_one(open_driver: Callable[..., Driver]) -> None:
    sweep = sweep_of(open_driver(make_spec()))
    add_trial(sweep, 5, loss=3.0, state=TrialState.COMPLETE)
    tally = Tally(sweep)
    ended = [add_trial(sweep, 5, loss=loss, state=TrialState.COMPLETE) for loss in (2.0, 1.0)]
    lines = [describe(Event(Happening.ENDED, trial), sweep, tally) or "" for trial in ended]
    assert [line[:5] for line in lines] == ["[2/6]", "[3/6]"]
    assert all("the best so far" in line for line in lines)


def test_the_end_names_the_model_and_what_to_type_next(open_driver: Callable[..., Driver]) -> None:
    sweep = sweep_of(open_driver(make_spec()))
    best = add_trial(sweep, 5, state=TrialState.COMPLETE)
    outcome = Outcome("finished", "", best, "models:/test/1", tracked=False)
    text = "\n".join(conclusion(sweep, outcome, "bptt ui"))
    for words in (
        "models:/test/1",
        "bptt report test",
        "bptt ui",
        "bptt predict test",
        "`bptt resume test` sends",
    ):
        assert words in text


def test_an_interrupted_end_is_one_line(open_driver: Callable[..., Driver]) -> None:
    sweep = sweep_of(open_driver(make_spec()))
    add_trial(sweep, 2)
    outcome = Outcome("interrupted", "the budget of 2 hours is used up", None, None, tracked=True)
    assert conclusion(sweep, outcome, "bptt ui") == [
        "test stopped after 1 trial (1 unfinished), the budget of 2 hours is used up; go on with `bptt resume test`"
    ]


def test_a_failed_end_says_why(open_driver: Callable[..., Driver]) -> None:
    sweep = sweep_of(open_driver(make_spec(workload={"kind": KIND})))
    outcome = Outcome("failed", "no trial was trained to its end", None, None, tracked=True)
    assert conclusion(sweep, outcome, "")[0] == "test failed: no trial was trained to its end: 0 trials (no trials yet)"


def trial_at(evaluations: int, state: TrialState = TrialState.RUNNING) -> TrialRecord:
    done = [Progress(index, (index + 1) * 1000, {}, "", 0.0) for index in range(evaluations)]
    return TrialRecord(0, {}, {}, 0.0, done, state=state)


def test_throughput_is_that_of_all_workers_in_the_last_minute() -> None:
    clock = Clock()
    pace = Pace(clock)
    for _ in range(100):
        clock.now += 10.0
        pace.take(Event(Happening.EVALUATED, trial_at(3)))
    for _ in range(100):
        clock.now += 1.0
        pace.take(Event(Happening.EVALUATED, trial_at(3)))
    assert pace.sequence_steps_per_second() == pytest.approx(1000.0)


def test_steps_of_an_earlier_driver_are_not_counted_as_throughput() -> None:
    clock = Clock()
    pace = Pace(clock)
    clock.now += 10.0
    pace.take(Event(Happening.RESUMED, trial_at(7)))
    pace.take(Event(Happening.EVALUATED, trial_at(8)))
    assert pace.sequence_steps_per_second() == pytest.approx(100.0)


def test_the_time_left_takes_coming_trials_to_be_as_long_as_those_that_ended() -> None:
    clock = Clock()
    pace = Pace(clock)
    complete, pruned = trial_at(4, TrialState.COMPLETE), trial_at(2, TrialState.PRUNED)
    assert pace.seconds_left([], allowed=4, evaluations=4) is None
    for trial in (complete, pruned):
        for count in range(1, len(trial.evaluations) + 1):
            clock.now += 10.0
            pace.take(Event(Happening.EVALUATED, trial_at(count)))
    # Two trials to come, three evaluations each, of which one is done; ten seconds for an evaluation.
    under_way = trial_at(1)
    assert pace.seconds_left([complete, pruned, under_way], allowed=4, evaluations=4) == pytest.approx(50.0)
    assert pace.seconds_left([complete, pruned], allowed=2, evaluations=4) == 0.0
