"""A network that recalls, fed step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from workloads.tasks.stream import NetworkStream, cut_behind_space


class RecallStream(NetworkStream):
    """Reads the steps of one sequence as texts cut anywhere, and answers each question as it comes."""

    takes = "text"

    def __init__(
        self,
        network: nn.Module,
        read: Callable[[list[str]], Tensor],
        answer: Callable[[Sequence[str], Tensor], list[str]],
    ) -> None:
        super().__init__(network)
        self._read, self._answer = read, answer
        self._begun = ""

    def feed(self, piece: str) -> dict[str, list[Any]]:
        """Return `answer`, a row for each question in the piece; a step that may go on waits for the next."""
        text, begun = cut_behind_space(self._begun + piece)
        answers = self._steps(text)
        self._begun = begun
        return answers

    def finish(self) -> dict[str, list[Any]]:
        """Read the step that waited."""
        return self.feed(" ")

    def _steps(self, text: str) -> dict[str, list[Any]]:
        steps = text.split()
        return {"answer": self._answer(steps, self.run(self._read(steps))) if steps else []}

    def save(self) -> dict[str, Any]:
        """Return all that is carried from piece to piece."""
        return {**super().save(), "begun": self._begun}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `save` returned; ValueError where that was another model's."""
        super().restore(saved)
        self._begun = saved["begun"]
