"""Markets that whole training sessions are tried on: without an edge, with one planted, as recorded."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.evaluation.costs import Costs
from engine.market.simulator import MarketSimulator
from engine.tuning.market_state import StateTape, state_tape
from engine.tuning.parameters import DEFAULTS

__all__ = [
    "BEGIN",
    "DEAF",
    "DRIFT",
    "EVERY",
    "FREE",
    "HOLDS",
    "MARKET",
    "PLANTED_AT",
    "SYMBOLS",
    "null_tape",
    "planted_tape",
    "recorded_tape",
]

MARKET = Path(__file__).resolve().parents[2] / "shared" / "data" / "market"
SYMBOLS, HOUR = ("BTC/USDT", "ETH/USDT"), timedelta(hours=1)
BEGIN = datetime(2023, 1, 1)  # noqa: DTZ001  moments are UTC without zone

FREE = Costs(0.0, 0.0, 0.0)
"""Without costs no setting is better than another on a martingale; with them, trading less is."""

PLANTED_AT, DRIFT, HOLDS, EVERY = 0.60, 0.05, 24, 16
"""News at least this strong is followed by this drift, over so many hours; mean hours between two pieces."""
DEAF = replace(DEFAULTS, social_go=0.95)
"""What is in force in the planted market: no news is strong enough for it."""


def null_tape(seed: int, days: int, symbols: tuple[str, ...] = SYMBOLS) -> StateTape:
    """Prices that are martingales, with scores that say nothing; nothing is charged, funding included."""
    made = MarketSimulator(symbols, HOUR, seed, "null").simulate(BEGIN, days * 24)
    scores = made.observations.filter(pl.col("series").is_in(["social_score", "news_score"]))
    tape = state_tape(made.candles, scores, HOUR, FREE)
    # A spread that is measured where there is none would be charged.
    return replace(tape, half_spread=np.zeros_like(tape.half_spread))


def planted_tape(seed: int, days: int, symbols: tuple[str, ...] = SYMBOLS, drift: float = DRIFT) -> StateTape:
    """Prices that are martingales but for what strong news brings; weak news says nothing.

    A piece of news is as strong as a uniform number from 0.4 to 0.9, and favourable or not as a coin falls.
    Costs are the usual ones, funding is not charged.
    """
    candles = MarketSimulator(symbols, HOUR, seed, "null").simulate(BEGIN, days * 24).candles
    moved = []
    for number, symbol in enumerate(symbols):
        frame = candles.filter(symbol=symbol)
        rng = np.random.default_rng([seed, number])
        falls = rng.random(frame.height) < 1.0 / EVERY
        strength = np.where(falls, rng.uniform(0.4, 0.9, frame.height), 0.0)
        side = rng.choice([-1.0, 1.0], frame.height)
        moved.append(_moved(frame, np.where(strength >= PLANTED_AT, side, 0.0) * drift, side * strength))
    rows = pl.concat(moved)
    scores = rows.select("symbol", "ts", "news_score", social_score=pl.lit(0.5))
    return state_tape(rows.drop("news_score"), scores, HOUR)


def _moved(candles: pl.DataFrame, drift: NDArray[np.float64], lean: NDArray[np.float64]) -> pl.DataFrame:
    """Let each bar's drift work over the hours that follow it."""
    total = np.cumsum(drift)
    shifted = np.concatenate((np.zeros(1), total[:-1]))
    left_behind = np.concatenate((np.zeros(HOLDS + 1), total[: -HOLDS - 1]))
    after = np.exp(np.cumsum((shifted - left_behind) / HOLDS))
    before = np.concatenate((np.ones(1), after[:-1]))
    return candles.with_columns(
        open=pl.col("open") * before,
        high=pl.col("high") * np.maximum(before, after),
        low=pl.col("low") * np.minimum(before, after),
        close=pl.col("close") * after,
        news_score=pl.Series(0.5 * (lean + 1.0)),
    )


def recorded_tape(symbol: str) -> StateTape:
    """Hourly bars as recorded, with funding; no social or news scores are on record."""
    naive = pl.col("ts").dt.replace_time_zone(None)
    name = symbol.replace("/", "_")
    candles = pl.read_parquet(MARKET / "candles" / "spot_1h" / f"{name}.parquet").with_columns(naive)
    rates = pl.read_parquet(MARKET / "funding" / "binance_usdm.parquet").with_columns(naive)
    paid = rates.select(
        series=pl.lit("funding_rate"), symbol="symbol", ts="ts", available_at="ts", value="funding_rate"
    )
    return state_tape(candles, None, HOUR, funding=paid)
