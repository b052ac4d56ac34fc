"""A driver with a thousand workers and ten thousand trials: what it costs, how that grows, and what a kill costs.

The workers only seem to train (`simulated.py`). All else is what it is in a sweep: the loop, Optuna, the database with
its commits to the disk, and MLflow in a process of its own. The driver is killed when so many trials have ended; the
table tells of it as it grew, and then another takes the sweep up, and the commands that look at it are timed.
Run by `make bench-scale`; `--rate` offers evaluations at a pace, without it they come as fast as the driver takes them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec, spec_from
from tests import postgres
from tests.benchmarks.simulated import SimulatedExecutor, Turn
from tests.fakes import KIND

NAME = "scale"
FIRST = 500
"""Trials that are the beginning."""
MOST_GROWTH, MOST_RSS_MB, LEAST_REPORTS = 2.0, 1000.0, 500.0
"""How much more a trial may cost the driver in the end than in the beginning; its memory; evaluations per second."""
DURABLE = "\nmax_connections = 300\nshared_buffers = 256MB\n"
"""Of PostgreSQL: each commit waits for the disk, as it does outside of tests."""


@dataclass(slots=True)
class Stretch:
    """What happened up to a number of trials, since the number before."""

    trials: int
    seconds: float
    """By the clock."""
    busy_s: float
    """Of them, those in which the driver did not wait for workers."""
    cpu_s: float
    """Of those, in which its thread had a processor, and waited for no database."""
    evaluations: int
    asks_ms: tuple[float, float]
    """The median, and what one in a hundred took longer than."""
    reports_ms: tuple[float, float]
    """The driver's time between two waits, asking left out, by evaluation answered: the same two."""
    late_s: float
    """How long an answer had to wait for the driver, at worst."""
    rss_mb: float
    behind: int
    """Trials that MLflow did not show as they stood."""


@dataclass(slots=True)
class Watch:
    """Listens to the driver's turns, and closes a stretch at each of some numbers of trials."""

    marks: list[int]
    stretches: list[Stretch] = field(default_factory=list)
    asks: list[float] = field(default_factory=list)
    reports: list[float] = field(default_factory=list)
    busy_s: float = 0.0
    cpu_s: float = 0.0
    evaluations: int = 0
    late_s: float = 0.0
    _asked_s: float = 0.0
    _before: int = 0
    _since: float = field(default_factory=time.perf_counter)

    def turn(self, turn: Turn) -> None:
        """Note a turn of the driver's."""
        if not turn.answers and not self.evaluations:  # before the first trials have begun
            self._since = time.perf_counter()
            self.asks.clear()
            return
        self.busy_s += turn.seconds
        self.cpu_s += turn.cpu_s
        self.evaluations += turn.answers
        self.late_s = max(self.late_s, turn.late_s)
        if turn.answers:
            self.reports.append((turn.seconds - self._asked_s) / turn.answers)
        self._asked_s = 0.0

    def ask(self, seconds: float) -> None:
        """Note how long asking for a trial took."""
        self.asks.append(seconds)
        self._asked_s += seconds

    def ended(self, trials: int, behind: int) -> None:
        """Note that so many trials have ended."""
        if not self.marks or trials < self.marks[0]:
            return
        self.marks.pop(0)
        now = time.perf_counter()
        stretch = Stretch(
            trials - self._before,
            now - self._since,
            self.busy_s,
            self.cpu_s,
            self.evaluations,
            spread_ms(self.asks),
            spread_ms(self.reports),
            self.late_s,
            memory_mb(),
            behind,
        )
        self.stretches.append(stretch)
        show_stretch(trials, stretch)
        self.asks, self.reports, self.busy_s, self.cpu_s, self.evaluations, self.late_s = [], [], 0.0, 0.0, 0, 0.0
        self._before, self._since = trials, now


def spread_ms(seconds: list[float]) -> tuple[float, float]:
    """Return the median and the 99th of a hundred, in milliseconds."""
    if len(seconds) < 2:
        return 0.0, 0.0
    return 1000 * median(seconds), 1000 * quantiles(seconds, n=100)[98]


