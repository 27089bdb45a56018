"""Everything that an agent may look at, bar by bar, from candles and published observations in memory.

The pipeline reads the same columns from its tables; this is for worlds that are never stored, such as the
simulated markets of an ablation.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from engine.alternative.features import alternative_features
from engine.evaluation.panel import funding_panel, panel_from_candles
from engine.features.catalogue import CATALOGUE
from engine.market.segments import segments
from engine.market.simulator import MarketSimulator, Mode
from engine.regimes.history import walk_forward_regimes

__all__ = ["SCALE", "MarketRows", "funding_due", "market_rows", "simulated_market_rows"]

SCALE = "volatility_168"
"""Feature that states the expected size of a bar's return: the volatility of the past week."""

_START = datetime(2020, 1, 1)  # noqa: DTZ001  moments are UTC without zone everywhere
_REGIME_WARMUP = timedelta(days=45)


@dataclass(frozen=True)
class MarketRows:
    """A market as agents see it.

    Parameters
    ----------
    rows : DataFrame
        ``symbol, ts, segment, open, high, low, close, volume, log_return``, the features of the catalogue and
        what they are computed from, ``p_trend, p_range, p_panic, regime``, ``volatility``, and ``funding``
        as `funding_due` gives it. Sorted by symbol and ts.
    observations : DataFrame
        What was published, with its vintages.
    truth : DataFrame or None
        Of a simulated market; never a feature.
    """

    rows: pl.DataFrame
    observations: pl.DataFrame
    truth: pl.DataFrame | None = None


def funding_due(candles: pl.DataFrame, observations: pl.DataFrame, bar: timedelta) -> pl.DataFrame:
    """Funding that falls due at the open of each bar.

    Parameters
    ----------
    candles : DataFrame
        ``symbol, ts, open, close, volume``, sorted by symbol and ts.
    observations : DataFrame
        With the series ``funding_rate``, as `engine.evaluation.panel.funding_panel` takes them.
    bar : timedelta

    Returns
    -------
    DataFrame
        ``symbol, ts, funding``: fraction of the position that a long pays, 0 where nothing is due.
    """
    panel = panel_from_candles(candles, bar)
    due = funding_panel(observations, panel)
    wide = pl.DataFrame({"ts": panel.times, **{s: due[:, i] for i, s in enumerate(panel.symbols)}})
    return (
        wide.unpivot(index="ts", variable_name="symbol", value_name="funding")
        .with_columns(pl.col("ts").cast(pl.Datetime("us")))
        .join(candles.select("symbol", "ts"), on=["symbol", "ts"], how="semi")
        .select("symbol", "ts", "funding")
    )


def market_rows(
    candles: pl.DataFrame,
    observations: pl.DataFrame,
    bar: timedelta,
    *,
    regime_refit: timedelta = timedelta(days=90),
    regime_lookback: timedelta = timedelta(days=365),
) -> MarketRows:
    """Compute what agents see from what a feed delivers.

    Parameters
    ----------
    candles : DataFrame
        ``symbol, ts, open, high, low, close, volume``, sorted by symbol and ts.
    observations : DataFrame
        ``series, symbol, ts, available_at, value``.
    bar : timedelta
    regime_refit, regime_lookback : timedelta
        How often the regimes' model is refitted, and on how much history.
    """
    bars = candles.with_columns(segments(candles, bar).alias("segment"))
    bars = bars.with_columns(
        log_return=(pl.col("close") / pl.col("close").shift(1)).log().over("symbol", "segment")
    )
    known = alternative_features(bars.select("symbol", "ts"), observations, bar)
    inputs = bars.join(known, on=["symbol", "ts"], how="left", maintain_order="left")
    regimes = walk_forward_regimes(
        bars, bar, refit=regime_refit, warmup=_REGIME_WARMUP, lookback=regime_lookback, alternative=known
    )
    features = CATALOGUE.compute(inputs)
    # Features that are published values as they are bear the name of their input.
    rows = inputs.drop(set(features.columns) & set(inputs.columns) - {"symbol", "ts"})
    for part in (features, regimes.rows, funding_due(bars, observations, bar)):
        rows = rows.join(part, on=["symbol", "ts"], how="left", maintain_order="left")
    return MarketRows(rows.with_columns(volatility=pl.col(SCALE)), observations)


def simulated_market_rows(
    symbols: tuple[str, ...], days: int, seed: int, mode: Mode = "regimes"
) -> MarketRows:
    """Simulate hourly bars and compute what agents see of them."""
    bar = timedelta(hours=1)
    market = MarketSimulator(symbols, bar, seed, mode).simulate(_START, days * 24)
    seen = market_rows(market.candles, market.observations, bar)
    return MarketRows(seen.rows, market.observations, market.truth)
