"""Exported files answer step by step what the network answers to whole sequences, read by torch or ONNX alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.workloads.untrained import FRONT_END, checkpoint, forecaster_of
from workloads.export import ABOUT, ENDINGS, Exported, export_network, write_torch
from workloads.models.cells import BUILTIN
from workloads.models.step import Step, window_of
from workloads.tasks.next_token import TextPredictor
from workloads.tasks.next_token import make_network as speller
from workloads.tasks.transcribing import SpeechPredictor
from workloads.tasks.transcribing import make_network as transcriber

FACTS = {"vocabulary": ["?", *"abc "], "unit": "character"}
TOKENS = torch.tensor([[1, 4], [2, 1], [1, 1], [3, 2], [4, 4], [1, 3], [0, 2]])  # (time, batch)


def speller_of(cell_type: str, **params: Any) -> TextPredictor:
    return TextPredictor(checkpoint(speller, FACTS, cell_type, **params))


def export(predictor: Any, folder: Path, how: str) -> tuple[Path, Exported]:
    if how == "onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(package, reason="the extra `export` is not installed")
    path = folder / f"model{ENDINGS[how]}"
    return path, export_network(predictor.network, predictor.facts, path, how)


def run_torch(path: Path, inputs: Tensor) -> np.ndarray:
    """Run a .pt2 file on inputs (time, batch, ...) as its reader would who knows torch alone."""
    files = {ABOUT: ""}
    step = torch.export.load(path, extra_files=files).module()
    state = [
        torch.zeros([inputs.shape[1] if size == "batch" else size for size in each["shape"]])
        for each in json.loads(files[ABOUT])["state"]
    ]
    outputs = []
    for each in inputs:
        output, *state = step(each, *state)
        outputs.append(output.numpy())
    return np.stack(outputs)


def run_onnx(path: Path, inputs: Tensor) -> np.ndarray:
    """Run an .onnx file on inputs (time, batch, ...) as its reader would who knows onnxruntime alone."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    names = [each.name for each in session.get_inputs()]
    assert names[0] == "input"
    assert [each.name for each in session.get_outputs()] == ["output", *(f"next_{name}" for name in names[1:])]
    state = [
        np.zeros([inputs.shape[1] if isinstance(size, str) else size for size in each.shape], np.float32)
        for each in session.get_inputs()[1:]
    ]
    outputs = []
    for each in inputs:
        output, *state = session.run(None, dict(zip(names, [each.numpy(), *state], strict=True)))
        outputs.append(output)
    return np.stack(outputs)


RUN = {"torch": run_torch, "onnx": run_onnx}


IN_ONNX = [pytest.param(name, "onnx", marks=[] if name == "lru" else pytest.mark.slow) for name in sorted(BUILTIN)]
"""Three seconds each."""


@pytest.mark.parametrize(("cell_type", "how"), [*((name, "torch") for name in sorted(BUILTIN)), *IN_ONNX])
def test_every_cell_is_exported_and_equals_the_whole(cell_type: str, how: str, tmp_path: Path) -> None:
    predictor = speller_of(cell_type, num_layers=1, layer_norm=True)
    path, exported = export(predictor, tmp_path, how)
    with torch.no_grad():
        whole = predictor.network(TOKENS)[0].numpy()
    tolerance = {"torch": 1e-5, "onnx": 1e-4}[how]
    np.testing.assert_allclose(RUN[how](path, TOKENS), whole, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(RUN[how](path, TOKENS[:, :1]), whole[:, :1], rtol=tolerance, atol=tolerance)
    assert 0 <= exported.difference <= tolerance
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("how", ["torch", pytest.param("onnx", marks=pytest.mark.slow)])
def test_a_recogniser_and_a_forecaster_take_vectors_and_carry_their_facts(how: str, tmp_path: Path) -> None:
    facts = {"symbols": ["", "a"], "unit": "word", "front_end": {**FRONT_END, "normalize": "band"}}
    speech = SpeechPredictor(checkpoint(transcriber, facts, "gru"))
    series = forecaster_of(tmp_path, "lstm", target="tide", lags=[3])
    for predictor, width in ((speech, 18), (series, 2)):
        path, exported = export(predictor, tmp_path, how)
        assert exported.about["input"] == {"shape": ["batch", width], "dtype": "float32"}
        assert facts_in(path) == json.loads(json.dumps(predictor.facts))
        inputs = torch.randn((9, 2, width))
        with torch.no_grad():
            whole = window_of(predictor.network)(inputs, None)[0].numpy()
        np.testing.assert_allclose(RUN[how](path, inputs), whole, rtol=1e-4, atol=1e-4)


def facts_in(path: Path) -> Any:
    if path.suffix == ".onnx":
        import onnx

        return json.loads({each.key: each.value for each in onnx.load(path).metadata_props}[ABOUT])["facts"]
    files = {ABOUT: ""}
    torch.export.load(path, extra_files=files)
    return json.loads(files[ABOUT])["facts"]


class BeginsAtOnes(nn.GRU):
    """A cell whose sequences begin elsewhere than a file's would."""

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        before = inputs.new_ones(1, inputs.shape[1], self.hidden_size) if state is None else state
        outputs, after = super().forward(inputs, before)
        return outputs, after


class Airy(nn.GRU):
    """A cell with an operator that ONNX does not have."""

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        outputs, after = super().forward(inputs, state)
        return torch.special.airy_ai(outputs), after


class Branches(nn.GRU):
    """A cell that goes one way or the other by what it computes."""

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        outputs, after = super().forward(inputs, state)
        return (outputs if outputs.sum() > 0 else -outputs), after


@pytest.mark.parametrize(
    ("cell", "how", "reason"),
    [
        (BeginsAtOnes, "torch", "answers differ from the model's by up to"),
        (Airy, "onnx", "no operator for aten.special_airy_ai; export it as torch"),
        (Branches, "torch", "torch.export cannot follow the network: "),
    ],
)
def test_what_cannot_be_exported_rightly_is_refused_and_leaves_no_file(
    cell: type[nn.Module], how: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=reason) as raised:
        export(speller_of(f"{__name__}:{cell.__name__}"), tmp_path, how)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_an_error_of_the_system_not_of_torch(tmp_path: Path) -> None:
    with torch.no_grad(), pytest.raises(FileNotFoundError):
        write_torch(Step(speller_of("rnn").network), "{}", tmp_path / "no" / "model.pt2")


def test_an_operator_that_onnx_lacks_is_no_hindrance_to_torch(tmp_path: Path) -> None:
    export(speller_of(f"{__name__}:Airy"), tmp_path, "torch")


def test_a_recogniser_in_both_directions_is_refused(tmp_path: Path) -> None:
    facts = {"symbols": ["", "a"], "unit": "word", "front_end": FRONT_END}
    predictor = SpeechPredictor(checkpoint(transcriber, facts, "gru", bidirectional=True))
    with pytest.raises(ValueError, match="the model is bidirectional"):
        export(predictor, tmp_path, "torch")


def test_without_the_extra_a_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    predictor = speller_of("gru")
    with pytest.raises(ValueError, match=r"--format onnx: export needs onnxscript; pip install 'bptt\[export\]'"):
        export_network(predictor.network, predictor.facts, tmp_path / "model.onnx", "onnx")
    assert not list(tmp_path.iterdir())
