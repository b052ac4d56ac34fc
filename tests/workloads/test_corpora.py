"""Corpora of speech: layouts and manifests that are read, and parts that share no speaker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.data.corpora import Recording, read_corpus, split


def test_manifests_of_both_forms_give_the_same(tmp_path: Path) -> None:
    rows = [
        {"path": "a.wav", "transcript": "one, two", "speaker": "ann", "part": "train"},
        {"path": "/b.wav", "transcript": "zwölf", "speaker": "bob", "part": ""},
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    (tmp_path / "m.csv").write_text(
        '\ufeffpath,transcript,speaker,part\na.wav,"one, two",ann,train\n/b.wav,zwölf,bob,\n'
    )
    expected = [
        Recording(tmp_path / "a.wav", "one, two", "ann", "train"),
        Recording(Path("/b.wav"), "zwölf", "bob", ""),
    ]
    assert read_corpus(tmp_path / "m.jsonl") == read_corpus(tmp_path / "m.csv") == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", b"", "lists no recordings"),
        ("m.csv", b"file,text\na.wav,one\n", "line 2: no path; .* given: file, text"),
        ("m.csv", b"path,transcript\na.wav\n", "line 2: no transcript"),
        ("m.csv", b'path,transcript\na.wav,"one\n', "no CSV"),
        ("m.csv", b"path,transcript,part\na.wav,one,dev\n", "part 'dev'; it must be train, valid, test"),
        ("m.csv", b"path,transcript\n\xff\xfe", "not UTF-8"),
        ("m.csv", b"\0" * 1000, "NUL bytes"),
        ("m.jsonl", b'{"path": "a.wav"}\n', "line 1: no transcript"),
        ("m.jsonl", b'{"path": "a.wav", "transcript": 3}\n', "line 1: no transcript"),
        ("m.jsonl", b"{nonsense\n", "line 1: not JSON"),
        ("m.jsonl", b"[1]\n", "line 1: a JSON object"),
    ],
)
def test_a_manifest_that_is_none_says_where(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"^workload.corpus: .*{message}"):
        read_corpus(tmp_path / name)


def test_five_gigabytes_of_nothing_are_no_manifest(tmp_path: Path) -> None:
    with (tmp_path / "m.csv").open("wb") as file:
        file.truncate(5 * 2**30)
    with pytest.raises(ValueError, match="5,368,709,120 bytes"):
        read_corpus(tmp_path / "m.csv")


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_librispeech_folders_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "dev-clean" / "84" / "121"
    touch(folder / "84-121-0000.flac", folder / "84-121-0001.wav")
    (folder / "84-121.trans.txt").write_text("84-121-0000 GO DO YOU HEAR\n84-121-0001 BUT\n")
    assert read_corpus(tmp_path) == [
        Recording(folder / "84-121-0000.flac", "GO DO YOU HEAR", "84", "valid"),
        Recording(folder / "84-121-0001.wav", "BUT", "84", "valid"),
    ]


def test_free_spoken_digits_have_their_official_test_part(tmp_path: Path) -> None:
    names = ["3_ann_4", "3_ann_5", "3_ann_10", "7_bob_0", "notes"]
    touch(*(tmp_path / "recordings" / f"{name}.wav" for name in names))
    found = {recording.path.stem: recording for recording in read_corpus(tmp_path)}
    assert {name: recording.part for name, recording in found.items()} == {
        "3_ann_4": "test",
        "3_ann_5": "valid",
        "3_ann_10": "train",
        "7_bob_0": "test",
    }
    assert (found["7_bob_0"].transcript, found["7_bob_0"].speaker) == ("seven", "bob")


def test_an4_is_read_without_its_marks_of_silence(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for part, line in (("train", "<s> RUBOUT G M </s> (an1-fash-b)"), ("test", "ERASE C (an2-fcaw-b)")):
        name, speaker = ("an1", "fash") if part == "train" else ("an2", "fcaw")
        (tmp_path / "etc" / f"an4_{part}.fileids").write_text(f"{part}/{speaker}/{name}-{speaker}-b\n")
        (tmp_path / "etc" / f"an4_{part}.transcription").write_text(line + "\n")
    assert read_corpus(tmp_path) == [
        Recording(tmp_path / "wav/train/fash/an1-fash-b.wav", "RUBOUT G M", "fash", "train"),
        Recording(tmp_path / "wav/test/fcaw/an2-fcaw-b.wav", "ERASE C", "fcaw", "test"),
    ]


def test_an_unknown_layout_and_a_missing_path_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match=r"^workload.corpus: "):
            read_corpus(path)


speakers = st.lists(st.sampled_from([f"speaker {number}" for number in range(12)]), min_size=1, max_size=60)


@given(voices=speakers, valid_part=st.floats(0.05, 0.4), test_part=st.floats(0, 0.4))
def test_no_speaker_is_in_two_parts(voices: list[str], valid_part: float, test_part: float) -> None:
    recordings = [Recording(Path(f"{number}.wav"), "", voice) for number, voice in enumerate(voices)]
    found = split(recordings, hold_out=(), valid_part=valid_part, test_part=test_part)
    assert [recording.path for recording in found] == [recording.path for recording in recordings]
    by_part = {
        part: {recording.speaker for recording in found if recording.part == part}
        for part in ("train", "valid", "test")
    }
    assert sum(map(len, by_part.values())) == len(set(voices))
    assert by_part["train"]
    assert len(set(voices)) < 3 or by_part["valid"]


def test_a_new_speaker_moves_few_others() -> None:
    recordings = [Recording(Path(f"{number}.wav"), "", f"speaker {number % 10}") for number in range(200)]
    before = split(recordings, hold_out=(), valid_part=0.2, test_part=0.2)
    new = [Recording(Path("new.wav"), "", "someone new")]
    after = split([*recordings, *new], hold_out=(), valid_part=0.2, test_part=0.2)
    moved = sum(one.part != other.part for one, other in zip(before, after, strict=False))
    assert moved <= 3 * 20  # those at the edges of the parts make room


def test_a_speaker_held_out_is_the_test_and_trains_nothing() -> None:
    recordings = [
        Recording(Path("a"), "", "ann", "train"),
        Recording(Path("b"), "", "ann", "test"),
        Recording(Path("c"), "", "bob", "train"),
        Recording(Path("d"), "", "bob", "test"),
        Recording(Path("e"), "", "bob", "valid"),
    ]
    found = split(recordings, hold_out=("ann",), valid_part=0.1, test_part=0.1)
    assert [recording.part for recording in found] == ["test", "test", "train", "train", "valid"]
    with pytest.raises(ValueError, match=r"^workload.hold_out: no speaker 'eve'; there are ann, bob"):
        split(recordings, hold_out=("eve",), valid_part=0.1, test_part=0.1)


def test_line_breaks_within_a_transcript_stay(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text('path,transcript\na.wav,"one\ntwo"\nb.wav,three\u2028four\n')
    assert [recording.transcript for recording in read_corpus(tmp_path / "m.csv")] == ["one\ntwo", "three\u2028four"]
    (tmp_path / "m.JSONL").write_text('{"path": "a.wav", "transcript": "one\u2028two"}\n')
    assert [recording.transcript for recording in read_corpus(tmp_path / "m.JSONL")] == ["one\u2028two"]


@pytest.mark.parametrize(
    "row",
    [{"path": "~nobody-of-that-name/a.wav"}, {"path": "a\0.wav"}, {"path": "a.wav", "speaker": "\ud800"}],
    ids=str,
)
def test_a_row_that_no_file_or_name_can_have_is_refused(row: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text(json.dumps({"transcript": "one", **row}) + "\n")
    with pytest.raises(ValueError, match=r"^workload.corpus: .*m.jsonl, line 1: "):
        read_corpus(tmp_path / "m.jsonl")


def test_librispeech_says_its_parts_from_any_folder_above(tmp_path: Path) -> None:
    folder = tmp_path / "LibriSpeech" / "test-clean" / "84" / "121"
    touch(folder / "84-121-0000.flac")
    (folder / "84-121.trans.txt").write_text("84-121-0000 GO\n")
    assert [recording.part for recording in read_corpus(tmp_path)] == ["test"]


def test_an4s_transcripts_go_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for part in ("train", "test"):
        (tmp_path / "etc" / f"an4_{part}.fileids").write_text(f"{part}/ann/x\n{part}/ann/y\n")
        (tmp_path / "etc" / f"an4_{part}.transcription").write_text("OF Y (y)\nOF X (x)\n")
    assert [recording.transcript for recording in read_corpus(tmp_path)] == ["OF X", "OF Y"] * 2
    (tmp_path / "etc" / "an4_test.transcription").write_text("OF Y (y)\n")
    with pytest.raises(ValueError, match=r"^workload.corpus: .* has no transcript of test/ann/x"):
        read_corpus(tmp_path)
