"""Synthetic windows as agents see bars: which rows are new, what stays real, and their features."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.agents.synthetic_rows import synthetic_rows
from engine.agents.tape import MarketTape
from engine.alternative.features import alternative_features
from engine.features.catalogue import CATALOGUE
from engine.market.segments import segments
from engine.market.simulator import MarketSimulator
from engine.synthetic.spliced import graft
from engine.synthetic.windows import window_frame

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 3)
LENGTH, BEFORE, COUNT, SEED = 30, 12, 4, 3
KEPT = ("p_trend", "p_range", "p_panic", "regime", "funding")
PRICES = ("open", "high", "low", "close", "volume")


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    """Five weeks of two symbols: inputs of the recipe, a belief that panics now and then, funding."""
    market = MarketSimulator(("AAA/USDT", "BBB/USDT"), HOUR, 9).simulate(START, 24 * 35)
    candles = market.candles.with_columns(segment=segments(market.candles, HOUR))
    known = alternative_features(candles.select("symbol", "ts"), market.observations, HOUR)
    bar = pl.int_range(pl.len()).over("symbol")
    panic = (bar // 60) % 3 == 2
    return candles.join(known, on=["symbol", "ts"], how="left", maintain_order="left").with_columns(
        log_return=(pl.col("close") / pl.col("close").shift(1)).log().over("symbol", "segment"),
        p_trend=pl.lit(0.1),
        p_range=pl.when(panic).then(0.05).otherwise(0.8),
        p_panic=pl.when(panic).then(0.85).otherwise(0.1),
        regime=pl.when(panic).then(pl.lit("PANIC")).otherwise(pl.lit("RANGE")),
        funding=bar.cast(pl.Float64) * 1e-6,
    )


@pytest.fixture(scope="module")
def windows() -> pl.DataFrame:
    values = np.random.default_rng(5).normal(0, 1, (COUNT, LENGTH, 4))
    return window_frame(values, np.full(COUNT, 0.02), synthetic=True)


@pytest.fixture(scope="module")
def made(windows: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
    return synthetic_rows(windows, bars, before=BEFORE, seed=SEED)


@pytest.fixture(scope="module")
def donors(windows: pl.DataFrame, bars: pl.DataFrame) -> list[pl.DataFrame]:
    """Of each window, what it took the place of: ``symbol, ts, donor_ts``."""
    grafted = graft(windows, bars, context=CATALOGUE.warmup + BEFORE + 1, seed=SEED).grafted
    return grafted.partition_by("window", maintain_order=True)


def test_the_real_bars_before_each_window_are_given_and_are_not_marked(
    made: pl.DataFrame, bars: pl.DataFrame, donors: list[pl.DataFrame]
) -> None:
    assert made["segment"].n_unique() == COUNT
    for number, donor in enumerate(donors):
        rows = made.filter(pl.col("segment") == number)
        assert rows["synthetic"].to_list() == [False] * BEFORE + [True] * LENGTH
        assert rows["ts"].diff().drop_nulls().unique().to_list() == [HOUR]
        assert rows["symbol"].unique().to_list() == [donor["symbol"][0]]
        first = donor["donor_ts"][0]
        real = bars.filter(pl.col("symbol") == donor["symbol"][0])
        past = real.filter(pl.col("ts").is_between(first - BEFORE * HOUR, first, closed="left"))
        assert rows[:BEFORE].select("open", "close", *KEPT).equals(past.select("open", "close", *KEPT))
        replaced = real.filter(pl.col("ts").is_in(donor["donor_ts"].implode()))
        assert rows[BEFORE:].select(KEPT).equals(replaced.select(KEPT))
        assert not (rows[BEFORE:]["close"] == replaced["close"]).any()


def test_without_context_every_row_is_new(windows: pl.DataFrame, bars: pl.DataFrame) -> None:
    rows = synthetic_rows(windows, bars, seed=SEED)
    assert rows.height == COUNT * LENGTH
    assert rows["synthetic"].all()


def test_features_are_those_of_a_market_that_had_shown_the_window(
    made: pl.DataFrame, windows: pl.DataFrame, bars: pl.DataFrame, donors: list[pl.DataFrame]
) -> None:
    """The whole history with the window in its place, by the recipe, beside the rows of the graft.

    Averages without an end remember what lies before the warm-up, hence the tolerance.
    """
    for number, donor in enumerate(donors):
        symbol, stamps = donor["symbol"][0], donor["donor_ts"]
        mine = (bars["symbol"] == symbol) & bars["ts"].is_in(stamps.implode())
        at = int(mine.arg_max() or 0)
        close = bars["close"][at - 1]
        rows = made.filter((pl.col("segment") == number) & pl.col("synthetic"))
        shape = windows.filter(pl.col("window") == number).sort("step")
        np.testing.assert_allclose(rows["close"], shape["close"] * close, rtol=1e-12)
        np.testing.assert_allclose(rows["open"], shape["open"] * close, rtol=1e-12)
        usual = _usual_volume(bars, at)
        new = shape.select(pl.col(PRICES[:4]) * close, pl.col("volume") * usual)
        place = pl.Series(range(at, at + LENGTH))
        shown = bars.with_columns(bars[name].scatter(place, new[name]) for name in PRICES).with_columns(
            log_return=(pl.col("close") / pl.col("close").shift(1)).log().over("symbol", "segment")
        )
        expected = CATALOGUE.compute(shown)[at : at + LENGTH]
        assert expected["symbol"].unique().to_list() == [symbol]
        for name in CATALOGUE.columns:
            one, other = rows[name].to_numpy(), expected[name].to_numpy()
            np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-3, equal_nan=True, err_msg=name)
        np.testing.assert_array_equal(rows["volatility"], rows["volatility_168"])
        assert rows.select("volatility_168", "drawdown_168", "beta_168").null_count().sum_horizontal()[0] == 0


def _usual_volume(bars: pl.DataFrame, at: int) -> float:
    """Geometric mean of what was traded before a row, a week's half-life: the unit of a window's volume."""
    symbol = bars["symbol"][at]
    before = bars[:at].filter((pl.col("symbol") == symbol) & (pl.col("volume") > 0))["volume"].to_numpy()
    weight = 0.5 ** (np.arange(len(before))[::-1] / 168)
    return float(np.exp((weight * np.log(before)).sum() / weight.sum()))


def test_the_same_seed_gives_the_same_rows(
    made: pl.DataFrame, windows: pl.DataFrame, bars: pl.DataFrame
) -> None:
    assert synthetic_rows(windows, bars, before=BEFORE, seed=SEED).equals(made)
    other = synthetic_rows(windows, bars, before=BEFORE, seed=SEED + 1)
    assert not other["close"].equals(made["close"])


def test_they_can_be_laid_out_as_a_tape_of_a_run_for_each_window(made: pl.DataFrame) -> None:
    tape = MarketTape.from_frame(made, CATALOGUE.columns)
    assert len(np.unique(tape.run)) == COUNT
    assert tape.synthetic.sum() == COUNT * LENGTH
    assert tape.decisions_left.max() == BEFORE + LENGTH - 2
