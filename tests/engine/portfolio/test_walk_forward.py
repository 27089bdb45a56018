import itertools
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.portfolio.allocation import PortfolioConfig
from engine.portfolio.walk_forward import daily_closes, walk_allocations

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = datetime(2024, 1, 1)


def market(days: int, seed: int = 5) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    frames = []
    for i, symbol in enumerate(("A/USDT", "B/USDT", "C/USDT")):
        steps = rng.normal(0.0, 0.002 * (i + 1), 24 * days)
        ts = [START + h * HOUR for h in range(24 * days)]
        frames.append(pl.DataFrame({"symbol": symbol, "ts": ts, "close": 100 * np.exp(np.cumsum(steps))}))
    return pl.concat(frames).with_columns(pl.col("ts").cast(pl.Datetime("us")))


def hourly_signals(candles: pl.DataFrame, since: datetime, confidence: float | None) -> pl.DataFrame:
    return candles.filter(pl.col("ts") >= since).select(
        "symbol",
        "ts",
        direction=pl.lit(1, pl.Int64),
        confidence=pl.lit(confidence, pl.Float64),
    )


def test_the_close_of_a_day_is_that_of_its_last_bar() -> None:
    candles = market(3)
    closes = daily_closes(candles, HOUR)
    assert closes["day"].to_list() == [START + (d + 1) * DAY for d in range(3)]
    last_hour = candles.filter((pl.col("symbol") == "B/USDT") & (pl.col("ts") == START + 47 * HOUR))
    assert closes["B/USDT"][1] == last_hour["close"][0]


def test_a_day_without_its_last_bar_has_no_close_but_stays_on_the_clock() -> None:
    candles = market(3).filter(pl.col("ts") != START + 47 * HOUR)
    closes = daily_closes(candles, HOUR)
    assert closes.height == 3
    assert closes["A/USDT"][1] is None


def test_decisions_fall_on_midnights_alone() -> None:
    candles = market(120)
    since = START + 100 * DAY
    out = walk_allocations(hourly_signals(candles, since, 0.7), daily_closes(candles, HOUR), HOUR)
    assert out["decided_at"].dt.hour().unique().to_list() == [0]
    assert (out["decided_at"] - out["ts"]).unique().to_list() == [HOUR]
    assert out["decided_at"].n_unique() == 20


def test_unknown_confidence_and_a_coins_confidence_hold_nothing() -> None:
    candles = market(120)
    since = START + 110 * DAY
    for confidence in (None, 0.5, 0.45):
        signals = hourly_signals(candles, since, confidence)
        out = walk_allocations(signals, daily_closes(candles, HOUR), HOUR)
        assert out.height > 0
        assert (out["weight"] == 0.0).all()


def test_trades_start_from_drifted_weights() -> None:
    """With no band, a trade is the target less what the last weights became: w (1 + r) / (1 + sum w r)."""
    candles = market(130)
    closes = daily_closes(candles, HOUR)
    config = PortfolioConfig(no_trade_band=0.0, correlation_limit=1.0)
    out = walk_allocations(hourly_signals(candles, START + 110 * DAY, 0.7), closes, HOUR, config)
    days = out["decided_at"].unique().sort().to_list()
    for before, after in itertools.pairwise(days):
        old = dict(out.filter(pl.col("decided_at") == before).select("symbol", "weight").iter_rows())
        new = {r["symbol"]: r for r in out.filter(pl.col("decided_at") == after).iter_rows(named=True)}
        rows = {d: closes.row(i, named=True) for i, d in enumerate(closes["day"])}
        r = {s: rows[after][s] / rows[before][s] - 1 for s in old}
        equity = 1 + sum(old[s] * r[s] for s in old)
        for symbol, weight in old.items():
            drifted = weight * (1 + r[symbol]) / equity
            assert new[symbol]["trade"] == pytest.approx(new[symbol]["weight"] - drifted, abs=1e-12)


def test_the_future_does_not_change_a_decision() -> None:
    candles = market(130)
    cut = START + 120 * DAY
    since = START + 110 * DAY
    whole = walk_allocations(hourly_signals(candles, since, 0.7), daily_closes(candles, HOUR), HOUR)
    past = candles.filter(pl.col("ts") + HOUR <= cut)
    part = walk_allocations(hourly_signals(past, since, 0.7), daily_closes(past, HOUR), HOUR)
    assert part.height > 0
    assert part.equals(whole.filter(pl.col("decided_at") <= cut))
