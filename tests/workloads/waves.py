"""Two easy waves, and how the tests of forecasting train on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas

from tests.conftest import FolderStorage, prepare_shared
from workloads.protocol import Dataset, Progress, Workload

SMALL: dict[str, Any] = {
    "cell_type": "gru",
    "hidden_size": 12,
    "batch_size": 4,
    "truncation_length": 24,
    "learning_rate": 1e-2,
    "sequence_steps": 3000,
    "evaluations": 3,
}


def waves(rows: int = 600, start: str = "2020-01-01") -> pandas.DataFrame:
    """Two waves with a little noise, easy to forecast, and a column of texts."""
    step, noise = np.arange(rows), np.random.default_rng(0).normal(0, 0.05, rows)
    return pandas.DataFrame(
        {
            "date": pandas.date_range(start, periods=rows).astype(str),
            "tide": 20 + 3 * np.sin(step / 3) + noise,
            "wind": 5 + np.cos(step / 5) + noise,
            "sky": ["clear", "grey"] * (rows // 2),
        }
    )


def prepared(**options: Any) -> tuple[Workload, Dataset]:
    return prepare_shared("forecast", **options)


def train(params: dict[str, Any], storage: FolderStorage, **options: Any) -> tuple[Workload, list[Progress]]:
    workload, dataset = prepared(**options)
    workload.check({**SMALL, **params})
    return workload, list(workload.train({**SMALL, **params}, dataset, storage))