def memory_mb(field: str = "VmRSS") -> float:
    """Return the memory that this process holds, or with VmHWM held at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def show_stretch(trials: int, each: Stretch) -> None:
    """Print a line of the table."""
    a_trial = f"{1000 * each.busy_s / each.trials:>8.1f} {1000 * each.cpu_s / each.trials:>6.1f}"
    ask = f"{each.asks_ms[0]:>7.1f} {each.asks_ms[1]:>7.1f}"
    report = f"{each.reports_ms[0]:>7.2f} {each.reports_ms[1]:>7.2f}"
    pace = f"{each.evaluations / each.seconds:>11.0f} {100 * each.busy_s / each.seconds:>4.0f}% {each.late_s:>6.1f}"
    print(f"{trials:>7,} {a_trial} {ask} {report} {pace} {each.rss_mb:>7.0f} {each.behind:>7,}", flush=True)


HEAD = (
    "            driver, ms       ask, ms   evaluation, ms evaluations                RSS  MLflow\n"
    " trials  a trial    CPU     p50     p99     p50     p99  per second  busy late,s      MB  behind"
)


def make_spec(options: argparse.Namespace) -> SweepSpec:
    """Return the sweep: as many trials more as there are workers, so that the last ones counted are not alone."""
    return spec_from(
        {
            "name": NAME,
            "workload": {"kind": KIND},
            "space": {
                "cell_type": ["rnn", "gru", "lstm"],
                "hidden_size": {"int": [16, 512], "log": True},
                "truncation_length": {"int": [8, 256], "log": True},
                "learning_rate": {"float": [1e-4, 1e-1], "log": True},
            },
            "budget": {
                "trials": options.trials + options.workers,
                "sequence_steps": 10_000 * options.evaluations,
                "evaluations": options.evaluations,
            },
            "search": {"sampler": options.sampler, "pruner": options.pruner, "seed": 7},
        }
    )


def settings_of(options: argparse.Namespace) -> Settings:
    """Return where everything is kept."""
    flags = {"runs": options.runs, "study_url": options.study_url, "tracking_uri": options.tracking_uri}
    return Settings.load({name: value for name, value in flags.items() if value}, environ={})


def drive(options: argparse.Namespace) -> None:
    """Drive until so many trials have ended, then die as a killed one does; `--catch-up` lets MLflow follow first."""
    from orchestrator.cli.lines import Lines
    from orchestrator.driver import Driver
    from orchestrator.event import Happening
    from orchestrator.tracking import open_tracker

    settings = settings_of(options)
    watch = Watch([mark for mark in (FIRST, 1000, 2000, 5000, 10_000, 20_000) if mark <= options.trials])
    takes_s = options.workers / options.rate if options.rate else 0.0
    executor = SimulatedExecutor(options.workers, takes_s, watch.turn)
    driver = Driver(settings, make_spec(options), executor=executor, tracker=open_tracker(settings))
    with driver:
        sweep = driver.sweep
        assert sweep is not None
        sweep.study.ask = timed(sweep.study.ask, watch.ask)  # type: ignore[method-assign]
        lines = Lines(sweep, lambda _: None)
        ended = 0
        for event in sweep.run():
            lines.take(event)
            if event.happening is Happening.ENDED:
                ended += 1
                watch.ended(ended, len(getattr(driver.tracker, "_changed", ())))
                if ended >= options.trials:
                    break
        found: dict[str, Any] = {"stretches": [asdict(each) for each in watch.stretches]}
        found["peak_mb"] = memory_mb("VmHWM")
        if options.catch_up:
            began = time.perf_counter()
            summary = {"state": "interrupted", "message": "", "best": None, "model": None}
            found["tracked"] = driver.tracker.close(summary, 3600)
            found["catch_up_s"] = time.perf_counter() - began
        options.found.write_text(json.dumps(found))
        os.kill(os.getpid(), signal.SIGKILL)


def timed(ask: Any, note: Any) -> Any:
    """Return `ask`, its seconds noted."""

    def asked(*arguments: Any, **names: Any) -> Any:
        began = time.perf_counter()
        trial = ask(*arguments, **names)
        note(time.perf_counter() - began)
        return trial

    return asked


def resume(options: argparse.Namespace) -> None:
    """Take the sweep up, and write down when its first evaluation was acknowledged."""
    from orchestrator.driver import Driver
    from orchestrator.event import Happening
    from orchestrator.tracking import open_tracker

    settings = settings_of(options)
    executor = SimulatedExecutor(options.workers)
    driver = Driver(settings, make_spec(options), executor=executor, tracker=open_tracker(settings))
    with driver:
        assert driver.sweep is not None
        for event in driver.sweep.run():
            if event.happening is Happening.EVALUATED:
                options.found.write_text(json.dumps({"at": time.time(), "rss_mb": memory_mb()}))
                os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def databases(options: argparse.Namespace) -> Iterator[None]:
    """Make the two databases, on a server of their own for PostgreSQL."""
    with tempfile.TemporaryDirectory(prefix="bptt-scale-") as folder, contextlib.ExitStack() as stack:
        options.runs = Path(folder)
        options.found = Path(folder, "found.json")
        options.study_url = options.tracking_uri = ""
        if options.database == "postgresql":
            postgres.SETTINGS = DURABLE
            server = stack.enter_context(postgres.serving())
            options.server = server
            options.study_url, options.tracking_uri = server.new_database(), server.new_database()
        if options.tracking == "none":
            options.tracking_uri = "none"
        yield


def sizes_mb(options: argparse.Namespace) -> dict[str, float]:
    """Return how large the databases are."""
    if options.database == "sqlite":
        return {
            name: sum(file.stat().st_size for file in options.runs.glob(f"{name}.db*")) / 1e6
            for name in ("study", "mlflow")
        }
    found = {}
    for name, url in (("study", options.study_url), ("mlflow", options.tracking_uri)):
        if url != "none":
            database = url.rpartition("/")[2]
            found[name] = options.server.execute(f"SELECT pg_database_size('{database}')")[0][0] / 1e6
    return found


def phase(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run a driver in a process of its own, which is killed in the end; return what it wrote down."""
    given = [f"--{key}={getattr(options, key)}" for key in ("trials", "workers", "evaluations", "sampler", "pruner")]
    given += [f"--{key}={getattr(options, key.replace('-', '_'))}" for key in ("runs", "found", "rate")]
    urls = {"SCALE_STUDY_URL": options.study_url, "SCALE_TRACKING_URI": options.tracking_uri}
    command = [sys.executable, "-m", "tests.benchmarks.scale", f"--phase={name}", *given]
    command += ["--catch-up"] if options.catch_up else []
    options.found.unlink(missing_ok=True)
    ended = subprocess.run(command, env={**os.environ, **urls}, check=False).returncode
    if ended != -signal.SIGKILL or not options.found.exists():
        raise SystemExit(f"the driver ended with {ended}")
    answer: dict[str, Any] = json.loads(options.found.read_text())
    return answer


