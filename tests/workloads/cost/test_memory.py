"""The memory of a trial: predictions that grow as they must, and come near what is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import workloads
from workloads.cost import networks
from workloads.cost.cells import ROUGH, Calibration, Layer
from workloads.cost.memory import APART, AS_IT_IS, NO_HEAP, Heap, at_most, peak_memory
from workloads.cost.networks import KERNEL_BYTES, MOST_KERNELS, NUMBER, Held, longest_window, network_of
from workloads.cost.sizes import Sizes
from workloads.heap import CHOICES
from workloads.hyperparameters import Hyperparameters
from workloads.protocol import Dataset

TEXT = Sizes(output_size=100, vocabulary_size=100, data_bytes=0, evaluation_streams=16)
# Wider networks are evaluated in shorter windows, which may take less; here it is always one step.
STEPWISE = replace(TEXT, evaluation_steps=1)
SPEECH = Sizes(output_size=30, input_size=80, data_bytes=0, longest=(400,))
SENTENCES = Sizes(output_size=500, vocabulary_size=1000, data_bytes=0, longest=(40, 50))
PLAIN = {"optimizer": "SGD", "dropout": 0.0, "layer_norm": False}
NUMBERS = ("hidden_size", "num_layers", "batch_size", "truncation_length", "embedding_size")


def predicted(sizes: Sizes = TEXT, **params: Any) -> float:
    return peak_memory(Hyperparameters(**params), sizes, ROUGH)


@given(
    sizes=st.sampled_from([STEPWISE, SPEECH, SENTENCES]),
    of=st.fixed_dictionaries({name: st.integers(1, 300) for name in NUMBERS}),
    name=st.sampled_from(NUMBERS),
    more=st.integers(1, 200),
    other=st.fixed_dictionaries(
        {
            "optimizer": st.sampled_from(["SGD", "Adam", "RMSprop"]),
            "dropout": st.sampled_from([0.0, 0.5]),
            "layer_norm": st.booleans(),
        }
    ),
)
@example(STEPWISE, dict.fromkeys(NUMBERS, 1) | {"hidden_size": 158}, "hidden_size", 1, PLAIN)
@example(STEPWISE, dict.fromkeys(NUMBERS, 1) | {"hidden_size": 80, "num_layers": 1}, "num_layers", 1, PLAIN)
def test_no_size_takes_less_memory_when_it_grows(
    sizes: Sizes, of: dict[str, int], name: str, more: int, other: dict[str, Any]
) -> None:
    params = {**of, **other, "num_layers": of["num_layers"] % 4 + 1}
    grown = {**params, name: params[name] + more}
    assert predicted(sizes, **grown) >= predicted(sizes, **params)


def test_a_window_never_takes_more_than_the_stream_has() -> None:
    short = replace(TEXT, training_steps=3200)
    whole = predicted(short, truncation_length=100, batch_size=32)
    assert predicted(short, truncation_length=10**9, batch_size=32) == whole
    assert predicted(short, truncation_length=50, batch_size=32) < whole


def test_optimisers_are_told_apart_by_what_they_keep() -> None:
    plain, momentum, adam = (
        predicted(hidden_size=2048, **given)
        for given in ({"optimizer": "SGD"}, {"optimizer": "SGD", "momentum": 0.9}, {"optimizer": "Adam"})
    )
    assert plain < momentum < adam


def test_the_vocabulary_is_most_of_a_word_models_window() -> None:
    many = replace(TEXT, output_size=10_000, vocabulary_size=10_000)
    outputs = 32 * 64 * 10_000 * NUMBER
    assert 3 * outputs < predicted(many) - predicted(TEXT) < 8 * outputs


@pytest.mark.parametrize("heap", [APART, AS_IT_IS])
def test_a_part_of_another_phases_blocks_stays(heap: Heap) -> None:
    small, large = Held().add(1e6, 20), Held().add(100e6)
    assert at_most([[small]], heap) == 20e6 * (1 + heap.holes)
    assert at_most([[large]], heap) == 100e6 + heap.holes * heap.large
    assert at_most([[small], [large]], heap) == at_most([[large]], heap) + heap.kept_free * 20e6
    assert at_most([[Held().add(1e6, 1000)]], heap) == 1000e6 * (1 + heap.holes)
    many = Held().add(1e6, 99)
    beside = Held().add(1e6, 20).add_steps(80e6).beside(many)
    assert at_most([[many], [beside]], heap) == 199e6 + heap.holes * 119e6 + heap.kept_free * 99e6
    assert at_most([[many, small], [large]], NO_HEAP) == 100e6


def test_updates_with_blocks_of_huge_pages_on_the_heap_take_more() -> None:
    h, apart = Hyperparameters(cell_type="lstm", batch_size=16, truncation_length=64), replace(ROUGH, is_apart=True)
    around = ((510, 515), (1022, 1027))  # 2 MB, from which there are huge pages, and 4 MB, which are held apart
    sizes = [[replace(TEXT, output_size=size, vocabulary_size=size) for size in pair] for pair in around]
    (small, shared), (largest, held_apart) = ([peak_memory(h, each, apart) for each in pair] for pair in sizes)
    assert shared - small == pytest.approx(APART.shared, rel=0.1)
    assert held_apart - largest == pytest.approx(-APART.shared, rel=0.1)


def test_what_a_kernel_works_in_is_counted_once_for_the_largest_layer() -> None:
    h = Hyperparameters(cell_type="lstm", num_layers=3)
    cells = {"lstm": replace(ROUGH.cells["lstm"], room=(1e6, 4.0))}
    more = peak_memory(h, TEXT, replace(ROUGH, cells=cells)) - peak_memory(h, TEXT, ROUGH)
    assert more == pytest.approx(1e6 + 4 * network_of(h, TEXT, cells["lstm"]).layers[0].weights)


def test_a_process_left_to_itself_takes_more_than_one_that_holds_large_tensors_apart() -> None:
    h = Hyperparameters(cell_type="lstm", hidden_size=512, batch_size=32, truncation_length=128)
    words, apart = replace(TEXT, output_size=2000, vocabulary_size=2000), replace(ROUGH, is_apart=True)
    assert peak_memory(h, words, ROUGH) > 1.03 * peak_memory(h, words, apart)


def test_random_windows_are_expected_longer_than_their_mean() -> None:
    h = Hyperparameters(truncation_length=10)
    assert longest_window(h) == 10


def test_what_was_measured_survives_being_stored() -> None:
    for known in (ROUGH, replace(ROUGH, is_apart=True)):
        assert Calibration.from_plain(json.loads(json.dumps(known.plain()))) == known


@pytest.mark.parametrize("kind", ["language_model", "memory"])
def test_the_weights_counted_are_those_of_the_network(kind: str) -> None:
    from workloads.cost.measure import weights_of

    workload: Any = workloads.load(kind, {})
    dataset = workload.prepare()
    params = {"cell_type": "gru", "hidden_size": 24, "num_layers": 3, "layer_norm": True, "embedding_size": 10}
    task, h = workload.begin(params, dataset)
    cell = replace(ROUGH.cells["gru"], weights=weights_of("gru"))
    network = network_of(h, workload.sizes(dataset), cell)
    assert sum(network.blocks) == sum(weight.numel() for weight in task.network.parameters())
    assert Layer(cell, 10, 24).weights == 3 * 24 * (10 + 24 + 2)


@pytest.mark.parametrize("attention", ["additive", "dot"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_weights_of_a_translator_are_counted_from_above(bidirectional: bool, attention: str) -> None:
    from workloads.cost.measure import weights_of
    from workloads.models.translator import Translator

    h = Hyperparameters(hidden_size=24, num_layers=2, bidirectional=bidirectional, attention=attention)
    real = Translator(h, source_vocabulary=400, target_vocabulary=600)
    cell = replace(ROUGH.cells["lstm"], weights=weights_of("lstm"))
    sizes = replace(SENTENCES, output_size=600, vocabulary_size=1000)
    count = sum(weight.numel() for weight in real.parameters())
    assert count <= sum(network_of(h, sizes, cell).blocks) <= 1.1 * count


TRAIN = """
import json, sys, tempfile
from pathlib import Path
import numpy as np, torch
torch.set_num_threads(1)
import workloads
from tests.conftest import FolderStorage
from workloads.cost.cells import Calibration
from workloads.cost.memory import peak_memory
from workloads.cost.remote import measure_all
from workloads.protocol import Dataset
params = json.loads(sys.argv[1])
tokens = np.arange(60_000, dtype=np.int32) % 2000
facts = {"vocabulary": [str(number) for number in range(2000)], "unit": "word"}
dataset = Dataset("", {"train": tokens, "valid": tokens[:8000]}, facts, "", "")
workload = workloads.load("language_model", {"unit": "word"})
calibration = Calibration.from_plain(measure_all([params["cell_type"]])[0])
_, h = workload.begin(params, dataset)
predicted = peak_memory(h, workload.sizes(dataset), calibration) / 1e6
with tempfile.TemporaryDirectory() as folder:
    trained = list(workload.train(params, dataset, FolderStorage(Path(folder))))
