"""The wide table of alternative features: one row per bar, as known when the bar closed."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from engine.alternative.asof import as_of
from engine.alternative.series import SERIES
from engine.errors import DataError

__all__ = ["ALTERNATIVE_COLUMNS", "alternative_features"]

_LONG, _SHORT = pl.col("liquidations_long_usd"), pl.col("liquidations_short_usd")
_INFLOW, _OUTFLOW = pl.col("exchange_inflow"), pl.col("exchange_outflow")


def _imbalance(first: pl.Expr, second: pl.Expr) -> pl.Expr:
    """Difference over sum, in -1..1; two *known* zeros balance, an unknown side leaves it unknown."""
    total = first + second
    return pl.when(total > 0.0).then((first - second) / total).when(total == 0.0).then(0.0)


_DERIVED: dict[str, tuple[pl.Expr, str]] = {
    "funding_rate_8h": (
        pl.col("funding_rate") * 8.0 / pl.col("funding_interval_hours"),
        "funding rate as a fraction per 8 hours, whatever the interval of the venue",
    ),
    "liquidation_imbalance": (
        _imbalance(_LONG, _SHORT),
        "long less short liquidations over their sum, -1..1",
    ),
    "netflow": (_INFLOW - _OUTFLOW, "coins that moved to exchanges less those that left, native units"),
    "netflow_share": (_imbalance(_INFLOW, _OUTFLOW), "net flow to exchanges over the gross flow, -1..1"),
}
# The rate per interval is not comparable between intervals; its 8-hour equivalent takes its place.
_PLAIN = [name for name in SERIES if name not in ("funding_rate", "funding_interval_hours")]

ALTERNATIVE_COLUMNS: dict[str, str] = {
    **{name: f"{SERIES[name].description} Unit: {SERIES[name].unit}." for name in _PLAIN},
    **{name: f"{text[0].upper()}{text[1:]}." for name, (_, text) in _DERIVED.items()},
    **{
        f"{name}_age_hours": f"Hours since the current period of {name} was first published."
        for name in SERIES
    },
}
"""Columns of the wide table beside ``symbol, ts`` and what they mean; all are Float64 and nullable."""


def alternative_features(keys: pl.DataFrame, observations: pl.DataFrame, bar: timedelta) -> pl.DataFrame:
    """Alternative features of each bar, from the values current at its close ``ts + bar``.

    Parameters
    ----------
    keys : pl.DataFrame
        ``symbol, ts`` of the bars; further columns are ignored.
    observations : pl.DataFrame
        Observations with vintages: ``series, symbol, ts, available_at, value``.
    bar : timedelta
        Length of a bar.

    Returns
    -------
    pl.DataFrame
        ``symbol, ts`` in the order given and `ALTERNATIVE_COLUMNS`; null where a value is unknown, stale or
        implausible (see `as_of`).
    """
    if bar <= timedelta(0):
        raise ValueError(f"bar is {bar}, it must be longer than nothing")
    for column in ("symbol", "ts"):
        if column not in keys.columns:
            raise DataError(f"missing; the frame has {keys.columns}", source="keys", column=column)
    decisions = keys.select("symbol", "ts", decided_at=pl.col("ts") + bar)
    return (
        as_of(decisions, observations)
        .with_columns(expr.alias(name) for name, (expr, _) in _DERIVED.items())
        .select("symbol", "ts", *ALTERNATIVE_COLUMNS)
    )
