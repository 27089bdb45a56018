"""Point-in-time joins: what was known of each alternative series at the moment of a decision."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import polars as pl

from engine.alternative.series import MARKET_WIDE, OBSERVATION_COLUMNS, SERIES, Series
from engine.errors import DataError

__all__ = [
    "HOURS_PER_MICROSECOND",
    "as_of",
    "asset",
    "by_asset",
    "join_series",
    "known_steps",
    "latest",
    "of_assets",
    "require",
]

# A factor, since Polars divides a single row by a number otherwise than many rows, in the last bit.
HOURS_PER_MICROSECOND = timedelta(microseconds=1) / timedelta(hours=1)


def asset(symbol: str | pl.Expr) -> pl.Expr:
    """Name of the asset that observations are kept under: of ``BTC/USDT:USDT`` the spot pair ``BTC/USDT``."""
    column = pl.col(symbol) if isinstance(symbol, str) else symbol
    return column.str.split(":").list.first()


def known_steps(observations: pl.DataFrame) -> pl.DataFrame:
    """Turn the observations of one series into the step functions of what was current when.

    A row is a step where it brings a newer period than everything published before it, or another
    vintage of the newest period. A late revision of an older period is no step: it must not displace
    the newer period. Nothing of a step depends on rows that became known after it.

    Parameters
    ----------
    observations : pl.DataFrame
        ``symbol, ts, available_at, value`` of one series, in any order; of rows with the same symbol, period
        and moment the last one counts.

    Returns
    -------
    pl.DataFrame
        ``symbol, available_at, value, published_at``, sorted by symbol and moment; ``published_at`` is when
        the *first* vintage of the same period became known.
    """
    symbol, ts, moment = pl.col("symbol"), pl.col("ts"), pl.col("available_at")
    new_period = (ts != ts.shift()) | (symbol != symbol.shift()).fill_null(value=True)
    superseded_at_once = (symbol == symbol.shift(-1)) & (moment == moment.shift(-1))
    return (
        observations.sort("symbol", "available_at", "ts", maintain_order=True)
        .filter(ts == ts.cum_max().over("symbol"))
        .with_columns(published_at=pl.when(new_period).then(moment).forward_fill())
        .filter(~superseded_at_once.fill_null(value=False))
        .select("symbol", "available_at", "value", "published_at")
    )


def as_of(
    decisions: pl.DataFrame,
    observations: pl.DataFrame,
    series: Sequence[str] = tuple(SERIES),
    at: str = "decided_at",
) -> pl.DataFrame:
    """Join to each decision the value of each series that was current at its moment.

    Of the observations with ``available_at <= at`` the latest ``ts`` is taken, and of that ``ts`` the
    vintage with the latest ``available_at``. Observations under ``"*"`` serve every symbol; should an asset
    have rows of its own in the same series, its own win where period and moment are equal.

    The age is ``at`` less the moment when the *first* vintage of that period became known: a revision does
    not make an old period young again. The value is null, never 0, where nothing is known yet, where it is
    older than the ``max_age`` of the series, and where the current vintage is missing, not finite or
    outside the plausible range. An implausible value does not fall back to the one before: what is current
    is then unknown.

    Parameters
    ----------
    decisions : pl.DataFrame
        ``symbol`` and the moment of the decision, with any further columns; kept as they are and in order.
        A perpetual (``BTC/USDT:USDT``) gets the observations of its spot pair.
    observations : pl.DataFrame
        ``series, symbol, ts, available_at, value``, each key (the first four) once.
    series : Sequence[str]
        Names out of `SERIES`.
    at : str
        Column of ``decisions`` with the moment of the decision.

    Returns
    -------
    pl.DataFrame
        ``decisions`` with columns ``<series>`` and ``<series>_age_hours`` (kept where the value is stale,
        null where nothing was ever known) for each series.

    Raises
    ------
    DataError
        If a column is missing, a moment is null, or an observation's key repeats.
    ValueError
        If a series is unknown.
    """
    if unknown := sorted(set(series) - set(SERIES)):
        raise ValueError(f"series has unknown names {unknown}; known are {sorted(SERIES)}")
    require(decisions, ("symbol", at), "decisions")
    require(observations, OBSERVATION_COLUMNS[:4], "observations")
    ordered, assets = by_asset(decisions, at)
    joined = join_series(ordered, assets, observations, series, at)
    return decisions.hstack(joined.sort("_row").drop("_row", "_code", at))


def join_series(
    ordered: pl.DataFrame, assets: pl.DataFrame, observations: pl.DataFrame, series: Sequence[str], at: str
) -> pl.DataFrame:
    """Join what `as_of` joins to decisions that `by_asset` has sorted."""
    for name in series:
        rows = observations.filter(pl.col("series") == name)
        _refuse_repeats(rows)
        ordered = _join(ordered, known_steps(of_assets(rows, assets)), SERIES[name], at)
    return ordered


def by_asset(decisions: pl.DataFrame, at: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Sort decisions by asset and moment, for `latest`, and number the assets.

    Returns
    -------
    ordered : pl.DataFrame
        ``_row``, the place of a decision, ``_code``, the number of its asset, and its moment.
    assets : pl.DataFrame
        ``_code, _asset``.
    """
    symbols = decisions.select("symbol").unique(maintain_order=True).with_columns(_asset=asset("symbol"))
    assets = symbols.select("_asset").unique(maintain_order=True).with_row_index("_code")
    codes = symbols.join(assets, on="_asset").select("symbol", "_code")
    rows = (
        decisions.select("symbol", at).with_row_index("_row").join(codes, on="symbol", maintain_order="left")
    )
    return rows.select("_row", "_code", at).sort("_code", at, maintain_order=True), assets


