"""Observations of the regime detector: what they mean, and that they never look ahead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from engine.errors import DataError
from engine.regimes.observations import OBSERVATIONS, observations

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1, tzinfo=UTC).replace(tzinfo=None)


def candles(
    returns: np.ndarray, symbol: str = "BTC/USDT", first: int = 0, missing: frozenset[int] = frozenset()
) -> pl.DataFrame:
    """Bars that open at the last close and swing beyond; the return after a `missing` one is unknown."""
    close = 100.0 * np.exp(np.cumsum(returns))
    swing = 0.004 * np.random.default_rng(9).random((2, len(returns)))
    frame = pl.DataFrame(
        {
            "symbol": symbol,
            "ts": [START + (first + k) * HOUR for k in range(len(returns))],
            "open": np.r_[100.0, close[:-1]],
            "close": close,
            "log_return": returns,
        },
        schema_overrides={"ts": pl.Datetime("us")},
    ).with_columns(
        high=pl.max_horizontal("open", "close") * np.exp(swing[0]),
        low=pl.min_horizontal("open", "close") * np.exp(-swing[1]),
    )
    kept = [k for k in range(len(returns)) if k not in missing]
    after_gap = [k == 0 or k - 1 in missing for k in kept]
    return frame[kept].with_columns(log_return=pl.when(~pl.Series(after_gap)).then("log_return"))


def several(seed: int = 0, bars: int = 400) -> pl.DataFrame:
    """Three symbols, one listed later, with a wick beyond the cap every twenty bars."""
    rng = np.random.default_rng(seed)
    common = rng.standard_t(4, bars)
    frame = pl.concat(
        candles(0.01 * (common[first:] + rng.standard_t(4, bars - first)), f"{name}/USDT", first)
        for name, first in (("ADA", 0), ("BTC", 0), ("NEW", 250))
    )
    wick = pl.int_range(pl.len()) % 20 == 7
    return frame.with_columns(high=pl.when(wick).then(pl.col("high") * 3.0).otherwise("high"))


def alternative(frame: pl.DataFrame, seed: int = 1) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return frame.select(
        "symbol",
        "ts",
        funding_rate_8h=pl.Series(1e-4 * rng.standard_normal(frame.height)),
        liquidations_long_usd=pl.Series(1e6 * rng.random(frame.height)),
        liquidations_short_usd=pl.Series(1e6 * rng.random(frame.height)),
        fear_greed=pl.Series(np.round(100.0 * rng.random(frame.height))),
    )


@pytest.mark.parametrize("cut", [30, 47, 250, 251, 300, 367])
def test_the_future_changes_nothing(cut: int) -> None:
    full = several()
    end = START + cut * HOUR
    past = full.filter(pl.col("ts") <= end)
    whole = observations(full, alternative=alternative(full))
    known = alternative(full).filter(pl.col("ts") <= end)
    assert_frame_equal(
        observations(past, alternative=known), whole.filter(pl.col("ts") <= end), check_exact=True
    )


def test_rows_and_columns() -> None:
    frame = several()
    for known in (None, alternative(frame)):
        found = observations(frame, alternative=known)
        assert found.columns == ["symbol", "ts", *OBSERVATIONS]
        assert_frame_equal(found.select("symbol", "ts"), frame.select("symbol", "ts"))
        assert not any(found[name].is_nan().any() for name in OBSERVATIONS)


def test_an_excursion_is_a_chi_square_whatever_the_return_was() -> None:
    """The path inside each bar is simulated; the law must be that of Brownian motion for all returns."""
    rng = np.random.default_rng(2)
    bars, steps, sigma = 4_000, 1_000, 0.01
    inside = np.cumsum(sigma / np.sqrt(steps) * rng.standard_normal((bars, steps)), axis=1, dtype=np.float32)
    returns = inside[:, -1].astype(float)
    # what a walk of so many steps misses of the extremes of the motion (Broadie, Glasserman & Kou 1997)
    missed = 0.5826 * sigma / np.sqrt(steps)
    high, low = np.maximum(inside.max(axis=1), 0.0) + missed, np.minimum(inside.min(axis=1), 0.0) - missed
    close = np.exp(np.cumsum(returns))
    before = np.r_[1.0, close[:-1]]
    frame = candles(returns).with_columns(
        close=close, high=pl.Series(before * np.exp(high)), low=pl.Series(before * np.exp(low))
    )
    found = observations(frame)["excursion"].fill_null(0.0).to_numpy()[1:] / sigma**2
    assert found.mean() == pytest.approx(4.0, rel=0.06)
    large = np.abs(returns[1:]) > sigma
    assert found[large].mean() == pytest.approx(found[~large].mean(), rel=0.05)


def test_candles_without_wicks_swing_nowhere() -> None:
    frame = candles(0.01 * np.random.default_rng(3).standard_normal(100)).with_columns(
        high=pl.max_horizontal("open", "close"), low=pl.min_horizontal("open", "close")
    )
    assert observations(frame)["excursion"].null_count() == 100


def test_nothing_spans_a_gap() -> None:
    rng = np.random.default_rng(3)
    returns = 0.01 * rng.standard_normal(200)
    returns[120] += 0.5
    found = observations(candles(returns, missing=frozenset(range(100, 121))))
    after = found.filter(pl.col("ts") >= START + 121 * HOUR)
    assert after["log_return"][:2].is_null().to_list() == [True, False]
    assert after["previous_return"][:3].is_null().to_list() == [True, True, False]
    assert after["excursion"][0] is None
    # the price moved by a half while nobody traded
    assert float(after["excursion"].max()) < 0.1


def test_the_previous_return_is_that_of_the_same_symbol() -> None:
    found = observations(several())
    for _, rows in found.group_by("symbol"):
        assert rows["previous_return"][1:].to_list() == rows["log_return"][:-1].to_list()
        assert rows["previous_return"][0] is None


def test_a_wick_is_bounded() -> None:
    frame = candles(0.01 * np.random.default_rng(4).standard_normal(300))
    wick = frame.with_columns(
        low=pl.when(pl.int_range(pl.len()) == 150).then(1e-4).otherwise("low"),
    )
    plain, capped = observations(frame)["excursion"], observations(wick)["excursion"]
    usual = float(plain[:150].sqrt().mean())
    assert capped[150] < (15.0 * usual) ** 2
    assert plain[250] == capped[250]


def test_liquidations_are_compared_with_their_own_usual_size() -> None:
    frame = candles(0.01 * np.random.default_rng(5).standard_normal(2_000))
    known = frame.select(
        "symbol", "ts", liquidations_long_usd=pl.lit(5e5), liquidations_short_usd=pl.lit(5e5)
    )
    burst = known.with_columns(
        liquidations_long_usd=pl.when(pl.int_range(pl.len()) == 1_500).then(1e8).otherwise(5e5)
    )
    assert observations(frame, alternative=known)["liquidations"][1_500] == pytest.approx(0.0, abs=1e-9)
    assert observations(frame, alternative=burst)["liquidations"][1_500] == pytest.approx(
        np.log(100.5), abs=1e-3
    )


@pytest.mark.parametrize(("index", "known"), [(0.0, 0.0), (100.0, 100.0), (140.0, None), (-1.0, None)])
def test_an_index_outside_its_range_is_unknown_and_zero_is_extreme_fear(
    index: float, known: float | None
) -> None:
    frame = candles(np.full(5, 0.01))
    rows = frame.select("symbol", "ts", fear_greed=pl.lit(index))
    assert observations(frame, alternative=rows)["fear_greed"].to_list() == [known] * 5


def test_what_is_not_known_is_null_and_never_zero() -> None:
    frame = several()
    found = observations(frame)
    for name in ("funding", "liquidations", "fear_greed"):
        assert found[name].null_count() == frame.height
    one_side = alternative(frame).with_columns(liquidations_short_usd=pl.lit(None, pl.Float64))
    assert observations(frame, alternative=one_side)["liquidations"].null_count() == frame.height
    partly = alternative(frame).filter(pl.col("symbol") == "BTC/USDT").select("symbol", "ts", "fear_greed")
    rows = observations(frame, alternative=partly)
    assert rows["fear_greed"].null_count() == frame.height - partly.height


def test_an_alternative_row_twice_is_refused() -> None:
    frame = several()
    twice = pl.concat([alternative(frame), alternative(frame).head(1)])
    with pytest.raises(DataError, match="repeats"):
        observations(frame, alternative=twice)