print(json.dumps([predicted, trained[-1].metrics["peak_memory_mb"], calibration.base_bytes / 1e6]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{}, {"THP_MEM_ALLOC_ENABLE": "0"}], ids=["apart", "as it is"])
def test_a_prediction_comes_near_what_training_takes(environment: dict[str, str]) -> None:
    params = {"cell_type": "lstm", "hidden_size": 128, "truncation_length": 128, "batch_size": 64, "evaluations": 2}
    command = [sys.executable, "-c", TRAIN, json.dumps({**params, "sequence_steps": 2 * 2 * 128 * 64})]
    whole = {name: value for name, value in os.environ.items() if name not in CHOICES} | environment
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=whole)
    predicted_mb, measured_mb, base_mb = json.loads(done.stdout)
    assert measured_mb - base_mb > 100  # else the base alone would do
    assert abs(predicted_mb / measured_mb - 1) < 0.2


def test_data_count_once() -> None:
    arrays = {"train": np.zeros(1000, np.int32), "valid": np.zeros(100, np.int32)}
    dataset = Dataset("", arrays, {"vocabulary": ["a", "b"], "unit": "word"}, "", "")
    workload: Any = workloads.load("language_model", {})
    assert workload.sizes(dataset).data_bytes == 4400


@pytest.mark.parametrize(("steps", "layers", "kernels"), [(10, 1, 20), (10, 3, 60), (400, 3, MOST_KERNELS)])
def test_sequences_have_a_kernel_for_each_length_up_to_what_is_kept_of_them(
    steps: int, layers: int, kernels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, h = replace(SPEECH, longest=(steps,)), Hyperparameters(num_layers=layers)
    network = network_of(h, sizes, ROUGH.cells["lstm"])
    [with_kernels] = network.update()
    monkeypatch.setattr(networks, "KERNEL_BYTES", 0.0)
    [without] = network.update()
    assert with_kernels.total - without.total == pytest.approx(kernels * KERNEL_BYTES)
