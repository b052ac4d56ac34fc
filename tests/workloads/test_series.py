"""Series: columns of numbers, the times of rows, parts and forecast points."""

from __future__ import annotations

import numpy as np
import pandas
import pytest

from workloads.data.forecasts import Parts, SeriesStream, changes, input_size, network_inputs
from workloads.data.series import check_order, continue_times, numbers, time_column, times


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1.0, "wet", 3.0], "f: column x is not of numbers: 'wet' in row 2"),
        ([None, None, None], "f: column x is empty: none of its 3 rows has a number"),
        ([None, np.inf], "f: column x is empty: none of its 2 rows has a number"),
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
    arrays = {"inputs": levels, "levels": levels, "observed": levels, "known": np.empty((50, 0))}
    stream = SeriesStream(arrays, np.arange(47), horizon=3, batch_size=4)
    assert stream.length == 11
    inputs, targets = stream.window(0, 2, 5)  # (time 3, batch 4, ...)
    rows = np.array([3, 14, 25, 36]) + np.array([2, 3, 4])[:, None]
    assert (inputs[..., 0] == rows**2).all()
    assert targets.shape == (3, 4, 3, 1)
    assert (targets[..., 2, 0] == (rows + 3) ** 2 - rows**2).all()
    with pytest.raises(ValueError, match=r"train.batch_size: 48 streams need more than the 47 rows"):
        SeriesStream(arrays, np.arange(47), horizon=3, batch_size=48)


def test_what_is_known_ahead_is_read_for_the_row_and_for_the_rows_to_forecast() -> None:
    arrays = {"inputs": np.arange(9.0)[:, None], "known": np.arange(18.0).reshape(9, 2)}
    read = network_inputs(arrays, np.array([[1], [4]]), 2)  # (time 2, batch 1, 1 + 2 * 3)
    assert read.tolist() == [[[1, 2, 3, 4, 5, 6, 7]], [[4, 8, 9, 10, 11, 12, 13]]]
    assert input_size(arrays, 2) == 7


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


def test_words_that_can_be_taken_for_dates_are_no_time() -> None:
    frame = pandas.DataFrame({"month": ["jan", "feb", "jan"], "x": [1, 2, 3]})
    assert time_column(frame, None) is None
    assert time_column(pandas.DataFrame({"date": ["2024-01-01"] * 2, "x": [1, 2]}), "none") is None
