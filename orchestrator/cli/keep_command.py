"""`bptt keep`: take up sweeps whose driver is gone, as a service or now and then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import click

from orchestrator.cli.options import with_settings
from orchestrator.database.ledger import SweepRow
from orchestrator.errors import BpttError, Unreachable, masked, presentable
from orchestrator.settings import IN_FILE, Settings

EPILOG = """\b
Examples:
  bptt keep                               drive them here, as processes of this one
  bptt keep --address http://head:8265    submit them to a cluster; call it in the folder of their files
  bptt keep --once                        look once and return when those taken up have ended, for cron

A sweep is taken up where it should be running and its driver's lease has run out, never after `bptt stop`. Several
of these may watch one database: the lease lets one driver in.
"""


@click.command("keep", epilog=EPILOG, short_help="Take up sweeps whose driver is gone.")
@click.option("--address", metavar="URL", help="Dashboard of a Ray cluster to submit to.  [default: drive here]")
@click.option("--once", is_flag=True, help="Look once.")
@click.option("--every", "every_s", type=click.FloatRange(min=0.1), default=10.0, show_default=True, metavar="SECONDS")
@click.option("--allow-local", is_flag=True, help="As of `bptt submit`.")
@click.option("--python", default="python", show_default=True, help="The cluster's Python.")
@with_settings
def command(
    settings: Settings, address: str | None, once: bool, every_s: float, allow_local: bool, python: str
) -> None:
    """Watch the sweeps' database, and go on with every sweep that should be running and is not."""
    from orchestrator.database.ledger import Ledger
    from orchestrator.jobs.keep import Keeper
    from orchestrator.jobs.server import is_jobs_address

    address = address or (settings.ray_address if is_jobs_address(settings.ray_address) else None)
    hands = Submitter(settings, address, allow_local=allow_local, python=python) if address else Starter(settings)
    keeper = Keeper(Ledger(settings.study_url), hands.take_up, say)
    done = threading.Event()
    before = {each: signal.signal(each, lambda *_: done.set()) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        while True:
            try:
                keeper.look()
            except Unreachable as error:
                say(str(error))
            if once or done.wait(every_s):
                break
        hands.finish(stop=done.is_set())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say(line: str) -> None:
    """Print a line at once."""
    click.echo(line)


class Submitter:
    """Has sweeps taken up by submitting them to a cluster."""

    def __init__(self, settings: Settings, address: str, *, allow_local: bool, python: str) -> None:
        from orchestrator.cli.submit_command import Asked
        from orchestrator.jobs.server import jobs_address

        self.settings, self.address = settings, jobs_address(address)
        self.asked = Asked(allow_local=allow_local, python=python)

    def take_up(self, row: SweepRow) -> None:
        """Submit the sweep; what goes wrong is said, and tried again later."""
        from orchestrator.cli.submit_command import submit_quietly
        from orchestrator.jobs.server import JobsServer
        from orchestrator.spec import spec_from

        try:
            server, spec = JobsServer(self.address), spec_from(row.spec)
            said = submit_quietly(server, self.settings, spec, self.asked)
        except (BpttError, OSError) as error:
            said = presentable(str(error))
        say(masked(f"{row.name}: {said}"))

    def finish(self, *, stop: bool) -> None:
        """Leave the jobs to the cluster."""


class Starter:
    """Has sweeps taken up by processes of this one."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def take_up(self, row: SweepRow) -> None:
        """Start a driver, unless the one started before is still there."""
        before = self.processes.get(row.name)
        if before is not None and before.poll() is None:
            return
        kept = {"BPTT_RUNS": str(self.settings.runs), "BPTT_STUDY_URL": self.settings.study_url}
        kept["BPTT_TRACKING_URI"] = self.settings.tracking_uri
        others = {name: value for name, value in os.environ.items() if name.removesuffix(IN_FILE) not in kept}
        command = [sys.executable, "-m", "orchestrator.cli", "resume", row.name]
        # A terminal's Ctrl-C is passed on once, by finish.
        self.processes[row.name] = subprocess.Popen(command, env={**others, **kept}, start_new_session=True)
        say(f"{row.name}: driven on by process {self.processes[row.name].pid}")

    def finish(self, *, stop: bool) -> None:
        """Wait for the drivers, asked to stop before where `stop` says so."""
        for process in self.processes.values():
            if stop and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.wait()