def look(options: argparse.Namespace) -> dict[str, float]:
    """Return how long the commands take that look at the sweep."""
    settings = settings_of(options)
    environment = {
        **os.environ,
        "BPTT_RUNS": str(settings.runs),
        "BPTT_STUDY_URL": settings.study_url,
        "BPTT_TRACKING_URI": settings.tracking_uri,
    }
    took = {}
    page = settings.runs / "report.html"
    for command in ("status scale", "status scale --json", "list", "report scale", f"report scale --html {page}"):
        arguments = [sys.executable, "-m", "orchestrator.cli", *command.split()]
        began = time.perf_counter()
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False, timeout=1200)
        shown = command.removesuffix(f" {page}")
        took[shown if done.returncode == 0 else f"{shown}: {done.stderr[-200:]}"] = time.perf_counter() - began
    return took


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--evaluations", type=int, default=20, help="of a trial that is not pruned")
    parser.add_argument("--rate", type=float, default=0.0, help="evaluations per second offered; 0: without a pause")
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--pruner", default="median")
    parser.add_argument("--tracking", choices=["mlflow", "none"], default="mlflow")
    parser.add_argument("--catch-up", action="store_true", help="let MLflow catch up before the driver is killed")
    parser.add_argument("--phase", choices=["drive", "resume"], help=argparse.SUPPRESS)
    parser.add_argument("--runs", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--found", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Drive, kill, resume and look; say which bars were missed."""
    options = read_options()
    if options.phase:
        options.study_url = os.environ["SCALE_STUDY_URL"]
        options.tracking_uri = os.environ["SCALE_TRACKING_URI"]
        with contextlib.redirect_stderr(io.StringIO()) if options.phase == "resume" else contextlib.nullcontext():
            drive(options) if options.phase == "drive" else resume(options)
        return
    pace = f"{options.rate:g} evaluations per second offered" if options.rate else "as fast as evaluations are taken"
    print(
        f"{options.trials:,} trials of {options.evaluations} evaluations, {options.workers:,} workers, {pace}; "
        f"{options.database}, sampler {options.sampler}, pruner {options.pruner}, tracking {options.tracking}\n{HEAD}",
        flush=True,
    )
    with databases(options):
        found = phase("drive", options)
        sizes = sizes_mb(options)
        began = time.time()
        again = phase("resume", options)
        took = look(options)
    first, last = found["stretches"][0], found["stretches"][-1]
    growth = (last["cpu_s"] / last["trials"]) / (first["cpu_s"] / first["trials"])
    print(f"\n  the last trials cost the driver {growth:.2f} times the CPU that the first {FIRST} did")
    print(f"  its memory was {found['peak_mb']:.0f} MB at most")
    print(f"  databases: {', '.join(f'{name} {size:,.0f} MB' for name, size in sizes.items())}")
    if "catch_up_s" in found:
        print(f"  MLflow had everything {found['catch_up_s']:.1f} s after the last trial ended")
    print(f"  killed, its successor acknowledged an evaluation after {again['at'] - began:.1f} s")
    for command, seconds in took.items():
        print(f"  bptt {command:<34} {seconds:6.1f} s")
    sys.exit(growth > MOST_GROWTH or found["peak_mb"] > MOST_RSS_MB)


if __name__ == "__main__":
    main()
