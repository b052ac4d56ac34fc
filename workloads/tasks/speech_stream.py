"""A recogniser that hears as one speaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workloads.data.sound_stream import FeatureStream
from workloads.models.ctc import BLANK
from workloads.models.transcriber import Transcriber
from workloads.tasks.stream import NetworkStream


class SpeechStream(NetworkStream):
    """Hears samples at the model's own rate, in pieces of any length, and spells greedily what it has heard."""

    takes = "sound"

    def __init__(self, network: Transcriber, facts: Mapping[str, Any]) -> None:
        """ValueError where the model needs to hear what comes later, too."""
        super().__init__(network, network.read)
        if network.encoder.backward_stacks is not None:
            network.read(torch.empty(0), None)  # says so
        self._features = FeatureStream(facts["front_end"])
        self._width = facts["front_end"]["mel_bands"] * facts["front_end"]["stack"]
        self._symbols, self._by_word = facts["symbols"], facts["unit"] == "word"
        self.sample_rate: int = facts["front_end"]["sample_rate"]
        self._last = BLANK
        self._spoken = self._space = False

    def hear(self, samples: np.ndarray) -> Tensor:
        """Return the logits of the steps that are whole by now, (steps, symbols)."""
        return self._logits(self._features.feed(samples))

    def feed(self, piece: np.ndarray) -> dict[str, list[Any]]:
        """Return `transcript`: in one row, what the samples (time,) add to it, if anything."""
        try:
            samples = np.asarray(piece, np.float32)
        except (TypeError, ValueError) as error:
            raise ValueError(f"audio: no samples: {error}") from error
        if samples.ndim != 1:
            raise ValueError(f"audio: samples of one channel are needed; given: {samples.shape}")
        return self._spell(self.hear(samples))

    def finish(self) -> dict[str, list[Any]]:
        """Return what the last step, which was not whole, adds; nothing can be heard behind it."""
        return self._spell(self._logits(self._features.finish()))

    def _logits(self, features: np.ndarray) -> Tensor:
        if not len(features):
            return torch.empty(0, len(self._symbols))
        return self.run(torch.from_numpy(features)[:, None])[:, 0]

    def _spell(self, logits: Tensor) -> dict[str, list[Any]]:
        made = []
        for token in logits.argmax(-1).tolist():
            if token not in (BLANK, self._last):
                made.append(self._written(self._symbols[token]))
            self._last = token
        text = "".join(made)
        return {"transcript": [text] if text else []}

    def _written(self, symbol: str) -> str:
        """Return a symbol with the space before it; single ones between words, none at the ends."""
        if symbol.isspace():
            self._space = True
            return ""
        between = " " if self._spoken and (self._space or self._by_word) else ""
        self._spoken, self._space = True, False
        return between + symbol

    def save(self) -> dict[str, Any]:
        """Return all that is carried from piece to piece."""
        spelling = {"last": self._last, "spoken": self._spoken, "space": self._space}
        return {**super().save(), "features": self._features.save(), **spelling}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `save` returned; ValueError where that was another model's."""
        super().restore(saved)
        self._features.restore(saved["features"])
        self._last, self._spoken, self._space = saved["last"], saved["spoken"], saved["space"]
