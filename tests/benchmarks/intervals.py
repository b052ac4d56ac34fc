"""How many of the report's 90 % intervals hold the truth: `python -m tests.benchmarks.intervals`, about a minute."""

from __future__ import annotations

import numpy as np

from orchestrator.report.surface import Surface

SWEEPS, PLACES, NOISE = 30, 40, 0.03


def truth(points: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return a loss (points,) over a cell type and two numbers, drawn anew for each sweep, with an interaction."""
    labels, place, together = 0.4 * random.normal(size=3), random.uniform(0.2, 0.8, size=2), 0.3 * random.normal()
    bowl = 1.5 * (points[:, 1] - place[0]) ** 2 + 2 * (points[:, 2] - place[1]) ** 2
    loss: np.ndarray = labels[points[:, 0].astype(int)] + bowl + together * points[:, 1] * points[:, 2]
    return loss


def coverage(trials: int) -> float:
    """Return the part of intervals that hold the truth, over sweeps of so many random trials with noise."""
    random, held = np.random.default_rng(0), []
    for seed in range(SWEEPS):
        seen, asked = (
            np.column_stack([random.integers(0, 3, n), random.uniform(size=(n, 2))]) for n in (trials, PLACES)
        )
        values = truth(seen, np.random.default_rng(seed)) + NOISE * random.normal(size=trials)
        low, high = np.quantile(Surface(seen, values, is_label=[True, False, False]).draw(asked), (0.05, 0.95), axis=0)
        right = truth(asked, np.random.default_rng(seed))
        held.append(np.mean((low <= right) & (right <= high)))
    return float(np.mean(held))


if __name__ == "__main__":
    for trials in (4, 6, 12, 30):
        print(f"{trials} trials: {100 * coverage(trials):.0f} % of 90 % intervals hold the truth")
