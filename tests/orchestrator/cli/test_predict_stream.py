"""`bptt predict --stream`: a line of JSON behind each piece, and a state that another call goes on from."""

from __future__ import annotations

import io
import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.checkpoints.storage import seal
from orchestrator.cli.main import run
from orchestrator.cli.predict_stream import answer_stream
from orchestrator.errors import UserError
from tests.orchestrator.cli.conftest import trained_checkpoint
from tests.workloads.untrained import FRONT_END, checkpoint, forecaster_of
from tests.workloads.waves import waves
from workloads.data.audio import features_of
from workloads.tasks.next_token import TextPredictor
from workloads.tasks.next_token import make_network as speller
from workloads.tasks.recall import RecallPredictor
from workloads.tasks.recall import make_network as rememberer
from workloads.tasks.transcribing import SpeechPredictor
from workloads.tasks.transcribing import make_network as transcriber

Capture = pytest.CaptureFixture[str]
Answers = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def answers(capsys: Capture) -> Answers:
    """Stream a source through a predictor; return the lines written."""

    def call(predictor: Any, source: Path | str, state: Path | None = None) -> list[dict[str, Any]]:
        capsys.readouterr()
        answer_stream(predictor.stream(), str(source), state)
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return call


def text_predictor(unit: str = "character", cell_type: str = "lstm") -> TextPredictor:
    vocabulary = ["?", "\n", *"abc "] if unit == "character" else ["?", "\n", "fox", "dog"]
    return TextPredictor(checkpoint(speller, {"vocabulary": vocabulary, "unit": unit}, cell_type))


def joined(found: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [value for answer in found for value in answer[name]] for name in found[0]}


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_each_line_of_a_text_is_answered_as_in_the_whole(tmp_path: Path, answers: Answers) -> None:
    text = "ab\ncab\nb"
    found = answers(text_predictor(), write(tmp_path / "text.txt", text))
    assert ["".join(answer["token"]) for answer in found] == ["ab\n", "cab\n", "b"]
    whole = joined(found)
    expected = text_predictor().stream().feed(text)
    assert whole["next"] == expected["next"]
    np.testing.assert_allclose(whole["log_probability"][1:], expected["log_probability"][1:], rtol=1e-5)


def test_a_text_of_windows_is_read_as_in_training_from_a_file_and_a_pipe(
    tmp_path: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"\xef\xbb\xbfab\r\ncab\r\n"
    (tmp_path / "text.txt").write_bytes(content)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="ascii", newline="\n"))
    for source in (tmp_path / "text.txt", "-"):
        assert joined(answers(text_predictor(), source))["token"] == [*"ab\ncab\n"]


