"""`bptt horizon`: the gradient's reach in words, in a table and in a figure, of a sweep and of a single run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.horizon import blocks, read_horizon, sentences
from orchestrator.pages import Table
from orchestrator.settings import Settings
from tests.orchestrator.cli.conftest import Bptt
from tests.orchestrator.recorded import Recorded, record_sweep

FADING = {
    "horizon_decay": 0.8,
    "horizon_reach": 20.0,
    "horizon_length": 11.0,
    "horizon_bias": 0.22,
    **{f"horizon_norm/distance:{distance}": 0.8**distance for distance in (1, 2, 4, 8, 16, 32)},
    **{f"horizon_bias/length:{distance}": 0.8**distance for distance in (1, 2, 4, 8, 16, 32)},
    "horizon_decay/layer:1": 0.7,
    "horizon_decay/layer:2": 0.8,
    "horizon_reach/layer:1": 12.0,
}
TRIALS = [
    Recorded("lstm", 8, [2.5, 1.5], metrics=FADING),
    Recorded("gru", 64, [2.5, 1.7], metrics={**FADING, "horizon_length": 30.0}),
]


def test_the_best_trial_is_shown_in_full_and_all_in_a_table(bptt: Bptt, sweep_settings: Settings) -> None:
    record_sweep(sweep_settings, TRIALS)
    answer = bptt("horizon", "recorded")
    assert answer.status == 0
    assert "Gradients fall below 1 % of their largest after 20 steps" in answer.out
    assert "A truncation length of 11 keeps the estimated bias" in answer.out
    assert "At 8, that of this trial, it is 22 %" in answer.out
    assert "By trial" in answer.out
    assert len([line for line in answer.out.splitlines() if line.split()[:2] == ["1", "64"]]) == 1


def test_a_trial_can_be_asked_for_and_scripts_get_the_curves(bptt: Bptt, sweep_settings: Settings) -> None:
    record_sweep(sweep_settings, TRIALS)
    found = json.loads(bptt("horizon", "recorded", "--trial", 1, "--json").out)
    assert (found["truncation_length"], found["advised"], found["reach"]) == (64, 30, 20)
    assert found["norms"]["4"] == pytest.approx(0.8**4)
    assert found["layers"][1] == {"layer": 2, "decay": 0.8, "reach": None}
    assert found["trials"] == {}


def test_a_run_of_bptt_train_has_a_horizon_and_a_figure(bptt: Bptt, tmp_path: Path) -> None:
    folder, figure = tmp_path / "run", tmp_path / "horizon.png"
    setting = ("lag=5", "hidden_size=12", "batch_size=8", "sequence_steps=20000", "evaluations=1", "cell_type=gru")
    bptt("train", "memory", "--out", folder, "--threads", 1, *(word for each in setting for word in ("--set", each)))
    answer = bptt("horizon", folder, "-o", figure)
    assert answer.status == 0, answer.err
    assert "steps back" in answer.out
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["recorded", "--trial", "7"], "no trial 7 with an evaluation"),
        (["recorded", "-o", "figure.nonsense"], "--output: figure.nonsense: "),
        (["recorded", "-o", "no/such/folder/figure.png"], "cannot be written"),
        (["elsewhere"], "elsewhere"),
    ],
)
def test_mistakes_are_one_line(bptt: Bptt, sweep_settings: Settings, arguments: list[str], said: str) -> None:
    record_sweep(sweep_settings, TRIALS)
    answer = bptt("horizon", *arguments)
    assert answer.status == 2
    assert said in answer.err
    assert answer.err.count("\n") == 1


def test_trials_without_a_horizon_say_so(bptt: Bptt, sweep_settings: Settings) -> None:
    record_sweep(sweep_settings, [Recorded("lstm", 8, [2.5, 1.5])])
    answer = bptt("horizon", "recorded")
    assert answer.status == 2
    assert "trial 0 of recorded has no horizon" in answer.err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"horizon_decay": 1.1, "horizon_norm/distance:32": 40.0}, "These gradients explode"),
        ({"horizon_reach": None}, "do not fall below 1 % of their largest within the 32 steps measured"),
        ({"horizon_length": None}, "take the longest you can"),
        ({"horizon_length": 90.0}, "a truncation length of about 90"),
        ({"horizon_edge": 9.0, "horizon_length": 9.0}, "At 9 steps they fall at one blow"),
        ({"horizon_bias": 0.0001}, "it is below 0.1 %"),
    ],
)
def test_what_a_horizon_means_is_put_in_words(changes: dict[str, float | None], said: str) -> None:
    metrics = {name: value for name, value in {**FADING, **changes}.items() if value is not None}
    found = read_horizon(metrics, 8)
    assert found is not None
    assert said in " ".join(sentences(found))
    assert all(isinstance(row[-1], str) for block in blocks(found) if isinstance(block, Table) for row in block.rows)
