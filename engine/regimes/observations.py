"""What the regime detector looks at: how violent, how directed and how common the market's moves are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

__all__ = ["OBSERVATIONS", "ObservationSpans", "observations"]

OBSERVATIONS = ("volatility", "direction", "stress")


@dataclass(frozen=True)
class ObservationSpans:
    """Memory of the observations, in bars.

    Parameters
    ----------
    volatility, stress, scale : float
        Half-lives of the moving averages of range, of common movement, and of the slow scale that returns are
        divided by.
    direction : int
        Window of the directedness.
    """

    volatility: float = 8.0
    stress: float = 16.0
    scale: float = 200.0
    direction: int = 24


# A wick that nobody could trade (a low of a thousandth of the close) must not look like hours of panic.
_LARGEST_RANGE = 10.0
# Below this a range is rounding: nothing was traded.
_SMALLEST_RANGE = 1e-9
_LARGEST_RETURN = 6.0


def observations(candles: pl.DataFrame, spans: ObservationSpans | None = None) -> pl.DataFrame:
    """Observations of every bar, each from that bar and earlier ones alone.

    ``volatility`` is the logarithm of the exponentially weighted true range: ranges say more about volatility
    than closes do (Alizadeh, Brandt & Diebold 2002). ``direction`` is the absolute sum of the window's
    returns over the root of the sum of their squares, near 0.8 for a random walk. ``stress`` is the average
    correlation of all pairs of symbols, from exponentially weighted products of scaled returns.

    Averages run on across a gap, so that a short outage blinds nothing, but no return and no range spans one.
    What cannot be computed is null: a bar without a trade, less than half a window of returns, or stress
    while fewer than two symbols trade.

    Parameters
    ----------
    candles : DataFrame
        ``symbol, ts, high, low, close, log_return``, sorted by symbol and ts; ``log_return`` is null at the
        first bar of each segment.
    spans : ObservationSpans, optional
        Memory of each observation.

    Returns
    -------
    DataFrame
        ``symbol, ts, volatility, direction, stress``, rows as given.
    """
    spans = spans or ObservationSpans()
    r = pl.col("log_return")
    before = pl.col("close") * (-r).exp()
    true_range = (pl.max_horizontal("high", before) / pl.min_horizontal("low", before)).log()
    scaled = (
        candles.lazy()
        .select("symbol", "ts", r, true_range=pl.when(true_range > _SMALLEST_RANGE).then(true_range))
        .with_columns(
            usual_range=_average("true_range", spans.scale).shift(1).forward_fill().over("symbol"),
            usual_return=_average(r**2, spans.scale).sqrt().shift(1).forward_fill().over("symbol"),
        )
        .with_columns(
            true_range=pl.when(pl.col("true_range") > _LARGEST_RANGE * pl.col("usual_range"))
            .then(_LARGEST_RANGE * pl.col("usual_range"))
            .otherwise("true_range"),
            scaled=(r / pl.col("usual_return")).clip(-_LARGEST_RETURN, _LARGEST_RETURN),
        )
        .with_columns(
            volatility=_average("true_range", spans.volatility).log().over("symbol"),
            direction=_directedness(r, spans.direction).over("symbol"),
        )
        .collect()
    )
    stress = _average_correlation(scaled.select("symbol", "ts", "scaled"), spans.stress)
    return (
        scaled.join(stress, on="ts", how="left", maintain_order="left")
        .with_columns(pl.when(pl.col(name).is_finite()).then(name).alias(name) for name in OBSERVATIONS)
        .select("symbol", "ts", *OBSERVATIONS)
    )


def _average(values: str | pl.Expr, half_life: float) -> pl.Expr:
    """Exponentially weighted mean of what is known; null where the value itself is."""
    expression = pl.col(values) if isinstance(values, str) else values
    return expression.ewm_mean(half_life=half_life, adjust=True, ignore_nulls=True)


def _directedness(r: pl.Expr, window: int) -> pl.Expr:
    least = max(window // 2, 2)
    return (
        r.rolling_sum(window, min_samples=least).abs() / (r**2).rolling_sum(window, min_samples=least).sqrt()
    )


def _average_correlation(scaled: pl.DataFrame, half_life: float) -> pl.DataFrame:
    """``ts, stress``: average over pairs of E[z_i z_j] / E[z^2], of the symbols that trade in each bar.

    Symbols are added one after the other: an absent one adds zero, so a later listing cannot change the
    rounding of earlier sums.
    """
    grid = scaled.pivot(on="symbol", index="ts", values="scaled", maintain_order=True).sort("ts")
    n, total, squares = (np.zeros(grid.height) for _ in range(3))
    for symbol in sorted(set(grid.columns) - {"ts"}):
        z = grid[symbol].to_numpy()
        traded = np.isfinite(z)
        z = np.where(traded, z, 0.0)
        n, total, squares = n + traded, total + z, squares + z * z
    pairs = n * (n - 1.0)
    common = np.divide(total * total - squares, pairs, out=np.full(grid.height, np.nan), where=pairs > 0)
    own = np.divide(squares, n, out=np.full(grid.height, np.nan), where=pairs > 0)
    return pl.DataFrame({"ts": grid["ts"], "common": common, "own": own}, nan_to_null=True).select(
        "ts", stress=_average("common", half_life) / _average("own", half_life)
    )
