"""Recalling what was shown before: the task in training, and the trained model answering sequences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from workloads.checkpoint import trained_network
from workloads.data.episodes import (
    BLANK,
    CUE,
    NO_ANSWER,
    SYMBOLS,
    FixedStream,
    Generate,
    GeneratedStream,
)
from workloads.evaluation import mean_loss
from workloads.hyperparameters import Hyperparameters
from workloads.models.recurrent import RecurrentNetwork
from workloads.tasks.recall_stream import RecallStream


def make_network(h: Hyperparameters, facts: Mapping[str, Any]) -> RecurrentNetwork:
    """Return the network for the problem.

    In the copy problem all tokens begin alike, their vectors being zero. A random network keeps traces of what it
    reads, and a readout can learn to use them without any gradient through time; here a trace can only come from
    a vector that a gradient has reached. Below the lag none ever reaches a symbol, and chance is all there is.
    """
    if facts["task"] == "repeat":  # there is much to tell apart but tokens, and the network begins as torch has it
        tokens = SYMBOLS + facts["symbols"]
        return RecurrentNetwork(h, vocabulary_size=tokens, output_size=tokens)
    if facts["task"] == "adding":
        network = RecurrentNetwork(h, input_size=2, output_size=1)
    else:
        network = RecurrentNetwork(h, vocabulary_size=SYMBOLS + facts["symbols"], output_size=facts["symbols"])
        for weight in network.embedding.parameters():
            nn.init.zeros_(weight)
    remember_for(network, facts["lag"])
    return network


def remember_for(network: RecurrentNetwork, steps: int) -> None:
    """Start the forget gates of LSTM layers so that they remember for about `steps` steps, their bias being log(steps).

    With torch's bias of about 0 half of the state is lost at every step, and of a gradient over 20 steps a millionth is
    left. Tallec and Ollivier (2018), "Can recurrent neural networks warp time?".
    """
    for layer in network.layers:
        if isinstance(layer, nn.LSTM) and layer.bias:
            bias: Tensor = layer.get_parameter("bias_ih_l0").detach()
            bias[layer.hidden_size : 2 * layer.hidden_size] = math.log(steps)


def copy_loss(outputs: Tensor, targets: Tensor) -> tuple[Tensor, int]:
    """Return the summed cross-entropy in nats, and the number of questions."""
    loss = functional.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=NO_ANSWER, reduction="sum")
    return loss, int((targets != NO_ANSWER).sum())


def right_answers(outputs: Tensor, targets: Tensor) -> tuple[Tensor, int]:
    """Return the number of questions answered rightly, and the number of questions."""
    asked = targets != NO_ANSWER  # (time, batch)
    return (outputs.argmax(-1) == targets)[asked].sum(), int(asked.sum())


def adding_loss(outputs: Tensor, targets: Tensor) -> tuple[Tensor, int]:
    """Return the summed squared error, and the number of questions."""
    asked = ~targets.isnan()  # (time, batch)
    return (outputs[..., 0][asked] - targets[asked]).square().sum(), int(asked.sum())


class RecallTask:
    """The copy, the repeat or the adding problem; see `workloads.training.Task`."""

    def __init__(
        self,
        h: Hyperparameters,
        arrays: Mapping[str, np.ndarray],
        facts: dict[str, Any],
        generate: Generate,
    ) -> None:
        self.facts = facts
        self.network = make_network(h, facts)
        self.loss = adding_loss if facts["task"] == "adding" else copy_loss
        self.training = GeneratedStream(generate, length=facts["length"], batch_size=h.batch_size, seed=h.seed)
        self.validation = FixedStream(arrays["inputs"], arrays["targets"])

    def chance_loss(self, targets: Tensor) -> float:
        """Return the loss of the best guess: in the adding problem, the variance of the sum of two uniform values.

        In the repeat problem a guess knows which steps are blank, but not before it has learnt that.
        """
        return 1 / 6 if self.facts["task"] == "adding" else math.log(self.facts["symbols"])

    def evaluate(self, device: torch.device) -> dict[str, float]:
        """Return the loss per question, and for the copy problem the part of the questions answered rightly."""
        loss = mean_loss(self.network, self.loss, self.validation, device=device)
        if self.facts["task"] == "adding":
            return {"valid_loss": loss, "valid_mse": loss}
        accuracy = mean_loss(self.network, right_answers, self.validation, device=device)
        return {"valid_loss": loss, "valid_accuracy": accuracy}


class RecallPredictor:
    """A trained network answering sequences: texts of space-separated steps in, texts of answers out.

    A step of the copy problem is `_` (blank), a symbol's number from 0, or `?` (a question); one of the adding problem
    is a value, a value with `*` behind it (to be added), or `?`. In the repeat problem `?` begins a pattern, and every
    step is answered.
    """

    def __init__(self, checkpoint: bytes) -> None:
        self.network, self.facts = trained_network(checkpoint, make_network)

    def example(self) -> tuple[dict[str, list[Any]], dict[str, Any]]:
        """Return one sequence with a question; there are no options."""
        lag = self.facts["lag"]
        if self.facts["task"] == "adding":
            return {"sequence": [" ".join(["0.25*", "0.5*", *["0.1"] * (lag - 2), "?"])]}, {}
        if self.facts["task"] == "repeat":
            shown = [str(position % self.facts["symbols"]) for position in range(lag - 1)]
            return {"sequence": [" ".join(["?", *shown, *["_"] * lag])]}, {}
        length = self.facts["pattern_length"]
        shown = [str(position % self.facts["symbols"]) for position in range(length)]
        return {"sequence": [" ".join([*shown, *["_"] * (lag - 2), *["?"] * length])]}, {}

    @torch.inference_mode()
    def predict(self, columns: Mapping[str, list[Any]], options: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Answer each sequence: a column `answers` with one number for each question, in order."""
        if "sequence" not in columns:
            raise ValueError(f"a column `sequence` is needed; given: {', '.join(columns) or 'none'}")
        return {
            "sequence": list(columns["sequence"]),
            "answers": [self._answer(str(sequence)) for sequence in columns["sequence"]],
        }

    def stream(self) -> RecallStream:
        """Return the network to be fed step by step."""
        return RecallStream(self.network, self._read, self._answers)

    def _answer(self, sequence: str) -> str:
        steps = sequence.split()
        if not steps:
            return ""
        outputs, _ = self.network(self._read(steps), None)
        return " ".join(self._answers(steps, outputs))

    def _answers(self, steps: Sequence[str], outputs: Tensor) -> list[str]:
        """Return an answer to each question among steps; outputs are (time, 1, symbols or 1)."""
        repeats = self.facts["task"] == "repeat"
        asked = [position for position, step in enumerate(steps) if repeats or step == "?"]
        answers = outputs[asked, 0]
        if self.facts["task"] == "adding":
            return [f"{float(answer):.4g}" for answer in answers[:, 0]]
        chosen = answers.argmax(-1).tolist()
        if repeats:
            return [{BLANK: "_", CUE: "?"}.get(answer, str(answer - SYMBOLS)) for answer in chosen]
        return list(map(str, chosen))

    def _read(self, steps: list[str]) -> Tensor:
        try:
            if self.facts["task"] == "adding":
                pairs = [
                    (0.0, -1.0) if step == "?" else (float(step.rstrip("*")), float("*" in step)) for step in steps
                ]
                return torch.tensor(pairs)[:, None]  # (time, 1, 2)
            known = {"_": BLANK, "?": CUE} | {str(symbol): SYMBOLS + symbol for symbol in range(self.facts["symbols"])}
            return torch.tensor([known[step] for step in steps])[:, None]  # (time, 1)
        except (KeyError, ValueError) as error:
            allowed = "values, values with * behind them, and ?"
            if self.facts["task"] != "adding":
                allowed = f"_, ? and the symbols 0 to {self.facts['symbols'] - 1}"
            raise ValueError(f"sequence: {error} is no step; steps are {allowed}, spaces between them") from error
