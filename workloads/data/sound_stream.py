"""Features of sound that comes in pieces: the same as of all of it at once, however it is cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from workloads.data.audio import check_samples, frames_of, normalize_by_past, stack_frames


class FeatureStream:
    """Carries over what a piece leaves behind: samples of frames, sums to normalise by, frames of a step."""

    def __init__(self, front_end: Mapping[str, Any]) -> None:
        """ValueError where a feature depends on what comes after it."""
        if front_end["normalize"] != "running":
            raise ValueError(
                f"the model was trained with normalize: {front_end['normalize']}, which needs the whole recording; "
                "train one with normalize: running"
            )
        self._how, self._stack = frames_of(front_end), front_end["stack"]
        bands = front_end["mel_bands"]
        self._carried: dict[str, np.ndarray] = {
            "last": np.empty(0, np.float32),  # the sample before
            "samples": np.empty(0, np.float64),  # emphasised, from the next frame's first
            "skipped": np.zeros(1, np.int64),  # samples still to come before that, where frames lie apart
            "sums": np.zeros((3, bands)),
            "frames": np.empty((0, bands), np.float32),  # of a step that is not whole
        }

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """Return the steps that are whole by now, (steps, features); UnusableAudio where samples are none."""
        if not len(samples):
            return self._steps(np.empty((0, self._how.bands)))
        emphasised = self._how.emphasise(check_samples(samples), self._carried["last"])
        self._carried["last"] = samples[-1:].copy()
        skipped = int(self._carried["skipped"][0])
        waiting = np.concatenate([self._carried["samples"], emphasised[skipped:]])
        self._carried["skipped"][0] = max(skipped - len(emphasised), 0)
        count = self._how.count(len(waiting))
        if not count:
            self._carried["samples"] = waiting
            return self._steps(np.empty((0, self._how.bands)))
        energies = self._how.energies(waiting)
        begin = count * self._how.hop
        self._carried["samples"] = waiting[begin:].copy()
        self._carried["skipped"][0] = max(begin - len(waiting), 0)
        return self._steps(energies)

    def finish(self) -> np.ndarray:
        """Return the last step, filled up; a sound shorter than one frame is filled with silence."""
        nothing_yet = not self._carried["sums"].any()
        waiting = self._carried["samples"]
        if nothing_yet and len(waiting):
            filled = np.pad(waiting, (0, self._how.window - len(waiting)))
            self._carried["samples"] = waiting[:0]
            steps = self._steps(self._how.energies(filled))
        else:
            steps = self._steps(np.empty((0, self._how.bands)))
        rest, self._carried["frames"] = self._carried["frames"], self._carried["frames"][:0]
        return np.concatenate([steps, stack_frames(rest, self._stack)]) if len(rest) else steps

    def _steps(self, energies: np.ndarray) -> np.ndarray:
        frames = self._carried["frames"]
        if len(energies):
            normal, self._carried["sums"] = normalize_by_past(energies, self._carried["sums"])
            frames = np.concatenate([frames, normal])
        whole = len(frames) // self._stack * self._stack
        self._carried["frames"] = frames[whole:].copy()
        return stack_frames(frames[:whole], self._stack)

    def save(self) -> dict[str, torch.Tensor]:
        """Return all that is carried from piece to piece."""
        return {name: torch.from_numpy(values.copy()) for name, values in self._carried.items()}

    def restore(self, saved: Mapping[str, torch.Tensor]) -> None:
        """Go on from what `save` returned."""
        self._carried = {name: values.numpy().copy() for name, values in saved.items()}
