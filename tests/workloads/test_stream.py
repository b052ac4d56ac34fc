"""A stream answers what the whole sequence at once would be answered, for every cell and however it is cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.workloads.untrained import FRONT_END, checkpoint, forecaster_of
from tests.workloads.waves import waves
from workloads.checkpoint import pack, unpack
from workloads.data.audio import features_of
from workloads.data.sound_stream import FeatureStream
from workloads.models.cells import BUILTIN
from workloads.tasks.forecast_predictor import ForecastPredictor
from workloads.tasks.next_token import TextPredictor
from workloads.tasks.next_token import make_network as speller
from workloads.tasks.recall import RecallPredictor
from workloads.tasks.recall import make_network as rememberer
from workloads.tasks.transcribing import SpeechPredictor
from workloads.tasks.transcribing import make_network as transcriber

CELLS = sorted(BUILTIN)
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
cuts = st.lists(st.integers(0, 100), max_size=8)
TINY = [0, 0, *range(0, 101, 4)]
"""Cuts so close that many pieces are a step or none."""
few_and_many = pytest.mark.parametrize(
    "examples", [pytest.param(2, id="few"), pytest.param(60, id="many", marks=pytest.mark.slow)]
)


def for_any_cuts(examples: int, check: Callable[[list[int]], None]) -> None:
    """Look for cuts, percents of the length, at which `check` fails."""

    @given(places=cuts)
    @example(places=TINY)
    @settings(max_examples=examples, deadline=None)
    def holds(places: list[int]) -> None:
        check(places)

    holds()


def pieces(whole: Any, places: Sequence[int]) -> Iterator[Any]:
    """Cut at percents of the length; pieces may be empty."""
    stops = sorted(place * len(whole) // 100 for place in places)
    for start, stop in zip([0, *stops], [*stops, len(whole)], strict=True):
        yield whole[start:stop]


def fed(stream: Any, parts: Any) -> dict[str, list[Any]]:
    """Feed all parts and finish; return the answers as one table."""
    answers: dict[str, list[Any]] = {}
    for answer in (*map(stream.feed, parts), stream.finish()):
        for name, column in answer.items():
            answers.setdefault(name, []).extend(column)
    return answers


@few_and_many
@pytest.mark.parametrize("cell_type", CELLS)
def test_text_in_pieces_has_the_log_probabilities_of_the_whole(cell_type: str, examples: int) -> None:
    facts = {"vocabulary": ["?", *"abc "], "unit": "character"}
    predictor = TextPredictor(checkpoint(speller, facts, cell_type))
    text = "abc cab bac a" * 2
    numbers = torch.tensor([facts["vocabulary"].index(letter) for letter in text])
    with torch.no_grad():
        logs = torch.log_softmax(predictor.network(numbers[:, None])[0][:, 0], -1)
    own, following = logs[:-1].gather(1, numbers[1:, None])[:, 0], logs[:, 1:].max(-1).values

    def check(places: list[int]) -> None:
        answer = fed(predictor.stream(), pieces(text, places))
        assert answer["token"] == list(text)
        assert answer["log_probability"][0] is None
        np.testing.assert_allclose(answer["log_probability"][1:], own, **TOLERANCE)
        np.testing.assert_allclose(answer["next_log_probability"], following, **TOLERANCE)

    for_any_cuts(examples, check)


@few_and_many
def test_words_are_whole_however_text_is_cut(examples: int) -> None:
    facts = {"vocabulary": ["?", "\n", "fox", "dog"], "unit": "word"}
    predictor = TextPredictor(checkpoint(speller, facts, "gru"))
    words = ["fox", "dog", "\n", "fox", "dogs", "\n", "\n", "dog"]

    def check(places: list[int]) -> None:
        assert fed(predictor.stream(), pieces("fox  dog\nfox dogs\n\ndog", places))["token"] == words

    for_any_cuts(examples, check)


@few_and_many
@pytest.mark.parametrize("cell_type", CELLS)
def test_rows_in_pieces_have_the_forecasts_of_each_history(cell_type: str, examples: int, tmp_path: Path) -> None:
    options = {"target": ["tide", "wind"], "lags": [3, 7], "transform": "log_return", "calendar": ["day_of_year"]}
    check_forecasts(examples, forecaster_of(tmp_path, cell_type, **options))


@pytest.mark.parametrize(
    "options",
    [{"transform": "difference", "lags": [2]}, {"transform": "log_volatility"}, {"quantiles": [0.1, 0.5, 0.9]}],
    ids=["difference", "volatility", "quantiles"],
)
@few_and_many
def test_every_transform_is_carried_over_the_cuts(options: dict[str, Any], examples: int, tmp_path: Path) -> None:
    check_forecasts(examples, forecaster_of(tmp_path, "gru", target="tide", covariates=["wind"], **options))


@cache
def rows() -> pandas.DataFrame:
    return waves()[:14]


def check_forecasts(examples: int, predictor: ForecastPredictor) -> None:
    """Compare each row's forecasts with those of the history up to it, told apart by the dates that both know."""
    whole: dict[str, pandas.DataFrame] = {}

    def check(places: list[int]) -> None:
        answer = pandas.DataFrame(fed(predictor.stream(), (part.to_dict("list") for part in pieces(rows(), places))))
        for date, forecast in answer.groupby("date"):
            if date not in whole:
                history = rows()[rows()["date"] <= date]
                whole[date] = pandas.DataFrame(predictor.predict(history.to_dict("list"), {}))
            names = [name for name in whole[date].columns if name not in ("step", "date")]
            np.testing.assert_allclose(forecast[names], whole[date][names], **TOLERANCE)
        assert 2 * (len(rows()) - 6) < len(answer) <= 2 * len(rows())

    for_any_cuts(examples, check)


