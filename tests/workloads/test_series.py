"""Series: tables in, numbers in the order of time out; parts, forecast points and what needs no training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest

from workloads.data.forecasts import Parts, SeriesStream, changes, naive_scores, pinball, scores, stationary
from workloads.data.series import check_order, continue_times, numbers, read_table, time_column, times


@pytest.mark.parametrize(
    ("name", "rows", "column"), [("seattle-weather", 1461, "temp_max"), ("sp500", 5031, "Adj Close")]
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
        (b"\xff\xfe\x00a", "binary.csv", "cannot be read"),
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


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1.0, "wet", 3.0], "f: column x is not of numbers: 'wet' in row 2"),
        ([1.0, None, np.inf], "f: column x has 2 gaps .* in 3 rows"),
        ([None, None, None], "f: column x has 3 gaps"),
    ],
)
def test_a_column_that_is_not_of_numbers_is_refused(column: list[object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        numbers(pandas.DataFrame({"x": column}), ["x"], "f")


def test_an_unknown_column_is_refused_with_those_that_are_there() -> None:
    with pytest.raises(ValueError, match=r"f: there is no column 'z'; there are x, y"):
        numbers(pandas.DataFrame({"x": [1], "y": [2]}), ["z"], "f")


def test_the_column_of_time_is_found_by_name_then_by_what_the_first_holds() -> None:
    days = ["2024-01-01", "2024-01-02"]
    assert time_column(pandas.DataFrame({"x": [1, 2], "Date": days}), None) == "Date"
    assert time_column(pandas.DataFrame({"when": days, "x": [1, 2]}), None) == "when"
    assert time_column(pandas.DataFrame({"x": [1, 2], "when": days}), None) is None
    assert time_column(pandas.DataFrame({"city": ["Rome", "Oslo"], "x": [1, 2]}), None) is None
    assert time_column(pandas.DataFrame({"x": [1, 2], "when": days}), "when") == "when"
    with pytest.raises(ValueError, match=r"workload.time: there is no column 'hour'; there are x"):
        time_column(pandas.DataFrame({"x": [1]}), "hour")


@pytest.mark.parametrize(
    ("stamps", "message"),
    [
        (["2024-01-01", "2024-01-03", "2024-01-02"], "t: time goes back in row 3, at 2024-01-02"),
        (["2024-01-01", "2024-01-01", "2024-01-02"], "t: 1 rows have the time of a row before, the first 2024-01-01"),
        (["2024-01-01", None, "2024-01-02"], "t: 1 rows have no time"),
        ([3, 2, 5], "t: time goes back in row 2, at 2"),
        (["once", "upon", "a time"], "t: column when holds no times that can be read"),
    ],
)
def test_times_that_do_not_rise_are_refused(stamps: list[object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_order(times(pandas.Series(stamps, name="when"), "t"), "t")


@pytest.mark.parametrize(
    ("stamps", "following"),
    [
        (["2024-02-27", "2024-02-28", "2024-02-29"], ["2024-03-01", "2024-03-02"]),
        (["2024-01-01", "2024-02-01", "2024-03-01"], ["2024-04-01", "2024-05-01"]),
        (["2024-01-01 22:00", "2024-01-01 23:00", "2024-01-02 00:00"], ["2024-01-02 01:00:00", "2024-01-02 02:00:00"]),
        (["2024-01-31", "2024-02-29", "2024-03-31"], ["2024-04-30", "2024-05-31"]),
        (["2024-01-04", "2024-01-05", "2024-01-08"], ["2024-01-09", "2024-01-10"]),
        ([10, 12, 14], [16.0, 18.0]),
        # Clocks go forward; what comes after is told in UTC.
        (
            ["2024-03-31 00:00+01:00", "2024-03-31 01:00+01:00", "2024-03-31 03:00+02:00"],
            ["2024-03-31 02:00:00+00:00", "2024-03-31 03:00:00+00:00"],
        ),
        (["2024-01-01", "2024-01-02", "2024-01-07"], None),
        (["2024-01-01"], None),
        ([1, 2, 4], None),
    ],
)
def test_regular_times_go_on_and_others_do_not(stamps: list[object], following: list[object] | None) -> None:
    assert continue_times(times(pandas.Series(stamps), "t"), 2) == following


def test_no_forecast_point_of_one_part_reaches_into_the_next() -> None:
    parts = Parts(train=10, valid=6, test=5)
    assert parts.origins("train", 3).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert parts.origins("valid", 3).tolist() == [9, 10, 11, 12]
    assert parts.origins("test", 3).tolist() == [15, 16, 17]
    assert not len(Parts(10, 6, 0).origins("test", 3))


def test_a_stream_gives_each_row_with_the_changes_that_follow_it() -> None:
    levels = np.arange(50.0)[:, None] ** 2
    stream = SeriesStream(levels, levels, np.arange(47), horizon=3, batch_size=4)
    assert stream.length == 11
    inputs, targets = stream.window(0, 2, 5)  # (time 3, batch 4, ...)
    rows = np.array([3, 14, 25, 36]) + np.array([2, 3, 4])[:, None]
    assert (inputs[..., 0] == rows**2).all()
    assert targets.shape == (3, 4, 3, 1)
    assert (targets[..., 2, 0] == (rows + 3) ** 2 - rows**2).all()
    with pytest.raises(ValueError, match=r"train.batch_size: 48 streams need more than the 47 rows"):
        SeriesStream(levels, levels, np.arange(47), horizon=3, batch_size=48)


def test_naive_forecasts_are_scored_as_written_out_by_hand() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(60, 2)).cumsum(axis=0)
    parts, horizon, season = Parts(30, 15, 15), 4, 3
    naive, seasonal = [], []
    for origin in range(29, 41):
        for step in range(1, horizon + 1):
            actual = values[origin + step]
            assert origin + step < 45
            naive.append(actual - values[origin])
            seasonal.append(actual - values[origin + step - season * (1 if step <= season else 2)])
    found = naive_scores(values, parts, horizon, season=season, quantiles=None)
    assert found["naive/valid_mse"] == pytest.approx(np.square(naive).mean())
    assert found["naive/valid_mae"] == pytest.approx(np.abs(naive).mean())
    assert found["seasonal_naive/valid_mse"] == pytest.approx(np.square(seasonal).mean())
    with pytest.raises(ValueError, match=r"workload.season: 31 rows reach back before the series begins"):
        naive_scores(values, parts, horizon, season=31, quantiles=None)


def test_the_naive_quantiles_are_those_of_training_and_cover_as_they_say() -> None:
    values = np.random.default_rng(0).normal(size=(9000, 1)).cumsum(axis=0)
    found = naive_scores(values, Parts(5000, 4000, 0), 2, season=None, quantiles=[0.1, 0.5, 0.9])
    assert found["naive/valid_coverage"] == pytest.approx(0.8, abs=0.03)
    assert not any("test" in name for name in found)


def test_pinball_loss_is_least_at_the_quantile() -> None:
    actual = np.random.default_rng(0).random((20_000, 1, 1))
    at = {guess: pinball(np.full((1, 1, 1, 1), guess), actual, [0.9]) for guess in (0.8, 0.85, 0.9, 0.95)}
    assert min(at, key=lambda guess: at[guess]) == 0.9
    assert pinball(np.array([[[[1.0, 1.0]]]]), np.array([[[3.0]]]), [0.25, 0.5]) == pytest.approx((0.5 + 1.0) / 2)


def test_scores_of_quantiles_take_the_median_as_the_point_and_the_outermost_as_the_interval() -> None:
    actual = np.array([0.0, 1.0, 4.0]).reshape(3, 1, 1)
    forecast = np.tile([-1.0, 1.0, 2.0], (3, 1, 1, 1))
    found = scores(forecast, actual, [0.1, 0.5, 0.9])
    assert found["mse"] == pytest.approx((1 + 0 + 9) / 3)
    assert found["mae"] == pytest.approx((1 + 0 + 3) / 3)
    assert found["coverage"] == pytest.approx(2 / 3)


def test_log_returns_need_values_above_zero() -> None:
    raw = np.array([[1.0, 2.0], [np.e, 2.0]])
    assert stationary(raw, "log_return", ["a", "b"], field="f").tolist() == [[1.0, 0.0]]
    assert stationary(raw, "none", ["a", "b"], field="f") is raw
    with pytest.raises(ValueError, match=r"f: log_return needs values above 0; column b has -2"):
        stationary(raw * [1, -1], "log_return", ["a", "b"], field="f")


def test_changes_are_measured_from_the_origin() -> None:
    levels = np.array([[0.0, 10.0], [1.0, 20.0], [4.0, 30.0], [9.0, 50.0]])
    assert changes(levels, np.array([0, 1]), 2).tolist() == [[[1, 10], [4, 20]], [[3, 10], [8, 30]]]


@pytest.mark.parametrize(
    ("stamps", "last"),
    [
        (["01/01/2010", "01/15/2010", "02/01/2010"], "2010-02-01"),  # only months can come first
        (["01/01/2010", "15/01/2010", "01/02/2010"], "2010-02-01"),  # only days can
        (["31.12.2009", "01.01.2010"], "2010-01-01"),
    ],
)
def test_dates_with_the_day_or_the_month_first_are_read_where_only_one_can_be_meant(
    stamps: list[str], last: str
) -> None:
    read = times(pandas.Series(stamps, name="when"), "t")
    check_order(read, "t")
    assert str(read[-1]).startswith(last)


def test_dates_that_can_be_read_both_ways_are_refused() -> None:
    months = pandas.Series(["01/01/2010", "01/02/2010", "01/03/2010"], name="when")
    with pytest.raises(ValueError, match=r"t: column when: days and months cannot be told apart.* as in 2024-12-31"):
        times(months, "t")


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


def test_words_that_can_be_taken_for_dates_are_no_time() -> None:
    frame = pandas.DataFrame({"month": ["jan", "feb", "jan"], "x": [1, 2, 3]})
    assert time_column(frame, None) is None
    assert time_column(pandas.DataFrame({"date": ["2024-01-01"] * 2, "x": [1, 2]}), "none") is None
