"""Reports on sweeps whose trials came to what a formula says."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from orchestrator.report import make_report
from orchestrator.report.findings import Report
from orchestrator.settings import Settings
from tests.orchestrator.recorded import Recorded, record_sweep, spec_with

ReportOn = Callable[..., Report]


@pytest.fixture
def report_on(sweep_settings: Settings) -> ReportOn:
    def report(trials: Iterable[Recorded], **blocks: Any) -> Report:
        return make_report(record_sweep(sweep_settings, list(trials), spec=spec_with(**blocks)), "recorded")

    return report


def loss_of(cell_type: str, length: int, learning_rate: float) -> float:
    """Best at 32 steps and a learning rate of 0.01; an lstm is better than a gru by 0.2."""
    best = {"lstm": 1.0, "gru": 1.2, "rnn": 1.6}[cell_type]
    return best + 0.1 * math.log2(length / 32) ** 2 + 0.2 * math.log10(learning_rate / 0.01) ** 2


def tried(cell_type: str, length: int, learning_rate: float = 0.01, **more: Any) -> Recorded:
    return Recorded(cell_type, length, [loss_of(cell_type, length, learning_rate)], learning_rate=learning_rate, **more)


ALL = [
    tried(cell, length, rate)
    for cell, rate in (("lstm", 0.01), ("gru", 0.003), ("lstm", 0.02), ("gru", 0.01))
    for length in (8, 16, 32, 64, 128)
]
