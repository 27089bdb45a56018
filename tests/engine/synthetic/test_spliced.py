"""Synthetic windows in the place of real ones: units, neighbours, calendar, and what stays as it was."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.errors import DataError, NotEnoughDataError
from engine.synthetic.spliced import donors, graft
from engine.synthetic.windows import window_frame

CONTEXT, LENGTH = 20, 6


def bars(symbols: tuple[str, ...] = ("AAA/USDT", "BBB/USDT"), n: int = 200) -> pl.DataFrame:
    rng = np.random.default_rng(3)
    parts = []
    for symbol in symbols:
        log_return = rng.normal(0, 0.01, n)
        close = 100 * np.exp(np.cumsum(log_return))
        regime = np.where((np.arange(n) >= 100) & (np.arange(n) < 120), "PANIC", "RANGE")
        parts.append(
            pl.DataFrame(
                {
                    "symbol": symbol,
                    "ts": pl.datetime_range(
                        datetime(2024, 1, 3), datetime(2024, 1, 3) + timedelta(hours=n - 1), "1h", eager=True
                    ),
                    "segment": np.zeros(n, np.int64),
                    "open": np.concatenate([[100.0], close[:-1]]),
                    "high": close * 1.01,
                    "low": close * 0.98,
                    "close": close,
                    "volume": rng.uniform(50, 150, n),
                    "log_return": log_return,
                    "regime": regime,
                    "fear_greed": rng.uniform(0, 100, n),
                }
            )
        )
    return pl.concat(parts)


def windows(n: int = 3) -> pl.DataFrame:
    values = np.random.default_rng(5).normal(0, 1, (n, LENGTH, 4))
    return window_frame(values, np.full(n, 0.02), synthetic=True)


def test_a_window_has_its_own_returns_and_the_level_of_its_donor() -> None:
    market, drawn = bars(), windows()
    grafts = graft(drawn, market, context=CONTEXT, seed=1)
    joined = grafts.grafted.join(grafts.bars, on=["symbol", "ts"], how="left", maintain_order="left")
    for number in range(3):
        mine = joined.filter(pl.col("window") == number)
        shape = drawn.filter(pl.col("window") == number)
        real = market.filter(pl.col("symbol") == mine["symbol"][0])
        before = real.filter(pl.col("ts") < mine["donor_ts"][0])["close"][-1]
        np.testing.assert_allclose(mine["close"] / before, shape["close"], rtol=1e-12)
        closes = np.concatenate([[before], mine["close"]])
        np.testing.assert_allclose(mine["log_return"], np.diff(np.log(closes)), rtol=1e-9)
        ratio = mine["volume"].to_numpy() / shape["volume"].to_numpy()
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)
        assert 50 < ratio[0] < 150


def test_neighbours_context_and_publications_stay() -> None:
    market = bars()
    grafts = graft(windows(), market, context=CONTEXT, seed=1)
    assert grafts.bars.height == 3 * 2 * (CONTEXT + LENGTH)
    assert not grafts.bars.select("symbol", "ts").is_duplicated().any()
    window = grafts.grafted.filter(pl.col("window") == 1)
    shift = window["ts"][0] - window["donor_ts"][0]
    back = grafts.bars.filter(pl.col("segment") == 1).with_columns(ts=pl.col("ts") - shift)
    pairs = back.join(market, on=["symbol", "ts"], how="left")
    assert (pairs["fear_greed"] == pairs["fear_greed_right"]).all()
    mine = pl.struct("symbol", "ts").is_in(window.select("symbol", ts="donor_ts").to_struct("x").implode())
    others = pairs.filter(~mine)
    assert (others["close"] == others["close_right"]).all()
    assert others.height == 2 * (CONTEXT + LENGTH) - LENGTH
    assert not (pairs.filter(mine)["close"] == pairs.filter(mine)["close_right"]).any()


def test_hours_and_weekdays_are_the_donors() -> None:
    grafted = graft(windows(20), bars(), context=CONTEXT, seed=2).grafted
    assert (grafted["ts"].dt.hour() == grafted["donor_ts"].dt.hour()).all()
    assert (grafted["ts"].dt.weekday() == grafted["donor_ts"].dt.weekday()).all()


def test_donors_open_in_panic_and_cross_no_gap() -> None:
    market = bars(("AAA/USDT",)).with_columns(
        segment=(pl.col("ts") >= datetime(2024, 1, 3) + timedelta(hours=95)).cast(pl.Int64)
    )
    rows = donors(market, LENGTH, 10)
    # The bar before is in PANIC (101..), half of the window is, and ten bars before lie in segment 1.
    assert rows.tolist() == list(range(105, 118))


def test_the_same_seed_gives_the_same_grafts() -> None:
    first, again = (graft(windows(), bars(), context=CONTEXT, seed=4) for _ in range(2))
    assert first.bars.equals(again.bars)
    assert first.grafted.equals(again.grafted)


def test_what_cannot_be_grafted_is_refused() -> None:
    calm = bars().with_columns(regime=pl.lit("RANGE"))
    with pytest.raises(NotEnoughDataError, match="opens in PANIC"):
        graft(windows(), calm, context=CONTEXT, seed=1)
    ragged = windows().filter((pl.col("window") != 1) | (pl.col("step") < 3))
    with pytest.raises(DataError, match="same number"):
        graft(ragged, bars(), context=CONTEXT, seed=1)
