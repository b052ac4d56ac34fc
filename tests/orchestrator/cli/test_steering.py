"""`bptt narrow`, `enqueue`, `pin`, `stop --trial` and `extend` on sweeps that run and that do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.database.ledger import Ledger
from orchestrator.database.stored import read_sweep
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec, spec_from
from orchestrator.trial import TrialState
from tests.fakes import KIND
from tests.orchestrator.cli.conftest import Bptt
from tests.orchestrator.cli.test_driving import start, wait_for_evaluations
from tests.orchestrator.conftest import Drive, make_spec
from tests.orchestrator.recorded import Recorded, record_sweep

SweepFile = Callable[[SweepSpec], Path]


@pytest.mark.slow
def test_a_live_sweep_is_steered_from_another_terminal(
    bptt: Bptt, sweep_file: SweepFile, sweep_settings: Settings
) -> None:
    spec = make_spec(
        workload={"kind": KIND, "pause_s": 0.3},
        search={"sampler": "random", "pruner": "none", "seed": 3},
        budget={"trials": 6, "evaluations": 12},
    )
    path = sweep_file(spec)
    with start("run", path, "--in-process", "--workers", "2") as process:
        wait_for_evaluations(process, sweep_settings, 1)
        stopped = bptt("stop", "test", "--trial", 1)
        pinned = bptt("pin", "test", "--trial", 0)
        enqueued = bptt("enqueue", "test", "--set", "quality=0.77", "--extra")
        narrowed = bptt("narrow", "test", "quality=0.7..0.9", "--json")
        refused = bptt("narrow", "test", "quality=0.1..0.9")
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert enqueued.out == "quality 0.77: it begins as soon as a worker is free\n"
    assert json.loads(narrowed.out)["answer"] == "quality: number from 0.7 to 0.9"
    assert stopped.out == "trial 1 is stopped by the user\n"
    assert pinned.out == "trial 0 is not pruned any more and trained to its end\n"
    assert (refused.status, "it must be from 0.7 to 0.9" in refused.err) == (2, True)
    _, trials = read_sweep(Ledger(sweep_settings.study_url), "test")
    assert len(trials) == 7
    assert trials[1].reason == "stopped by the user"
    assert [trial.state for trial in trials if trial.number != 1] == [TrialState.COMPLETE] * 6
    assert sum(trial.chosen["quality"] == 0.77 for trial in trials) == 1
    assert all(0.7 <= trial.chosen["quality"] <= 0.9 for trial in trials[5:])
    again = bptt("run", path, "--in-process")
    assert again.status == 0
    assert "goes on as it was steered since its file: budget.trials: 6 -> 7; space.quality.float" in again.out


def test_what_needs_trials_waits_until_a_sweep_that_nobody_runs_goes_on(
    bptt: Bptt, drive: Drive, sweep_settings: Settings
) -> None:
    drive(make_spec(), until=lambda event: event.trial is not None)
    answer = bptt("enqueue", "test", "--set", "quality=0.5")
    assert answer.status == 0
    assert answer.out == "nobody runs test now: it will be done when the sweep goes on, with `bptt resume test`\n"
    assert "enqueue quality=0.5" in bptt("status", "test").out
    assert bptt("resume", "test", "--in-process").status == 0
    _, trials = read_sweep(Ledger(sweep_settings.study_url), "test")
    assert [trial.number for trial in trials if trial.chosen["quality"] == 0.5] != []
    assert len(trials) == 6
    assert json.loads(bptt("status", "test", "--json").out)["wishes"] == []


def test_a_space_is_narrowed_at_once_where_nobody_runs_the_sweep(bptt: Bptt, sweep_settings: Settings) -> None:
    ledger = record_sweep(sweep_settings, [Recorded("gru", 8, [1.0])], state="interrupted")
    answer = bptt("narrow", "recorded", "cell_type=gru")
    assert answer.out.startswith("cell_type: one of gru; go on with `bptt resume recorded`")
    assert spec_from(ledger.sweep("recorded").spec).space["cell_type"].choice == ("gru",)
    assert ledger.sweep("recorded").state == "interrupted"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("narrow", "recorded", "cell_type"), "name=value is needed"),
        (("narrow", "recorded", "cell_type=mlp"), "it must be one of"),
        (("narrow", "recorded", "colour=red"), "not in the space of recorded"),
        (("enqueue", "recorded", "--set", "cell_type=mlp"), "it must be one of"),
        (("pin", "recorded", "--trial", 7), "--trial 7: no such trial; there are 0 to 0"),
        (("pin", "recorded", "--trial", 0), "it has ended already (complete)"),
        (("stop", "recorded", "--trial", 0), "it has ended already (complete)"),
        (("stop", "recorded", "--json"), "--json is for --trial"),
        (("stop", "recorded", "--trial", -1), "-1 is not in the range"),
        (("extend", "recorded", "--evaluations", 40), "a file with a new name"),
        (("extend", "recorded", "--sequence-steps", 40), "cannot be compared with those that recorded has"),
    ],
)
def test_nonsense_is_refused_at_once_in_one_line(
    arguments: tuple[Any, ...], words: str, bptt: Bptt, sweep_settings: Settings
) -> None:
    ledger = record_sweep(sweep_settings, [Recorded("gru", 8, [1.0])], state="interrupted")
    before = ledger.sweep("recorded")
    answer = bptt(*arguments)
    assert (answer.status, answer.err.count("\n")) == (2, 1)
    assert words in answer.err
    assert ledger.sweep("recorded").spec == before.spec
    assert bptt("status", "recorded", "--json").out.count('"wish"') == 0


def test_a_finished_sweep_is_extended_before_it_is_narrowed(bptt: Bptt, sweep_settings: Settings) -> None:
    record_sweep(sweep_settings, [Recorded("gru", 8, [1.0])], state="finished")
    answer = bptt("narrow", "recorded", "cell_type=gru")
    assert answer.status == 2
    assert "bptt extend recorded --trials N" in answer.err
