"""`bptt k8s submit`: a sweep on a Ray cluster of its own, as a RayJob, or on the one that stands."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.k8s_options import cluster_flags, values_of, with_cluster, with_values
from orchestrator.cli.options import as_json, with_settings
from orchestrator.errors import SweepNotFound, UserError
from orchestrator.kubernetes.kubectl import Absent, Kubectl
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from orchestrator.kubernetes.kubectl import Object
    from orchestrator.kubernetes.rayjob import Sent
    from orchestrator.kubernetes.standing import SweepJob
    from orchestrator.spec import SweepSpec

EPILOG = """\b
Examples:
  bptt k8s submit sweep.yaml                          a Ray cluster of its own, gone when the sweep has ended
  bptt k8s submit sweep.yaml --set workers.most=16    a larger one
  bptt k8s submit NAME                                go on: after a stop, or where its cluster is gone
  bptt k8s submit sweep.yaml --running                on the cluster that stands, as `bptt submit` does

With the sweep travel modules of your own that it names, what they import, and files that its workload names by paths
relative to here, 900 kB in all; the image has this project. Submitting again what runs already changes nothing.
"""
LOOK_EVERY_S = 2.0


@click.command("submit", epilog=EPILOG, short_help="Run a sweep on the cluster and leave it to itself.")
@click.argument("sweep", metavar="SWEEP")
@click.option("--running", is_flag=True, help="Submit to the Ray cluster that stands, instead of one of its own.")
@click.option("--workers", type=click.IntRange(min=1), help="Trials at once, at most.  [default: as many as fit]")
@click.option("--overlay", metavar="NAME", help="Whose cluster it shall have.  [default: the one installed]")
@with_values
@click.option("--no-wait", is_flag=True, help="Do not wait until its driver runs.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for that.",
)
@as_json
@with_settings
@with_cluster
def command(settings: Settings, kubectl: Kubectl, sweep: str, running: bool, **options: Any) -> int:
    """Run SWEEP, a sweep file or the name of a sweep, on the cluster, driver and all, and leave it to itself."""
    if running:
        if options["file"] or options["assigned"] or options["overlay"]:
            raise UserError("--running: the cluster that stands is as it is; leave out --values, --set and --overlay")
        return to_running(settings, kubectl, sweep, options)
    return as_ray_job(settings, kubectl, sweep, options)


def to_running(settings: Settings, kubectl: Kubectl, sweep: str, options: Mapping[str, Any]) -> int:
    """Submit to the Ray cluster that stands, through a port brought here."""
    from orchestrator.cli.submit_command import Asked, send, spec_of
    from orchestrator.kubernetes.forward import CLUSTER, DASHBOARD, forwarded, take_token

    spec = spec_of(settings, sweep)
    take_token(kubectl)
    with forwarded(kubectl, f"service/{CLUSTER}-head-svc", DASHBOARD) as port:
        asked = Asked(
            **{name: options[name] for name in ("workers", "no_wait", "as_json")},
            no_project=True,
            known_as=f"http://{CLUSTER}-head-svc.{kubectl.namespace}:{DASHBOARD}",
            logs=f"bptt k8s logs {spec.name} -f{cluster_flags(kubectl)}",
        )
        return send(settings, spec, f"http://127.0.0.1:{port}", asked)


def as_ray_job(settings: Settings, kubectl: Kubectl, sweep: str, options: Mapping[str, Any]) -> int:
    """Create a RayJob, and wait until its driver runs; return the exit status."""
    from orchestrator.kubernetes.rayjob import Sent, submit

    template = template_of(kubectl, options["overlay"], options["file"], options["assigned"])
    spec, files = what_travels(settings, kubectl, sweep, template=template, workers=options["workers"])
    as_json = bool(options["as_json"])

    def say(line: str) -> None:
        click.echo(f"{spec.name}: {line}", err=as_json)

    sent = Sent("", False, "it is being driven already") if is_driven(settings, spec.name) else None
    sent = sent or submit(kubectl, spec, template=template, files=files)
    say(
        f"submitted as RayJob {sent.job}"
        if sent.is_new
        else f"not submitted again: {sent.why} ({sent.job or 'elsewhere'})"
    )
    state = "waiting"
    if sent.is_new and not options["no_wait"]:
        state = await_job(kubectl, sent, timeout_s=options["timeout_s"], say=say)
    flags = cluster_flags(kubectl)
    say(f"its driver's lines: `bptt k8s logs {spec.name} -f{flags}`; how it stands: `bptt k8s status{flags}`")
    if as_json:
        click.echo(json.dumps({"name": spec.name, "job": sent.job, "submitted": sent.is_new, "state": state}))
    return 1 if state in ("failed", "lost", "stopped") else 0


def template_of(kubectl: Kubectl, overlay: str | None, file: Path | None, assigned: Sequence[str]) -> Object:
    """Return the RayJob of the installed overlay with the values it was installed with, and those given now."""
    from orchestrator.kubernetes.install import installed
    from orchestrator.kubernetes.manifests import overlay as folder_of
    from orchestrator.kubernetes.render import objects, rendered

    found = installed(kubectl)
    if found is None and overlay is None:
        raise UserError(
            f"nothing is installed in namespace {kubectl.namespace}; see `bptt k8s apply`, or name an --overlay"
        )
    before, known = found or ("", {})
    values = values_of(file, assigned, {} if overlay not in (None, before) else known)
    folder = folder_of(overlay or before) / "sweep"
    rays = values.model_copy(update={"storage_class": None, "hosts": type(values.hosts)()})
    return next(
        each for each in objects(rendered(folder, rays, namespace=kubectl.namespace)) if each["kind"] == "RayJob"
    )


def what_travels(
    settings: Settings, kubectl: Kubectl, sweep: str, *, template: Object, workers: int | None
) -> tuple[SweepSpec, dict[str, bytes]]:
    """Return a sweep and its files: from a file, else as its last RayJob had them, else by its name."""
    from orchestrator.cli.submit_command import spec_of
    from orchestrator.jobs.parcel import SPEC_FILE, SUBMISSION_FILE, Submission
    from orchestrator.kubernetes.rayjob import files_of, most_trials, parcel_of
    from orchestrator.spec import stored_spec

    files = {} if Path(sweep).is_file() else files_of(kubectl, sweep)
    spec = stored_spec(json.loads(files[SPEC_FILE])) if files else spec_of(settings, sweep)
    most = most_trials(spec, template)
    submission = Submission({}, workers or spec.resources.workers or most)
    if files:
        return spec, {**files, SUBMISSION_FILE: json.dumps(asdict(submission)).encode()}
    return spec, parcel_of(spec, submission, Path.cwd())


def is_driven(settings: Settings, sweep: str) -> bool:
    """Tell whether the sweeps' database is to be seen from here, and says that somebody drives the sweep."""
    from orchestrator.cli.submit_command import visible_ledger
    from orchestrator.jobs.parcel import is_of_one_machine

    if is_of_one_machine(settings, "study_url"):
        return False  # of sweeps run here, not of those on the cluster
    ledger = visible_ledger(settings)
    try:
        return ledger is not None and ledger.sweep(sweep).is_driven
    except SweepNotFound:
        return False


def await_job(kubectl: Kubectl, sent: Sent, *, timeout_s: float, say: Any) -> str:
    """Wait until the RayJob runs or has ended, saying what it waits for; return its state."""
    from orchestrator.kubernetes.standing import sweeps

    end, said = time.monotonic() + timeout_s, ""
    while True:
        found = next((each for each in sweeps(kubectl) if each.name == sent.job), None)
        if found is None:
            raise Absent(f"RayJob {sent.job} is gone: somebody has deleted it")
        line = in_words(found)
        if line != said:
            say(line)
            said = line
        if found.state != "waiting":
            return found.state
        if time.monotonic() > end:
            say("it waits still, and will go on by itself")
            return found.state
        time.sleep(LOOK_EVERY_S)


def in_words(job: SweepJob) -> str:
    """Return a RayJob's state in a line."""
    return f"RayJob {job.name} is {job.state}" + (f": {job.why}" if job.why else "")
