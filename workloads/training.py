"""The training loop that every workload shares: updates in, one Progress out at each evaluation."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from workloads import checkpoint
from workloads.bptt.gradients import GradientNorms
from workloads.bptt.horizon import Horizon, horizon_metrics, together
from workloads.device import (
    allow_tf32,
    choose_device,
    give_back_memory,
    peak_memory_bytes,
    random_state,
    reset_peak_memory,
    set_random_state,
    subnormals_as_zeros,
)
from workloads.horizon_window import worthwhile_looks
from workloads.hyperparameters import Hyperparameters
from workloads.models.cells.kernels import TORCH, choose_kernel, set_kernel
from workloads.optimizers import make_optimizer
from workloads.protocol import Diverged, Left, Progress, Storage
from workloads.updates import Task, Update, updates_of

log = logging.getLogger(__name__)

EXPLODED = 10.0
"""Training has diverged when the loss is this many times what it was at the first update, and what guessing gives."""
CHECK_EVERY = 25
"""Updates between two looks at the loss: a look makes a GPU wait."""


def train(
    task: Task, hyperparameters: Hyperparameters, storage: Storage, resume_from: str | None = None
) -> Iterator[Progress]:
    """Train one trial, yielding at every point of the evaluation grid, each with a checkpoint behind it.

    Going on from a checkpoint gives what an uninterrupted run gives, to the last bit on one CPU thread.
    Raises Diverged where the loss is no longer finite or explodes, and Left where the storage says that this machine is
    to be left.
    """
    run = TrainingRun(task, hyperparameters)
    leaving = getattr(storage, "leaving", stay)
    if resume_from is not None:
        run.restore(storage.read(resume_from))
    reset_peak_memory(run.device)
    while run.evaluation < hyperparameters.evaluations:
        due = math.ceil((run.evaluation + 1) * hyperparameters.sequence_steps / hyperparameters.evaluations)
        with subnormals_as_zeros():
            is_there = run.train_until(due, leaving)
            metrics = run.measure() if is_there else {}
        if not is_there:
            name = f"part-way-{run.evaluation:05d}-{time.time_ns():x}.ckpt"
            raise Left(storage.write(name, run.content(random_state(run.device))))
        run.begin_interval()
        run.evaluation += 1
        generators = random_state(run.device)
        name = f"evaluation-{run.evaluation - 1:05d}-{time.time_ns():x}.ckpt"
        uri = storage.write(name, run.content(generators))
        yield Progress(run.evaluation - 1, run.sequence_steps, metrics, uri, time.time())
        # Others may have drawn from the same generators while this trial was waiting.
        set_random_state(generators, run.device)
        allow_tf32(hyperparameters.precision)


def stay() -> bool:
    """Stand in for a storage that never asks to leave."""
    return False


@dataclass(slots=True)
class Interval:
    """What is gathered between two evaluations."""

    norms: GradientNorms
    loss: Tensor | float = 0.0
    chance: Tensor | float = 0.0
    updates: int = 0
    sequence_steps: int = 0
    seconds: float = 0.0
    has_looked: bool = False
    """Whether a horizon was measured."""

    def position(self) -> dict[str, Any]:
        """Return all of it, for a checkpoint in the middle."""
        return {name: getattr(self, name) for name in self.__slots__} | {"norms": self.norms.position()}

    def go_to(self, position: Mapping[str, Any]) -> None:
        """Go on gathering where `position` was taken."""
        for name in self.__slots__:
            if name != "norms":
                setattr(self, name, position[name])
        self.norms.go_to(position["norms"])


class TrainingRun:
    """The state of one trial in training: everything that a checkpoint holds."""

    def __init__(self, task: Task, hyperparameters: Hyperparameters) -> None:
        h = hyperparameters
        self.task, self.hyperparameters = task, h
        self.device = choose_device(h.device, h.precision)
        allow_tf32(h.precision)
        self.network = task.network.to(self.device).train()
        self.parameters = list(self.network.parameters())
        self.kernel = TORCH if h.kernel == TORCH else choose_kernel(self.network, self.device)
        self.optimizer = make_optimizer(self.network, h)
        self.source = updates_of(task, h, self.device)
        self.due = self._due()
        self.evaluation = self.sequence_steps = self.updates = self.looks = 0
        self.first_loss: float | None = None
        self.horizon: Horizon | None = None
        self.interval = Interval(GradientNorms(h.max_grad_norm))

    def begin_interval(self) -> None:
        """Forget what was gathered up to the evaluation just made."""
        self.interval = Interval(GradientNorms(self.hyperparameters.max_grad_norm))

    def train_until(self, sequence_steps: int, leaving: Callable[[], bool] = stay) -> bool:
        """Make updates until `sequence_steps` are reached; it overshoots by less than one update.

        Returns False where `leaving` said before one of them that they are not to be made here.
        """
        began, before = time.perf_counter(), self.sequence_steps
        is_leaving = False
        while self.sequence_steps < sequence_steps and not is_leaving:
            is_leaving = leaving()
            if not is_leaving:
                self._update()
        if not is_leaving:  # in the middle, a look at the loss would be one that a run without a break does not take
            self._look_at_loss()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.interval.seconds += time.perf_counter() - began
        self.interval.sequence_steps += self.sequence_steps - before
        return not is_leaving

    def _update(self) -> None:
        self._look_if_due()
        for parameter in self.parameters:
            parameter.grad = None
        update = self.source.next()
        self.sequence_steps += update.sequence_steps
        if update.terms:
            self.interval.chance = self.interval.chance + update.chance
            self._apply(update)

    def _apply(self, update: Update) -> None:
        self.interval.norms.clip(self.parameters)
        h = self.hyperparameters
        scheduled = schedule_factor(h, self.sequence_steps / h.sequence_steps)
        learning_rate = h.learning_rate * scheduled * update.learning_rate_factor
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.updates += 1
        self.interval.updates += 1
        self.interval.loss = self.interval.loss + update.loss
        if self.first_loss is None:
            self.first_loss = float(update.loss)
        if self.updates % CHECK_EVERY == 0:
            self._look_at_loss()

    def _look_if_due(self) -> None:
        due = self.due
        if self.looks < len(due) and self.sequence_steps >= due[self.looks] * self.hyperparameters.sequence_steps:
            self.looks += 1
            self.interval.has_looked = True
            horizon = self.measure_horizon(self.looks)
            if horizon is not None:
                self.source.look(horizon)

    def _due(self) -> Sequence[float]:
        """Return the parts of the budget at which horizons are measured beside those of evaluations."""
        truncation = self.source.truncation
        if truncation.needs_looks:
            return truncation.looks
        h, reads = self.hyperparameters, self.source.horizon_reads()
        return worthwhile_looks(
            truncation.looks, sequence_steps=h.sequence_steps, evaluations=h.evaluations, reads=reads
        )

    def _look_at_loss(self) -> None:
        loss = self.training_loss()
        first = 0.0 if self.first_loss is None else self.first_loss
        if not math.isfinite(loss) or not math.isfinite(first):
            raise Diverged(f"the training loss became {loss} within {self.sequence_steps} sequence steps")
        usual = max(first, float(self.interval.chance) / max(self.interval.updates, 1))
        if loss > EXPLODED * usual:
            raise Diverged(
                f"the training loss exploded from {usual:.4g} to {loss:.4g} within {self.sequence_steps} sequence steps"
            )

    def training_loss(self) -> float:
        """Return the mean loss over the updates since the last evaluation."""
        return float(self.interval.loss) / max(self.interval.updates, 1)

    def measure(self) -> dict[str, float]:
        """Evaluate, and add what training itself showed, as far as it is finite: a gradient may be infinite for once.

        Raises Diverged where a validation metric is not finite.
        """
        interval = self.interval
        if not interval.has_looked:
            self.measure_horizon()
        shown = {
            "learning_rate": float(self.optimizer.param_groups[0]["lr"]),
            "sequence_steps_per_second": interval.sequence_steps / max(interval.seconds, 1e-9),
            "updates": float(self.updates),
            **(interval.norms.metrics() if interval.updates else {}),
            **self.source.truncation.facts(),
            **horizon_metrics(self.horizon, self._truncation_length()),
        }
        if interval.updates:
            shown["train_loss"] = self.training_loss()
        metrics = {name: value for name, value in shown.items() if math.isfinite(value)}
        for name, value in self.task.evaluate(self.device).items():
            if not math.isfinite(value):
                raise Diverged(f"{name} became {value} within {self.sequence_steps} sequence steps")
            metrics[name] = value
        metrics["peak_memory_mb"] = peak_memory_bytes(self.device) / 1e6
        return metrics

    def _truncation_length(self) -> float | None:
        """Return the steps that gradients travel now; None where nothing is cut."""
        if self.hyperparameters.truncation == "full":
            return None
        return self.source.truncation.facts().get("truncation_length", self.hyperparameters.truncation_length)

    def measure_horizon(self, look: int = 0) -> Horizon | None:
        """Measure how far gradients travel now, leaving training as it is, and add it to what was measured before."""
        generators = random_state(self.device)
        self._part_from_windows()
        for module in self.network.modules():
            # cuDNN goes back through recurrent layers in training alone; dropout would only blur what is measured.
            module.training = isinstance(module, nn.RNNBase)
        measured = self.source.horizon(look)
        self.network.train()
        self._part_from_windows()
        set_random_state(generators, self.device)
        if measured is not None:
            self.horizon = measured if self.horizon is None else together([self.horizon, measured])
        return measured

    def _part_from_windows(self) -> None:
        """Let a horizon's graph and training's windows, cut in other sizes, not lie between each other's remains."""
        if self.device.type == "cpu":
            give_back_memory()

    def content(self, generators: dict[str, Tensor]) -> bytes:
        """Return the checkpoint: all that training needs to go on, and all that a prediction needs."""
        return checkpoint.pack(
            {
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "generators": generators,
                "position": self.source.position(),
                "counters": [self.evaluation, self.sequence_steps, self.updates, self.looks],
                "first_loss": self.first_loss,
                "interval": self.interval.position(),
                "horizon": None if self.horizon is None else asdict(self.horizon),
                "kernel": self.kernel,
                "hyperparameters": plain(self.hyperparameters),
                "facts": self.task.facts,
            }
        )

    def _go_on_with(self, kernel: str) -> None:
        """Keep to the kernel that a trial began with: another rounds otherwise."""
        self.kernel = set_kernel(self.network, kernel)
        if self.kernel != kernel:
            log.warning(
                "the trial began with compiled kernels and this machine has no C compiler: it goes on with torch's, "
                "and its numbers will differ in their last digits from those of a run in one piece"
            )

    def restore(self, content: bytes) -> None:
        """Go on where `content` was written; UnusableCheckpoint where it is not a whole one."""
        read = checkpoint.unpack(content)
        self.network.load_state_dict(read["network"])
        self._go_on_with(read.get("kernel", TORCH))
        self.optimizer.load_state_dict(read["optimizer"])
        self.source.go_to(read["position"])
        self.evaluation, self.sequence_steps, self.updates, self.looks = read["counters"]
        self.first_loss = read["first_loss"]
        if "interval" in read:  # checkpoints of earlier versions stand at evaluations only, where nothing is gathered
            self.interval.go_to(read["interval"])
        self.horizon = None if read["horizon"] is None else Horizon(**read["horizon"])
        set_random_state(read["generators"], self.device)


def plain(hyperparameters: Hyperparameters) -> dict[str, Any]:
    """Return the hyperparameters as plain values."""
    return {name: getattr(hyperparameters, name) for name in Hyperparameters.__dataclass_fields__}


def schedule_factor(h: Hyperparameters, part: float) -> float:
    """Return what the learning rate is multiplied by once `part` of the budget of sequence steps is used up.

    Warm-up from 0, then the curve named by `schedule`: placed by sequence steps, every curve has the same shape
    whatever the truncation length, where torch's own classes count updates.
    """
    if part < h.warmup:
        return part / h.warmup
    used = min((part - h.warmup) / (1 - h.warmup), 1.0)
    if h.schedule == "LinearLR":
        return 1.0 - 0.99 * used
    if h.schedule == "CosineAnnealingLR":
        return 0.01 + 0.99 * (1 + math.cos(math.pi * used)) / 2
    if h.schedule == "ExponentialLR":
        return float(0.01**used)
    if h.schedule == "StepLR":
        return float(0.1 ** int(used * 3))
    return 1.0