def of_assets(observations: pl.DataFrame, assets: pl.DataFrame) -> pl.DataFrame:
    """Put observations under the codes of the assets, the market-wide ones under each, before its own."""
    columns = ["series", pl.col("_code").alias("symbol"), "ts", "available_at", "value"]
    market_wide = observations.filter(pl.col("symbol") == MARKET_WIDE).join(assets, how="cross")
    own = observations.join(assets, left_on="symbol", right_on="_asset")
    return pl.concat([market_wide.select(columns), own.select(columns)])


def latest(ordered: pl.DataFrame, steps: pl.DataFrame, at: str) -> pl.DataFrame:
    """Join to each decision the step of its asset that was in force at its moment.

    Parameters
    ----------
    ordered : pl.DataFrame
        Decisions as `by_asset` sorts them.
    steps : pl.DataFrame
        ``symbol`` (the code of the asset), ``available_at`` and further columns, which are joined; sorted.
    at : str
        Column of ``ordered`` with the moment of the decision.
    """
    steps_at, asked_at = _place(steps["symbol"], steps["available_at"]), _place(ordered["_code"], ordered[at])
    before = np.searchsorted(steps_at, asked_at, side="right") - 1
    # A place before the first step, or in the steps of the asset before, stands for nothing known.
    found = steps[np.maximum(before, 0)] if steps.height else steps.clear(ordered.height)
    known = pl.Series(before >= 0) & (found["symbol"] == ordered["_code"])
    return ordered.hstack(found.drop("symbol", "available_at").select(pl.when(known).then(pl.all())))


def _place(code: pl.Series, moment: pl.Series) -> np.ndarray:
    """One integer that sorts by asset and then by moment: microseconds since 1970 take fewer than 52 bits."""
    return code.cast(pl.Int64).to_numpy() * 2**52 + moment.dt.epoch("us").to_numpy()


def _join(ordered: pl.DataFrame, steps: pl.DataFrame, series: Series, at: str) -> pl.DataFrame:
    value, age = pl.col("_value"), pl.col(at) - pl.col("_published_at")
    plausible = value.is_finite() & value.is_between(series.lower, series.upper)
    named = steps.rename({"value": "_value", "published_at": "_published_at"})
    return (
        latest(ordered, named, at)
        .with_columns(
            pl.when((age <= series.max_age) & plausible).then(value).alias(series.name),
            (age.dt.total_microseconds() * HOURS_PER_MICROSECOND).alias(f"{series.name}_age_hours"),
        )
        .drop("_value", "_published_at")
    )


def require(frame: pl.DataFrame, key: Sequence[str], source: str) -> None:
    """Refuse a frame whose key is not whole; the last column of the key is a moment."""
    for column in key:
        if column not in frame.columns:
            raise DataError(f"missing; the frame has {frame.columns}", source=source, column=column)
        if frame[column].null_count():
            row = int(frame[column].is_null().arg_max() or 0) + 1
            raise DataError("is missing; every row needs its key", source=source, row=row, column=column)
    moment = key[-1]
    if frame.schema[moment] != pl.Datetime("us"):
        reason = f"has type {frame.schema[moment]}, needed is Datetime('us') without zone, meaning UTC"
        raise DataError(reason, source=source, column=moment)


def _refuse_repeats(observations: pl.DataFrame) -> None:
    key = ("series", "symbol", "ts", "available_at")
    if observations.n_unique(key[1:]) < observations.height:
        first = observations.filter(pl.struct(key).is_duplicated()).select(key).row(0)
        raise DataError(f"key {first} repeats: keep one value for each moment", source="observations")
