"""Trained networks as files that run without this project: one step at a time, in torch's format or in ONNX.

A file is written only if it answers what the network answers to whole sequences.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workloads.data.extras import import_extra
from workloads.models.step import Step, draw_inputs, window_of

ENDINGS = {"torch": ".pt2", "onnx": ".onnx"}
TOLERANCES = {"torch": 1e-5, "onnx": 1e-4}
"""The largest difference allowed, absolute below 1 and relative above; ONNX's runtime sums in an order of its own."""
ABOUT = "bptt.json"
"""What a .pt2 file has beside the program, and an .onnx file as metadata."""
STEPS = 64
"""Of the sequences by which a file is checked."""

Run = Callable[..., tuple[Tensor, ...]]
"""Called as `workloads.models.step.Step` is."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A file written and checked."""

    bytes: int
    difference: float
    """The largest from the network's own outputs, absolute below 1 and relative above."""
    about: Mapping[str, Any]


def export_network(network: nn.Module, facts: Mapping[str, Any], path: Path, how: str) -> Exported:
    """Write one step of a network to `path`, as `torch` or `onnx`, with its facts; ValueError says why it cannot be."""
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    with torch.no_grad():
        step = Step(network)
        about = {**describe(step), "facts": dict(facts)}
        write, load = {"torch": (write_torch, load_torch), "onnx": (write_onnx, load_onnx)}[how]
        try:
            write(step, json.dumps(about), partial)
            difference = max(compare(load(partial), network, step, batch) for batch in (1, 3))
            if not difference <= TOLERANCES[how]:  # NaN, too
                raise ValueError(f"the file's answers differ from the model's by up to {difference:.2g}; none is left")
            size = partial.stat().st_size
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return Exported(size, difference, about)


def describe(step: Step) -> dict[str, Any]:
    """Return the form of what a step takes, batch sizes by name, as plain values."""
    form = []
    for tensor, axes in zip(step.zeros(2), step.batch_axes, strict=True):
        shape = ["batch" if axis in axes else size for axis, size in enumerate(tensor.shape)]
        form.append({"shape": shape, "dtype": str(tensor.dtype).removeprefix("torch.")})
    inputs = draw_inputs(step.network, steps=1, batch=2)[0]
    taken = {"shape": ["batch", *inputs.shape[1:]], "dtype": str(inputs.dtype).removeprefix("torch.")}
    return {"input": taken, "state": form}


def compare(run: Run, network: nn.Module, step: Step, batch: int) -> float:
    """Return how far `run`, step by step, is from the network on whole sequences; see `Exported.difference`."""
    inputs = draw_inputs(network, steps=STEPS, batch=batch)
    expected, _ = window_of(network)(inputs, None)
    state: tuple[Tensor, ...] = tuple(step.zeros(batch))
    outputs = []
    for each in inputs:
        output, *state = run(each, *state)  # type: ignore[assignment]
        outputs.append(output)
    return float(((torch.stack(outputs) - expected).abs() / expected.abs().clamp(min=1)).max())


def example_of(step: Step) -> tuple[tuple[Tensor, ...], Any]:
    """Return arguments of a step, and which of their sizes may change."""
    batch = torch.export.Dim("batch")
    arguments = (draw_inputs(step.network, steps=1, batch=2)[0], *step.zeros(2))
    return arguments, ({0: batch}, tuple(dict.fromkeys(axes, batch) for axes in step.batch_axes))


def write_torch(step: Step, about: str, path: Path) -> None:
    """Write a program of `torch.export`."""
    torch.export.save(trace(step), path, extra_files={ABOUT: about})


def trace(step: Step) -> torch.export.ExportedProgram:
    """Return the step as a graph; ValueError names what stands in its way."""
    arguments, sizes = example_of(step)
    try:
        return torch.export.export(step, arguments, dynamic_shapes=sizes)
    except Exception as error:
        raise ValueError(f"torch.export cannot follow the network: {first_line(error)}") from error


def load_torch(path: Path) -> Run:
    """Return what a file of `write_torch` runs."""
    run: Run = torch.export.load(path).module()
    return run


def write_onnx(step: Step, about: str, path: Path) -> None:
    """Write an ONNX model, its inputs `input`, `state_0` ..., its outputs `output`, `next_state_0` ..."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        import_extra(package, "export", "--format onnx")
    program = trace(step)
    states = [f"state_{place}" for place in range(len(step.batch_axes))]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of how torch's own operators were registered
            model = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=["input", *states],
                output_names=["output", *(f"next_{name}" for name in states)],
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ValueError(f"ONNX cannot hold the network: {operator_in(error)}; export it as torch") from error
    assert model is not None
    model.model.metadata_props[ABOUT] = about
    model.save(path, external_data=False)


def load_onnx(path: Path) -> Run:
    """Return what an ONNX file runs, on a CPU."""
    session = import_extra("onnxruntime", "export", "--format onnx").InferenceSession(
        str(path), providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_inputs()]

    def run(*given: Tensor) -> tuple[Tensor, ...]:
        arrays = {name: tensor.numpy() for name, tensor in zip(names, given, strict=True)}
        return tuple(map(torch.from_numpy, session.run(None, arrays)))

    return run


def operator_in(error: BaseException) -> str:
    """Return which operator an exporter's error is about, or what it says first."""
    reasons = [error]
    while (cause := reasons[-1].__cause__) is not None:
        reasons.append(cause)
    for reason in reversed(reasons):
        found = re.search(r"op='([\w:.]+)'", str(reason))
        if found:
            return f"it has no operator for {found[1]}"
    return first_line(reasons[-1])


def first_line(error: BaseException) -> str:
    """Return the first line of an error that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
