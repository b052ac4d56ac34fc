"""Tables: read from packages and files, and refused in one line where they are none."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas
import pytest

from workloads.data.series import check_order, numbers, time_column, times
from workloads.data.tables import read_table, select


@pytest.mark.parametrize(
    ("name", "rows", "column"),
    [
        ("seattle-weather", 1461, "temp_max"),
        ("sp500", 5031, "Adj Close"),
        ("stocks", 1257, "vix"),
        ("nyc-weather", 26115, "temp"),
    ],
)
def test_packaged_series_are_read_without_a_download(name: str, rows: int, column: str) -> None:
    frame, source = read_table(name)
    assert len(frame) == rows
    assert column in frame.columns
    assert "comes with" in source


def test_a_missing_package_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "vega_datasets", None)
    with pytest.raises(
        ValueError, match=r"workload.series: seattle-weather .* vega_datasets; pip install 'bptt\[series\]'"
    ):
        read_table("seattle-weather")


def test_csv_and_parquet_hold_the_same(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"when": ["2024-01-01", "2024-01-02"], "load": [1.5, 2.5]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        read, source = read_table(str(tmp_path / name))
        assert numbers(read, ["load"], "x").tolist() == [[1.5], [2.5]]
        assert source.endswith(name)


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "empty.csv", "cannot be read: No columns"),
        (b"a,b\n", "header.csv", "has no rows"),
        (b"a,b\n1,2\n1,2,3,4\n", "ragged.csv", "cannot be read: Error tokenizing"),
        (b"\xff\xfe\x00a", "binary.csv", "cannot be read: it is no text"),
        (gzip.compress(b"a,b\n1,2\n" * 999, mtime=0)[:-9], "torn.csv.gz", "cannot be read: Compressed file ended"),
        (b"a,b\n1,2\n", "not.csv.gz", "cannot be read: Not a gzipped file"),
        (gzip.compress(bytes(10**6)), "zeros.csv.gz", "cannot be read: it is no text"),
        (b"PK\x03\x04", "torn.zip", "cannot be read: File is not a zip file"),
        (b"not parquet", "broken.parquet", "cannot be read"),
    ],
)
def test_a_file_that_holds_no_table_is_refused_in_one_line(
    content: bytes, name: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"workload.series: .*{message}") as caught:
        read_table(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(ValueError, match=r"workload.series: 'nowhere.csv' is neither a file nor a name"):
        read_table("nowhere.csv")


def test_a_large_file_of_nothing_is_refused_without_reading_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: Path) -> None:
        pytest.fail("it was read")

    monkeypatch.setattr(pandas, "read_csv", read)
    for size, message in ((5 * 10**9, "it has 5.0 GB, more than the 2 GB"), (10**9, "it is no text")):
        path = tmp_path / "zeros.csv"
        with path.open("wb") as file:
            file.truncate(size)  # sparse: it takes no room on the disk
        with pytest.raises(ValueError, match=f"workload.series: .*zeros.csv cannot be read: {message}"):
            read_table(str(path))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"workload.series: .* is a folder; name a CSV or Parquet file in it"):
        read_table(str(tmp_path))


def test_the_rows_of_one_series_are_taken_out_of_a_long_table() -> None:
    frame = pandas.DataFrame({"origin": ["JFK", "LGA", "JFK"], "code": [1, 2, 1], "temp": [1.0, 2.0, 3.0]})
    assert select(frame, "origin=JFK", "f")["temp"].tolist() == [1.0, 3.0]
    assert select(frame, "code=2", "f")["temp"].tolist() == [2.0]
    for where, message in (
        ("origin", "f: 'origin'; it must be a column and a value, as in origin=JFK"),
        ("place=JFK", "f: there is no column 'place'; there are origin, code, temp"),
        ("origin=EWR", "f: no row has 'EWR' in origin, which holds JFK, LGA"),
    ):
        with pytest.raises(ValueError, match=message):
            select(frame, where, "f")


def test_hours_of_new_york_come_once_for_each_airport() -> None:
    frame = select(read_table("nyc-weather")[0], "origin=LGA", "f")
    check_order(times(frame["time"], "t"), "t")


def test_a_parquet_file_may_keep_its_time_in_the_index(tmp_path: Path) -> None:
    index = pandas.date_range("2024-01-01", periods=5, name="date")
    frame = pandas.DataFrame({1: range(5)}, index=index)
    frame.columns = frame.columns.map(str)
    frame.sample(frac=1, random_state=1).to_parquet(tmp_path / "shuffled.parquet")
    read, _ = read_table(str(tmp_path / "shuffled.parquet"))
    assert list(read.columns) == ["date", "1"]
    assert time_column(read, None) == "date"
    with pytest.raises(ValueError, match="time goes back"):
        check_order(times(read["date"], "t"), "t")
