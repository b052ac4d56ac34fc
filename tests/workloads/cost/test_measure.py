"""Measuring cells: torch's own and a user's, and what cannot be measured."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from tests.workloads.cost.cells import BROKEN, MEAN
from workloads.cost import measure
from workloads.cost.cells import CellMemory, Layer
from workloads.cost.measure import Unmeasurable
from workloads.cost.remote import measure_all
from workloads.models.cells import make_cell
from workloads.models.cells.compiled import kernels
from workloads.models.cells.kernels import COMPILED, set_kernel

FRESH = """
import json, torch
from dataclasses import asdict
from workloads.cost import measure
from workloads.models.cells import make_cell
from workloads.models.cells.kernels import choose_kernel
torch.set_num_threads(1)
gru = measure.measure_cell("gru", "cpu")
cell, inputs = make_cell("gru", 96, 192), torch.randn(300, 24, 96, requires_grad=True)
choose_kernel(cell, torch.device("cpu"))
measure._measure(cell, inputs[:2], torch.device("cpu"))
print(json.dumps([asdict(gru), measure._measure(cell, inputs, torch.device("cpu"))]))
"""
"""In a process of its own, as measuring is meant to be: the heap of one that ran much before would be asked instead."""


@pytest.fixture(scope="module")
def measured() -> tuple[CellMemory, list[float]]:
    """Return what was measured of a GRU, and what another window of it takes by phase."""
    done = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=True, timeout=120)
    cell, window = json.loads(done.stdout)
    return CellMemory.from_plain(cell), window


@pytest.fixture
def gru(measured: tuple[CellMemory, list[float]]) -> CellMemory:
    return measured[0]


def test_windows_of_other_sizes_are_foretold(measured: tuple[CellMemory, list[float]]) -> None:
    gru, found = measured
    layer = Layer(gru, 96, 192)
    foretold = [layer.bytes(phase, 300, 24) for phase in ("kept", "forward", "backward", "inference")]
    assert foretold[:3] == pytest.approx(found[:3], rel=0.15)
    assert foretold[3] == pytest.approx(found[3], rel=0.4)  # the least of the four: what the heap has left counts most


def test_a_layer_keeps_no_less_than_the_tensors_of_its_graph(gru: CellMemory) -> None:
    cell, inputs = make_cell("gru", 48, 96), torch.randn(200, 24, 48, requires_grad=True)
    set_kernel(cell, COMPILED)
    others = {weight.data_ptr() for weight in (*cell.parameters(), inputs)}
    held: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in others:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs, _ = cell(inputs)
    assert outputs.shape == (200, 24, 96)
    assert Layer(gru, 48, 96).bytes("kept", 200, 24) > sum(held.values()) > 200 * 24 * 96 * 4


def test_the_way_back_takes_more_than_what_is_kept_and_a_pass_without_it_less(gru: CellMemory) -> None:
    kept, backward, inference = (
        Layer(gru, 128, 128).bytes(phase, 128, 32) for phase in ("kept", "backward", "inference")
    )
    assert inference < kept < backward


def test_a_cell_of_the_users_own_is_measured_like_any_other() -> None:
    found, unknown = measure_all([MEAN])
    assert unknown == {}
    mean = CellMemory.from_plain(found["cells"][MEAN])
    assert mean.count(10, 20) == 10 * 20 + 20
    # tanh, two products and their sum, all kept or made at every step, and the stack of them.
    assert Layer(mean, 128, 128).bytes("kept", 128, 32) > 128 * 32 * 128 * 4 * 2


def test_a_cell_that_cannot_be_run_is_unknown_with_its_reason_and_the_others_are_measured() -> None:
    found, unknown = measure_all([BROKEN, "rnn"])
    assert unknown == {BROKEN: "RuntimeError: no such kernel"}
    assert list(found["cells"]) == ["rnn"]
    assert found["base_bytes"] > 100e6


@pytest.mark.skipif(kernels() is None, reason="there is no C compiler")
def test_torchs_own_kernel_is_measured_where_it_is_asked_for() -> None:
    torch.set_num_threads(1)
    compiled, torchs = (measure.measure_cell("gru", "cpu", kernel=kernel) for kernel in ("auto", "torch"))
    assert Layer(torchs, 128, 128).bytes("kept", 128, 32) > 1.3 * Layer(compiled, 128, 128).bytes("kept", 128, 32)


def test_where_the_system_says_nothing_nothing_is_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(_device: torch.device) -> float:
        raise Unmeasurable("this system does not say what a process takes")

    monkeypatch.setattr(measure, "_resident", silent)
    found, unknown = measure_all(["lstm"])
    assert "base_bytes" not in found
    assert unknown == {"lstm": "this system does not say what a process takes"}


def test_random_numbers_are_as_they_were() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    measure_all(["rnn"])
    assert torch.equal(torch.rand(3), wanted)
