"""The catalogue: names known without a connection, and where their files are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from workloads.data.catalogue import ENTRIES, data_root, locate


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
    with pytest.raises(ValueError, match=r"workload.series: etth1 is not on this machine; put it at .*ETTh1.csv"):
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
