"""A workload whose trials do what their parameters say, so that the loop can be tested without training."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workloads.data.fingerprint import make_dataset
from workloads.options import option
from workloads.protocol import Dataset, Diverged, Params, Predictor, Progress, Storage


@dataclass(frozen=True, slots=True)
class Scripted:
    """Its loss is `quality` / (evaluation + 1); `fate` says what else happens, `at` which evaluation it happens."""

    pause_s: float = option(0.0, "seconds that each evaluation takes", at_least=0)
    marks: str = option("", "folder in which each evaluation trained leaves a file")

    @property
    def objectives(self) -> Mapping[str, str]:
        return {"valid_loss": "minimize", "valid_score": "maximize"}

    def prepare(self) -> Dataset:
        return make_dataset(
            name="scripted",
            arrays={"numbers": np.arange(1000)},
            facts={},
            source="nowhere",
            baselines={"guess/valid_loss": 0.5},
        )

    def check(self, params: Params) -> None:
        if not 0 <= params.get("quality", 1) <= 100:
            raise ValueError(f"train.quality: {params['quality']}; it must be from 0 to 100")

    def train(
        self, params: Params, dataset: Dataset, storage: Storage, resume_from: str | None = None
    ) -> Iterator[Progress]:
        assert dataset.arrays["numbers"].sum() == 499_500
        done = int(storage.read(resume_from)) if resume_from else 0
        for evaluation in range(done, params["evaluations"]):
            time.sleep(self.pause_s)
            if evaluation == params.get("at", 1):
                self._meet(params.get("fate", "none"), resumed=resume_from is not None)
            loss = params.get("quality", 1.0) / (evaluation + 1)
            metrics = {"valid_loss": loss, "valid_score": 1 - loss, "sequence_steps_per_second": 1000.0}
            if params.get("fate") == "nan" and evaluation == params.get("at", 1):
                metrics["valid_loss"] = float("nan")
            uri = storage.write(f"evaluation-{evaluation}-{time.time_ns()}", str(evaluation + 1).encode())
            if self.marks:
                Path(self.marks, f"{params.get('quality')}-{evaluation}-{time.time_ns()}").touch()
            yield Progress(evaluation, (evaluation + 1) * 1000, metrics, uri, time.time())

    @staticmethod
    def _meet(fate: str, *, resumed: bool) -> None:
        if fate == "diverge":
            raise Diverged("the loss became nan within 1000 sequence steps")
        if fate == "raise":
            raise KeyError("what the user forgot")
        if fate == "memory":
            raise MemoryError("a terabyte was asked for")
        if fate == "die" or (fate == "die_once" and not resumed):
            os.kill(os.getpid(), signal.SIGKILL)

    def predictor(self, checkpoint: bytes) -> Predictor:
        return Echo(int(checkpoint))


class Echo:
    """Predicts what it is given, times the number of evaluations it was trained for."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def predict(self, columns: Mapping[str, list[Any]], options: Mapping[str, Any]) -> dict[str, list[Any]]:
        return {"y": [x * self.factor for x in columns["x"]]}

    def example(self) -> tuple[dict[str, list[Any]], dict[str, Any]]:
        return {"x": [1.0, 2.0]}, {}


KIND = f"{__name__}:Scripted"
