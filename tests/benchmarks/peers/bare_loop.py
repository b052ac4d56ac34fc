"""The lower bound: the trials that ours trained in the same round, as far as it trained them, and nothing else.

No search, no database, no MLflow, no Ray: two processes take one setting after the other from a list.
"""

from __future__ import annotations

import json
import multiprocessing
from itertools import islice

from tests.benchmarks.peers.forking import fork, take
from tests.benchmarks.peers.scenarios import WORKERS
from tests.benchmarks.peers.training import Asked, LatestCheckpoint, prepare, read_options, train

WAYS = ()
PLAN = "plan.json"
"""In the folder: a list of [setting, evaluations], in the order in which they are trained."""


def run(asked: Asked) -> None:
    """Train what the plan says."""
    import torch  # noqa: F401 - once, for both processes

    plan = json.loads((asked.folder / PLAN).read_text(encoding="utf-8"))
    dataset, left = prepare(asked.scenario), multiprocessing.Value("i", len(plan))

    def work() -> None:
        while (index := take(left)) is not None:
            chosen, evaluations = plan[len(plan) - 1 - index]
            storage = LatestCheckpoint()
            for _ in islice(train(asked, dataset, chosen, storage), evaluations):
                pass
            (asked.folder / f"trial-{index:05d}.ckpt").write_bytes(storage.content)

    fork(*[work] * WORKERS)


if __name__ == "__main__":
    run(read_options(ways=WAYS))
