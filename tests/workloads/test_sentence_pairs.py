"""Sentence pairs: what can be read, what is refused or counted, and parts that share no source sentence."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.data.catalogue import ENTRIES, data_root
from workloads.data.dates import LOCALES, date_pairs, unambiguous_forms
from workloads.data.sentence_pairs import clean, parts_of, read_pairs


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_columns_beyond_the_second_are_ignored_and_spaces_made_single(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.tsv", "\ufeffGo.\tVa\u202f!\tCC-BY 2.0\r\n a  b \tc\n")
    pairs = read_pairs(path, None)
    assert (pairs.sources, pairs.targets) == (["Go.", "a b"], ["Va !", "c"])
    assert not pairs.describe_skipped()


def test_two_aligned_files_are_read_and_swapped_if_asked_for(tmp_path: Path) -> None:
    # A line separator inside a sentence ends no line.
    sources = write(tmp_path / "a.en", "one\u2028more\ntwo\n")
    targets = write(tmp_path / "a.fr", "un\ndeux")
    assert read_pairs(sources, targets).sources == ["one more", "two"]
    assert read_pairs(sources, targets, reverse=True).sources == ["un", "deux"]


def test_a_zip_is_read_as_its_largest_text(tmp_path: Path) -> None:
    path = tmp_path / "pairs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("_about.txt", "about " * 1000)
        archive.writestr("fra.txt", "Go.\tVa !\n")
    assert read_pairs(path, None).targets == ["Va !"]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("picture.png", "x")
    with pytest.raises(ValueError, match=r"workload\.corpus: .* holds no file called \*\.txt or \*\.tsv"):
        read_pairs(path, None)
    path.write_bytes(b"PK but no zip")
    with pytest.raises(ValueError, match=r"workload\.corpus: .* is no zip archive that can be read"):
        read_pairs(path, None)


def test_lines_without_a_tab_and_empty_sides_are_skipped_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.tsv", "a\tb\nno tab\nc\t\n \td\n\ne\tf\ng\th\n")
    pairs = read_pairs(path, None)
    assert pairs.sources == ["a", "e", "g"]
    assert pairs.describe_skipped() == "3 pairs skipped: no tab in the line (1), an empty side (2)"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"\n\n", "has no sentence pairs"),
        (b"a line\nanother\n", r"has no sentence pairs; .*no tab in the line \(2\)"),
        (b"a\tb\nx\ny\n", r"more of .* is unusable than usable \(1 pairs\): 2 pairs skipped"),
        (b"caf\xe9\tcoffee\n", r"is not UTF-8 text \(byte 3\)"),
        (b"\0" * 100, "is no text: it holds NUL bytes"),
        (b"a\tb\n" * 30_000 + b"\0", "is no text: it holds NUL bytes"),
    ],
)
def test_a_file_of_no_pairs_is_refused_by_name(content: bytes, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"^workload\.corpus: .*pairs\.tsv.*{expected}|^workload\.corpus: {expected}"):
        read_pairs(write(tmp_path / "pairs.tsv", content), None)


def test_five_gigabytes_of_nothing_are_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "nothing.tsv"
    with path.open("wb") as file:
        file.truncate(5 * 2**30)
    with pytest.raises(ValueError, match="NUL bytes"):
        read_pairs(path, None)
    with path.open("r+b") as file:
        file.write(b"a\tb\n" * 2**15)
    with pytest.raises(ValueError, match=r"has 5,368,709,120 bytes; at most"):
        read_pairs(path, None)


def test_aligned_files_of_different_length_are_refused_with_both_lengths(tmp_path: Path) -> None:
    sources, targets = write(tmp_path / "a", "1\n2\n3\n"), write(tmp_path / "b", "1\n2\n")
    with pytest.raises(ValueError, match=r"^workload\.target_file: .* has 2 lines and .* 3; aligned files"):
        read_pairs(sources, targets)


SOURCES = st.lists(st.sampled_from(["a", "A", "b ", "b", "C", "c", "\u00e4", "\u00c4", "d", "e"]) | st.text(max_size=3))


@given(SOURCES, st.floats(0.01, 0.5), st.floats(0, 0.4))
def test_no_source_sentence_is_in_two_parts(sources: list[str], valid_part: float, test_part: float) -> None:
    parts = parts_of(sources, valid_part=valid_part, test_part=test_part)
    sentences = {part: {sources[number].casefold().strip() for number in numbers} for part, numbers in parts.items()}
    assert not sentences["train"] & sentences["valid"]
    assert not sentences["train"] & sentences["test"]
    assert not sentences["valid"] & sentences["test"]
    assert set().union(*sentences.values()) == {source.casefold().strip() for source in sources}
    assert bool(sentences["test"]) == (test_part > 0 and bool(sources))


@given(SOURCES, st.randoms())
def test_the_order_of_the_file_moves_no_sentence_into_another_part(sources: list[str], random: object) -> None:
    shuffled = list(sources)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    found = []
    for given_order in (sources, shuffled):
        parts = parts_of(given_order, valid_part=0.3, test_part=0.2)
        found.append({part: {given_order[number].casefold().strip() for number in parts[part]} for part in parts})
    assert found[0] == found[1]


@given(st.text())
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    assert clean(clean(text)) == clean(text)
    assert clean(text) == clean(text).strip()


def test_tatoeba_is_the_published_one() -> None:
    path = data_root() / str(ENTRIES["tatoeba-fra-eng"].file)
    if not path.is_file():
        pytest.skip(f"tatoeba-fra-eng is not at {path}")
    pairs = read_pairs(path, None)
    assert len(pairs.sources) == 142_787
    assert not pairs.describe_skipped()
    parts = parts_of(pairs.sources, valid_part=0.02, test_part=0.02)
    held_out = {pairs.sources[number].casefold() for part in ("valid", "test") for number in parts[part]}
    assert not held_out & {pairs.sources[number].casefold() for number in parts["train"]}


def test_no_date_has_two_readings() -> None:
    pytest.importorskip("babel", reason="the extra `translation` is not installed")
    pairs = date_pairs(3000, seed=1)
    assert len({source for source, _ in pairs}) == len(pairs) == 3000
    assert pairs == date_pairs(3000, seed=1) != date_pairs(3000, seed=2)
    forms = unambiguous_forms()
    assert {locale for locale, _ in forms} == set(LOCALES)
    assert ("en", "short") not in forms, "10/4/03"
    assert ("de", "medium") not in forms, "04.10.2003: nothing says which is the day"
    assert ("en", "medium") in forms
