"""The wide table of alternative features: one row per bar, as known when the bar closed."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from engine.alternative.asof import by_asset, join_series, latest, of_assets, require
from engine.alternative.declared import FEATURES, HISTORIES, LOOKBACK
from engine.alternative.replay import Replay
from engine.alternative.series import OBSERVATION_COLUMNS, SERIES
from engine.errors import DataError

__all__ = ["ALTERNATIVE_COLUMNS", "FEATURES", "LOOKBACK", "alternative_features", "features_at"]

ALTERNATIVE_COLUMNS: dict[str, str] = {
    **{feature.name: f"{feature.description} Unit: {feature.unit}." for feature in FEATURES.values()},
    **{
        f"{name}_age_hours": f"Hours since the current period of {name} was first published."
        for name in SERIES
    },
}
"""Columns of the wide table beside ``symbol, ts`` and what they mean; all are Float64 and nullable."""


def alternative_features(keys: pl.DataFrame, observations: pl.DataFrame, bar: timedelta) -> pl.DataFrame:
    """Alternative features of each bar, from the values current at its close ``ts + bar``.

    A row depends on observations alone, not on the other bars: whichever bars are asked for, it is the same.
    Observations of periods since `LOOKBACK` before the first bar suffice.

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
        implausible (see `as_of`), and where `FEATURES` says so.
    """
    if bar <= timedelta(0):
        raise ValueError(f"bar is {bar}, it must be longer than nothing")
    for column in ("symbol", "ts"):
        if column not in keys.columns:
            raise DataError(f"missing; the frame has {keys.columns}", source="keys", column=column)
    decisions = keys.select("symbol", "ts", decided_at=pl.col("ts") + bar)
    return features_at(decisions, observations).drop("decided_at")


def features_at(decisions: pl.DataFrame, observations: pl.DataFrame) -> pl.DataFrame:
    """Alternative features at moments in time.

    Parameters
    ----------
    decisions : pl.DataFrame
        ``symbol, decided_at`` and further columns, which are kept.
    observations : pl.DataFrame
        As for `alternative_features`.

    Returns
    -------
    pl.DataFrame
        ``decisions`` in the order given with `ALTERNATIVE_COLUMNS`.
    """
    require(decisions, ("symbol", "decided_at"), "decisions")
    require(observations, OBSERVATION_COLUMNS[:4], "observations")
    ordered, assets = by_asset(decisions, "decided_at")
    joined = join_series(ordered, assets, observations, tuple(SERIES), "decided_at")
    for history in HISTORIES:
        rows = observations.filter(pl.col("series").is_in(history.series))
        replay = Replay(of_assets(rows, assets), history.series)
        joined = latest(joined, replay.steps(history.statistics), "decided_at")
    made = joined.with_columns(
        pl.when(*(pl.col(name).is_not_null() for name in feature.series)).then(feature.value).alias(name)
        for name, feature in FEATURES.items()
    )
    return decisions.hstack(made.select("_row", *ALTERNATIVE_COLUMNS).sort("_row").drop("_row"))
