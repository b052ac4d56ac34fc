"""Sentences given to `bptt predict`, and what `bptt train` says of a translator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli.main import run

pytest.importorskip("sentencepiece", reason="the extra `translation` is not installed")
pytest.importorskip("sacrebleu", reason="the extra `translation` is not installed")

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("translator")
    (folder / "pairs.tsv").write_text("".join(f"number {n}\tnombre {n}\n" for n in range(100)) + "no tab\n")
    return folder


def train(folder: Path, *given: str) -> int:
    small = [f"corpus={folder / 'pairs.tsv'}", "vocabulary_size=40", "hidden_size=8", "sequence_steps=400"]
    options = [part for each in [*small, "evaluations=1", "batch_size=4", *given] for part in ("--set", each)]
    return run(["train", "translation", *options, "--out", str(folder / "run")])


@pytest.fixture(scope="module")
def trained(folder: Path) -> str:
    assert train(folder) == 0
    return str(folder / "run")


def test_prompts_are_sentences_to_translate(trained: str, capsys: Capture) -> None:
    assert run(["predict", trained]) == 0
    assert "--prompt 'number " in capsys.readouterr().out
    sentences = ["--prompt", "number 7", "--prompt", "number 8"]
    assert run(["predict", trained, *sentences, "--set", "beam_width=2", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["source"] for row in rows] == ["number 7", "number 8"]
    assert all(isinstance(row["translation"], str) for row in rows)


def test_a_table_of_sentences_is_translated_row_by_row(trained: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "texts.csv").write_text("text\nnumber 7\nnumber 8\n")
    assert run(["predict", trained, str(tmp_path / "texts.csv"), "-o", str(tmp_path / "out.csv")]) == 0
    assert (tmp_path / "out.csv").read_text().splitlines()[0] == "text,translation"
    (tmp_path / "texts.csv").write_text("sentence\nnumber 7\n")
    assert run(["predict", trained, str(tmp_path / "texts.csv")]) == 2
    assert "a column `source` of sentences is needed; given: sentence" in capsys.readouterr().err


def test_a_translator_is_neither_fed_piece_by_piece_nor_exported(trained: str, capsys: Capture) -> None:
    assert run(["predict", trained, "--stream"]) == 2
    assert capsys.readouterr().err.startswith("bptt: --stream: a translator reads the whole sentence before")
    assert run(["export", trained, "--format", "torch", "-o", "translator.pt2"]) == 2
    assert "the model is a Translator, which reads whole sequences" in capsys.readouterr().err


def test_training_says_what_was_skipped_how_bleu_is_counted_and_how_to_use_the_model(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "pairs.tsv").write_text((folder / "pairs.tsv").read_text())
    assert train(tmp_path) == 0
    shown = capsys.readouterr().out
    assert "1 pairs skipped: no tab in the line (1)" in shown
    assert "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:" in shown
    assert "--prompt 'number " in shown


def test_a_corpus_that_cannot_be_read_is_the_users_mistake_in_one_line(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "pairs.tsv").write_bytes(b"")
    assert train(tmp_path) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("bptt: --set corpus: ")
    assert "is empty" in errors
    assert errors.count("\n") == 1
