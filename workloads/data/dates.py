"""Dates as people write them in many languages, beside their ISO 8601 form: pairs to translate without a download."""

from __future__ import annotations

import datetime
import functools
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from workloads.data.extras import import_extra

LOCALES = (
    *("ca", "cs", "cy", "da", "de", "el", "en", "en_GB", "es", "et", "eu", "fi", "fr", "ga", "hr", "hu", "id", "is"),
    *("it", "ja", "ko", "lt", "lv", "mt", "nb", "nl", "pl", "pt", "ro", "ru", "sk", "sl", "sv", "sw", "tr", "uk", "vi"),
    "zh",
)
FORMATS = ("full", "long", "medium", "short")
FIRST, LAST = datetime.date(1950, 1, 1), datetime.date(2049, 12, 31)
TRIAL_YEAR = 2004
"""Every day of this leap year is written in every form, to find forms that could be taken for one another."""
PAIRS = 12_000


def date_pairs(count: int = PAIRS, seed: int = 0) -> list[tuple[str, str]]:
    """Return `count` different (date as written, ISO form), drawn from all forms alike.

    No text has two answers: forms that leave day and month, or the century, to be guessed are left out, and so are
    those that are written alike for different days (`listopada` is October in Croatian and November in Polish).
    ValueError where babel is missing.
    """
    forms = unambiguous_forms()
    chosen = random.Random(seed)
    days = (LAST - FIRST).days + 1
    found: dict[str, str] = {}
    while len(found) < count:
        locale, form = chosen.choice(forms)
        day = FIRST + datetime.timedelta(chosen.randrange(days))
        found.setdefault(written(day, form, locale), day.isoformat())
    return list(found.items())


@functools.cache
def unambiguous_forms() -> tuple[tuple[str, str], ...]:
    """Return the pairs of locale and format from which the day can be told for certain."""
    forms = [(locale, form) for locale in LOCALES for form in FORMATS if _tells_all(_pattern(locale, form))]
    readings: defaultdict[str, set[datetime.date]] = defaultdict(set)
    writers: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for locale, form in forms:
        for day in _days(TRIAL_YEAR):
            text = written(day, form, locale)
            readings[text].add(day)
            writers[text].add((locale, form))
    confused = {form for text, days in readings.items() if len(days) > 1 for form in writers[text]}
    return tuple(form for form in forms if form not in confused)


def written(day: datetime.date, form: str, locale: str) -> str:
    """Write a date as one does in `locale`."""
    text: str = _babel_dates().format_date(day, form, locale=locale)
    return text


def _tells_all(pattern: str) -> bool:
    """Tell whether a CLDR pattern has the whole year, and the month by name or the order year, month, day."""
    bare = re.sub(r"'[^']*'", "", pattern)
    if not re.search(r"(?<!y)y(?!y)", bare):
        return False
    return bool(re.search(r"[ML]{3,}", bare)) or bare.find("y") < bare.find("M") < bare.find("d")


def _pattern(locale: str, form: str) -> str:
    pattern: str = _babel_dates().get_date_format(form, locale=locale).pattern
    return pattern


def _babel_dates() -> Any:
    return import_extra("babel.dates", "translation", "workload.corpus: dates")


def _days(year: int) -> Iterator[datetime.date]:
    first = datetime.date(year, 1, 1)
    for number in range((datetime.date(year + 1, 1, 1) - first).days):
        yield first + datetime.timedelta(number)
