"""Trained networks as files that run without this project: one step at a time, in torch's format or in ONNX.

A file is written only if it answers what the network answers to whole sequences.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workloads.bptt.state import state_tensors
from workloads.data.extras import import_extra
from workloads.models.step import Step, draw_inputs, window_of

ENDINGS = {"torch": ".pt2", "onnx": ".onnx"}
TOLERANCES = {"torch": 1e-5, "onnx": 1e-4}
"""The largest difference allowed, absolute below 1 and relative above; ONNX's runtime sums in an order of its own."""
ABOUT = "bptt.json"
"""What a .pt2 file has beside the program, and an .onnx file as metadata."""
STEPS = 64
"""By which a file is checked."""
FEW_STEPS = 8

Run = Callable[..., tuple[Tensor, ...]]
"""Called as `workloads.models.step.Step` is."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A file written and checked."""

    bytes: int
    difference: float
    """The largest from the network's own outputs and states, absolute below 1 and relative above."""
    about: Mapping[str, Any]


def export_network(network: nn.Module, facts: Mapping[str, Any], path: Path, how: str) -> Exported:
    """Write one step of a network to `path`, as `torch` or `onnx`, with its facts; ValueError says why it cannot be."""
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    with torch.no_grad(), quiet():
        step = Step(network)
        about = {**describe(step), "facts": dict(facts)}
        write, load = {"torch": (write_torch, load_torch), "onnx": (write_onnx, load_onnx)}[how]
        try:
            write(step, json.dumps(about), partial)
            difference = max(compare(load(partial), network, step, batch) for batch in (1, 3))
            if difference > TOLERANCES[how]:
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
    """Return how far `run` is from the network, step by step from the network's own states; see `Exported.difference`.

    From its own states: some networks make of the last digit of a sum whatever they like, some steps later. How far the
    network step by step is from itself on whole sequences, few steps long therefore, counts as well.
    """
    window, inputs = window_of(network), draw_inputs(network, steps=STEPS, batch=batch)
    outputs, distances = [], []
    state, given = None, step.zeros(batch)
    for each in inputs:
        output, state = window(each[None], state)
        outputs.append(output[0])
        after = state_tensors(state)
        distances += [distance(*pair) for pair in zip(run(each, *given), [output[0], *after], strict=True)]
        given = after
    whole, _ = window(inputs[:FEW_STEPS], None)
    return max(*distances, distance(torch.stack(outputs[:FEW_STEPS]), whole))


def distance(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference, absolute below 1 and relative above; infinity for what is no number."""
    if found.shape != expected.shape:
        return math.inf
    found, expected = found.double(), expected.double()
    apart = (found - expected).abs() / expected.abs().clamp(min=1)
    return float(apart.nan_to_num(nan=math.inf).max())


def example_of(step: Step) -> tuple[tuple[Tensor, ...], Any]:
    """Return arguments of a step, and which of their sizes may change."""
    batch = torch.export.Dim("batch")
    arguments = (draw_inputs(step.network, steps=1, batch=2)[0], *step.zeros(2))
    return arguments, ({0: batch}, tuple(dict.fromkeys(axes, batch) for axes in step.batch_axes))


def write_torch(step: Step, about: str, path: Path) -> None:
    """Write a program of `torch.export`."""
    buffer = io.BytesIO()  # where a file cannot be written, torch has an error of its own
    torch.export.save(trace(step), buffer, extra_files={ABOUT: about})
    path.write_bytes(buffer.getvalue())


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
    runtime = import_extra("onnxruntime", "export", "--format onnx")

    def run(*given: Tensor) -> tuple[Tensor, ...]:
        arrays = {name: tensor.numpy() for name, tensor in zip(names, given, strict=True)}
        try:
            return tuple(map(torch.from_numpy, session.run(None, arrays)))
        except Exception as error:
            raise ValueError(f"onnxruntime cannot run the network: {first_line(error)}") from error

    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is said in the error, too
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's errors have no base of their own
        raise ValueError(f"onnxruntime cannot read the network: {first_line(error)}") from error
    names = [each.name for each in session.get_inputs()]

    return run


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters from telling of their own insides: what counts is checked afterwards."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


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
