"""From a table to what a network reads: gaps, grids, columns known ahead, transforms, lags, the calendar."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.data.calendar import calendar_columns, day_numbers
from workloads.data.preparation import Reading
from workloads.data.regular import carry_forward, in_words, put_on_grid, tell_irregular
from workloads.data.transforms import lost_rows

HOURS = pandas.date_range("2024-01-01", periods=6, freq="1h")


def table(**columns: list[float | None]) -> pandas.DataFrame:
    rows = len(next(iter(columns.values())))
    return pandas.DataFrame({"time": HOURS[:rows], **columns})


def reading(**options: object) -> Reading:
    return Reading(**{"targets": ("x",), "time": "time", **options})  # type: ignore[arg-type]


@given(st.lists(st.one_of(st.none(), st.floats(-9, 9)), min_size=1, max_size=20))
def test_a_gap_takes_the_last_value_before_it_and_none_after_it(column: list[float | None]) -> None:
    values = np.array([np.nan if value is None else value for value in column])[:, None]
    carried, last = carry_forward(values), np.nan
    for row, value in enumerate(values[:, 0]):
        last = last if np.isnan(value) else value
        assert carried[row, 0] == last or (np.isnan(last) and np.isnan(carried[row, 0]))


def test_gaps_are_refused_unless_they_are_to_be_carried_over_and_then_counted() -> None:
    frame = table(x=[1.0, None, 3.0, None], y=[None, 5.0, np.inf, 6.0])
    with pytest.raises(ValueError, match=r"workload.series: column x has 2 gaps .* in 4 rows; .*\(gaps: carry\)"):
        reading().rows(frame)
    rows = reading(gaps="carry", covariates=("y",)).rows(frame)
    # The first row has no y yet, and nothing may come from later rows: it is left out.
    assert rows.values.tolist() == [[1, 5], [3, 5], [3, 6]]
    assert rows.filled.tolist() == [[True], [False], [True]]
    assert rows.notes == [
        "the first 1 rows are left out: not all columns have begun there",
        "in 3 rows the last value was carried over gaps: 2 of x, 1 of y; no filled target is scored",
    ]


def test_what_was_filled_is_no_observed_level() -> None:
    how = reading(gaps="carry")
    prepared = how.prepare(how.rows(table(x=[1.0, None, 3.0])))
    assert prepared.levels.tolist() == [[1], [1], [3]]
    assert np.isnan(prepared.observed).tolist() == [[False], [True], [False]]


def test_absent_rows_are_put_on_the_grid_and_told() -> None:
    frame = table(x=[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).drop(index=[2, 3])
    rows = reading(gaps="carry", every="1h").rows(frame)
    assert rows.values[:, 0].tolist() == [0, 1, 1, 1, 4, 5]
    assert rows.stamps is not None
    assert (rows.stamps == HOURS).all()
    assert rows.notes[0] == "2 absent rows were put in, for a row every 1h"
    with pytest.raises(ValueError, match=r"workload.series: 2 rows are absent from the regular grid"):
        reading(every="1h").rows(frame)


@pytest.mark.parametrize(
    ("stamps", "every", "message"),
    [
        (["2024-01-01 00:00", "2024-01-01 00:59"], "1h", "f: 1 rows lie off the grid .* 2024-01-01 00:59:00 in row 2"),
        (["2024-01-01", "2924-01-01"], "1s", "f: a row every 1s from .* is more than 20,000,000 rows"),
        (["2024-01-01", "2024-01-02"], "-1D", "f: a row every -1D from"),
        (["2024-01-01", "2024-01-02"], "soon", "f: 'soon' is no step of time; it must be as 1h"),
    ],
)
def test_times_that_lie_on_no_grid_are_refused(stamps: list[str], every: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        put_on_grid(pandas.DatetimeIndex(stamps), np.zeros((len(stamps), 1)), every, field="f")


def test_a_grid_may_be_of_months() -> None:
    stamps = pandas.DatetimeIndex(["2024-01-01", "2024-02-01", "2024-04-01"])
    grid, values, absent = put_on_grid(stamps, np.ones((3, 1)), "MS", field="f")
    assert grid[2] == pandas.Timestamp("2024-03-01")
    assert (np.isnan(values[:, 0]).tolist(), absent) == ([False, False, True, False], 1)


def test_irregular_times_are_told_and_months_are_regular() -> None:
    days = pandas.DatetimeIndex(["2024-01-04", "2024-01-05", "2024-01-08", "2024-01-09"])
    assert tell_irregular(days) == ["times are irregular: 1 of 3 steps are not 1 day, the longest is 3 days"]
    assert tell_irregular(pandas.date_range("2024-01-01", periods=9, freq="MS")) == []
    assert tell_irregular(HOURS) == []
    assert in_words(pandas.Timedelta("6h")) == "0 days 06:00:00"


def test_rows_behind_the_last_target_are_the_future_where_columns_are_known_ahead() -> None:
    frame = table(x=[1.0, 2.0, None, None], holiday=[0.0, 0.0, 1.0, 0.0])
    rows = reading(known=("holiday",)).rows(frame)
    assert rows.values.tolist() == [[1], [2]]
    assert rows.known.tolist() == [[0], [0], [1], [0]]
    assert not rows.notes
    with pytest.raises(ValueError, match=r"workload.series: column x has 2 gaps"):
        reading().rows(frame)
    with pytest.raises(ValueError, match=r"workload.series: column holiday has 1 gaps"):
        reading(known=("holiday",)).rows(table(x=[1.0, None], holiday=[1.0, None]))


def test_a_difference_does_not_depend_on_the_level_and_a_lag_is_told_from_the_row() -> None:
    how = reading(transform="difference", lags=(2,))
    low, high = (how.prepare(how.rows(table(x=[c + v for v in (1.0, 2.0, 4.0, 7.0)]))) for c in (0, 100))
    assert low.names == ["x", "x 2 rows ago"]
    assert np.isnan(low.inputs[:2]).tolist() == [[True, True], [False, True]]
    assert low.inputs[2:].tolist() == high.inputs[2:].tolist() == [[2, -3], [3, -5]]
    assert low.levels[:, 0].tolist() == [1, 2, 4, 7]


def test_volatility_is_the_root_of_the_mean_squared_return_of_the_last_rows() -> None:
    how = reading(transform="log_volatility", volatility_window=2, covariates=("y",))
    prices = [100.0, 110.0, 99.0, 120.0]
    prepared = how.prepare(how.rows(table(x=prices, y=[1.0, 2.0, 3.0, 4.0])))
    returns = np.diff(np.log(prices))
    expected = [np.log(np.sqrt((returns[i] ** 2 + returns[i + 1] ** 2) / 2)) for i in (0, 1)]
    assert prepared.levels[:, 0] == pytest.approx(expected)
    assert prepared.names == ["volatility of x", "return of x", "y"]
    assert prepared.inputs == pytest.approx(np.array([expected, returns[1:], [3, 4]]).T)
    with pytest.raises(ValueError, match=r"workload.transform: .* x stands still over the 2 rows up to row 4"):
        how.prepare(how.rows(table(x=[1.0, 2.0, 2.0, 2.0], y=[1.0, 2.0, 3.0, 4.0])))


def test_a_volatility_is_filled_where_one_of_its_prices_is() -> None:
    how = reading(transform="log_volatility", volatility_window=2, gaps="carry")
    prepared = how.prepare(how.rows(table(x=[1.0, 2.0, None, 3.0, 2.0, 3.0])))
    assert lost_rows(how) == 2
    assert np.isnan(prepared.observed[:, 0]).tolist() == [True, True, True, False]


@pytest.mark.parametrize("transform", ["log_return", "log_volatility"])
def test_logarithms_need_values_above_zero(transform: str) -> None:
    how = reading(transform=transform, volatility_window=1)
    rows = how.rows(table(x=[1.0, -2.0, 3.0]))
    with pytest.raises(ValueError, match=f"workload.transform: {transform} needs values above 0; column x has -2"):
        how.prepare(rows)


def test_the_calendar_goes_round_and_its_ends_meet() -> None:
    stamps = pandas.DatetimeIndex(["2023-12-31 23:30", "2024-01-01 00:30", "2024-07-01 12:30"])
    hour, year = (calendar_columns([name], stamps, 3, field="f") for name in ("hour", "day_of_year"))
    assert np.square(hour).sum(axis=1) == pytest.approx([1, 1, 1])
    for columns in (hour, year):
        near, far = np.linalg.norm(columns[0] - columns[1]), np.linalg.norm(columns[1] - columns[2])
        assert near < 0.3
        assert far > 1.9
    with pytest.raises(ValueError, match="f: a column of dates is needed, and its times are numbers"):
        calendar_columns(["hour"], pandas.Index([1, 2]), 2, field="f")


def test_each_date_has_one_number_in_leap_years_and_others() -> None:
    stamps = pandas.DatetimeIndex(["2023-03-01", "2024-03-01", "2024-02-29", "2023-12-31"])
    assert day_numbers(stamps).tolist() == [60, 60, 59, 365]


def test_a_reading_survives_json() -> None:
    how = reading(lags=(1, 24), calendar=("hour",), every="1h")
    assert Reading.from_plain(how.plain()) == how
