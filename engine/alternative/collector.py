"""Alternative data of one symbol at a moment: each feature with its age and whether it can be relied on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import polars as pl

from engine.alternative.asof import as_of, by_asset, known_steps, of_assets
from engine.alternative.declared import FEATURES, AlternativeFeature
from engine.alternative.features import features_at
from engine.alternative.series import MARKET_WIDE, SERIES
from engine.errors import NotEnoughDataError

__all__ = ["AlternativeDataCollector", "AlternativeSnapshot", "AlternativeValue", "Observations", "Status"]

Status = Literal["ok", "stale", "missing", "implausible"]
Observations = pl.DataFrame | Callable[[str, datetime | None], pl.DataFrame]
"""Observations with vintages, or what reads those of a symbol known by a moment (None: all of them)."""


@dataclass(frozen=True)
class AlternativeValue:
    """What is known of a feature.

    Parameters
    ----------
    value : float or None
        None unless the status is ``ok``; never 0 in place of something unknown.
    unit : str
        Unit of the value.
    age_hours : float or None
        Hours since the oldest of its series was published; None where one never was.
    published_at : datetime or None
        That moment, UTC without zone.
    status : Status
        ``ok``; ``stale``, published longer ago than the feature allows; ``implausible``, outside of the range
        of its series; ``missing``, never known, withdrawn, or for the reason that the feature declares.
    """

    value: float | None
    unit: str
    age_hours: float | None
    published_at: datetime | None
    status: Status


class AlternativeSnapshot(dict[str, AlternativeValue]):
    """Features of one symbol at one moment, by name, in the order of `FEATURES`.

    Parameters
    ----------
    symbol : str
    at : datetime
        The moment that it is true for, UTC without zone.
    features : dict
    """

    def __init__(self, symbol: str, at: datetime, features: dict[str, AlternativeValue]) -> None:
        super().__init__(features)
        self.symbol, self.at = symbol, at

    def known(self) -> dict[str, float]:
        """Plain values of the features that can be relied on."""
        return {name: found.value for name, found in self.items() if found.value is not None}

    def to_frame(self) -> pl.DataFrame:
        """One row a feature: ``feature, value, unit, age_hours, published_at, status, description``."""
        rows = [
            (name, *(getattr(found, column) for column in _COLUMNS), FEATURES[name].description)
            for name, found in self.items()
        ]
        schema = {"feature": pl.String, **_COLUMNS, "description": pl.String}
        return pl.DataFrame(rows, schema=schema, orient="row")


_COLUMNS: dict[str, type[pl.DataType] | pl.DataType] = {
    "value": pl.Float64,
    "unit": pl.String,
    "age_hours": pl.Float64,
    "published_at": pl.Datetime("us"),
    "status": pl.String,
}


class AlternativeDataCollector:
    """Answers what is known of a symbol beside its price, at any moment of the past or now.

    The numbers are those of `engine.alternative.features.alternative_features`, by the same code.

    Parameters
    ----------
    observations : DataFrame or callable
        ``series, symbol, ts, available_at, value``, every vintage a row; or a function of the symbol and the
        moment that returns them, such as a reader of a database. It may leave out periods that began more
        than `engine.alternative.declared.LOOKBACK` before the moment.
    """

    def __init__(self, observations: Observations) -> None:
        self._observations = observations

    def get_all_alternative_features(self, symbol: str, at: datetime | None = None) -> AlternativeSnapshot:
        """Collect every feature of a symbol as it was known at a moment.

        Parameters
        ----------
        symbol : str
            ``BTC/USDT``; a perpetual (``BTC/USDT:USDT``) has the data of its spot pair.
        at : datetime, optional
            UTC where it has no zone; by default the newest moment at which anything about the symbol, or
            about the whole market, became known.

        Raises
        ------
        NotEnoughDataError
            If no moment is given and nothing was ever observed.
        DataError
            If the observations lack a column, or a key repeats.
        """
        if at is not None and at.tzinfo is not None:
            at = at.astimezone(UTC).replace(tzinfo=None)
        source = self._observations
        read = source(symbol, at) if callable(source) else source
        own = read.filter(pl.col("symbol").is_in([symbol.split(":")[0], MARKET_WIDE]))
        moment = at if at is not None else _newest(own, symbol)
        asked = pl.DataFrame(
            {"symbol": [symbol], "decided_at": [moment]}, schema_overrides={"decided_at": pl.Datetime("us")}
        )
        row = features_at(asked, own).row(0, named=True)
        statuses = _statuses(asked, own)
        return AlternativeSnapshot(
            symbol,
            moment,
            {name: _value(feature, row, statuses, moment) for name, feature in FEATURES.items()},
        )


def _newest(observations: pl.DataFrame, symbol: str) -> datetime:
    newest = observations["available_at"].max()
    if not isinstance(newest, datetime):
        raise NotEnoughDataError(f"nothing was ever observed of {symbol}; give the moment with `at`")
    return newest


def _statuses(asked: pl.DataFrame, observations: pl.DataFrame) -> dict[str, Status]:
    """Status of each series at the moment asked for."""
    row = as_of(asked, observations).row(0, named=True)
    _, assets = by_asset(asked, "decided_at")
    known = observations.filter(pl.col("available_at") <= row["decided_at"])
    statuses: dict[str, Status] = {}
    for name, series in SERIES.items():
        age = row[f"{name}_age_hours"]
        if age is None:
            statuses[name] = "missing"
        elif row[name] is not None:
            statuses[name] = "ok"
        elif timedelta(hours=age) > series.max_age:
            statuses[name] = "stale"
        else:
            current = known_steps(of_assets(known.filter(pl.col("series") == name), assets))["value"][-1]
            statuses[name] = "missing" if current is None else "implausible"
    return statuses


def _value(
    feature: AlternativeFeature, row: dict[str, float | None], statuses: dict[str, Status], at: datetime
) -> AlternativeValue:
    ages = [row[f"{name}_age_hours"] for name in feature.series]
    known = [age for age in ages if age is not None]
    age = max(known) if len(known) == len(ages) else None
    value, found = row[feature.name], {statuses[name] for name in feature.series}
    status: Status = "missing"
    if value is not None:
        status = "ok"
    elif "missing" not in found and found != {"ok"}:
        status = "implausible" if "implausible" in found else "stale"
    published = None if age is None else at - timedelta(hours=age)
    return AlternativeValue(value, feature.unit, age, published, status)
