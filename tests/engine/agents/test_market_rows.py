"""What agents see of a market that is not stored: complete, and known at the time."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_series_equal

from engine.agents.market_rows import SCALE, MarketRows, funding_due, market_rows, simulated_market_rows
from engine.agents.tape import MarketTape
from engine.features.catalogue import CATALOGUE
from engine.market.simulator import MarketSimulator, SimulatedMarket

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1)
SYMBOLS = ("AAA/USDT", "BBB/USDT")
CUT = START + timedelta(days=60, hours=7)
SEEN = (*CATALOGUE.columns, "p_trend", "p_range", "p_panic", "regime", "volatility", "segment", "log_return")


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    """Ten weeks, with an outage of one symbol: two fits of the regimes before the cut and one after."""
    made = MarketSimulator(SYMBOLS, HOUR, 5).simulate(START, 24 * 70)
    out = pl.col("ts").is_between(START + timedelta(days=55), START + timedelta(days=55, hours=3))
    return SimulatedMarket(
        made.candles.filter(~(out & (pl.col("symbol") == SYMBOLS[0]))), made.observations, made.truth
    )


def seen(candles: pl.DataFrame, observations: pl.DataFrame) -> MarketRows:
    return market_rows(candles, observations, HOUR, regime_refit=timedelta(days=10))


@pytest.fixture(scope="module")
def whole(market: SimulatedMarket) -> pl.DataFrame:
    return seen(market.candles, market.observations).rows


def assert_same_past(found: pl.DataFrame, whole: pl.DataFrame) -> None:
    past = pl.col("ts") < CUT
    a, b = (frame.filter(past).select("symbol", "ts", *SEEN) for frame in (found, whole))
    assert a.height > 2_800
    assert b["p_trend"].is_not_null().sum() > 500
    for name in SEEN:
        assert_series_equal(a[name], b[name], check_exact=True)


def test_no_column_before_a_moment_depends_on_what_comes_after(
    market: SimulatedMarket, whole: pl.DataFrame
) -> None:
    """Another future: prices, volumes, and whatever is published after the last bar before it has closed."""
    after = pl.col("ts") >= CUT
    hour = pl.col("ts").dt.hour()
    factor = 1.0 + 0.03 * hour.cast(pl.Float64) / 24
    candles = market.candles.with_columns(
        *(
            pl.when(after).then(pl.col(name) * factor).otherwise(name).alias(name)
            for name in ("open", "high", "low", "close")
        ),
        pl.when(after).then(pl.col("volume") * (1 + hour)).otherwise("volume").alias("volume"),
    )
    unknown = pl.col("available_at") > CUT
    observations = market.observations.with_columns(
        pl.when(unknown).then(pl.col("value") * 0.5).otherwise("value").alias("value")
    )
    found = seen(candles, observations).rows
    assert_same_past(found, whole)
    differs = found.filter(after)["return_24"] != whole.filter(after)["return_24"]
    assert differs.any()
    assert (found.filter(after)["p_trend"] != whole.filter(after)["p_trend"]).any()
    assert (found.filter(after)["fear_greed"] != whole.filter(after)["fear_greed"]).any()


def test_no_column_changes_when_the_future_is_cut_off(market: SimulatedMarket, whole: pl.DataFrame) -> None:
    candles = market.candles.filter(pl.col("ts") < CUT)
    observations = market.observations.filter(pl.col("available_at") <= CUT)
    assert_same_past(seen(candles, observations).rows, whole)


def test_rows_are_complete(market: SimulatedMarket, whole: pl.DataFrame) -> None:
    """A row for each candle, with every feature, regime and cost; no column twice under another name."""
    assert whole.select(market.candles.columns).equals(market.candles)
    for name in (*SEEN, "funding"):
        assert name in whole.columns, name
    assert not [name for name in whole.columns if name.endswith("_right")]
    assert "drift_sign" not in whole.columns, "the truth of the simulator is no feature"
    assert whole[SCALE].equals(whole["volatility"].alias(SCALE))
    settled = whole.filter(pl.col("ts") >= START + timedelta(days=63))
    missing = {name: settled[name].null_count() for name in (*SEEN, "funding")}
    assert not {name: count for name, count in missing.items() if count > 0.02 * settled.height}
    assert whole["funding"].null_count() == 0
    np.testing.assert_allclose(
        settled.select("p_trend", "p_range", "p_panic").sum_horizontal(), 1.0, atol=1e-9
    )


def test_a_feature_that_is_published_as_it_is_bears_the_recipes_value(
    market: SimulatedMarket, whole: pl.DataFrame
) -> None:
    """Fear & Greed on a bar is the newest value published by its close, shifted as the recipe shifts it."""
    published = market.observations.filter(pl.col("series") == "fear_greed").sort("available_at")
    moments = whole.filter(pl.col("symbol") == SYMBOLS[1]).filter(pl.col("ts") > START + timedelta(days=5))
    known = moments.select("ts", "fear_greed", at=pl.col("ts") + HOUR).join_asof(
        published.select(at="available_at", published="value"), on="at"
    )
    spread = known.select(pl.corr("fear_greed", "published")).item()
    assert spread == pytest.approx(1.0, abs=1e-9)


def test_rows_can_be_laid_out_as_a_tape_that_breaks_at_the_outage(whole: pl.DataFrame) -> None:
    tape = MarketTape.from_frame(whole.drop_nulls("volatility"), CATALOGUE.columns)
    first, second = (tape.of_symbol(symbol) for symbol in SYMBOLS)
    assert (len(np.unique(first.run)), len(np.unique(second.run))) == (2, 1)
    back = START + timedelta(days=55, hours=4)
    assert whole.filter(pl.col("ts") == back).filter(pl.col("symbol") == SYMBOLS[0])["log_return"][0] is None


def observed(*rows: tuple[str, datetime, datetime, float | None]) -> pl.DataFrame:
    return pl.DataFrame(
        [(series, "AAA/USDT", ts, known, value) for series, ts, known, value in rows],
        schema={
            "series": pl.String,
            "symbol": pl.String,
            "ts": pl.Datetime("us"),
            "available_at": pl.Datetime("us"),
            "value": pl.Float64,
        },
        orient="row",
    )


def bars(hours: list[int], symbol: str = "AAA/USDT") -> pl.DataFrame:
    return pl.DataFrame(
        {"symbol": symbol, "ts": [START + h * HOUR for h in hours], "open": 1.0, "close": 1.0, "volume": 1.0},
        schema_overrides={"ts": pl.Datetime("us")},
    )


def test_funding_is_due_at_the_open_that_its_stamp_belongs_to() -> None:
    """Within a minute after it to that open, later to the next; the last vintage counts, rates add up."""
    at = START + 3 * HOUR
    due = funding_due(
        pl.concat([bars([0, 1, 2, 3, 4, 6, 7]), bars([0, 1, 2, 3], "BBB/USDT")]),
        observed(
            ("funding_rate", START + HOUR + timedelta(milliseconds=3), at, 1e-4),
            ("funding_rate", START + 2 * HOUR + timedelta(minutes=2), at, 2e-4),
            ("funding_rate", START + 2 * HOUR + timedelta(minutes=30), at, 3e-4),
            ("funding_rate", START + 4 * HOUR, START + 4 * HOUR, 4e-4),
            ("funding_rate", START + 4 * HOUR, START + 9 * HOUR, 5e-4),
            ("funding_rate", START + 5 * HOUR, at, 6e-4),
            ("funding_rate", START + 7 * HOUR, at, None),
            ("social_score", START + 6 * HOUR, at, 7.0),
        ),
        HOUR,
    ).sort("symbol", "ts")
    assert due.columns == ["symbol", "ts", "funding"]
    mine, other = (due.filter(pl.col("symbol") == s) for s in ("AAA/USDT", "BBB/USDT"))
    assert mine["ts"].to_list() == [START + h * HOUR for h in (0, 1, 2, 3, 4, 6, 7)]
    np.testing.assert_allclose(mine["funding"], [0, 1e-4, 0, 5e-4, 5e-4, 0, 0], atol=1e-15)
    assert other["funding"].to_list() == [0.0] * 4


def test_a_long_of_a_bar_pays_what_is_due_when_the_bar_after_the_next_opens() -> None:
    """Decided on bar t, filled at the open of t+1, still held at the open of t+2."""
    candles = bars(list(range(8)))
    due = funding_due(candles, observed(("funding_rate", START + 5 * HOUR, START, 0.01)), HOUR)
    rows = candles.join(due, on=["symbol", "ts"]).with_columns(
        segment=0, volatility=0.01, p_trend=1.0, p_range=0.0, p_panic=0.0
    )
    assert MarketTape.from_frame(rows, []).funding.tolist() == [0, 0, 0, 0.01, 0, 0, 0, 0]


def test_the_same_seed_gives_the_same_simulated_rows() -> None:
    first, again = (simulated_market_rows(("AAA/USDT",), 50, 7) for _ in range(2))
    other = simulated_market_rows(("AAA/USDT",), 50, 8)
    assert first.rows.equals(again.rows)
    assert first.observations.equals(again.observations)
    assert first.truth is not None
    assert again.truth is not None
    assert first.truth.equals(again.truth)
    assert not first.rows["close"].equals(other.rows["close"])
    assert first.rows.height == 50 * 24
