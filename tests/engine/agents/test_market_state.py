"""The state of the market: as a plain loop over bars finds it, and from the past alone."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from engine.agents.market_columns import MARKET_COLUMNS
from engine.agents.market_state import market_state

START, HOUR = datetime(2024, 1, 1), timedelta(hours=1)
BARS = 300
SYMBOLS = ("AAA/USDT", "BBB/USDT", "CCC/USDT")


def market(bar: timedelta = HOUR) -> pl.DataFrame:
    """Three symbols, one of them with an outage, one that leaps once."""
    rng = np.random.default_rng(4)
    parts = []
    for number, symbol in enumerate(SYMBOLS):
        steps = 0.01 * rng.standard_normal(BARS)
        steps[200] += 0.5 * (number == 1)
        part = pl.DataFrame(
            {
                "symbol": [symbol] * BARS,
                "ts": [START + k * bar for k in range(BARS)],
                "close": 100.0 * np.exp(np.cumsum(steps)),
                "volatility": 0.01 * np.exp(0.3 * rng.standard_normal(BARS)),
                "forecast": 0.2 * rng.standard_normal(BARS),
                "segment": np.zeros(BARS, np.int64),
            }
        )
        if number == 2:
            gone = pl.int_range(pl.len()).is_between(100, 119)
            part = part.with_columns(segment=(pl.int_range(pl.len()) > 119).cast(pl.Int64)).filter(~gone)
        parts.append(part)
    return pl.concat(parts)


def ewm(values: list[float], bars: float) -> list[float]:
    """Weighted means of all values until each, by their definition; what is missing has no weight."""
    found = []
    for t in range(len(values)):
        known = [(0.5 ** ((t - s) / bars), values[s]) for s in range(t + 1) if not math.isnan(values[s])]
        total = sum(weight for weight, _ in known)
        found.append(sum(weight * value for weight, value in known) / total if known else math.nan)
    return found


def by_hand(rows: pl.DataFrame, bar: timedelta) -> dict[str, list[float]]:
    """Columns of `MARKET_COLUMNS`, bar by bar."""
    hours = HOUR / bar
    seen: dict[datetime, list[dict[str, float]]] = {}
    for symbol in SYMBOLS:
        before, since, segment = math.nan, [], None
        for row in rows.filter(pl.col("symbol") == symbol).iter_rows(named=True):
            since = [*since, row["forecast"]] if row["segment"] == segment else [row["forecast"]]
            segment = row["segment"]
            move = min(max((math.log(row["close"]) - before) / row["volatility"], -6.0), 6.0)
            before = math.log(row["close"])
            slow = ewm(since, 12 * hours)[-1]
            seen.setdefault(row["ts"], []).append({**row, "move": move, "slow": slow})
    columns: dict[str, list[float]] = {}

    def mean(name: str) -> list[float]:
        return [float(np.mean([one[name] for one in seen[ts]])) for ts in sorted(seen)]

    moves = mean("move")
    spread = [float(np.std([one["move"] for one in seen[ts]])) for ts in sorted(seen)]
    volatility = [float(np.mean([math.log(one["volatility"]) for one in seen[ts]])) for ts in sorted(seen)]
    columns["market_forecast"], columns["market_forecast_slow"] = mean("forecast"), mean("slow")
    for half_life in (6, 16, 40, 100):
        found = ewm(moves, half_life * hours)
        columns[f"market_move_{half_life}h"] = [each * math.sqrt(half_life * hours) for each in found]
    columns["market_size"] = ewm([abs(move) for move in moves], 12 * hours)
    common, apart = (ewm([each**2 for each in x], 24 * hours) for x in (moves, spread))
    columns["market_comovement"] = [a / (b + 1e-3) for a, b in zip(common, apart, strict=True)]
    for name, days in (("market_volatility_3d", 3), ("market_volatility_30d", 30)):
        usual = ewm(volatility, days * 24 * hours)
        columns[name] = [a - b for a, b in zip(volatility, usual, strict=True)]
    return columns


@pytest.mark.parametrize("bar", [HOUR, HOUR / 4])
def test_it_is_what_a_plain_loop_finds(bar: timedelta) -> None:
    found, expected = market_state(market(bar), bar), by_hand(market(bar), bar)
    assert found.columns == ["ts", *MARKET_COLUMNS]
    assert found["ts"].to_list() == [START + k * bar for k in range(BARS)]
    for name in MARKET_COLUMNS:
        np.testing.assert_allclose(
            found[name].to_numpy()[1:], expected[name][1:], rtol=1e-9, atol=1e-12, err_msg=name
        )


def test_it_knows_nothing_of_what_comes() -> None:
    cut = START + 210 * HOUR
    later = pl.when(pl.col("ts") >= cut)
    other = market().with_columns(
        *(
            later.then(3.0 * pl.col(name)).otherwise(name).alias(name)
            for name in ("close", "volatility", "forecast")
        )
    )
    found, changed = (market_state(rows, HOUR) for rows in (market(), other))
    past, future = pl.col("ts") < cut, pl.col("ts") >= cut
    assert_frame_equal(found.filter(past), changed.filter(past), check_exact=True)
    assert not found.filter(future).equals(changed.filter(future))


def test_a_price_that_has_not_moved_for_long_says_nothing_and_spoils_nothing() -> None:
    still = market().with_columns(
        volatility=pl.when(pl.col("symbol") == SYMBOLS[1]).then(0.0).otherwise("volatility")
    )
    others = market().filter(pl.col("symbol") != SYMBOLS[1])
    assert_frame_equal(market_state(still, HOUR), market_state(others, HOUR), check_exact=True)
    unknown = still.with_columns(volatility=pl.col("volatility").replace(0.0, None))
    assert_frame_equal(market_state(unknown, HOUR), market_state(others, HOUR), check_exact=True)
