"""The command group: names and one-line helps here, everything else loaded when its command is called.

`bptt --help` must answer in a fraction of a second, and importing a command may cost Ray, torch or MLflow.
"""

from __future__ import annotations

import errno
import gc
import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import click

from orchestrator import __version__
from orchestrator.errors import BpttError, masked, presentable

COMMANDS = {
    "init": "Write a commented sweep file for a workload.",
    "validate": "Check a sweep file and show what it would run.",
    "run": "Run a sweep here, or go on with it.",
    "submit": "Run a sweep on a cluster and leave it to itself.",
    "list": "List the sweeps there are.",
    "status": "Show how a sweep stands.",
    "logs": "Show what the driver of a submitted sweep says.",
    "stop": "Ask a running sweep to stop, or end one trial.",
    "resume": "Go on with a sweep by its name.",
    "keep": "Take up sweeps whose driver is gone.",
    "extend": "Give a sweep more trials or hours.",
    "narrow": "Search a smaller space from now on.",
    "enqueue": "Try a given setting next.",
    "pin": "Train a trial to its end, unpruned.",
    "report": "Report what a sweep found.",
    "horizon": "Show how far back gradients travel.",
    "train": "Train one setting, without a sweep.",
    "predict": "Use a sweep's registered model.",
    "models": "List, show, compare and promote registered models.",
    "export": "Write a model for use without this project.",
    "data": "List, describe and fetch the data known by name.",
    "ui": "Open the MLflow UI on the right databases.",
    "k8s": "Install on Kubernetes, and run sweeps there.",
    "clean": "Remove checkpoints that no sweep needs.",
    "doctor": "Check Ray, devices, databases, tracking and disk.",
}
HIDDEN = ("drive",)
"""Commands that this project calls itself."""


class LazyGroup(click.Group):
    """A group whose commands are modules of this package, imported when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        if cmd_name not in (*COMMANDS, *HIDDEN):
            return None
        module = importlib.import_module(f"orchestrator.cli.{cmd_name}_command")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the one-line helps without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


EPILOG = """\b
Examples:
  bptt init language_model > sweep.yaml   a commented template
  bptt run sweep.yaml                     run it; the same command goes on with it
  bptt status NAME --watch                watch it from another terminal
  bptt report NAME                        what it found
  bptt ui                                 every run in MLflow

Settings come from flags, then BPTT_* variables (BPTT_RUNS, BPTT_STUDY_URL, BPTT_TRACKING_URI, BPTT_CHECKPOINTS,
BPTT_RAY_ADDRESS, BPTT_KEEP, BPTT_DATA), or files that BPTT_STUDY_URL_FILE and so on name, then defaults under
./bptt-runs.
"""


@click.group(
    cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="bptt")
def group() -> None:
    """Sweep truncation length, hidden size and cell type of recurrent networks."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Exit status: 0 done, 1 our fault or a failed sweep, 2 the user's fault, 130 interrupted."""
    status = run(arguments)
    if connections := sys.modules.get("orchestrator.database.connections"):
        connections.close_all()
    gc.freeze()  # Python would search all that is loaded for garbage before it throws it away: half a second
    sys.exit(status)


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status; a mistake of the user's is one line on stderr."""
    if str(Path.cwd()) not in sys.path:
        # A user's own cell or workload, `module:Name`, lies where the command is called.
        sys.path.insert(0, str(Path.cwd()))
    try:
        outcome: Any = group.main(arguments, prog_name="bptt", standalone_mode=False)
    except click.ClickException as error:
        message = error.format_message()
        if isinstance(error, click.MissingParameter) and error.ctx is not None:
            message = f"{message.rstrip('.')}; `{error.ctx.command_path} --help` has examples"
        complain(message)
        return 2 if isinstance(error, click.UsageError) else error.exit_code
    except BpttError as error:
        complain(str(error))
        return error.exit_status
    except (click.Abort, KeyboardInterrupt):
        complain("interrupted")
        return 130
    except BrokenPipeError:
        # The reader of a pipe has seen enough; Python must not complain of that when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the last boundary
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            complain(f"{str(error.filename)[:60]}...: too long for the name of a file or a sweep; give a shorter one")
            return 2
        from orchestrator.database.patience import is_away

        if is_away(error):
            complain(f"a database is away: {str(error.__cause__ or error)[:300]}; nothing is lost, try again later")
            return 1
        if os.environ.get("BPTT_DEBUG"):
            click.echo(masked(traceback.format_exc()), err=True)
            return 1
        complain(f"unexpected {type(error).__name__}: {error}; set BPTT_DEBUG=1 for the traceback")
        return 1
    return outcome if isinstance(outcome, int) else 0


def complain(message: str) -> None:
    """Write one line to stderr."""
    # A name given in bytes that are no UTF-8 cannot be written as it is.
    click.echo("bptt: " + presentable(message).encode(errors="backslashreplace").decode(), err=True)
