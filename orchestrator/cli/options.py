"""Options that many commands share."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.errors import SweepNotFound, UserError, masked
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from orchestrator.database.ledger import Ledger, SweepRow

Command = Callable[..., Any]

FLAGS = {
    "runs": ("--runs", "Folder of databases, models and checkpoints.  [default: ./bptt-runs]"),
    "study_url": ("--study-url", "Database of the sweeps, an SQLAlchemy URL."),
    "tracking_uri": ("--tracking-uri", "MLflow tracking URI; `none` switches tracking off."),
}


def with_settings(command: Command) -> Command:
    """Give a command the flags of the settings, and the settings made of them as its first argument."""

    @functools.wraps(command)
    def wrapped(**options: Any) -> Any:
        flags = {name: options.pop(name) for name in FLAGS}
        return command(Settings.load(flags), **options)

    for name, (flag, text) in reversed(FLAGS.items()):
        wrapped = click.option(flag, name, metavar="URL" if name != "runs" else "FOLDER", help=text)(wrapped)
    return wrapped


def cluster_options(command: Any) -> Any:
    """Add the options that say what a cluster is like to which a sweep is submitted."""
    for option in (
        click.option(
            "--allow-local",
            is_flag=True,
            help="Of a cluster that is one machine, this one: submit though databases are in files.",
        ),
        click.option(
            "--python",
            default="python",
            show_default=True,
            help="The Python of a cluster that a sweep is submitted to.",
        ),
    ):
        command = option(command)
    return command


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


def flags_given() -> str:
    """Return the settings' flags of the command under way, to be repeated in a command that is suggested next."""
    context = click.get_current_context(silent=True)
    given = {} if context is None else context.params
    flags = (f" {flag} {shlex.quote(str(given[name]))}" for name, (flag, _) in FLAGS.items() if given.get(name))
    return "".join(map(masked, flags))


def existing_ledger(settings: Settings, *, patience_s: float = 0.0) -> Ledger:
    """Return the sweeps' database to look at, without making one; SweepNotFound where there is none yet."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import SQLAlchemyError

    from orchestrator.database.ledger import Ledger

    try:
        url = make_url(settings.study_url)
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
            raise SweepNotFound(f"there are no sweeps yet: {url.database or 'memory'} does not exist; see `bptt run`")
        return Ledger(settings.study_url, opening_s=patience_s, patience_s=patience_s)
    except (SQLAlchemyError, ValueError) as error:
        raise UserError(f"study_url: {settings.study_url}: it is no URL of a database") from error


def shown_url(settings: Settings) -> str:
    """Return the URL of the sweeps' database without its password."""
    from sqlalchemy import make_url

    return make_url(settings.study_url).render_as_string()


def find_sweep(ledger: Ledger, sweep: str) -> SweepRow:
    """Return the sweep of that name, or of the name that a sweep file or a bundled sweep gives; else SweepNotFound."""
    from orchestrator.sweep_file import bundled_sweeps, find_name

    if sweep not in {row.name for row in ledger.all()} and (Path(sweep).is_file() or sweep in bundled_sweeps()):
        sweep = find_name(sweep)
    return ledger.sweep(sweep)
