"""`bptt k8s`: this project on Kubernetes, through the user's own kubectl. The commands are modules beside this one."""

from __future__ import annotations

import importlib

import click

EPILOG = """\b
Examples:
  bptt k8s render local                     what would be applied, as YAML
  bptt k8s apply local --dry-run            what is missing, and what would change
  bptt k8s apply production --values values.yaml
  bptt k8s submit sweep.yaml                run a sweep on a Ray cluster of its own
  bptt k8s logs NAME -f
  bptt k8s status

It calls `kubectl`, with its current context unless --context says otherwise, and the namespace bptt unless --namespace
does. How a sweep stands, `bptt list` and `bptt status` say, which read the sweeps' database.
"""
COMMANDS = {
    "render": "Print an overlay with your values, as YAML.",
    "apply": "Check the cluster, show the difference, and install.",
    "status": "Show what is there and whether it is ready.",
    "submit": "Run a sweep on the cluster and leave it to itself.",
    "logs": "Show what a sweep's driver or a part says.",
    "delete": "Remove what was installed; the data stay.",
}


class LazyCommands(click.Group):
    """A group whose commands are modules `k8s_NAME`, imported when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"orchestrator.cli.k8s_{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the one-line helps without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group("k8s", cls=LazyCommands, epilog=EPILOG, short_help="Install on Kubernetes, and run sweeps there.")
def command() -> None:
    """Install on Kubernetes, and run sweeps there."""
