"""Vintages of observations: when a value became known, and what a revision adds to what is stored."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from engine.alternative.series import OBSERVATION_COLUMNS, Series
from engine.errors import DataError

__all__ = ["OBSERVATION_SCHEMA", "first_known", "new_vintages"]

OBSERVATION_SCHEMA: dict[str, pl.DataType] = {
    "series": pl.String(),
    "symbol": pl.String(),
    "ts": pl.Datetime("us"),
    "available_at": pl.Datetime("us"),
    "value": pl.Float64(),
    "source": pl.String(),
}

_PERIOD = ["series", "symbol", "ts"]
_KEY = [*_PERIOD, "available_at"]


def first_known(ts: datetime, series: Series, fetched_at: datetime) -> datetime:
    """When the value of the period that starts at ``ts`` became known, fetched at ``fetched_at``.

    A source that serves only current values says nothing about when a value of last year was first
    published: its declared lag is the best there is, ``ts + lag``. A value that is still fresh at the
    moment of fetching was fetched live, and was not known here before: ``max(ts + lag, fetched_at)``.
    Fresh means known by declaration for no longer than the series' ``max_age``.

    Parameters
    ----------
    ts : datetime
        Start of the period described, UTC without zone.
    series : Series
        Gives lag and max_age.
    fetched_at : datetime
        When the source was read, UTC without zone.
    """
    declared = ts + series.lag
    return max(declared, fetched_at) if fetched_at - declared <= series.max_age else declared


def new_vintages(stored: pl.DataFrame, fetched: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Rows of ``fetched`` that say something ``stored`` does not, each as the vintage it is.

    - A period that is not stored keeps the ``available_at`` it was fetched with.
    - A value equal to the latest stored vintage of its period adds nothing and is left out, so fetching the
      same thing twice yields an empty frame.
    - A differing value that claims to be known later than everything stored keeps its claim.
    - A differing value that claims a moment already covered is a revision that its source does not date. It
      was not known before it was read, so it becomes available at ``now``; of several such the last counts,
      and none where the source itself has a later vintage.

    Stored rows are never changed: appending the result leaves every earlier as-of answer as it was.

    Parameters
    ----------
    stored, fetched : polars.DataFrame
        Observations (`OBSERVATION_COLUMNS`). ``stored`` may be cut to the periods of ``fetched``.
    now : datetime
        When ``fetched`` was read, UTC without zone.

    Returns
    -------
    polars.DataFrame
        Rows to append, sorted by (series, symbol, ts, available_at).

    Raises
    ------
    DataError
        If a column is missing, or ``fetched`` gives one key two values.
    """
    stored, fetched = _observations(stored, "stored").sort(_KEY), _fetched(fetched)
    latest = stored.filter(~_same(_PERIOD, -1))
    undated = pl.col("available_at") <= pl.col("latest_at")
    # Later than the stored row even where that row was read before its declared publication.
    after_stored = pl.col("latest_at") + pl.duration(microseconds=1)
    read_at = pl.max_horizontal(pl.lit(now, pl.Datetime("us")), after_stored)
    dated = (
        fetched.with_columns(last_claim=~_same(_PERIOD, -1))
        .join(latest.select(*_PERIOD, latest_at="available_at"), on=_PERIOD, how="left")
        .filter(undated.fill_null(value=False).not_() | pl.col("last_claim"))
        .with_columns(available_at=pl.when(undated).then(read_at).otherwise("available_at"))
        .select(OBSERVATION_COLUMNS)
    )
    chain = pl.concat([latest.with_columns(new=False), dated.with_columns(new=True)]).sort(_KEY)
    repeats = _same(_PERIOD, 1) & pl.col("value").eq_missing(pl.col("value").shift(1))
    return chain.filter(pl.col("new") & ~repeats).select(OBSERVATION_COLUMNS)


def _same(columns: list[str], offset: int) -> pl.Expr:
    """Whether the row ``offset`` before has the same values; the frame is sorted by these columns."""
    return pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift(offset)) for name in columns)


def _fetched(frame: pl.DataFrame) -> pl.DataFrame:
    """Sort what was read, each key once, refusing a key with two values."""
    frame = _observations(frame, "fetched").sort(_KEY)
    repeated = _same(_KEY, 1)
    contradictions = frame.filter(repeated & pl.col("value").ne_missing(pl.col("value").shift(1)))
    if contradictions.height:
        series, symbol, ts, known = contradictions.select(_KEY).row(0)
        raise DataError(
            f"{series} of {symbol} at {ts}, known at {known}, has two values; "
            "a key has one: settle it where the rows are read",
            source="fetched",
            column="value",
        )
    return frame.filter(~repeated)


def _observations(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    for column in OBSERVATION_COLUMNS:
        if column not in frame.columns:
            raise DataError(f"missing; the frame has {frame.columns}", source=name, column=column)
    return frame.select(OBSERVATION_COLUMNS).cast(OBSERVATION_SCHEMA)  # type: ignore[arg-type]
