"""What the workers' CPU time goes into during a sweep, as py-spy sees it from outside; and how long they wait.

24 trials on Tiny Shakespeare, 5 evaluations of 100,000 characters each, 2 workers of one CPU. py-spy samples the stack
of each worker's main thread, which trains, from the moment at which the worker begins to be prepared until it ends, as
often as it is not asleep. How much CPU time each thread took is read from the system: the samples say how the main
thread's is shared out, and that of all others, Ray's for the most part, counts as not spent in training. A worker
waits, for its driver or for a trial, while no method of it is called: that is no CPU time, and noted by `milestones`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import yaml

from tests.benchmarks.milestones import Call, calls, hook

RATE_HZ = 100
BAR = 0.95
STEP = "training step"
"""One update: its batch, the network forward, the loss, backward, norms and clipping, the optimiser, a look at whether
the loss explodes. Not the loop round it, which asks whether to leave."""
PARTS: tuple[tuple[str, str, str], ...] = (
    # What a sample is of, by the first of these functions in its stack.
    ("horizon measurement", "measure_horizon", "training.py"),
    ("evaluation", "evaluate", ""),
    ("checkpoint", "content", "training.py"),
    ("checkpoint", "write", "worker.py"),
    ("checkpoint", "read", "worker.py"),
    ("checkpoint", "random_state", "device.py"),
    (STEP, "_update", "training.py"),
    ("beginning of a trial", "begin", ""),
    ("beginning of a trial", "__init__", "training.py"),
    ("start of the process", "receive", "ray_worker.py"),
    ("rest of training", "train", "training.py"),
    ("rest of the worker", "start", "worker.py"),
    ("rest of the worker", "advance", "worker.py"),
    ("rest of the worker", "release", "worker.py"),
)
ORDER = [*dict.fromkeys(part for part, _, _ in PARTS), "Ray, in Python", "other threads"]
SPEC = {
    "name": "worker-time",
    "workload": {"kind": "language_model", "text": "tinyshakespeare", "unit": "character"},
    "space": {
        "cell_type": ["rnn", "gru", "lstm"],
        "hidden_size": {"int": [32, 128], "log": True},
        "truncation_length": {"int": [8, 128], "log": True},
        "learning_rate": {"float": [1.0e-3, 2.0e-2], "log": True},
    },
    "train": {"batch_size": 32, "num_layers": 1},
    "objective": {"metric": "valid_loss"},
    "budget": {"trials": 24, "sequence_steps": 500_000, "evaluations": 5},
    "search": {"sampler": "tpe", "pruner": "none", "seed": 7},
    "resources": {"cpus": 1},
}
WANTED = {
    "orchestrator.executors.ray_worker:RemoteWorker.receive": "receive",
    "orchestrator.executors.ray_worker:hide_gpus": "begun",
    "orchestrator.worker:Worker.start": "start",
    "orchestrator.worker:Worker.advance": "advance",
    "orchestrator.worker:Worker.release": "release",
}


@dataclass(slots=True)
class Watched:
    """One worker under py-spy."""

    process: int
    samples: Path
    spy: subprocess.Popen[bytes]
    before_s: float
    """CPU seconds that its main thread had taken when it was found."""
    threads_s: dict[str, float] = field(default_factory=dict)
    """CPU seconds by thread, as last read."""


def cpu_seconds(process: int) -> dict[str, float]:
    """Return the CPU seconds that each thread of a process has taken, by number; none where it is gone."""
    ticks, found = os.sysconf("SC_CLK_TCK"), {}
    try:
        for thread in Path(f"/proc/{process}/task").iterdir():
            fields = (thread / "stat").read_text().rpartition(")")[2].split()
            found[thread.name] = (int(fields[11]) + int(fields[12])) / ticks
    except OSError:
        return {}
    return found


def watch(folder: Path, sweep: subprocess.Popen[bytes]) -> list[Watched]:
    """Put py-spy on every worker as it comes, and return them once the sweep is over."""
    watched: dict[int, Watched] = {}
    while sweep.poll() is None:
        for call in calls(folder):
            if call.label == "begun" and call.process not in watched:
                before = cpu_seconds(call.process).get(str(call.process), 0.0)
                samples = folder / f"{call.process}.raw"
                command = [str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(call.process)]
                options = [
                    "--format",
                    "raw",
                    "--threads",
                    "--nolineno",
                    "--rate",
                    str(RATE_HZ),
                    "--output",
                    str(samples),
                ]
                spy = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                watched[call.process] = Watched(call.process, samples, spy, before)
        for worker in watched.values():
            worker.threads_s |= cpu_seconds(worker.process)  # of threads that ended, what they had taken stays
        time.sleep(0.1)
    for worker in watched.values():
        worker.spy.wait(timeout=60)
    return list(watched.values())


def part_of(stack: list[str]) -> str:
    """Return what a sample's stack, from the outside in, belongs to."""
    frames = [frame.rstrip(")").partition(" (") for frame in stack]
    names = {(name.rpartition(".")[2], path.rpartition("/")[2]) for name, _, path in frames}
    for part, function, file in PARTS:
        if any(name == function and file in ("", path) for name, path in names):
            return part
    return "Ray, in Python"


