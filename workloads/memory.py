"""Memory: problems with a lag of one's own choosing, so that the truncation length has a right answer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workloads.cost.sizes import Sizes, bytes_of
from workloads.data.episodes import SYMBOLS, Generate, adding_problem, copy_problem, repeat_problem
from workloads.data.fingerprint import make_dataset
from workloads.hyperparameters import read_hyperparameters
from workloads.options import option

if TYPE_CHECKING:
    from workloads.hyperparameters import Hyperparameters
    from workloads.protocol import Dataset, Params, Predictor, Progress, Storage
    from workloads.updates import Task

EPISODES = 50
"""Lags in one epoch; behind it the state starts anew, and other numbers are drawn."""
VALIDATION_SEED = 2**31
"""No training stream has it: `train.seed` stays below."""
VALIDATION_STREAMS = 64


@dataclass(frozen=True, slots=True)
class Memory:
    """The copy, the repeat and the adding problem over an endless stream."""

    task: str = option(
        "copy", "what to do with what was shown `lag` steps before", choices=("copy", "repeat", "adding")
    )
    lag: int = option(
        20, "steps from the last one shown to the first question, both counted", at_least=2, at_most=100_000
    )
    shortest_lag: int | None = option(
        None, "in the repeat problem lags are drawn from here to lag; null: always lag", at_least=2, at_most=100_000
    )
    symbols: int = option(8, "different symbols, in the copy and the repeat problem", at_least=2, at_most=10_000)
    pattern_length: int = option(1, "symbols to remember at a time, in the copy problem", at_least=1, at_most=1000)

    def __post_init__(self) -> None:
        """Raise ValueError, naming the field, where options do not go together."""
        if self.shortest_lag is not None and (self.task != "repeat" or self.shortest_lag > self.lag):
            raise ValueError(
                f"workload.shortest_lag: {self.shortest_lag}; only for task: repeat, and at most lag ({self.lag})"
            )

    @property
    def objectives(self) -> Mapping[str, str]:
        """Return the metrics that a sweep can aim at."""
        if self.task == "adding":
            return {"valid_loss": "minimize", "valid_mse": "minimize"}
        return {"valid_loss": "minimize", "valid_accuracy": "maximize"}

    @property
    def length(self) -> int:
        """Return the steps in one epoch."""
        return EPISODES * (self.lag + 2 * self.pattern_length)

    def prepare(self) -> Dataset:
        """Draw the held-out streams; training streams are drawn anew in every epoch."""
        random = np.random.default_rng([VALIDATION_SEED])
        inputs, targets = self.generator()(random, self.length, VALIDATION_STREAMS)
        facts = {"task": self.task, "lag": self.lag, "length": self.length}
        if self.task == "adding":
            # The variance of the sum of two independent values, each uniform from 0 to 1.
            baselines = {"chance/valid_loss": 1 / 6, "chance/valid_mse": 1 / 6}
        else:
            facts["symbols"] = self.symbols
            # Of the repeat problem's answers only symbols have to be remembered: half of the steps are blank, and
            # one of each pattern's others is the cue.
            shown = (self.lag + (self.shortest_lag or self.lag)) / 2
            asked = 1.0 if self.task == "copy" else (shown - 1) / (2 * shown)
            baselines = {
                "chance/valid_loss": asked * math.log(self.symbols),
                "chance/valid_accuracy": 1 - asked * (1 - 1 / self.symbols),
            }
        if self.task == "copy":
            facts["pattern_length"] = self.pattern_length
        return make_dataset(
            name=f"{self.task} problem with lag {self.lag}",
            arrays={"inputs": inputs, "targets": targets},
            facts=facts,
            source="generated",
            baselines=baselines,
        )

    def generator(self) -> Generate:
        """Return what draws an epoch of the problem."""
        if self.task == "adding":
            return adding_problem(lag=self.lag)
        if self.task == "repeat":
            shortest = self.lag if self.shortest_lag is None else self.shortest_lag
            return repeat_problem(lag=self.lag, shortest_lag=shortest, symbols=self.symbols)
        return copy_problem(lag=self.lag, symbols=self.symbols, pattern_length=self.pattern_length)

    def check(self, params: Params) -> None:
        """Raise ValueError where `params` cannot be trained."""
        read_hyperparameters(params, longest_window=self.length)

    def sizes(self, dataset: Dataset) -> Sizes:
        """Return what the cost of a trial depends on beside its hyperparameters."""
        is_adding = self.task == "adding"
        return Sizes(
            output_size=1 if is_adding else self.symbols + SYMBOLS * (self.task == "repeat"),
            input_size=2 if is_adding else None,
            vocabulary_size=None if is_adding else SYMBOLS + self.symbols,
            data_bytes=bytes_of(dataset.arrays),
            stream_length=self.length,
            evaluation_streams=VALIDATION_STREAMS,
            evaluation_steps=self.length,
        )

    def begin(self, params: Params, dataset: Dataset) -> tuple[Task, Hyperparameters]:
        """Return what training is given; its network's weights come from the seed."""
        # torch takes two seconds to load, and checking a sweep file must not wait for it.
        import torch

        from workloads.tasks.recall import RecallTask

        h = read_hyperparameters(params, longest_window=self.length)
        torch.manual_seed(h.seed)
        return RecallTask(h, dataset.arrays, dict(dataset.facts), self.generator()), h

    def train(
        self, params: Params, dataset: Dataset, storage: Storage, resume_from: str | None = None
    ) -> Iterator[Progress]:
        """Train one trial; see `workloads.training.train`."""
        from workloads.training import train

        yield from train(*self.begin(params, dataset), storage, resume_from)

    def predictor(self, checkpoint: bytes) -> Predictor:
        """Return a model that answers sequences."""
        from workloads.tasks.recall import RecallPredictor

        return RecallPredictor(checkpoint)
