"""Quality as a smooth surface over hyperparameters, known where trials were made and uncertain between them.

A Gaussian process (Rasmussen and Williams, 2006, chapter 2, equations 2.22 to 2.26) with a Matern 5/2 kernel, its
length scales and its noise not fitted but averaged over their posterior, since a dozen trials leave them wide open:
drawn by elliptical slice sampling (Murray, Adams and MacKay, 2010, figure 2). The scale of the values has a conjugate
prior and is integrated out, which makes the tails those of Student's t.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

DRAWN, DROPPED, KEPT_EACH = 64, 60, 4
"""Settings of the surface that are kept, those before them that are not, and steps of the sampler for each kept."""
FUNCTIONS_EACH = 16
DEGREES, SCALE = 4.0, 2.0
"""Of the prior of the squared scale of standardised values: inverse chi-squared."""
MEAN_VARIANCE = 1.0
"""Of the constant that the surface varies about, in squared scales."""
LOG_NOISE, LOG_NOISE_SPREAD = -3.0, 1.5
"""Prior of the logarithm of the noise's variance, in squared scales."""
LOG_LENGTH_SPREAD = 0.8
"""Prior of the logarithm of a length scale; its middle grows with the number of inputs, so that the surface's
roughness along the diagonal does not."""
JITTER = 1e-8


class Surface:
    """The surface after the trials were seen; smaller or larger values may be better, it knows neither."""

    def __init__(self, inputs: np.ndarray, values: np.ndarray, *, is_label: Sequence[bool], seed: int = 0) -> None:
        """Learn from `inputs` (trials, features), numbers scaled to 0..1 or codes of labels, and `values` (trials,)."""
        self.inputs, self.is_label = np.asarray(inputs, float), np.asarray(is_label, bool)
        self.offset, self.scale = float(np.mean(values)), float(np.std(values, ddof=1)) or 1.0
        self.values = (np.asarray(values, float) - self.offset) / self.scale
        self._distances = self._squares(self.inputs, self.inputs)  # (features, trials, trials)
        self._random = np.random.default_rng(seed)
        self._settings = self._sample()

    def _squares(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Return squared differences (features, left, right); labels differ or they do not."""
        difference = left.T[:, :, None] - right.T[:, None, :]
        labels = self.is_label[:, None, None]
        squares: np.ndarray = np.where(labels, (difference != 0).astype(float), difference**2)
        return squares

    def _kernel(self, setting: np.ndarray, squares: np.ndarray) -> np.ndarray:
        features = len(self.is_label)
        lengths = 0.5 * np.sqrt(max(features, 1)) * np.exp(LOG_LENGTH_SPREAD * setting[:features])
        distance = np.sqrt(5 * np.einsum("f,fij->ij", lengths**-2, squares))
        smooth: np.ndarray = (1 + distance + distance**2 / 3) * np.exp(-distance)
        return smooth + MEAN_VARIANCE

    def _factor(self, setting: np.ndarray) -> np.ndarray:
        noise = np.exp(LOG_NOISE + LOG_NOISE_SPREAD * setting[-1]) + JITTER
        return np.linalg.cholesky(self._kernel(setting, self._distances) + noise * np.eye(len(self.values)))

    def _log_likelihood(self, setting: np.ndarray) -> float:
        factor = self._factor(setting)
        fit = float(np.sum(np.linalg.solve(factor, self.values) ** 2))
        tail = (DEGREES + len(self.values)) / 2
        return float(-np.sum(np.log(np.diag(factor))) - tail * np.log(DEGREES * SCALE + fit))

    def _sample(self) -> list[np.ndarray]:
        """Draw settings of the surface, each standard normal before the trials were seen."""
        size = len(self.is_label) + 1
        setting = np.zeros(size)
        likelihood = self._log_likelihood(setting)
        kept = []
        for step in range(DROPPED + DRAWN * KEPT_EACH):
            other = self._random.standard_normal(size)
            level = likelihood + np.log(self._random.uniform())
            angle = self._random.uniform(0, 2 * np.pi)
            low, high = angle - 2 * np.pi, angle
            while True:
                proposed = setting * np.cos(angle) + other * np.sin(angle)
                likelihood = self._log_likelihood(proposed)
                if likelihood >= level or high - low < 1e-9:
                    break
                low, high = (angle, high) if angle < 0 else (low, angle)
                angle = self._random.uniform(low, high)
            setting = proposed
            if step >= DROPPED and step % KEPT_EACH == 0:
                kept.append(setting)
        return kept

    def mean(self, points: np.ndarray) -> np.ndarray:
        """Return the expected values (points,) at `points` (points, features)."""
        squares = self._squares(self.inputs, np.asarray(points, float))
        total = np.zeros(len(points))
        for setting in self._settings:
            factor = self._factor(setting)
            weights = np.linalg.solve(factor.T, np.linalg.solve(factor, self.values))
            total += self._kernel(setting, squares).T @ weights
        return self.offset + self.scale * total / len(self._settings)

    def draw(self, points: np.ndarray) -> np.ndarray:
        """Draw surfaces that the trials allow; return their values (draws, points), without a trial's own scatter."""
        points = np.asarray(points, float)
        across, among = self._squares(self.inputs, points), self._squares(points, points)
        random = np.random.default_rng(1)  # so that the same points are drawn alike, whatever was drawn before
        drawn = []
        for setting in self._settings:
            factor = self._factor(setting)
            half = np.linalg.solve(factor, self._kernel(setting, across))  # (trials, points)
            seen = np.linalg.solve(factor, self.values)
            covariance = self._kernel(setting, among) - half.T @ half
            values, vectors = np.linalg.eigh(covariance)  # the same point twice has no Cholesky factor
            spread = vectors * np.sqrt(np.clip(values, 0, None))
            freedom = DEGREES + len(self.values)
            scales = np.sqrt((DEGREES * SCALE + seen @ seen) / random.chisquare(freedom, FUNCTIONS_EACH))
            normal = random.standard_normal((FUNCTIONS_EACH, len(points)))
            drawn.append(half.T @ seen + scales[:, None] * (normal @ spread.T))
        return self.offset + self.scale * np.concatenate(drawn)