@few_and_many
@pytest.mark.parametrize("stack", [1, 3])
@pytest.mark.parametrize("hop", [5.0, 40.0])
@pytest.mark.parametrize("length", [1, 49, 50, 700])
def test_sound_in_pieces_has_the_features_of_the_whole(length: int, hop: float, stack: int, examples: int) -> None:
    front_end = {**FRONT_END, "stack": stack, "hop_ms": hop}
    sound = np.random.default_rng(0).normal(0, 0.1, length).astype(np.float32)
    whole = features_of(sound, 2000, front_end)

    def check(places: list[int]) -> None:
        stream = FeatureStream(front_end)
        found = [*(stream.feed(part) for part in pieces(sound, places)), stream.finish()]
        np.testing.assert_allclose(np.concatenate(found), whole, **TOLERANCE)

    for_any_cuts(examples, check)


@few_and_many
@pytest.mark.parametrize("cell_type", CELLS)
def test_sound_in_pieces_has_the_logits_and_the_transcript_of_the_whole(cell_type: str, examples: int) -> None:
    facts = {"symbols": ["", *"ab c"], "unit": "character", "front_end": FRONT_END}
    predictor = SpeechPredictor(checkpoint(transcriber, facts, cell_type))
    sound = np.random.default_rng(1).normal(0, 0.1, 1500).astype(np.float32)
    features = torch.from_numpy(features_of(sound, 2000, FRONT_END))
    with torch.no_grad():
        whole = predictor.network(features[:, None], torch.tensor([len(features)]))[:, 0]
    transcript = predictor.predict({"audio": [sound.tolist()]}, {})["transcript"][0]

    def check(places: list[int]) -> None:
        stream = predictor.stream()
        heard = torch.cat([stream.hear(part) for part in pieces(sound, places)])
        np.testing.assert_allclose(heard, whole[: len(heard)], **TOLERANCE)
        assert len(whole) - len(heard) <= 1
        assert "".join(fed(predictor.stream(), pieces(sound, places))["transcript"]) == transcript

    for_any_cuts(examples, check)


