from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.alternative.asof import as_of
from engine.portfolio.gate_profiles import PROFILES, GateProfiles
from engine.portfolio.position_sizer import PositionSizer
from engine.portfolio.risk_manager import RiskManager
from engine.portfolio.sentiment import SentimentBounds, fear_greed_factor
from engine.portfolio.view import SymbolView

INDEX = np.arange(0.0, 101.0)


def violations(factor) -> set[str]:
    """Which of the demands on the factor a function does not meet."""
    values = np.array([factor(i) for i in INDEX])
    found = set()
    if any(not 0.25 <= v <= 1.0 for v in [*values, factor(None), factor(math.nan)]):
        found.add("range")
    if np.abs(np.diff(values)).max() > 0.10:
        found.add("cliff")
    middle = np.argmax(values)
    if (np.diff(values[: middle + 1]) < 0).any() or (np.diff(values[middle:]) > 0).any():
        found.add("monotone")
    if max(factor(None), factor(math.nan), factor(140.0), factor(-1.0)) > values.min():
        found.add("unknown")
    return found


def test_a13_2_the_factor_meets_every_demand():
    assert violations(fear_greed_factor) == set()
    assert fear_greed_factor(50.0) == 1.0
    assert fear_greed_factor(25.0) == pytest.approx(0.625)
    assert fear_greed_factor(0.0) == fear_greed_factor(100.0) == fear_greed_factor(None) == 0.25


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (lambda i: 0.5 if i is not None and (i <= 25 or i >= 75) else 1.0, "cliff"),
        (lambda i: fear_greed_factor(i) if i is not None else fear_greed_factor(50.0), "unknown"),
        (lambda i: 1.0 - 0.0075 * (0.0 if i is None or math.isnan(i) else i), "unknown"),
        (lambda i: 1.0 + 0.005 * (50.0 if i is None or math.isnan(i) else 50 - i), "range"),
        (lambda i: 0.6 + 0.3 * math.cos((i if i is not None and i == i else 0.0) / 8), "monotone"),
    ],
)
def test_wrong_factors_are_caught(wrong, fault):
    """A cliff at 25 and 75, a neutral guess for None, ``value or 0``, a contrarian bonus, a wave."""
    assert fault in violations(wrong)


@given(st.floats(0, 100), st.floats(0, 100))
def test_between_the_points_too(a, b):
    assert abs(fear_greed_factor(a) - fear_greed_factor(b)) <= 0.0251 * abs(a - b) + 1e-12


def test_the_gate_does_not_flap():
    """An index that wavers about a bound closes the gate once; without a margin it would by turns."""
    wavering = [16.0, 14.0, 16.0, 14.0, 19.0, 15.5, 21.0, 15.5, 16.0]

    def changes(bounds: SentimentBounds) -> list[bool]:
        is_open, course = True, []
        for index in wavering:
            is_open = bounds.opens(index, is_open)
            course.append(is_open)
        return course

    steady = changes(SentimentBounds(15.0, 85.0, 5.0))
    assert steady == [True, False, False, False, False, False, True, True, True]
    assert np.count_nonzero(np.diff(changes(SentimentBounds(15.0, 85.0, 0.0)))) > 2


def test_unknown_closes_and_only_well_inside_opens_again():
    bounds = SentimentBounds(15.0, 85.0, 5.0)
    assert not bounds.opens(None, was_open=True)
    assert not bounds.opens(82.0, was_open=False)
    assert bounds.opens(82.0, was_open=True)
    assert bounds.opens(80.0, was_open=False)


@given(st.none() | st.floats(0, 100))
def test_a_closed_gate_never_lets_in_more_than_an_open_one(index):
    bounds = SentimentBounds(15.0, 85.0, 5.0)
    assert bounds.opens(index, was_open=True) or not bounds.opens(index, was_open=False)


@pytest.mark.parametrize(
    "bad", [(60.0, 50.0, 0.0), (10.0, 90.0, -1.0), (10.0, 90.0, 45.0), (-9.0, 90.0, 1.0)]
)
def test_bounds_without_a_range_are_refused(bad):
    with pytest.raises(ValueError, match="leave no range"):
        SentimentBounds(*bad)


T0, HOUR = datetime(2024, 1, 1), timedelta(hours=1)