def test_a_piece_is_answered_before_the_next_is_read(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    seen = []

    def typed() -> Iterator[str]:
        for line in ("a\n", "b\n"):
            yield line
            seen.append(json.loads(capsys.readouterr().out)["token"])

    monkeypatch.setattr("sys.stdin", typed())
    answer_stream(text_predictor().stream(), "-", None)
    assert seen == [["a", "\n"], ["b", "\n"]]


def test_what_waited_is_answered_at_the_end_unless_a_state_is_kept(tmp_path: Path, answers: Answers) -> None:
    source, state = write(tmp_path / "text.txt", "fox\nfox do"), tmp_path / "state"
    assert joined(answers(text_predictor("word"), source))["token"] == ["fox", "\n", "fox", "do"]
    assert joined(answers(text_predictor("word"), source, state))["token"] == ["fox", "\n", "fox"]
    assert joined(answers(text_predictor("word"), write(source, "g\n"), state))["token"] == ["dog", "\n"]


def test_a_sequence_is_recalled_from_where_it_was_left(tmp_path: Path, answers: Answers) -> None:
    facts = {"task": "copy", "lag": 4, "symbols": 12, "pattern_length": 2}
    predictor = RecallPredictor(checkpoint(rememberer, facts, "gru"))
    source, state = tmp_path / "steps.txt", tmp_path / "state"
    assert answers(predictor, write(source, "10 1"), state) == [{"answer": []}]
    found = answers(predictor, write(source, "1 _ _ ? ?\n"), state)
    whole = predictor.predict({"sequence": ["10 11 _ _ ? ?"]}, {})["answers"][0]
    assert found == [{"answer": whole.split()}]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_every_row_has_its_forecast_and_a_state_goes_on(form: str, tmp_path: Path, answers: Answers) -> None:
    predictor = forecaster_of(tmp_path, "gru", target="tide", covariates=["wind"], transform="log_return", lags=[2])
    table = waves()[:12]
    source, state = tmp_path / f"rows.{form}", tmp_path / "state"
    found = []
    for part in (table[:5], table[5:]):
        part.to_csv(source, index=False) if form == "csv" else part.to_json(source, orient="records", lines=True)
        found += answers(predictor, source, state)
    assert len(found) == len(table)
    assert [len(answer["tide"]) for answer in found[:3]] == [0, 2, 2]  # a return takes two rows
    for count in (2, 5, 6, 12):
        whole = predictor.predict(table[:count].to_dict("list"), {})
        np.testing.assert_allclose(found[count - 1]["tide"], whole["tide"], rtol=1e-5)


def test_a_json_list_is_one_piece_with_rows_known_ahead(tmp_path: Path, answers: Answers) -> None:
    predictor = forecaster_of(tmp_path, "gru", target="tide", known=["wind"])
    table = waves()[:8]
    ahead = table[["date", "wind"]].to_dict("records")
    rows = table.to_dict("records")
    lines = [json.dumps([rows[place], *ahead[place + 1 : place + 3]]) for place in range(6)]
    found = answers(predictor, write(tmp_path / "rows.jsonl", "\n".join(lines)))
    whole = predictor.predict(pd.DataFrame([*rows[:6], *ahead[6:]]).to_dict("list"), {})
    np.testing.assert_allclose(found[-1]["tide"], whole["tide"], rtol=1e-5)
    with pytest.raises(UserError, match="piece 1: history: wind must be known 2 rows ahead"):
        answers(predictor, write(tmp_path / "rows.jsonl", json.dumps(rows[0])))


def test_a_row_that_is_none_is_named_and_those_before_it_count(tmp_path: Path, answers: Answers) -> None:
    predictor = forecaster_of(tmp_path, "gru", target="tide", covariates=["wind"])
    source, state = tmp_path / "rows.csv", tmp_path / "state"
    source.write_text("date,tide,wind\n2020-01-01,20,5\n2020-01-02,x,5\n")
    with pytest.raises(UserError, match="piece 2: history"):
        answers(predictor, source, state)
    source.write_text("date,tide,wind\n2020-01-02,21,5\n")
    found = answers(predictor, source, state)
    whole = predictor.predict({"date": ["2020-01-01", "2020-01-02"], "tide": [20, 21], "wind": [5, 5]}, {})
    np.testing.assert_allclose(found[0]["tide"], whole["tide"], rtol=1e-5)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "no rows"),
        ("date,tide\n2020-01-01\n", "line 2: 1 values, where the header names 2"),
        ('{"date": 1', "line 1: not JSON"),
        ("[]", "line 1: a JSON object is needed"),
        ('{"tide": 1}', "piece 1: history: there is no column 'wind'"),
        ("\xff", "is no text in UTF-8"),
    ],
)
def test_input_that_is_no_table_is_said_in_one_line(
    content: str, expected: str, tmp_path: Path, answers: Answers
) -> None:
    predictor = forecaster_of(tmp_path, "gru", target="tide", covariates=["wind"])
    (tmp_path / "rows.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=expected):
        answers(predictor, tmp_path / "rows.csv")


def recording(path: Path, rate: int, seconds: float = 3.2) -> tuple[Path, np.ndarray]:
    soundfile = pytest.importorskip("soundfile", reason="the extra `speech` is not installed")
    sound = np.random.default_rng(1).normal(0, 0.1, int(rate * seconds))
    soundfile.write(path, sound, rate, subtype="FLOAT")
    return path, sound


def speech_predictor() -> SpeechPredictor:
    facts = {"symbols": ["", *"ab c"], "unit": "character", "front_end": FRONT_END}
    return SpeechPredictor(checkpoint(transcriber, facts, "min_gru"))


def test_a_recording_is_transcribed_as_it_is_heard(tmp_path: Path, answers: Answers) -> None:
    path, sound = recording(tmp_path / "sound.wav", 2000)
    found = [answer["transcript"] for answer in answers(speech_predictor(), path)]
    whole = speech_predictor().predict({"audio": [sound.tolist()]}, {})["transcript"][0]
    assert len(whole) > 5
    assert found[-1] == whole
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(found))
    assert [len(text) > 0 for text in found[:2]] == [True, True]
    assert 7 <= len(found) <= 8  # half a second each, and what waited at the end


