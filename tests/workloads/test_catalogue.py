"""The catalogue: names known without a connection, and where their files are looked for."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from workloads import KINDS, import_name
from workloads.data.catalogue import ENTRIES, EXTRAS, OPTIONS, data_root, locate
from workloads.data.fetch import examine


def test_the_data_root_is_where_the_environment_says_else_beside_else_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("BPTT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_root() == tmp_path / "cache" / "bptt"
    (tmp_path / "shared" / "data").mkdir(parents=True)
    assert data_root().resolve() == tmp_path / "shared" / "data"
    monkeypatch.setenv("BPTT_DATA", str(tmp_path / "mine"))
    assert data_root() == tmp_path / "mine"


def test_a_name_is_found_under_the_root_and_says_where_it_belongs_when_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BPTT_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"workload.series: etth1 is not .*`bptt data fetch etth1`.* at .*ETTh1.csv"):
        locate("etth1", "workload.series")
    (tmp_path / "etth1").mkdir()
    (tmp_path / "etth1" / "ETTh1.csv").write_text("date,OT\n")
    path, source = locate("etth1", "workload.series")
    assert path == tmp_path / "etth1" / "ETTh1.csv"
    assert "CC BY-ND 4.0" in source


def test_a_path_is_taken_as_it_is_and_a_wrong_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("x\n1\n")
    assert locate(str(path), "workload.series") == (path, str(path))
    with pytest.raises(ValueError, match=r"workload.series: 'nowhere.csv' is neither a file nor a name"):
        locate("nowhere.csv", "workload.series")


def test_every_entry_names_its_licence_and_every_series_its_target() -> None:
    assert all(name == entry.name and entry.licence and entry.description for name, entry in ENTRIES.items())
    assert all((entry.series is not None) == (entry.kind == "forecast") for entry in ENTRIES.values())


def test_a_folder_is_here_only_with_files_of_each_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPTT_DATA", str(tmp_path))
    (tmp_path / "an4" / "etc").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"workload.corpus: an4 is not on this machine; `bptt data fetch an4`"):
        locate("an4", "workload.corpus")
    for name in ("LICENSE", "etc/an4.dic", "etc/an4_test.fileids", "etc/an4_test.transcription"):
        (tmp_path / "an4" / name).touch()
    assert not ENTRIES["an4"].is_in(tmp_path)
    recording = tmp_path / "an4" / "wav" / "an4_clstk" / "fash" / "an251-fash-b.wav"
    recording.parent.mkdir(parents=True)
    recording.touch()
    path, source = locate("an4", "workload.corpus")
    assert path == tmp_path / "an4"
    assert "BSD-style" in source


def test_what_is_downloaded_has_an_address_that_cannot_change_a_digest_and_somebody_to_name() -> None:
    downloads = {name: entry for name, entry in ENTRIES.items() if entry.place is not None}
    assert set(downloads) == {"tinyshakespeare", "etth1", "tatoeba-fra-eng", "fsdd", "an4"}
    for entry in downloads.values():
        assert entry.download is not None
        assert re.match(r"https://\S+/[0-9a-f]{40}[/.]", entry.download.url), "pinned by its commit"
        assert re.fullmatch("[0-9a-f]{64}", entry.download.sha256)
        assert entry.download.size > 0
        assert (entry.folder is None) == (entry.download.members == ())
    assert all(entry.attribution and entry.split for entry in ENTRIES.values())


def test_each_entry_names_an_option_that_its_workload_has() -> None:
    for entry in ENTRIES.values():
        assert entry.option == OPTIONS[entry.kind]
        if entry.package:
            assert entry.kind in EXTRAS
        if entry.kind in KINDS:
            options = dataclasses.fields(import_name(KINDS[entry.kind], "kind"))
            assert entry.option in {option.name for option in options}


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.download])
def test_the_pin_is_that_of_the_real_data(name: str) -> None:
    entry = ENTRIES[name]
    if not entry.is_in(data_root()):
        pytest.skip(f"{name} is not under {data_root()}")
    found = examine(entry, data_root())
    assert found is not None
    assert entry.download is not None
    assert (found.sha256, found.size, found.count) == (
        entry.download.sha256,
        entry.download.size,
        entry.download.count,
    )