@few_and_many
@pytest.mark.parametrize("cell_type", CELLS)
@pytest.mark.parametrize("task", ["copy", "adding", "repeat"])
def test_steps_in_pieces_have_the_answers_of_the_whole(cell_type: str, task: str, examples: int) -> None:
    facts = {"task": task, "lag": 4, "symbols": 12, "pattern_length": 2}
    predictor = RecallPredictor(checkpoint(rememberer, facts, cell_type))
    sequence = "0.5* 0.25 12e-2* ? 1 ?" if task == "adding" else "10 11 _ _ ? ? 3 _ ?"
    whole = predictor.predict({"sequence": [sequence]}, {})["answers"][0].split()

    def check(places: list[int]) -> None:
        answers = fed(predictor.stream(), pieces(sequence, places))["answer"]
        if task == "adding":
            np.testing.assert_allclose([*map(float, answers)], [*map(float, whole)], rtol=2e-3)
        else:
            assert answers == whole

    for_any_cuts(examples, check)


def streams(folder: Path) -> dict[str, tuple[Any, list[Any]]]:
    text = TextPredictor(checkpoint(speller, {"vocabulary": ["?", "a", "b"], "unit": "word"}, "lstm"))
    speech = SpeechPredictor(
        checkpoint(transcriber, {"symbols": ["", "a"], "unit": "word", "front_end": FRONT_END}, "slstm")
    )
    series, frame = forecaster_of(folder, "gru", target="tide", lags=[3]), rows()
    sound = np.random.default_rng(1).normal(0, 0.1, 900).astype(np.float32)
    return {
        "text": (text, ["a b", "b a a ", "b"]),
        "sound": (speech, [sound[:250], sound[250:333], sound[333:]]),
        "rows": (series, [frame[:9].to_dict("list"), frame[9:10].to_dict("list"), frame[10:].to_dict("list")]),
    }


@pytest.mark.parametrize("takes", ["text", "sound", "rows"])
def test_a_state_put_away_as_plain_tensors_is_taken_up_by_another_stream(takes: str, tmp_path: Path) -> None:
    predictor, parts = streams(tmp_path)[takes]
    through = predictor.stream()
    expected = [*map(through.feed, parts), through.finish()]
    found, state = [], None
    for part in parts:
        stream = predictor.stream()
        if state is not None:
            stream.restore(unpack(state))
        found.append(stream.feed(part))
        state = pack(stream.save())
    assert [*found, stream.finish()] == expected
    assert stream.takes == takes


def test_a_state_is_as_small_behind_a_long_piece_as_behind_a_short_one() -> None:
    predictor = TextPredictor(checkpoint(speller, {"vocabulary": ["?", *"abcdefgh"], "unit": "character"}, "gru"))
    sizes = []
    for text in ("ab", "ab" * 2000):
        stream = predictor.stream()
        stream.feed(text)
        sizes.append(len(pack(stream.save())))
    assert sizes[1] < sizes[0] + 100


def test_a_state_of_another_model_is_refused() -> None:
    facts = {"vocabulary": ["?", "a"], "unit": "character"}
    one, other = (TextPredictor(checkpoint(speller, facts, cell)).stream() for cell in ("gru", "lstm"))
    with pytest.raises(ValueError, match="another model's"):
        other.restore(one.save())


@pytest.mark.parametrize(
    ("params", "front_end", "reason"),
    [
        ({"bidirectional": True}, FRONT_END, "the model is bidirectional"),
        ({}, {**FRONT_END, "normalize": "band"}, "needs the whole recording; train one with normalize: running"),
    ],
)
def test_a_model_that_needs_what_comes_later_is_refused(
    params: dict[str, Any], front_end: dict[str, Any], reason: str
) -> None:
    facts = {"symbols": ["", "a"], "unit": "word", "front_end": front_end}
    with pytest.raises(ValueError, match=reason):
        SpeechPredictor(checkpoint(transcriber, facts, "gru", **params)).stream()
