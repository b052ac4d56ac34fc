"""Error rates of transcripts: insertions, deletions and substitutions for each character or word that was said."""

from __future__ import annotations

from collections.abc import Sequence

from workloads.data.extras import import_extra


def error_rates(spoken: Sequence[str], heard: Sequence[str]) -> dict[str, float]:
    """Return `character_error_rate` and `word_error_rate` over all utterances together, by jiwer; 0.05 is 5 %."""
    jiwer = import_extra("jiwer", "speech")
    return {
        "character_error_rate": float(jiwer.cer(list(spoken), list(heard))),
        "word_error_rate": float(jiwer.wer(list(spoken), list(heard))),
    }


def by_speaker(spoken: Sequence[str], heard: Sequence[str], speakers: Sequence[str]) -> dict[str, float]:
    """Return both error rates of every speaker, as `word_error_rate/speaker:NAME`."""
    found: dict[str, float] = {}
    for name in sorted(set(speakers)):
        own = [place for place, speaker in enumerate(speakers) if speaker == name]
        rates = error_rates([spoken[place] for place in own], [heard[place] for place in own])
        found |= {f"{rate}/speaker:{name}": value for rate, value in rates.items()}
    return found
