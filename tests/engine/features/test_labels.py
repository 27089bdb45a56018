"""Labels against a brute-force reading of their definition."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta

import polars as pl
import pytest

from engine.errors import DataError
from engine.features.labels import labels

BAR = timedelta(hours=1)


@pytest.mark.parametrize("horizon", [1, 3, 24])
def test_equals_brute_force(market: Callable[..., pl.DataFrame], horizon: int) -> None:
    candles = market(seed=4, bars=200, symbols=2, gaps=3).select("symbol", "ts", "open", "segment")
    opens = {(s, t): o for s, t, o in candles.select("symbol", "ts", "open").iter_rows()}
    expected = []
    for symbol, ts, _, _ in candles.iter_rows():
        span = [ts + k * BAR for k in range(horizon + 2)]
        if all((symbol, moment) in opens for moment in span):
            value = math.log(opens[symbol, span[-1]] / opens[symbol, span[1]])
            expected.append((symbol, ts, horizon, pytest.approx(value), (value > 0) - (value < 0), span[-1]))
    assert labels(candles, horizon).rows() == expected
    assert candles.height - len(expected) > 2 * (horizon + 1)


def test_the_label_is_earned_from_the_next_open_and_no_open_before() -> None:
    ts = [datetime(2024, 1, 1) + i * BAR for i in range(4)]
    candles = pl.DataFrame({"symbol": ["A"] * 4, "ts": ts, "open": [1.0, 2.0, 6.0, 6.0], "segment": [0] * 4})
    out = labels(candles, 1)
    assert out.columns == ["symbol", "ts", "horizon", "label", "direction", "label_end"]
    assert out["label"].to_list() == [pytest.approx(math.log(3.0)), 0.0]
    assert out["direction"].to_list() == [1, 0]
    assert out["label_end"].to_list() == ts[2:]
    assert out.schema["direction"] == out.schema["horizon"] == pl.Int64


def test_refusals() -> None:
    candles = pl.DataFrame({"symbol": ["A"], "ts": [datetime(2024, 1, 1)], "open": [0.0], "segment": [0]})
    with pytest.raises(ValueError, match="horizon is 0"):
        labels(candles, 0)
    with pytest.raises(DataError, match="row 1, column 'open'"):
        labels(candles, 1)
    with pytest.raises(DataError, match="'segment'"):
        labels(candles.drop("segment"), 1)
