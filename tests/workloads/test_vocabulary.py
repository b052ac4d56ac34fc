"""Vocabularies: texts to tokens and back, whatever the unit, the same every time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.data.sentence_pairs import clean
from workloads.data.translation_scores import signatures, translation_scores
from workloads.data.vocabulary import SPECIAL, Vocabulary, learn_vocabulary

pytest.importorskip("sentencepiece", reason="the extra `translation` is not installed")
pytest.importorskip("sacrebleu", reason="the extra `translation` is not installed")

ALPHABET = "ab\u00e9c'?.- \u4e2d"
TEXTS = ["ab c\u00e9", "c'ab. -?", "\u4e2d", "b-a b?", "\u00e9\u00e9 a"] * 3
UNITS = ("subword", "word", "character")


@pytest.fixture(scope="module")
def vocabularies() -> dict[str, Vocabulary]:
    return {unit: Vocabulary(learn_vocabulary(TEXTS, unit, 60), unit) for unit in UNITS}


@given(st.text(ALPHABET, max_size=20))
def test_a_text_of_known_characters_comes_back_from_subwords_and_characters(text: str) -> None:
    text = clean(text)
    for unit in ("subword", "character"):
        vocabulary = Vocabulary(MODELS[unit], unit)
        assert vocabulary.decode(vocabulary.encode([text])[0]) == text


MODELS = {unit: learn_vocabulary(TEXTS, unit, 60) for unit in UNITS}


def test_words_and_marks_are_tokens_of_their_own_and_join_again(vocabularies: dict[str, Vocabulary]) -> None:
    for text in TEXTS:
        tokens = vocabularies["word"].encode([text])[0]
        assert vocabularies["word"].decode(tokens) == text
    assert len(vocabularies["word"].encode(["c'ab. -?"])[0]) == 6


@given(st.lists(st.sampled_from(["a", "bc", " ", "'", ".", "-", '"', "d1"]), max_size=12).map("".join))
def test_any_text_of_words_and_marks_comes_back(text: str) -> None:
    text = clean(text)
    if text:
        vocabulary = Vocabulary(learn_vocabulary([text], "word", 60), "word")
        assert vocabulary.decode(vocabulary.encode([text])[0]) == text


@pytest.mark.parametrize("unit", UNITS)
def test_the_same_texts_give_the_same_vocabulary(unit: str) -> None:
    assert learn_vocabulary(TEXTS, unit, 60) == MODELS[unit]


@pytest.mark.parametrize("unit", UNITS)
def test_what_was_never_seen_is_unknown_and_no_text(unit: str, vocabularies: dict[str, Vocabulary]) -> None:
    tokens = vocabularies[unit].encode(["\N{SNOWMAN}", ""])
    assert 0 in tokens[0]
    assert tokens[1] == []
    assert vocabularies[unit].decode(tokens[0]) == ""
    assert all(token < len(vocabularies[unit]) for token in tokens[0])
    assert len(vocabularies[unit]) > SPECIAL


def test_a_vocabulary_too_small_for_its_characters_is_refused_with_the_least_size() -> None:
    with pytest.raises(ValueError, match=r"^workload\.vocabulary_size: 8; the characters .* are 13 subwords"):
        learn_vocabulary(TEXTS, "subword", 8)
    assert len(Vocabulary(learn_vocabulary(TEXTS, "subword", 13), "subword")) == 13


def test_scores_are_those_of_sacrebleu() -> None:
    wanted = ["the cat sat on the mat .", "it is late"]
    assert translation_scores(wanted, wanted) == {
        "bleu": pytest.approx(100),
        "chrf": pytest.approx(100),
        "exact_match": 1,
    }
    half = translation_scores([wanted[0], "no"], wanted)
    assert 0 < half["bleu"] < 100
    assert half["exact_match"] == 0.5
    assert signatures()["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
