"""`bptt export`: a trained model as a file that runs without this project."""

from __future__ import annotations

import json
from pathlib import Path

import click

from orchestrator.cli.options import as_json, with_settings
from orchestrator.cli.predict_model import find_model
from orchestrator.errors import UserError
from orchestrator.settings import Settings

EPILOG = """\b
Examples:
  bptt export demo --format torch --output demo.pt2
  bptt export weather --format onnx --output weather.onnx
  bptt export demo --trial 12 --format onnx --output demo.onnx

The file holds one step of the network: it takes the next input of each sequence of a batch and the state, zeros at
first, and returns the output and the state behind it. Scaling, vocabulary and the like are in it as JSON, bptt.json.
It is left only if it answers what the model answers to whole sequences.
"""


@click.command("export", epilog=EPILOG, short_help="Write a model for use without this project.")
@click.argument("model", metavar="MODEL")
@click.option("--format", "how", type=click.Choice(["torch", "onnx"]), required=True, help="torch.export, or ONNX.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE", help="A .pt2 or .onnx file."
)
@click.option("--trial", type=click.IntRange(min=0), metavar="N", help="This trial of the sweep, not its winner.")
@as_json
@with_settings
def command(settings: Settings, model: str, *, how: str, output: Path, trial: int | None, as_json: bool) -> None:
    """Write one step of MODEL, named as for `bptt predict`, to a file that runs without this project."""
    check_name(output, how)
    predictor = find_model(settings, model, trial=trial).predictor
    network, facts = getattr(predictor, "network", None), getattr(predictor, "facts", {})
    if network is None:
        raise UserError(f"MODEL: {model}: its workload keeps no network to be exported")
    from workloads.export import export_network

    try:
        exported = export_network(network, facts, output, how)
    except OSError as error:
        raise UserError(f"--output: {output} cannot be written: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"MODEL: {model}: {error}") from error
    if as_json:
        form = {name: exported.about[name] for name in ("input", "state")}
        click.echo(json.dumps({"file": str(output), "difference": exported.difference, "bytes": exported.bytes} | form))
    else:
        click.echo(f"{output}: {exported.bytes:,} bytes, as the model to {exported.difference:.1e}")


def check_name(output: Path, how: str) -> None:
    """Raise UserError where a file cannot be called so."""
    ending = {"torch": ".pt2", "onnx": ".onnx"}[how]
    if output.suffix != ending:
        raise UserError(f"--output: {output}: with --format {how} its name must end in {ending}")
    if not output.parent.is_dir():
        raise UserError(f"--output: there is no folder {output.parent}")
