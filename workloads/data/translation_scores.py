"""How good translations are: BLEU and chrF by sacrebleu, and how many are right to the letter.

Papineni et al. (2002); Popović (2015); Post (2018), "A call for clarity in reporting BLEU scores".
"""

from __future__ import annotations

from collections.abc import Sequence

from workloads.data.extras import import_extra

METRICS = {"bleu": "maximize", "chrf": "maximize", "exact_match": "maximize"}


def translation_scores(translations: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Return `bleu` and `chrf` from 0 to 100, and `exact_match` from 0 to 1, over all sentences together."""
    sacrebleu = import_extra("sacrebleu", "translation")
    given = list(translations), [list(references)]
    right = sum(made == wanted for made, wanted in zip(translations, references, strict=True))
    return {
        "bleu": float(sacrebleu.corpus_bleu(*given).score),
        "chrf": float(sacrebleu.corpus_chrf(*given).score),
        "exact_match": right / len(references),
    }


def signatures() -> dict[str, str]:
    """Return what sacrebleu asks to be told beside each score: version, tokeniser, case, smoothing, references."""
    metrics = import_extra("sacrebleu.metrics", "translation")
    found = {}
    for name, metric in {"bleu": metrics.BLEU(), "chrf": metrics.CHRF()}.items():
        metric.corpus_score(["a"], [["a"]])
        found[name] = str(metric.get_signature())
    return found
