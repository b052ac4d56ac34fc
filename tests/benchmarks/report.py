"""How long the HTML report of a large sweep takes, and how large it is: 500 trials of 100 evaluations.

The sweep is written into a database as a driver would have left it: four workers, half of the trials pruned, a few
broken off, every evaluation with as many metrics as a language model's. Run by `make bench-report`.
"""

from __future__ import annotations

import math
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.database.ledger import Ledger, evaluations, stints
from orchestrator.search.study import SweepStudy
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec, spec_from
from tests.orchestrator.recorded import DATASET, SPEC

TRIALS, EVALUATIONS, WORKERS = 500, 100, 4
MOST_S, MOST_MB = 20.0, 10.0
"""What a report may take."""
HOUR = 3600.0


def write_sweep(settings: Settings, trials: int, count: int) -> Ledger:
    """Write a sweep that nobody drives into the settings' database."""
    import optuna
    from optuna.storages._rdb.models import TrialIntermediateValueModel

    finite = TrialIntermediateValueModel.TrialIntermediateValueType.FINITE
    spec = large_spec(trials, count)
    ledger = Ledger(settings.study_url)
    ledger.create(spec.name, spec.plain())
    ledger.update(spec.name, owner="bench")
    study = SweepStudy(ledger, spec, "bench")
    random = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    stretches: list[dict[str, Any]] = []
    reports: list[dict[str, Any]] = []
    free = [0.0] * WORKERS
    for number in range(trials):
        chosen = choose(random)
        made = count if random.random() < 0.5 else int(random.integers(1, count))
        losses = learn(chosen, made, random)
        worker = int(np.argmin(free))
        began, seconds = free[worker] + random.uniform(0.1, 5), made * random.uniform(2.0, 6.0)
        free[worker] = began + seconds
        state = optuna.trial.TrialState.COMPLETE if made == count else optuna.trial.TrialState.PRUNED
        trial = optuna.trial.create_trial(
            state=state,
            value=float(losses[-1]) if made == count else None,
            params=chosen,
            distributions={name: parameter.distribution() for name, parameter in spec.space.items()},
        )
        known = study.durable.storage.create_new_trial(study.durable._id, template_trial=trial)
        reports += [
            {"trial_id": known, "step": index + 1, "intermediate_value": float(loss), "intermediate_value_type": finite}
            for index, loss in enumerate(losses)
        ]
        rows += evaluated(number, losses, began=HOUR + began, seconds=seconds, random=random)
        how = str(state.name.lower()) if number % 100 != 50 else "lost"
        stretch = {"trial": number, "worker": f"host-{worker % 2}/{worker + 1}", "owner": "bench", "how": how}
        stretches.append(
            {"sweep": "large", "number": number, **stretch, "began": HOUR + began, "ended": HOUR + began + seconds}
        )
    with ledger.engine.begin() as connection:
        # Optuna writes the values reported one by one, which takes minutes for so many.
        connection.execute(TrialIntermediateValueModel.__table__.insert(), reports)
        connection.execute(evaluations.insert(), rows)
        connection.execute(stints.insert(), stretches)
    ledger.update(spec.name, state="finished", dataset=DATASET, elapsed_s=max(free), owner=None)
    return ledger


def large_spec(trials: int, count: int) -> SweepSpec:
    """Return a sweep of so many trials and evaluations."""
    return spec_from(
        {
            **SPEC,
            "name": "large",
            "space": {**SPEC["space"], "hidden_size": {"int": [16, 256], "log": True}},
            "budget": {"trials": trials, "sequence_steps": 10_000 * count, "evaluations": count},
        }
    )


def choose(random: np.random.Generator) -> dict[str, Any]:
    """Return a setting."""
    return {
        "cell_type": str(random.choice(["rnn", "gru", "lstm"])),
        "truncation_length": int(2 ** random.uniform(2, 8)),
        "learning_rate": float(10 ** random.uniform(-4, -1)),
        "hidden_size": int(2 ** random.uniform(4, 8)),
    }


def learn(chosen: dict[str, Any], made: int, random: np.random.Generator) -> np.ndarray:
    """Return losses (evaluations,) as such a trial might have them."""
    best = {"lstm": 1.0, "gru": 1.2, "rnn": 1.6}[chosen["cell_type"]]
    best += 0.1 * math.log2(chosen["truncation_length"] / 32) ** 2
    best += 0.3 * math.log10(chosen["learning_rate"] / 0.01) ** 2 - 0.05 * math.log2(chosen["hidden_size"] / 16)
    return best + 3 * np.exp(-np.arange(made) / 25) + random.normal(0, 0.02, made)


def evaluated(
    number: int, losses: np.ndarray, *, began: float, seconds: float, random: np.random.Generator
) -> list[dict[str, Any]]:
    """Return the rows of a trial's evaluations."""
    import json

    distances = [*range(1, 17), *range(20, 65, 4)]
    rate, memory = random.uniform(2000, 9000), random.uniform(100, 900)
    rows = []
    for index, loss in enumerate(losses):
        metrics = {"valid_loss": float(loss), "sequence_steps_per_second": rate, "peak_memory_mb": memory}
        metrics |= {f"train_{name}": float(loss) for name in ("loss", "gradient_norm", "clipped", "bits", "perplexity")}
        metrics |= {f"horizon_norm/distance:{k}": 0.8**k for k in distances}
        metrics |= {f"horizon_bias/length:{k}": 0.8**k / 2 for k in distances}
        metrics |= {"horizon_decay": 0.8, "horizon_reach": 21.0, "horizon_length": 12.0, "horizon_bias": 0.1}
        row = {"trial": number, "evaluation": index, "sequence_steps": 10_000 * (index + 1), "checkpoint": "file:///c"}
        at = began + seconds * (index + 1) / len(losses)
        rows.append({"sweep": "large", **row, "metrics": json.dumps(metrics), "time": at})
    return rows


def main() -> None:
    """Build the report, and say what it took; exit 1 where that is too much."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.load({"runs": folder}, environ={})
        ledger = write_sweep(settings, TRIALS, EVALUATIONS)
        began, cpu = time.perf_counter(), time.process_time()
        from orchestrator.report.html import html_report

        page = html_report(ledger, "large")
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        if len(sys.argv) > 1:
            Path(sys.argv[1]).write_text(page, encoding="utf-8")
    size = len(page.encode()) / 1e6
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"The HTML report of {TRIALS} trials with {EVALUATIONS} evaluations each")
    print(f"  built in {wall:5.1f} s ({cpu:.1f} s of CPU); at most {MOST_S:g} s")
    print(f"  takes    {size:5.2f} MB; at most {MOST_MB:g} MB; the process took {memory:,.0f} MB at its peak")
    sys.exit(wall > MOST_S or size > MOST_MB)


if __name__ == "__main__":
    main()
