"""The view of a sweep in MLflow: complete, nothing twice, and never in the loop's way."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import BpttError
from orchestrator.settings import Settings
from orchestrator.tracking import open_tracker
from orchestrator.tracking.base import Model, NoTracker
from orchestrator.tracking.client import open_client
from orchestrator.tracking.mlflow import MlflowTracker
from orchestrator.trial import TrialRecord, TrialState
from tests.orchestrator.conftest import make_spec
from tests.orchestrator.tracking.conftest import RunsHere
from tests.orchestrator.tracking.runs import (
    children,
    end,
    evaluate,
    finish,
    make_trial,
    parents,
    query,
    search,
    wait_for,
)
from workloads.protocol import Dataset, Progress


@pytest.mark.parametrize("uri", ["none", ""])
def test_a_tracker_takes_a_sweep_from_open_to_close(settings: Settings, dataset: Dataset, uri: str) -> None:
    spec = make_spec()
    chosen = settings.model_copy(update={"tracking_uri": uri}).complete()
    tracker = open_tracker(chosen)
    assert isinstance(tracker, NoTracker if uri == "none" else MlflowTracker)
    tracker.open(spec, dataset, [])
    trial = make_trial(spec)
    for _ in range(50):
        evaluate(trial)
        tracker.changed(trial)
    end(trial)
    tracker.changed(trial)
    finish(tracker)


def test_each_metric_of_each_evaluation_is_there_once_at_its_step_and_time(
    settings: Settings, track: Callable[..., MlflowTracker]
) -> None:
    spec = make_spec()
    tracker = track(spec)
    trials = [make_trial(spec, number) for number in range(3)]
    for _ in range(4):
        for trial in trials:
            evaluate(trial)
            tracker.changed(trial)
        time.sleep(0.15)  # so that some are written together and some are not
    for trial in trials:
        end(trial)
        tracker.changed(trial)
    finish(tracker)
    rows = query(settings, "SELECT step, timestamp, count(*) FROM metrics WHERE key='valid_loss' GROUP BY 1, 2")
    assert rows == [(1000 * (i + 1), 1_700_000_100_123 + 1000 * i, 3) for i in range(4)]
    assert query(settings, "SELECT count(*) FROM metrics WHERE key IN ('valid_loss', 'train_loss')") == [(24,)]


def test_taking_a_sweep_up_again_writes_nothing_twice(settings: Settings, track: Callable[..., MlflowTracker]) -> None:
    spec = make_spec()
    ended, under_way = make_trial(spec, 0, evaluations=3), make_trial(spec, 1)
    end(ended)
    evaluate(under_way, odd=float("nan"))
    evaluate(under_way, odd=float("inf"))
    finish(track(spec, ended, under_way), "interrupted")
    assert parents(settings)[0].info.status == "KILLED"
    before = query(settings, "SELECT * FROM metrics ORDER BY 1, 2, 3, 4, 5")
    evaluate(under_way, odd=float("nan"))
    end(under_way)
    finish(track(spec, ended, under_way))
    after = query(settings, "SELECT * FROM metrics WHERE step <= 2000 ORDER BY 1, 2, 3, 4, 5")
    assert [row for row in before if row in after] == [row for row in before if row[4] <= 2000]
    counted = query(settings, "SELECT key, count(*) FROM metrics GROUP BY 1")
    assert dict(counted) == {
        "valid_loss": 6, "train_loss": 6, "odd": 3, "best_valid_loss": 1, "guess/valid_loss": 1
    }  # fmt: skip
    assert len(parents(settings)) == 1
    assert parents(settings)[0].info.status == "FINISHED"
    assert sorted(children(settings)) == [0, 1]


@pytest.mark.parametrize("where", ["open", "before write", "after create", "after write"])
def test_a_server_that_is_away_delays_nothing_and_loses_nothing(
    settings: Settings, track: Callable[..., MlflowTracker], where: str
) -> None:
    spec = make_spec()
    tracker = track(spec, failures={where: 1})
    trials = [make_trial(spec, number) for number in range(2)]
    for trial in trials:
        for _ in range(3):
            evaluate(trial)
            tracker.changed(trial)
        end(trial)
        tracker.changed(trial)
    finish(tracker)
    runs = children(settings)
    assert {number: run.info.status for number, run in runs.items()} == {0: "FINISHED", 1: "FINISHED"}
    assert query(settings, "SELECT count(*) FROM metrics WHERE key='valid_loss'") == [(6,)]
    assert all(run.data.params for run in runs.values())
    assert len(parents(settings)) == 1


def test_a_tracker_that_is_abandoned_writes_nothing_more(
    settings: Settings, track: Callable[..., MlflowTracker]
) -> None:
    spec = make_spec()
    trial = make_trial(spec, 0, evaluations=1)
    tracker = track(spec, trial, failures={"open": 1000})
    tracker.abandon()
    evaluate(trial)
    tracker.changed(trial)
    end = time.monotonic() + 10
    while tracker._thread.is_alive() and time.monotonic() < end:
        time.sleep(0.02)
    assert not tracker._thread.is_alive()
    assert query(settings, "SELECT count(*) FROM metrics") == [(0,)]


def test_closing_says_so_when_the_server_stays_away(track: Callable[..., MlflowTracker]) -> None:
    spec = make_spec()
    tracker = track(spec, make_trial(spec, evaluations=1), failures={"open": 1000})
    before = time.monotonic()
    assert not tracker.close({"state": "finished"}, 0.7)
    assert time.monotonic() - before < 3.0
    assert "the server is away" in tracker.problem


def test_one_trial_that_cannot_be_written_does_not_keep_the_others_back(
    settings: Settings, track: Callable[..., MlflowTracker]
) -> None:
    spec = make_spec()
    bad, good = make_trial(spec, 0), make_trial(spec, 1, evaluations=2)
    evaluate(bad)
    bad.evaluations.append(Progress(1, 2000, {"valid_loss": "no number"}, "", 0.0))  # type: ignore[dict-item]
    end(good)
    tracker = track(spec, bad, good)
    assert not tracker.close({"state": "finished"}, 2.0)
    assert "no number" in tracker.problem
    assert children(settings)[1].info.status == "FINISHED"


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (TrialState.COMPLETE, "FINISHED"),
        (TrialState.PRUNED, "KILLED"),
        (TrialState.DIVERGED, "FAILED"),
        (TrialState.OUT_OF_MEMORY, "FAILED"),
        (TrialState.FAILED, "FAILED"),
    ],
)
def test_the_end_of_a_trial_can_be_filtered_by(
    settings: Settings, track: Callable[..., MlflowTracker], state: TrialState, status: str
) -> None:
    spec = make_spec()
    trial = make_trial(spec, evaluations=1)
    tracker = track(spec, trial)
    end(trial, state, "because")
    tracker.changed(trial)
    finish(tracker)
    (found,) = search(settings, f"tags.`bptt.state` = '{state}' AND tags.`bptt.trial` = '0'")
    assert found.info.status == status
    assert found.info.end_time == 1_700_001_000_500
    assert found.data.tags["bptt.reason"] == "because"


def test_a_trials_run_says_which_trial_it_is(settings: Settings, track: Callable[..., MlflowTracker]) -> None:
    spec = make_spec()
    chosen = {"cell_type": "lstm", "hidden_size": 128, "truncation_length": 32}
    finish(track(spec, make_trial(spec, 7, **chosen)))
    run = children(settings)[7]
    assert run.info.run_name == "0007 lstm h128 k32"
    assert run.info.status == "RUNNING"
    assert run.data.params == {**{k: str(v) for k, v in chosen.items()}, "sequence_steps": "5000", "evaluations": "5"}
    assert run.data.tags["mlflow.parentRunId"] == parents(settings)[0].info.run_id
    assert run.data.tags["bptt.cell_type"] == "lstm"


def test_the_parent_shows_spec_data_and_result(
    settings: Settings, dataset: Dataset, track: Callable[..., MlflowTracker]
) -> None:
    spec = make_spec()
    trial = make_trial(spec, evaluations=2)
    end(trial)
    finish(track(spec, trial), best={"trial": 0, "valid_loss": 0.5})
    (parent,) = parents(settings)
    assert parent.info.run_name == "test"
    assert parent.data.params["budget.sequence_steps"] == "5000"
    assert parent.data.params["space.quality.float"] == "[0.1, 1.0]"
    assert parent.data.tags["bptt.budget.trials"] == "6"
    assert parent.data.metrics["guess/valid_loss"] == 0.5
    assert parent.data.metrics["best_valid_loss"] == 0.5
    note = parent.data.tags["mlflow.note.content"]
    assert "| guess/valid_loss | 0.5 |" in note
    assert "| best.trial | 0 |" in note
    (logged,) = parent.inputs.dataset_inputs
    assert logged.dataset.digest == dataset.fingerprint
    assert json.loads(logged.dataset.profile) == {"numbers": {"shape": [1000], "dtype": "int64"}}
    assert [(tag.key, tag.value) for tag in logged.tags] == [("mlflow.data.context", "training")]
    assert dataset.fingerprint in children(settings)[0].data.tags["bptt.data"]
    assert "name: test" in Path(parent.info.artifact_uri.removeprefix("file://"), "sweep.yaml").read_text()


def test_the_best_value_is_drawn_over_the_trials_ended(settings: Settings, track: Callable[..., MlflowTracker]) -> None:
    spec = make_spec(objective={"metric": "valid_score"})
    tracker = track(spec)
    for number, score in enumerate([0.5, 0.4, 0.9]):
        trial = make_trial(spec, number)
        evaluate(trial, valid_score=score)
        end(trial)
        tracker.changed(trial)
    pruned = make_trial(spec, 3)
    evaluate(pruned, valid_score=0.99)
    end(pruned, TrialState.PRUNED)
    tracker.changed(pruned)
    finish(tracker)
    drawn = query(settings, "SELECT step, value FROM metrics WHERE key='best_valid_score' ORDER BY step")
    assert drawn == [(1, 0.5), (3, 0.9)]


def test_a_new_sweep_under_an_old_name_has_runs_of_its_own(
    settings: Settings, track: Callable[..., MlflowTracker]
) -> None:
    spec = make_spec()
    finish(track(spec, make_trial(spec, evaluations=1, quality=0.2)))
    finish(track(spec))  # forgotten and started anew
    finish(track(spec, make_trial(spec, evaluations=2, quality=0.7)))
    by_parent = [search(settings, f"tags.`mlflow.parentRunId` = '{run.info.run_id}'") for run in parents(settings)]
    assert [[run.data.params["quality"] for run in runs] for runs in by_parent] == [["0.7"], ["0.2"]]


def test_more_trials_are_added_to_the_same_parent(settings: Settings, track: Callable[..., MlflowTracker]) -> None:
    spec = make_spec()
    finish(track(spec, make_trial(spec, 0)))
    extended = spec.model_copy(update={"budget": spec.budget.model_copy(update={"trials": 60})})
    finish(track(extended, make_trial(spec, 0), make_trial(spec, 1)))
    (parent,) = parents(settings)
    assert parent.data.tags["bptt.budget.trials"] == "60"
    assert sorted(children(settings)) == [0, 1]


def test_a_run_deleted_by_hand_is_made_again_in_full(settings: Settings, track: Callable[..., MlflowTracker]) -> None:
    spec = make_spec()
    trial = make_trial(spec, evaluations=2)
    tracker = track(spec, trial)
    wait_for(lambda: len(search(settings, "metrics.valid_loss > 0")) == 1)
    open_client(settings).delete_run(children(settings)[0].info.run_id)
    evaluate(trial)
    end(trial)
    tracker.changed(trial)
    finish(tracker)
    history = open_client(settings).get_metric_history(children(settings)[0].info.run_id, "valid_loss")
    assert [metric.step for metric in history] == [1000, 2000, 3000]


def test_names_that_mlflow_refuses_are_spelled_otherwise(
    settings: Settings, track: Callable[..., MlflowTracker]
) -> None:
    spec = make_spec()
    trial = make_trial(spec)
    evaluate(trial, **{"recall@5 (%)": 0.25, "test_mse/step:24": 0.5})
    finish(track(spec, trial))
    metrics = children(settings)[0].data.metrics
    assert metrics["recall_5 ___"] == 0.25
    assert metrics["test_mse/step:24"] == 0.5


def test_a_sweep_of_many_choices_is_known_again_though_mlflow_cuts_them_off(
    settings: Settings, track: Callable[..., MlflowTracker]
) -> None:
    spec = make_spec(space={"quality": [0.1 + index / 1000 for index in range(900)]})
    for _ in range(2):
        finish(track(spec, make_trial(spec, quality=0.1)))
    (parent,) = parents(settings)
    assert len(parent.data.params["space.quality.choice"]) < len(str(spec.plain()["space"]["quality"]["choice"]))


def test_a_loop_that_ends_trials_while_they_are_written_loses_none(
    settings: Settings, track: Callable[..., MlflowTracker]
) -> None:
    spec = make_spec()
    tracker = track(spec)
    trials = [make_trial(spec, number) for number in range(40)]

    def drive(part: list[TrialRecord]) -> None:
        for trial in part:
            for _ in range(3):
                evaluate(trial)
                tracker.changed(trial)
                time.sleep(0.002)
            end(trial)
            tracker.changed(trial)

    threads = [threading.Thread(target=drive, args=(trials[i::2],)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    finish(tracker)
    assert query(settings, "SELECT count(*) FROM metrics WHERE key='valid_loss'") == [(120,)]
    assert {run.info.status for run in children(settings).values()} == {"FINISHED"}


def test_evaluations_that_come_fast_are_written_together(
    settings: Settings, track: Callable[..., MlflowTracker], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec()
    sizes: list[int] = []
    write = RunsHere.write

    def counted(runs: RunsHere, trial: TrialRecord) -> None:
        sizes.append(len(trial.evaluations))
        write(runs, trial)

    monkeypatch.setattr(RunsHere, "write", counted)
    trial = make_trial(spec)
    tracker = track(spec, trial)
    for _ in range(100):
        evaluate(trial)
        tracker.changed(trial)
        time.sleep(0.005)
    finish(tracker)
    assert sum(sizes) == 100
    assert len(sizes) <= 10


def test_a_model_that_does_not_predict_is_told_at_once(track: Callable[..., MlflowTracker]) -> None:
    spec = make_spec()
    trial = make_trial(spec, evaluations=1)
    tracker = track(spec, trial)
    for kind, why in (("language_model", "not a whole checkpoint"), ("no_such_module:Workload", "cannot be imported")):
        with pytest.raises(BpttError, match=f"does not predict: .*{why}"):
            tracker.register(Model(trial, b"", kind, {}))
    end(trial)
    tracker.changed(trial)
    finish(tracker)


def test_importing_the_tracker_loads_no_mlflow() -> None:
    code = "import sys, orchestrator.tracking.mlflow, orchestrator.tracking.model; print('mlflow' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