def published(*rows: tuple[float, float | None]) -> pl.DataFrame:
    """The index of each day, published at the given hours."""
    return pl.DataFrame(
        [("fear_greed", "*", T0 + int(h // 24) * 24 * HOUR, T0 + h * HOUR, value) for h, value in rows],
        schema={
            "series": pl.String,
            "symbol": pl.String,
            "ts": pl.Datetime("us"),
            "available_at": pl.Datetime("us"),
            "value": pl.Float64,
        },
        orient="row",
    )


def by_publication(moments: pl.DataFrame, index: pl.DataFrame) -> list[float | None]:
    return as_of(moments, index, ["fear_greed"])["fear_greed"].to_list()


def by_calendar_day(moments: pl.DataFrame, index: pl.DataFrame) -> list[float | None]:
    """The join that one writes first: the index of a day belongs to the whole day."""
    days = moments.with_columns(ts=pl.col("decided_at").dt.truncate("1d"))
    return days.join(index.select("ts", "value"), on="ts", how="left", maintain_order="left")[
        "value"
    ].to_list()


def sees_the_future(join: Callable[[pl.DataFrame, pl.DataFrame], list[float | None]]) -> bool:
    """Whether what is known at some hour depends on an index that is published later."""
    index = published(*((24.0 * day + 0.5, 10.0 * day) for day in range(1, 6)))
    moments = [T0 + hour * HOUR for hour in range(24, 144, 6)]
    decisions = pl.DataFrame(
        {"symbol": "BTC/USDT", "decided_at": pl.Series(moments, dtype=pl.Datetime("us"))}
    )
    now = join(decisions, index)
    for k, moment in enumerate(moments):
        later = index.with_columns(
            value=pl.when(pl.col("available_at") > moment).then(99.0).otherwise("value")
        )
        if join(decisions[k], later) != [now[k]]:
            return True
    return False


def test_a13_1_a_join_on_the_calendar_day_leaks_and_the_one_on_publication_does_not():
    assert sees_the_future(by_calendar_day)
    assert not sees_the_future(by_publication)


@pytest.mark.parametrize(
    ("hours", "index", "factor"),
    [(24.4, 50.0, 1.0), (24.5, 5.0, 0.25), (48.4, 5.0, 0.25), (48.5, None, 0.25), (72.5, 45.0, 1.0),
     (72.5 + 48.0, 45.0, 1.0), (72.5 + 49.0, None, 0.25), (0.4, None, 0.25)],
)  # fmt: skip
def test_a13_1_from_publication_to_sizer_risk_manager_and_gate(hours, index, factor):
    """Published .5: 50, 24.5: 5, 48.5: 140 (impossible), 72.5: 45; then nothing for more than 48 hours."""
    rows = published((0.5, 50.0), (24.5, 5.0), (48.5, 140.0), (72.5, 45.0))
    moment = pl.DataFrame(
        {"symbol": ["BTC/USDT"], "decided_at": pl.Series([T0 + hours * HOUR], dtype=pl.Datetime("us"))}
    )
    seen = as_of(moment, rows, ["fear_greed"]).row(0, named=True)
    view = SymbolView(
        "BTC/USDT", 1, 0.7, (0.5, 0.5, 0.0), 0.0, 0.3, 5.0, 0.1,
        seen["fear_greed"], seen["fear_greed_age_hours"],
    )  # fmt: skip
    assert view.fear_greed == index
    found = {f.name: f for f in PositionSizer().size(view).factors}["fear & greed"]
    assert found.value == pytest.approx(factor)
    assert ("unknown" in found.reason) == (index is None)
    assert RiskManager().caution(view)[0] == pytest.approx(factor)
    gate = GateProfiles().evaluate("balanced", view, sentiment_was_open=True)
    assert gate.sentiment_open == (factor == 1.0)


@pytest.mark.parametrize("name", PROFILES)
def test_no_gate_flaps_on_the_recorded_index(market_data: Path, name: str):
    """Days on which the gate changes, since 2018: a margin makes them fewer, a cliff at 25 and 75 more."""
    index = pl.read_parquet(market_data / "fear_greed" / "alternative_me.parquet")["value"].to_list()

    def changes(bounds: SentimentBounds) -> int:
        is_open, course = True, []
        for value in index:
            is_open = bounds.opens(float(value), is_open)
            course.append(is_open)
        return int(np.count_nonzero(np.diff(course)))

    bounds = PROFILES[name].fear_greed
    at_once = SentimentBounds(bounds.lowest, bounds.highest, 0.0)
    assert changes(bounds) < 0.75 * changes(at_once)
    assert changes(bounds) < changes(SentimentBounds(25.0, 75.0, 0.0))
