"""Costs of a sweep: predicted, remembered, and kept to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.calibration import measure_here, measure_torchs_here
from orchestrator.cost import Costs, cell_types, expect, extremes, measured, tops
from orchestrator.driver import Driver
from orchestrator.errors import BpttError, UserError
from orchestrator.executors.local import LocalExecutor
from orchestrator.machine import Machine
from orchestrator.settings import Settings
from orchestrator.spec import Resources, SweepSpec, spec_from
from orchestrator.tracking.base import NoTracker
from orchestrator.trial import TrialState
from tests.orchestrator.conftest import make_spec, states, swept
from tests.workloads.cost.cells import BROKEN, MEAN
from workloads.cost.cells import ROUGH, Calibration
from workloads.cost.sizes import Sizes

WORDS = Sizes(output_size=1000, vocabulary_size=1000, data_bytes=0, evaluation_streams=16)


def spec_of(**changes: Any) -> SweepSpec:
    given: dict[str, Any] = {
        "name": "cost",
        "workload": {"kind": "language_model"},
        "space": {"hidden_size": [16, 4096], "truncation_length": {"int": [8, 64]}},
        "train": {"cell_type": "gru"},
        "search": {"sampler": "grid"},
        "budget": {"trials": 4, "sequence_steps": 100_000, "evaluations": 2},
    }
    return spec_from({**given, **changes})


class Measure:
    """Answers as a worker would, out of the rough guess, and counts."""

    def __init__(self, unknown: dict[str, str] | None = None) -> None:
        self.asked: list[list[str]] = []
        self.functions: list[Any] = []
        self.unknown = unknown or {}

    def __call__(self, function: Any, cells: Sequence[str], gpus: float = 0.0) -> tuple[dict[str, Any], dict[str, str]]:
        self.asked.append(list(cells))
        self.functions.append(function)
        found = {cell: ROUGH.cells["gru"] for cell in cells if cell not in self.unknown}
        return Calibration("cpu", 3e8, found).plain(), self.unknown


def search_all(spec: SweepSpec) -> SweepSpec:
    return spec.model_copy(update={"search": spec.search.model_copy(update={"sampler": "random"})})


def test_cells_are_measured_once_for_a_machine_and_only_those_of_the_sweep(tmp_path: Path) -> None:
    measure, remembered = Measure(), tmp_path / "runs" / "costs.json"
    for given, asked in ((["gru"], ["gru"]), (["gru", "rnn"], ["rnn"]), (["rnn"], None)):
        spec = spec_of(space={"cell_type": given}, train={})
        before = len(measure.asked)
        costs = measured(spec, WORDS, measure=measure, remembered=remembered, place="here")
        assert measure.asked[before:] == ([] if asked is None else [asked])
        assert costs.memory(spec.params({"cell_type": given[0]})) is not None
    measured(spec_of(), WORDS, measure=measure, remembered=remembered, place="elsewhere")
    assert measure.asked[-1] == ["gru"]


@pytest.mark.parametrize(
    "changes",
    [
        {"train": {"cell_type": "gru", "kernel": "torch"}},
        {"resources": {"cpus": 2}},
        {"space": {"kernel": ["auto", "torch"], "hidden_size": [16, 4096]}},
    ],
)
def test_torchs_kernels_are_measured_where_trials_may_run_them(changes: dict[str, Any], tmp_path: Path) -> None:
    measure = Measure()
    for spec in (spec_of(), spec_of(**changes)):
        measured(spec, WORDS, measure=measure, remembered=tmp_path / "costs.json", place="here")
    assert measure.functions == [measure_here, measure_torchs_here]


def test_cells_are_measured_again_where_memory_is_taken_in_another_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = Measure()
    for is_apart in (True, False, True):
        monkeypatch.setattr("orchestrator.cost.may_hold_apart", lambda given=is_apart: given)
        measured(spec_of(), WORDS, measure=measure, remembered=tmp_path / "costs.json", place="here")
    assert len(measure.asked) == 2


def test_a_cell_of_the_users_own_is_measured_again_when_its_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "own_cell_of_mine.py"
    module.write_text("class Cell: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    measure = Measure()
    spec = spec_of(train={"cell_type": "own_cell_of_mine:Cell"})
    for _ in range(2):
        measured(spec, WORDS, measure=measure, remembered=tmp_path / "costs.json", place="here")
    assert len(measure.asked) == 1
    os.utime(module, (1, 1))
    measured(spec, WORDS, measure=measure, remembered=tmp_path / "costs.json", place="here")
    assert len(measure.asked) == 2


@pytest.mark.parametrize("torn", ["", "{", "[]", "null"])
def test_a_torn_memory_of_costs_is_measured_anew(torn: str, tmp_path: Path) -> None:
    remembered, measure = tmp_path / "costs.json", Measure()
    remembered.write_text(torn)
    measured(spec_of(), WORDS, measure=measure, remembered=remembered, place="here")
    assert measure.asked == [["gru"]]


def test_nothing_is_measured_where_nothing_can_come_near_the_memory(tmp_path: Path) -> None:
    measure, large = Measure(), Machine("m", 2, memory_bytes=1e12)
    expected = expect(spec_of(), WORDS, large, measure=measure, remembered=tmp_path / "costs.json")
    assert measure.asked == []
    assert expected.room.refuses(spec_of().params({"hidden_size": 4096})) == ""


def test_a_large_corner_is_refused_and_the_rest_is_not(tmp_path: Path) -> None:
    spec, machine = spec_of(), Machine("m", 2, memory_bytes=2e9)
    expected = expect(spec, WORDS, machine, measure=Measure(), remembered=tmp_path / "costs.json")
    small, large = (spec.params({"hidden_size": size, "truncation_length": 8}) for size in (16, 4096))
    assert not expected.room.refuses(small)
    assert "2.0 GB allowed on m" in expected.room.refuses(large)


def test_a_space_in_which_nothing_fits_is_a_mistake_of_the_users(tmp_path: Path) -> None:
    machine = Machine("m", 2, memory_bytes=1e8)
    with pytest.raises(UserError, match=r"space: every setting takes \d+ MB of memory or more, and 100 MB are allowed"):
        expect(spec_of(), WORDS, machine, measure=Measure(), remembered=tmp_path / "costs.json")


def test_what_cannot_be_measured_is_said_and_trained_as_before(tmp_path: Path) -> None:
    spec, machine = spec_of(train={"cell_type": BROKEN}), Machine("m", 2, memory_bytes=1e9)
    measure = Measure(unknown={BROKEN: "no such kernel"})
    expected = expect(spec, WORDS, machine, measure=measure, remembered=tmp_path / "costs.json")
    assert expected.notes == [f"the memory of cell_type {BROKEN} is not predicted: no such kernel"]
    assert expected.room.refuses(spec.params({"hidden_size": 4096})) == ""


def test_a_cluster_that_measures_nothing_in_time_does_not_stop_the_sweep(tmp_path: Path) -> None:
    def busy(*_: Any, **__: Any) -> Any:
        raise BpttError("no place was free")

    machine = Machine("m", 2, memory_bytes=2e9)
    expected = expect(spec_of(), WORDS, machine, measure=busy, remembered=tmp_path / "costs.json")
    assert expected.notes == ["the memory of cell_type gru is not predicted: no place was free"]


def test_auto_without_sizes_gives_each_trial_a_cpu_and_says_why(tmp_path: Path) -> None:
    spec = spec_of(resources="auto")
    expected = expect(spec, None, Machine("m", 2, memory_bytes=2e9), measure=Measure(), remembered=tmp_path / "c.json")
    assert expected.resources == Resources(cpus=1)
    assert "does not say its sizes" in expected.notes[0]
    assert expected.notes[-1] == "resources: auto gives each trial 1 CPU"


def test_cell_types_and_tops_are_those_of_the_space() -> None:
    spec = search_all(spec_of(space={"cell_type": ["rnn", MEAN], "hidden_size": {"int": [8, 64]}}, train={}))
    assert cell_types(spec) == ["rnn", MEAN]
    assert cell_types(search_all(spec_of(train={}, space={"hidden_size": [8]}))) == ["lstm"]
    assert [(top["cell_type"], top["hidden_size"]) for top in tops(spec)] == [("rnn", 64), (MEAN, 64)]
    assert len(list(extremes(spec))) == 4


def test_params_of_a_users_own_are_not_predicted() -> None:
    assert Costs(WORDS, ROUGH).memory({"tree_depth": 3}) is None
    assert Costs(None, ROUGH).memory({"hidden_size": 3}) is None
    assert Costs(WORDS, ROUGH).memory({"cell_type": MEAN}) is None


def small_memory(settings: Settings, spec: SweepSpec, memory_gb: float) -> Driver:
    limited = settings.model_copy(update={"memory_gb": memory_gb})
    driver = Driver(limited, spec, executor=LocalExecutor(2), tracker=NoTracker())
    with driver:
        for _ in driver.run():
            pass
    return driver


def test_with_auto_a_large_corner_is_refused_beforehand_and_the_rest_is_trained(
    sweep_settings: Settings, text_file: Path
) -> None:
    spec = spec_of(
        workload={"kind": "language_model", "text": str(text_file)},
        space={"hidden_size": [8, 16_384], "truncation_length": [8, 16]},
        train={"cell_type": "rnn", "batch_size": 4},
        budget={"trials": 4, "sequence_steps": 2000, "evaluations": 2},
        resources="auto",
    )
    driver = small_memory(sweep_settings, spec, 4.0)
    assert states(driver) == {TrialState.COMPLETE: 2, TrialState.OUT_OF_MEMORY: 2}
    for trial in swept(driver).trials:
        if trial.state is TrialState.OUT_OF_MEMORY:
            assert trial.params["hidden_size"] == 16_384
            assert trial.evaluations == []
            assert "predicted, 4.0 GB allowed on" in trial.reason
    assert any("resources: auto gives each trial" in note for note in driver.notes)
    again = small_memory(sweep_settings, spec, 4.0)
    assert again.outcome is not None
    assert again.outcome.state == "finished"


def test_a_workload_that_says_no_sizes_is_swept_without_asking_the_machine(sweep_settings: Settings) -> None:
    class Blind(LocalExecutor):
        def machine(self, memory_gb: float | None = None) -> Machine:
            raise AssertionError("nobody has to know")

    driver = Driver(sweep_settings, make_spec(), executor=Blind(2), tracker=NoTracker())
    with driver:
        for _ in driver.run():
            pass
    assert states(driver) == {TrialState.COMPLETE: 6}
