"""What the regime detector looks at: the move of each bar, how far it swung, and what derivatives say."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from engine.errors import DataError

__all__ = ["CHANNELS", "OBSERVATIONS", "ObservationSpans", "observations"]

CHANNELS = ("funding", "liquidations")
"""Slow observations of the derivatives market, per symbol."""

OBSERVATIONS = ("log_return", "previous_return", "excursion", *CHANNELS, "fear_greed")

ALTERNATIVE = ("funding_rate_8h", "liquidations_long_usd", "liquidations_short_usd", "fear_greed")

# A wick that nobody could trade (a low of a thousandth of the close) must not look like hours of panic.
_LARGEST_RANGE = 10.0
# Below this a swing is rounding.
_SMALLEST_SWING = 1e-13


@dataclass(frozen=True)
class ObservationSpans:
    """Memory of the observations, in bars.

    Parameters
    ----------
    scale : float
        Half-life of the slow averages that a range is capped by and liquidations are compared with.
    """

    scale: float = 200.0


def observations(
    candles: pl.DataFrame, spans: ObservationSpans | None = None, alternative: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Observations of every bar, each from that bar and earlier ones alone.

    ``excursion`` says how far the price swung beyond its way from close to close: with high h, low l and
    close r, logarithms from the previous close, ``4 [h (h - r) + l (l - r)]``. Of a Brownian path either half
    of it is, whatever r is, the variance times a chi-square of two degrees of freedom, so it tells of
    volatility what the return leaves open and nothing twice (Rogers & Satchell 1991). Where both are zero, as
    in candles made of closes, or of bars without a trade, it says nothing and is null.

    ``liquidations`` is the logarithm of what both sides lost, over its slow average. ``fear_greed`` outside
    of 0..100 is null. Whatever is not known is null and never zero. No observation spans a gap.

    Parameters
    ----------
    candles : DataFrame
        ``symbol, ts, high, low, close, log_return``, sorted by symbol and ts; ``log_return`` is null at the
        first bar of each segment.
    spans : ObservationSpans, optional
        Memory of the slow averages.
    alternative : DataFrame, optional
        Of `engine.alternative.features.alternative_features` or any part of it: ``symbol, ts`` and whichever
        of ``funding_rate_8h, liquidations_long_usd, liquidations_short_usd, fear_greed`` there are, as known
        at the close of the bar.

    Returns
    -------
    DataFrame
        ``symbol, ts`` and `OBSERVATIONS`, rows as given.

    Raises
    ------
    DataError
        If `alternative` has a row twice.
    """
    spans = spans or ObservationSpans()
    r = pl.col("log_return")
    previous_close = pl.col("close") * (-r).exp()
    up = pl.max_horizontal("high", previous_close)
    down = pl.min_horizontal("low", previous_close)
    swing = (up / previous_close).log() * (up / pl.col("close")).log()
    swing += (down / previous_close).log() * (down / pl.col("close")).log()
    usual = pl.col("excursion").sqrt().ewm_mean(half_life=spans.scale, ignore_nulls=True).shift(1)
    return (
        _with_alternative(candles.select("symbol", "ts", "high", "low", "close", "log_return"), alternative)
        .lazy()
        .with_columns(
            excursion=pl.when(swing > _SMALLEST_SWING).then(4.0 * swing),
            previous_return=pl.when(r.is_not_null()).then(r.shift(1).over("symbol")),
            funding="funding_rate_8h",
            liquidations=_over_usual(
                (pl.col("liquidations_long_usd") + pl.col("liquidations_short_usd")).log1p(), spans.scale
            ),
            fear_greed=pl.when(pl.col("fear_greed").is_between(0.0, 100.0)).then("fear_greed"),
        )
        .with_columns(usual=usual.forward_fill().over("symbol"))
        .with_columns(
            excursion=pl.when(pl.col("excursion").sqrt() > _LARGEST_RANGE * pl.col("usual"))
            .then((_LARGEST_RANGE * pl.col("usual")) ** 2)
            .otherwise("excursion")
        )
        .with_columns(pl.when(pl.col(name).is_finite()).then(name).alias(name) for name in OBSERVATIONS)
        .select("symbol", "ts", *OBSERVATIONS)
        .collect()
    )


def _over_usual(value: pl.Expr, half_life: float) -> pl.Expr:
    usual = value.ewm_mean(half_life=half_life, ignore_nulls=True).shift(1).forward_fill()
    return (value - usual).over("symbol")


def _with_alternative(bars: pl.DataFrame, alternative: pl.DataFrame | None) -> pl.DataFrame:
    """Bars with the columns `ALTERNATIVE`, null where nothing is known."""
    if alternative is not None:
        known = alternative.select("symbol", "ts", *(name for name in ALTERNATIVE if name in alternative))
        if known.select(pl.struct("symbol", "ts").is_duplicated().any()).item():
            row = int(known.select(pl.struct("symbol", "ts").is_duplicated().arg_max()).item())
            raise DataError(f"{known.row(row)[:2]} repeats", source="alternative", row=row + 1)
        bars = bars.join(known, on=["symbol", "ts"], how="left", maintain_order="left")
    absent = [pl.lit(None, pl.Float64).alias(name) for name in ALTERNATIVE if name not in bars.columns]
    return bars.with_columns(absent)
