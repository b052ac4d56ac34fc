"""Sweeps written into a database as a driver would have left them, without training anything."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.database.ledger import Ledger
from orchestrator.search.study import SweepStudy
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec, spec_from
from orchestrator.trial import TrialRecord, TrialState
from workloads.protocol import Progress

SPEC: dict[str, Any] = {
    "name": "recorded",
    "workload": {"kind": "language_model"},
    "space": {
        "cell_type": ["rnn", "gru", "lstm"],
        "truncation_length": {"int": [4, 256], "log": True},
        "learning_rate": {"float": [0.0001, 0.1], "log": True},
    },
    "train": {"batch_size": 4},
    "budget": {"trials": 12, "sequence_steps": 40_000, "evaluations": 4},
}
DATASET: dict[str, Any] = {
    "name": "a text by character",
    "source": "a test",
    "fingerprint": "0123456789abcdef",
    "baselines": {"unigram/valid_loss": 3.0},
    "sizes": {"train": [900], "valid": [100]},
}


@dataclass(frozen=True)
class Recorded:
    """One trial: its setting, the value at each evaluation, and how it ended (None: it has not)."""

    cell_type: str
    truncation_length: int
    values: Sequence[float]
    state: TrialState | None = TrialState.COMPLETE
    reason: str = ""
    learning_rate: float = 0.01
    metrics: Mapping[str, float] = field(default_factory=dict)
    others: Mapping[str, Any] = field(default_factory=dict)
    """More of what was swept."""


def record(study: SweepStudy, trial: TrialRecord, progress: Progress) -> None:
    """Acknowledge one evaluation and count it, as the sweep's loop does with all that come together."""
    study.acknowledge([(trial, progress)])
    study.take(trial, progress)


def spec_with(**blocks: Any) -> SweepSpec:
    """Return the recorded sweep's spec with some blocks replaced."""
    return spec_from({**SPEC, **blocks})


def fox_spec(folder: Path, **blocks: Any) -> SweepSpec:
    """Return a sweep over a text that is written into the folder, small enough to be trained."""
    text = folder / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 50)
    return spec_from(
        {
            "name": "fox",
            "workload": {"kind": "language_model", "text": str(text)},
            "space": {"truncation_length": [8, 16]},
            "train": {"hidden_size": 8, "batch_size": 2},
            "budget": {"trials": 1, "sequence_steps": 400, "evaluations": 1},
            **blocks,
        }
    )


def record_sweep(
    settings: Settings, trials: Sequence[Recorded], *, spec: SweepSpec | None = None, state: str = "finished"
) -> Ledger:
    """Write a sweep that nobody drives into the settings' database."""
    spec = spec or spec_with()
    ledger = Ledger(settings.study_url)
    ledger.create(spec.name, spec.plain())
    ledger.update(spec.name, owner="recorder")
    study = SweepStudy(ledger, spec, "recorder")
    for trial in trials:
        study.study.enqueue_trial(
            {
                "cell_type": trial.cell_type,
                "truncation_length": trial.truncation_length,
                "learning_rate": trial.learning_rate,
                **trial.others,
            }
        )
        asked = study.ask()
        for index, value in enumerate(trial.values):
            metrics = {"valid_loss": value, "sequence_steps_per_second": 5000.0, "peak_memory_mb": 100.0}
            metrics |= trial.metrics
            record(study, asked, Progress(index, (index + 1) * 10_000, metrics, f"file:///{index}.ckpt", time.time()))
        if trial.state is TrialState.PAUSED:
            study.pause(asked)
        elif trial.state is not None:
            study.tell(asked, trial.state, trial.reason)
    ledger.update(spec.name, state=state, dataset=DATASET, elapsed_s=60.0, owner=None)
    return ledger
