"""`bptt validate`: what will run, said at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.validate_command import budget, resources, search
from orchestrator.machine import gpus_here
from orchestrator.spec import SweepSpec, spec_from
from orchestrator.sweep_file import bundled_sweeps
from tests.orchestrator.cli.conftest import Bptt
from tests.orchestrator.conftest import make_spec
from tests.orchestrator.recorded import SPEC, spec_with

GRID = {"cell_type": ["rnn", "gru"], "truncation_length": [8, 16, 32]}


def test_everything_that_will_run_is_said(bptt: Bptt, sweep_file: Callable[[SweepSpec], Path]) -> None:
    path = sweep_file(spec_with())
    answer = bptt("validate", path)
    assert answer.status == 0
    for words in (
        "cell_type: one of rnn, gru, lstm",
        "truncation_length: integer from 4 to 256, log scale",
        "batch_size 4",
        "optimizer Adam",
        "text python-reference",
        "minimize valid_loss",
        "12 trials of 40,000 sequence steps, 480,000 in all; 4 evaluations each; no limit of time",
        "sampler tpe, pruner median, seed 0",
        f"bptt run {path}",
    ):
        assert words in answer.out


def test_a_second_objective_is_said(bptt: Bptt, sweep_file: Callable[[SweepSpec], Path]) -> None:
    path = sweep_file(spec_with(objective={"metric": "valid_loss", "cost": "memory"}))
    assert "minimize valid_loss, and peak memory" in bptt("validate", path).out


def test_json_is_the_sweep_with_its_defaults(bptt: Bptt, sweep_file: Callable[[SweepSpec], Path]) -> None:
    spec = spec_with()
    assert spec_from(json.loads(bptt("validate", sweep_file(spec), "--json").out)) == spec


@pytest.mark.parametrize("name", bundled_sweeps())
def test_every_bundled_sweep_is_right(bptt: Bptt, name: str) -> None:
    assert bptt("validate", name).status == 0


def test_a_wrong_file_is_one_line_that_names_the_field(bptt: Bptt, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(json.dumps({**SPEC, "budget": {"trails": 3}}))
    answer = bptt("validate", path)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith("bptt: budget.trails: unknown")
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize(
    ("trials", "words"), [(4, "the grid has 6 settings, 4 of them tried"), (9, "the grid has 6 settings, all tried")]
)
def test_a_grid_is_counted(trials: int, words: str) -> None:
    given = {"trials": trials, "sequence_steps": 100_000, "evaluations": 2}
    spec = spec_with(space=GRID, search={"sampler": "grid"}, budget=given)
    assert search(spec).endswith(words)
    assert budget(spec).startswith(f"{min(trials, 6)} trials")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"cpus": 2}, "4 trials at once on this machine (8 CPUs, 1 GPU)"),
        ({"cpus": 0.5}, "12 trials at once"),
        ({"cpus": 1, "gpus": 0.25}, "4 trials at once"),
        ({"cpus": 1, "gpus": 0.1}, "8 trials at once"),
        ({"cpus": 1, "workers": 3}, "3 trials at once"),
        ({"cpus": 16}, "more than this machine (8 CPUs, 1 GPU) has; it needs a cluster"),
        ({"cpus": 1, "gpus": 2}, "it needs a cluster"),
        ({"accelerator": "A100", "custom": {"disk": 1}}, "only on nodes of a cluster (--address) that have A100, disk"),
    ],
    ids=str,
)
def test_the_trials_at_once_are_what_the_machine_has_room_for(asked: dict[str, Any], words: str) -> None:
    assert words in resources(spec_with(resources=asked), cpus=8, gpus=1)


@pytest.mark.parametrize(("visible", "count"), [("", 0), ("-1", 0), ("0", 1), ("2,3", 2)])
def test_gpus_are_those_that_are_visible(visible: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus_here() == count


@pytest.mark.parametrize("command", [["validate", "demo"], ["init", "forecast"], ["list"], ["--help"]], ids=" ".join)
def test_nothing_heavy_is_imported(command: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from orchestrator.cli.main import run\n"
        f"status = run({command!r})\n"
        "heavy = sorted({'torch', 'ray', 'mlflow', 'optuna', 'pandas', 'sklearn'} & set(sys.modules))\n"
        "sys.exit(f'{status} {heavy}' if status or heavy else 0)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert (finished.returncode, finished.stderr) == (0, "")


def text_sweep(text_file: Path, **blocks: Any) -> SweepSpec:
    given = {
        "workload": {"kind": "language_model", "text": str(text_file)},
        "space": {"hidden_size": [8, 16_384], "truncation_length": {"int": [4, 16]}},
        "train": {"cell_type": "rnn", "batch_size": 4},
        "budget": {"trials": 4, "sequence_steps": 2000, "evaluations": 2},
        "search": {"sampler": "random"},
    }
    return spec_with(**{**given, **blocks})


def test_cost_says_memory_time_and_what_does_not_fit(
    bptt: Bptt,
    sweep_file: Callable[[SweepSpec], Path],
    text_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BPTT_MEMORY_GB", "4")
    spec = text_sweep(text_file, resources="auto")
    answer = bptt("validate", sweep_file(spec), "--cost", "--json", "--runs", tmp_path / "runs")
    found = json.loads(answer.out)
    cost = found.pop("cost")
    assert spec_from(found) == spec
    assert cost["memory_bytes"]["allowed"] == 4e9
    assert cost["memory_bytes"]["least"] < 4e9 < cost["memory_bytes"]["most"]
    assert {params["hidden_size"] for params in cost["too_large"]} == {16_384}
    assert 0 < cost["seconds"]["least"] <= cost["seconds"]["mean"] <= cost["seconds"]["most"]
    assert cost["seconds"]["sweep_most"] == pytest.approx(cost["seconds"]["most"] * 4 / cost["trials_at_once"])
    assert (tmp_path / "runs" / "costs.json").is_file()
    page = bptt("validate", sweep_file(spec), "--cost", "--runs", tmp_path / "runs")
    assert page.status == 0
    for words in (
        "4.0 GB allowed on",
        "2 extreme settings of the space, such as truncation_length 4, hidden_size 16384",
        "such trials are told out of memory and not started",
        "for each trial here, unpruned",
        "auto: chosen by what trials are predicted to take",
    ):
        assert words in page.out
    assert "timing setting 1 of" in page.err


def test_cost_of_a_workload_of_the_users_own_is_said_to_be_unknown(
    bptt: Bptt, sweep_file: Callable[[SweepSpec], Path], tmp_path: Path
) -> None:
    answer = bptt("validate", sweep_file(make_spec()), "--cost", "--runs", tmp_path / "runs")
    assert answer.status == 0
    assert "tests.fakes:Scripted is not predicted: the workload does not say its sizes" in answer.out
    assert "not predicted: this workload does not say what its training begins with" in answer.out


def test_data_that_are_not_there_are_the_users_mistake(
    bptt: Bptt, sweep_file: Callable[[SweepSpec], Path], tmp_path: Path
) -> None:
    spec = text_sweep(tmp_path / "gone.txt")
    answer = bptt("validate", sweep_file(spec), "--cost", "--runs", tmp_path / "runs")
    assert (answer.status, answer.out) == (2, "")
    assert "gone.txt" in answer.err
