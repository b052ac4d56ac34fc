"""Vocabularies of subwords, words or characters, learnt from sentences by sentencepiece.

Sennrich, Haddow and Birch (2016), "Neural machine translation of rare words with subword units"; Kudo and Richardson
(2018), "SentencePiece".
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from typing import Any

from workloads.data.extras import import_extra

UNKNOWN, BEGIN, END = 0, 1, 2
"""Numbers of the unknown token, and of those that begin and end a sentence."""
SPECIAL = 3
MODEL_TYPES = {"subword": "bpe", "word": "word", "character": "char"}
JOINER = "\N{HALFWIDTH BLACK SQUARE}"
"""Beside a mark of punctuation that no space parts from its neighbour, where tokens are words."""
LONGEST_BYTES = 2**20
WORD_OR_MARK = re.compile(r"\w+|[^\w\s]")


def learn_vocabulary(texts: Sequence[str], unit: str, size: int) -> str:
    """Learn a vocabulary of at most `size` tokens, as text in base 64 (facts must be plain).

    The same texts in the same order give the same vocabulary. ValueError where `size` is too small for the characters
    there are.
    """
    sentencepiece = import_extra("sentencepiece", "translation")
    cut = [_apart(text) for text in texts] if unit == "word" else texts
    if unit == "subword":
        # Every character is a subword, and so is the mark of a space.
        least = len(set().union(*texts) - {" "}) + 1 + SPECIAL
        if size < least:
            raise ValueError(
                f"workload.vocabulary_size: {size:,}; the characters of these sentences alone are {least:,} subwords"
            )
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(cut),
        model_writer=model,
        model_type=MODEL_TYPES[unit],
        vocab_size=size,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        max_sentence_length=LONGEST_BYTES,
        shuffle_input_sentence=False,
        num_threads=1,
        unk_id=UNKNOWN,
        bos_id=BEGIN,
        eos_id=END,
        pad_id=-1,
        minloglevel=2,
    )
    return base64.b64encode(model.getvalue()).decode()


class Vocabulary:
    """Texts to token numbers and back."""

    def __init__(self, learnt: str, unit: str) -> None:
        sentencepiece = import_extra("sentencepiece", "translation")
        self._processor: Any = sentencepiece.SentencePieceProcessor(model_proto=base64.b64decode(learnt))
        self._by_word = unit == "word"

    def __len__(self) -> int:
        """Return the number of tokens, the unknown one and both ends among them."""
        return int(self._processor.vocab_size())

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, without its ends."""
        numbers: list[list[int]] = self._processor.encode([_apart(text) if self._by_word else text for text in texts])
        return numbers

    def decode(self, tokens: Sequence[int]) -> str:
        """Return tokens as a text; both ends and the unknown token are no text."""
        text: str = self._processor.decode([int(token) for token in tokens if token >= SPECIAL])
        return _together(text) if self._by_word else text


def _apart(text: str) -> str:
    """Put spaces between words and marks, each mark with a joiner on the sides where there was none."""
    made: list[str] = []
    stop, was_mark = -1, False
    for match in WORD_OR_MARK.finditer(text.replace(JOINER, "")):
        token, is_mark = match[0], not re.match(r"\w", match[0])
        if match.start() == stop:
            if is_mark:
                token = JOINER + token
            elif was_mark:
                made[-1] += JOINER
        made.append(token)
        stop, was_mark = match.end(), is_mark
    return " ".join(made)


def _together(text: str) -> str:
    return re.sub(f" ?{JOINER} ?", "", text)