def test_a_recording_comes_through_a_pipe(tmp_path: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = recording(tmp_path / "sound.wav", 2000)
    expected = answers(speech_predictor(), path)
    reading, writing = os.pipe()
    os.write(writing, path.read_bytes())  # less than a pipe holds
    os.close(writing)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(fileno=lambda: reading))
    assert answers(speech_predictor(), "-") == expected
    os.close(reading)


def test_a_recording_at_another_rate_is_converted_piece_by_piece(tmp_path: Path) -> None:
    pytest.importorskip("soxr", reason="the extra `speech` is not installed")
    from workloads.data.sound_pieces import read_pieces

    path, sound = recording(tmp_path / "sound.wav", 3000)
    found = np.concatenate([*read_pieces(path, 2000, seconds=0.1)])
    features = features_of(sound.astype(np.float32), 3000, FRONT_END)
    np.testing.assert_allclose(features_of(found, 2000, FRONT_END), features, atol=1e-2)


def test_a_transcript_goes_on_from_a_state(tmp_path: Path, answers: Answers) -> None:
    soundfile = pytest.importorskip("soundfile", reason="the extra `speech` is not installed")
    path, sound = recording(tmp_path / "sound.wav", 2000)
    whole = answers(speech_predictor(), path, tmp_path / "whole")[-1]
    for part in (sound[:2222], sound[2222:]):
        soundfile.write(path, part, 2000, subtype="FLOAT")
        found = answers(speech_predictor(), path, tmp_path / "state")
    assert found[-1] == whole
    recording(path, 3000)
    with pytest.raises(UserError, match="has 3000 Hz, and the model hears 2000"):
        answers(speech_predictor(), path, tmp_path / "state")


def test_a_state_that_is_none_or_another_models_is_left_alone(tmp_path: Path, answers: Answers) -> None:
    source, state = write(tmp_path / "text.txt", "ab"), tmp_path / "state"
    answers(text_predictor(), source, state)
    kept = state.read_bytes()
    with pytest.raises(UserError, match="another model's"):
        answers(text_predictor(cell_type="gru"), source, state)
    assert state.read_bytes() == kept
    for content, expected in [
        (b"torn", "not a whole checkpoint"),
        (seal(checkpoint(speller, {"vocabulary": ["?", "a"], "unit": "word"}, "gru")), "holds no state of a stream"),
    ]:
        state.write_bytes(content)
        with pytest.raises(UserError, match=expected):
            answers(text_predictor(), source, state)
        assert state.read_bytes() == content
    with pytest.raises(UserError, match="no folder"):
        answers(text_predictor(), source, tmp_path / "nowhere" / "state")


def test_ctrl_c_while_a_piece_is_waited_for_ends_the_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: Answers
) -> None:
    def typed() -> Iterator[str]:
        yield "ab\n"
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin", typed())
    assert len(answers(text_predictor(), "-", tmp_path / "state")) == 1
    assert (tmp_path / "state").is_file()


def test_the_command_streams_and_refuses_what_does_not_go_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    facts = {"vocabulary": ["?", "\n", *"abc"], "unit": "character"}
    model = trained_checkpoint(tmp_path, "language_model", checkpoint(speller, facts, "gru"))
    monkeypatch.setattr("sys.stdin", io.StringIO("ab\ncab"))
    assert run(["predict", model, "--stream"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["token"], second["token"]) == ([*"ab\n"], [*"cab"])
    for given, expected in [
        (["--state", "s"], "--state belongs to --stream"),
        (["--stream", "--prompt", "a"], "goes without --prompt, --set and -o"),
        (["--stream", "nowhere.txt"], "INPUT: nowhere.txt cannot be read"),
    ]:
        assert run(["predict", model, *given]) == 2
        errors = capsys.readouterr().err
        assert expected in errors
        assert errors.count("\n") == 1
