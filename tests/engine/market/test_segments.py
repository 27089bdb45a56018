from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.market.segments import segments, unbroken

HOUR = timedelta(hours=1)
START = datetime.fromisoformat("2024-01-01")


def frame(**bars: list[int]) -> pl.DataFrame:
    """Candles of each symbol at the given hours."""
    rows = [(s, START + h * HOUR) for s, hours in sorted(bars.items()) for h in hours]
    return pl.DataFrame(rows, schema={"symbol": pl.String, "ts": pl.Datetime("us")}, orient="row")


def test_segment_counts_up_at_each_gap_of_its_own_symbol() -> None:
    candles = frame(A=[0, 1, 3, 4, 900], B=[5, 6])
    assert segments(candles, HOUR).to_list() == [0, 0, 1, 1, 2, 0, 0]
    assert segments(candles, 2 * HOUR).to_list() == [0, 0, 0, 0, 1, 0, 0]


def test_span_is_unbroken_inside_a_segment_only() -> None:
    candles = frame(A=[0, 1, 2, 4, 5], B=[6, 7])
    assert unbroken(candles, HOUR, 1).to_list() == [True, True, False, True, False, True, False]
    assert unbroken(candles, HOUR, 2).to_list() == [True] + [False] * 6
    assert all(unbroken(candles, HOUR, 0))


def test_negative_horizon_is_refused() -> None:
    with pytest.raises(ValueError, match="horizon=-1"):
        unbroken(frame(A=[0]), HOUR, -1)


@given(
    a=st.sets(st.integers(0, 30), min_size=1), b=st.sets(st.integers(0, 30), min_size=1), h=st.integers(0, 6)
)
def test_span_is_unbroken_where_every_bar_of_it_is_there(a: set[int], b: set[int], h: int) -> None:
    candles = frame(A=sorted(a), B=sorted(b))
    expected = [all(i + k in hours for k in range(h + 1)) for hours in (a, b) for i in sorted(hours)]
    assert unbroken(candles, HOUR, h).to_list() == expected
    numbered = candles.with_columns(segment=segments(candles, HOUR))
    same = numbered.select(
        (pl.col("segment").shift(-h).over("symbol") == pl.col("segment")).fill_null(value=False)
    )
    assert same.to_series().to_list() == expected
