"""Cross-fitting: no model speaks of a bar on which it was fitted, or of one near to it."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.alpha.boosting import BoostingConfig
from engine.alpha.cross_fitting import EMBARGO, STRETCHES, cross_fitted
from engine.errors import NotEnoughDataError
from engine.evaluation.splits import Window

START, HOUR = datetime(2024, 1, 1), timedelta(hours=1)
DAYS, HORIZON = 80, 6
LEARNED = Window(START, START + timedelta(days=64))
STRETCH = (LEARNED.end - LEARNED.start) / STRETCHES
FEATURES = ("signal", "noise")
CONFIG = BoostingConfig(rounds=20, least_in_leaf=50, row_stride=1, workers=1)


def market(seed: int = 0) -> pl.DataFrame:
    """Two symbols whose return over six bars follows a signal."""
    rng = np.random.default_rng(seed)
    bars = DAYS * 24
    x = rng.standard_normal((2 * bars, 2))
    ts = [START + k * HOUR for k in range(bars)]
    return pl.DataFrame(x, schema=list(FEATURES)).with_columns(
        symbol=pl.Series(["AAA/USDT"] * bars + ["BBB/USDT"] * bars),
        ts=pl.Series(ts * 2),
        label_end=pl.Series(ts * 2) + (HORIZON + 1) * HOUR,
        label=pl.Series(0.01 * (0.7 * x[:, 0] + rng.standard_normal(2 * bars))),
        scale=pl.lit(0.01),
    )


def turned(rows: pl.DataFrame, where: pl.Expr) -> pl.DataFrame:
    """Every outcome there the opposite."""
    return rows.with_columns(label=pl.when(where).then(-pl.col("label")).otherwise("label"))


@pytest.fixture(scope="module")
def forecasts() -> pl.DataFrame:
    return cross_fitted(market(), LEARNED, FEATURES, CONFIG)[0]


def test_every_bar_is_forecast_once_and_the_signal_is_found(forecasts: pl.DataFrame) -> None:
    joined = market().join(forecasts, on=["symbol", "ts"], validate="1:1")
    assert joined.height == forecasts.height == market().height
    for part in (LEARNED.mask(), ~LEARNED.mask()):
        assert joined.filter(part).select(pl.corr("forecast", "label")).item() > 0.4


@pytest.mark.parametrize("number", range(STRETCHES))
def test_what_followed_in_a_stretch_and_near_it_has_no_part_in_its_forecasts(
    forecasts: pl.DataFrame, number: int
) -> None:
    stretch = Window(LEARNED.start + number * STRETCH, LEARNED.start + (number + 1) * STRETCH)
    near = (pl.col("label_end") >= stretch.start - EMBARGO) & (pl.col("ts") < stretch.end + EMBARGO)
    other = cross_fitted(turned(market(), near), LEARNED, FEATURES, CONFIG)[0]
    changed = forecasts.join(other, on=["symbol", "ts"]).with_columns(
        changed=(pl.col("forecast") - pl.col("forecast_right")).abs()
    )
    assert changed.filter(stretch.mask())["changed"].max() == 0.0
    assert changed.filter(LEARNED.mask() & ~stretch.mask())["changed"].max() > 0.1  # type: ignore[operator]


def test_what_is_known_after_the_window_has_no_part_at_all(forecasts: pl.DataFrame) -> None:
    later = pl.col("label_end") > LEARNED.end
    other, forecaster = cross_fitted(turned(market(), later), LEARNED, FEATURES, CONFIG)
    assert other.equals(forecasts)
    after = market().filter(pl.col("ts") >= LEARNED.end)
    assert forecaster.forecast(after).equals(other.filter(pl.col("ts") >= LEARNED.end))


def test_where_nothing_tells_anything_base_rates_do_not_foretell_the_contrary() -> None:
    """A quarter that rose has risen less elsewhere, which is no news of what comes."""
    rose = (pl.col("ts") < LEARNED.start + STRETCH) & (pl.col("noise") > -0.7)
    rows = market().with_columns(label=pl.when(rose).then(pl.col("label").abs()).otherwise("label"))
    blind = rows.with_columns(signal=pl.lit(0.0), noise=pl.lit(0.0))
    forecasts, forecaster = cross_fitted(blind, LEARNED, FEATURES, CONFIG)
    assert forecaster.base_rate > 0.55
    assert forecasts["forecast"].abs().max() < 0.01  # type: ignore[operator]


def test_a_window_too_short_to_fit_beside_a_stretch_is_refused() -> None:
    short = Window(START, START + timedelta(days=12))
    with pytest.raises(NotEnoughDataError):
        cross_fitted(market(), short, FEATURES, CONFIG)