def seconds_by_part(worker: Watched) -> dict[str, float]:
    """Return CPU seconds by what they went into."""
    samples: Counter[str] = Counter()
    for line in worker.samples.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        thread, *frames = stack.split(";")
        if "MainThread" in thread:
            samples[part_of(frames)] += int(count)
    main = worker.threads_s.pop(str(worker.process)) - worker.before_s
    found = {part: main * samples[part] / samples.total() for part in ORDER}
    found["other threads"] = sum(worker.threads_s.values())
    found["start of the process"] += worker.before_s
    return found


def waits(found: list[Call], process: int) -> tuple[float, float, float, int]:
    """Return the seconds a worker waited between evaluations and between trials, those it was up, and its trials."""
    mine = sorted((call for call in found if call.process == process), key=lambda call: call.began)
    trained = [call for call in mine if call.label in ("start", "advance")]
    # `start` calls `advance` itself: what lies inside another call is no call of the driver's.
    outer = [
        call
        for call in trained
        if not any(o is not call and o.began <= call.began and call.ended <= o.ended for o in trained)
    ]
    between = list(pairwise(outer))
    evaluations = sum(after.began - before.ended for before, after in between if after.label == "advance")
    trials = sum(after.began - before.ended for before, after in between if after.label == "start")
    return evaluations, trials, outer[-1].ended - outer[0].began, sum(call.label == "start" for call in outer)


def main() -> None:
    """Run the sweep and print what the workers' time went into."""
    with tempfile.TemporaryDirectory(prefix="bptt-worker-time-") as place:
        folder = Path(place)
        path = folder / "sweep.yaml"
        path.write_text(yaml.safe_dump(SPEC))
        command = [sys.executable, "-m", "orchestrator.cli", "run", str(path), "--runs", place, "--workers", "2"]
        with (folder / "log").open("wb") as log:
            sweep = subprocess.Popen(command, env=hook(folder, WANTED), stdout=log, stderr=log)
            workers = watch(folder, sweep)
        if sweep.returncode:
            raise RuntimeError((folder / "log").read_text())
        parts = [seconds_by_part(worker) for worker in workers]
        total = {part: sum(each[part] for each in parts) for part in ORDER}
        show(total, [waits(calls(folder), worker.process) for worker in workers])


def show(total: dict[str, float], waited: list[tuple[float, float, float, int]]) -> None:
    """Print the table."""
    everything = sum(total.values())
    print(f"\nCPU time of {len(waited)} workers, by py-spy at {RATE_HZ} Hz: {everything:.1f} s in all")
    for part in ORDER:
        print(f"{part:<24} {total[part]:8.2f} s {100 * total[part] / everything:7.2f} %")
    apart = everything - total["evaluation"]
    print(f"in the training step, evaluation apart: {100 * total[STEP] / apart:.2f} % (bar {100 * BAR:g} %)")
    up = sum(each[2] for each in waited)
    trials = sum(each[3] for each in waited)
    for name, seconds in (
        ("evaluations", sum(each[0] for each in waited)),
        ("trials", sum(each[1] for each in waited)),
    ):
        print(f"waiting between {name:<12} {seconds:8.2f} s {100 * seconds / up:7.2f} % of {up:.1f} s of workers' time")
    print(f"{trials} trials")


if __name__ == "__main__":
    main()
