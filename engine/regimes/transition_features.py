"""What the transition risk is read from: the regime's own course, change points, and early warnings."""

from __future__ import annotations

import polars as pl

from engine.regimes.names import REGIME_COLUMNS, REGIMES

__all__ = ["FEATURE_MEMORY", "TRANSITION_FEATURES", "transition_features"]

_HOURS, _DAY, _DAYS, _WEEK, _MONTH = 6, 24, 48, 168, 720  # bars
FEATURE_MEMORY = _MONTH + _DAYS + _DAY + 1
"""Rows of a symbol before a bar that its features depend on, at most."""

_LEAST_SHARE = 4  # a window needs a quarter of its values
_CERTAIN = 1e-4  # beyond this a probability says no more
_LARGEST_RETURN = 6.0  # standard deviations


def _log_odds(p: str) -> pl.Expr:
    clipped = pl.col(p).clip(_CERTAIN, 1.0 - _CERTAIN)
    return (clipped / (1.0 - clipped)).log()


def _change(column: str, bars: int) -> pl.Expr:
    return pl.col(column) - pl.col(column).shift(bars).over("symbol")


def _average(column: str, window: int) -> pl.Expr:
    return pl.col(column).rolling_mean(window, min_samples=window // _LEAST_SHARE)


_OWN_BEFORE = pl.coalesce(
    pl.when(pl.col("regime") == name).then(pl.col(column).shift(_HOURS).over("symbol"))
    for name, column in zip(REGIMES, REGIME_COLUMNS, strict=True)
)
_BLOCKS = {
    "p_own": pl.max_horizontal(REGIME_COLUMNS),
    "entered": (pl.col("regime") != pl.col("regime").shift().over("symbol")).fill_null(value=True),
    "squared": pl.col("log_return") ** 2,
}
_STAY = pl.int_range(pl.len()).over("symbol", pl.col("entered").cast(pl.Int64).cum_sum().over("symbol"))

_FEATURES: dict[str, dict[str, pl.Expr]] = {
    "regime": {
        "own_log_odds": _log_odds("p_own"),
        "panic_log_odds": _log_odds("p_panic"),
        "own_change": pl.col("p_own") - _OWN_BEFORE,
        "panic_change": _change("p_panic", _HOURS),
        "log_stay": (1.0 + _STAY.clip(0, _MONTH)).log(),
        "recent_transitions": pl.col("entered")
        .cast(pl.Float64)
        .rolling_sum(_WEEK, min_samples=1)
        .over("symbol"),
    },
    "change points": {
        "p_mean": pl.col("p_mean"),
        "p_volatility": pl.col("p_volatility"),
        "recent_changepoint": pl.col("p_changepoint").rolling_max(_DAY, min_samples=1).over("symbol"),
        "log_run_mean": (1.0 + pl.col("run_length_mean")).log(),
        "log_run_volatility": (1.0 + pl.col("run_length_volatility")).log(),
    },
    "volatility": {
        "volatility_ratio": (_average("squared", _DAY) / _average("squared", _MONTH)).log().over("symbol")
        / 2,
        "volatility_change": (_average("squared", _HOURS) / _average("squared", _DAYS)).log().over("symbol")
        / 2,
    },
    "correlation": {"stress": pl.col("stress"), "stress_change": _change("stress", _DAY)},
    "funding": {"funding_z": pl.col("funding_z"), "funding_extremity": pl.col("funding_z").abs()},
    "liquidations": {
        "liquidation_cascade": pl.col("liquidation_cascade"),
        "liquidation_imbalance": pl.col("liquidation_imbalance"),
    },
    "open interest": {"open_interest_change": pl.col("open_interest_change_24h")},
    "flows": {"netflow_z": pl.col("netflow_z")},
    "positioning": {"long_short_z": pl.col("long_short_z")},
    "sentiment": {
        "fear_greed": pl.col("fear_greed"),
        "fear_greed_extremity": (pl.col("fear_greed") - 50.0).abs(),
    },
}

TRANSITION_FEATURES: dict[str, tuple[str, ...]] = {
    source: tuple(features) for source, features in _FEATURES.items()
}
"""Names of the features by what they are made of; those of one source are known together or not at all."""

_INPUTS = {
    "changepoints": ("p_mean", "p_volatility", "p_changepoint", "run_length_mean", "run_length_volatility"),
    "observed": ("log_return",),
    "alternative": (
        "funding_z",
        "liquidation_cascade",
        "liquidation_imbalance",
        "open_interest_change_24h",
        "netflow_z",
        "long_short_z",
        "fear_greed",
    ),
}


def transition_features(
    regimes: pl.DataFrame,
    changepoints: pl.DataFrame | None = None,
    observed: pl.DataFrame | None = None,
    alternative: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Features of each bar, from that bar and at most `FEATURE_MEMORY` rows of each symbol before it.

    Windows are counted in rows and run on across a gap, as the filter's belief does. What is not finite is
    missing, and so is every feature of a source of which one value is: see `TRANSITION_FEATURES`.

    Early warnings are the volatility of the last day over that of the month, the average correlation of all
    pairs of symbols, and what `engine.alternative.features` knows of funding, liquidations, open interest,
    flows, positioning and sentiment.

    Parameters
    ----------
    regimes : DataFrame
        ``symbol, ts, p_trend, p_range, p_panic, regime``, filtered; sorted by symbol and ts.
    changepoints : DataFrame, optional
        ``symbol, ts, p_mean, p_volatility, p_changepoint, run_length_mean, run_length_volatility``.
    observed : DataFrame, optional
        ``symbol, ts, log_return``, null after a gap: observations or candles.
    alternative : DataFrame, optional
        ``symbol, ts`` and any of ``funding_z, liquidation_cascade, liquidation_imbalance,
        open_interest_change_24h, netflow_z, long_short_z, fear_greed``, as known at the close of the bar. A
        column that is not there is missing throughout.

    Returns
    -------
    DataFrame
        ``symbol, ts, regime`` and the features, Float64, one row for each of `regimes`.
    """
    rows = regimes.select("symbol", "ts", "regime", *REGIME_COLUMNS)
    frames = {"changepoints": changepoints, "observed": observed, "alternative": alternative}
    for name, columns in _INPUTS.items():
        rows = _with_columns_of(rows, frames[name], columns)
    numbers = [column for column in rows.columns if column not in ("symbol", "ts", "regime")]
    rows = rows.with_columns(pl.col(numbers).cast(pl.Float64)).with_columns(
        pl.when(pl.col(name).is_finite()).then(name).alias(name) for name in numbers
    )
    rows = rows.with_columns(expression.alias(name) for name, expression in _BLOCKS.items())
    features = rows.join(_stress(rows), on="ts", how="left", maintain_order="left").select(
        "symbol",
        "ts",
        "regime",
        *(made.alias(name) for source in _FEATURES.values() for name, made in source.items()),
    )
    return features.with_columns(
        pl.when(pl.all_horizontal(pl.col(*names).is_finite())).then(name).alias(name)
        for names in TRANSITION_FEATURES.values()
        for name in names
    )


def _with_columns_of(
    rows: pl.DataFrame, frame: pl.DataFrame | None, columns: tuple[str, ...]
) -> pl.DataFrame:
    there = [] if frame is None else [column for column in columns if column in frame.columns]
    absent = [pl.lit(None, pl.Float64).alias(column) for column in columns if column not in there]
    if frame is not None:
        found = frame.select("symbol", "ts", *there)
        rows = rows.join(found, on=["symbol", "ts"], how="left", maintain_order="left")
    return rows.with_columns(absent)


def _stress(rows: pl.DataFrame) -> pl.DataFrame:
    """``ts, stress``: average over all pairs of symbols of E[z_i z_j] / E[z^2] in the last two days.

    The z are returns over their own past volatility, so that no symbol speaks louder than another. The sum
    over pairs is that of all products less that of the squares. Null while fewer than two symbols trade.
    """
    usual = _average("squared", _MONTH).sqrt().shift(1).over("symbol")
    z = pl.when(usual > 0.0).then((pl.col("log_return") / usual).clip(-_LARGEST_RETURN, _LARGEST_RETURN))
    n, squares = pl.col("z").count(), (pl.col("z") ** 2).sum()
    return (
        rows.select("ts", z=z)
        .group_by("ts", maintain_order=True)
        .agg(n=n, products=pl.col("z").sum() ** 2 - squares, squares=squares)
        .sort("ts")
        .with_columns(
            common=pl.when(pl.col("n") > 1).then(pl.col("products") / (pl.col("n") * (pl.col("n") - 1.0))),
            own=pl.when(pl.col("n") > 1).then(pl.col("squares") / pl.col("n")),
        )
        .select("ts", stress=_average("common", _DAYS) / _average("own", _DAYS))
    )
