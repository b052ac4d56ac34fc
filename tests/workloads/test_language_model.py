"""The language model: tokens, baselines, learning, and the trained model continuing prompts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import workloads
from tests.conftest import FolderStorage
from workloads.data.catalogue import ENTRIES, data_root
from workloads.data.text import UNKNOWN, encode, join, tokenize, vocabulary_of
from workloads.language_model import unigram_loss
from workloads.protocol import Predictor

SMALL: dict[str, Any] = {"hidden_size": 24, "batch_size": 4, "truncation_length": 16, "learning_rate": 1e-2}
BUDGET = {"sequence_steps": 40_000, "evaluations": 2}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def trained(path: Path, unit: str, storage: FolderStorage) -> tuple[Predictor, dict[str, float]]:
    workload = workloads.load("language_model", {"text": str(path), "unit": unit})
    *_, last = workload.train({**SMALL, **BUDGET}, workload.prepare(), storage)
    return workload.predictor(storage.read(last.checkpoint)), dict(last.metrics)


@given(st.text(max_size=60))
def test_characters_put_together_are_the_text(text: str) -> None:
    assert join(tokenize(text, "character"), "character") == text


@given(st.lists(st.lists(st.from_regex(r"[^\s]{1,6}", fullmatch=True), min_size=1, max_size=6), min_size=1, max_size=4))
def test_words_put_together_are_the_text_lines_and_all(lines: list[list[str]]) -> None:
    text = "\n".join(" ".join(words) for words in lines)
    assert join(tokenize(text, "word"), "word") == text
    assert tokenize(text, "word").count("\n") == len(lines) - 1


def test_rare_and_unseen_words_become_the_unknown_one() -> None:
    vocabulary = vocabulary_of(["b", "a", "b", "c", "a", "b"], 3)
    assert vocabulary == [UNKNOWN, "b", "a"]
    assert encode(["a", "c", "never", "b"], vocabulary).tolist() == [2, 0, 0, 1]


def test_the_vocabulary_is_that_of_the_training_part_alone(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("ab" * 90 + "cd" * 10)
    dataset = workloads.load("language_model", {"text": str(path)}).prepare()
    assert dataset.facts["vocabulary"] == [UNKNOWN, "a", "b"]
    assert dataset.arrays["train"].size == 180
    assert set(dataset.arrays["valid"].tolist()) == {0}


def test_the_unigram_baseline_is_the_entropy_of_the_frequencies() -> None:
    tokens = np.array([1, 1, 1, 2] * 2500)
    expected = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert unigram_loss(tokens, tokens, 3) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("unit", ["character", "word"])
def test_a_text_that_repeats_itself_is_learnt_and_continued(unit: str, text_file: Path, storage: FolderStorage) -> None:
    predictor, metrics = trained(text_file, unit, storage)
    assert metrics["valid_loss"] < 0.5
    assert metrics[f"valid_bits_per_{unit}"] == pytest.approx(metrics["valid_loss"] / math.log(2))
    assert metrics["valid_perplexity"] == pytest.approx(math.exp(metrics["valid_loss"]))
    prompt = "the quick brown fox jumps over"
    likeliest = {"length": 13 if unit == "character" else 3, "temperature": 0}
    answer = predictor.predict({"prompt": [prompt]}, likeliest)["text"][0]
    assert answer == f"{prompt} the lazy dog."[: len(answer)]
    assert answer.startswith(f"{prompt} the la")


def test_sampling_depends_on_its_seed_and_on_nothing_else(text_file: Path, storage: FolderStorage) -> None:
    predictor, _ = trained(text_file, "character", storage)
    warm = {"length": 40, "temperature": 2.0}
    first, again, other = (
        predictor.predict({"prompt": ["the "]}, {**warm, "seed": seed})["text"] for seed in (1, 1, 2)
    )
    assert first == again != other
    assert len(first[0]) == len("the ") + 40


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_prompts_of_all_lengths_are_continued_together_as_each_is_alone(
    temperature: float, text_file: Path, storage: FolderStorage
) -> None:
    predictor, _ = trained(text_file, "character", storage)
    options = {"length": 20, "temperature": temperature, "seed": 3}
    prompts = ["the quick brown", "", "dog", "the quick brown fox jumps over", "d", *["the "] * 70]
    together = predictor.predict({"prompt": prompts}, options)["text"]
    alone = {prompt: predictor.predict({"prompt": [prompt]}, options)["text"][0] for prompt in set(prompts)}
    assert together == [alone[prompt] for prompt in prompts]


def test_an_extreme_temperature_is_as_good_as_none(text_file: Path, storage: FolderStorage) -> None:
    predictor, _ = trained(text_file, "character", storage)
    cold, frozen = (
        predictor.predict({"prompt": ["the "]}, {"length": 9, "temperature": t})["text"] for t in (0, 1e-45)
    )
    assert cold == frozen
    assert len(predictor.predict({"prompt": ["the "]}, {"length": 9, "temperature": 1e30})["text"][0]) == 13


def test_odd_prompts_are_continued(text_file: Path, storage: FolderStorage) -> None:
    predictor, _ = trained(text_file, "word", storage)
    for prompt in ("", "  ", "\n", "never seen \N{SNOWMAN}", "the\n"):
        text = predictor.predict({"prompt": [prompt]}, {"length": 3, "temperature": 0})["text"][0]
        assert text.startswith(prompt)
        assert UNKNOWN not in text
        assert predictor.predict({"prompt": [prompt]}, {"length": 0})["text"] == [prompt]


@pytest.mark.parametrize(
    ("columns", "options"),
    [
        ({"text": ["a"]}, {}),
        ({"prompt": ["a"]}, {"temperature": -1.0}),
        ({"prompt": ["a"]}, {"temperature": float("nan")}),
        ({"prompt": ["a"]}, {"temperature": float("inf")}),
        ({"prompt": ["a"]}, {"seed": 10**30}),
        ({"prompt": ["a", float("nan")]}, {}),
        ({"prompt": [None]}, {}),
    ],
)
def test_what_cannot_be_continued_is_refused(
    columns: dict[str, list[Any]], options: dict[str, Any], text_file: Path, storage: FolderStorage
) -> None:
    predictor, _ = trained(text_file, "character", storage)
    with pytest.raises(ValueError, match=r"prompt|negative"):
        predictor.predict(columns, options)


@pytest.mark.parametrize("content", ["", "a", "abc"])
def test_a_text_too_short_to_train_on_is_refused_by_name(content: str, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"workload\.text: .* too few to train and validate on"):
        workloads.load("language_model", {"text": str(path)}).prepare()


def test_the_default_text_comes_with_python() -> None:
    dataset = workloads.load("language_model", {}).prepare()
    assert sum(array.size for array in dataset.arrays.values()) > 400_000
    assert "pydoc_data" in dataset.source


def test_tinyshakespeare_is_the_published_one() -> None:
    path = data_root() / str(ENTRIES["tinyshakespeare"].file)
    if not path.is_file():
        pytest.skip(f"tinyshakespeare is not at {path}")
    dataset = workloads.load("language_model", {"text": "tinyshakespeare"}).prepare()
    assert {name: array.size for name, array in dataset.arrays.items()} == {"train": 1_003_854, "valid": 111_540}
    assert len(dataset.facts["vocabulary"]) == 65 + 1  # the unknown token
    assert dataset.baselines["unigram/valid_loss"] == pytest.approx(3.35, abs=0.01)
