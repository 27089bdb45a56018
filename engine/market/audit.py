"""Audit of candles: every defect with its place, extent and, where the data tell it, its cause."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import polars as pl

from engine.errors import DataError
from engine.market.audit_gaps import gaps
from engine.market.audit_prices import impossible, outliers, sound
from engine.market.audit_rows import CANDLES, lives
from engine.market.audit_stamps import duplicates, not_yet, off_grid, order
from engine.market.audit_units import unit_jumps
from engine.market.audit_volume import volumes
from engine.market.finding import Finding

__all__ = ["audit_candles"]

_COLUMNS = ("symbol", "ts", "open", "high", "low", "close", "volume")


def audit_candles(
    candles: pl.DataFrame,
    bar: timedelta,
    now: datetime | None = None,
    outages: Sequence[tuple[datetime, datetime]] = (),
) -> tuple[Finding, ...]:
    """Find what is wrong with candles; nothing is changed and nothing is dropped.

    Parameters
    ----------
    candles : polars.DataFrame
        ``symbol, ts, open, high, low, close, volume`` in the order in which they came; ``ts`` is the
        open of the bar, UTC without zone. Symbols with a colon are perpetuals, a venue of their own.
    bar : timedelta
        Length of a bar.
    now : datetime, optional
        The present, to tell unfinished and future bars; without it neither is looked for.
    outages : sequence of (datetime, datetime), optional
        Known outages of the venue (open of the first and of the last bar it lacks). Needed only where
        the symbols audited are too few to show that all of them lack the same bars.

    Returns
    -------
    tuple of Finding
        Sorted by symbol and place. Neighbouring rows with the same defect and cause are one finding.
        Kinds: ``missing_value``, ``order``, ``duplicate``, ``damage`` (off the bar grid), ``unfinished``,
        ``future``, ``gap``, ``relisting``, ``price``, ``ohlc``, ``outlier``, ``zero_volume``,
        ``implausible`` (volume), ``unit_jump``.

    Raises
    ------
    DataError
        If a column is missing or ``ts`` is not a stamp in microseconds without zone.
    ValueError
        If ``bar`` is not positive.
    """
    _check(candles, bar)
    known = pl.col("symbol").is_not_null() & pl.col("ts").is_not_null()
    found = []
    if nameless := candles.select((~known).sum()).item():
        text = "rows without symbol or stamp cannot be placed"
        found.append(Finding(CANDLES, "*", "missing_value", "error", None, None, nameless, text))
        candles = candles.filter(known)
    if candles.is_empty():
        return tuple(found)
    candles = candles.select(_COLUMNS)
    found += order(candles)
    rows, repeated = duplicates(candles.sort("symbol", "ts", maintain_order=True))
    found += repeated
    rows = rows.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64), sound().alias("sound"))
    if now is not None:
        present = now.astimezone(UTC).replace(tzinfo=None) if now.tzinfo else now
        found += not_yet(rows, bar, present)
        rows = rows.filter(pl.col("ts") <= present)
    life = lives(rows)
    found += off_grid(rows, bar)
    holes = gaps(rows, life, bar, outages)
    units = unit_jumps(rows)
    stepped = pl.DataFrame(
        [(finding.series, finding.first) for finding in units],
        schema={"symbol": pl.String, "ts": pl.Datetime("us")},
        orient="row",
    )
    found += holes + impossible(rows) + units + outliers(rows, life, bar, stepped) + volumes(rows, life)
    return tuple(sorted(found, key=lambda finding: (finding.series, finding.first or datetime.min)))  # noqa: DTZ901


def _check(candles: pl.DataFrame, bar: timedelta) -> None:
    """Refuse what cannot be audited."""
    if bar <= timedelta(0):
        raise ValueError(f"bar={bar}: give the length of a bar, more than zero")
    for name in _COLUMNS:
        if name not in candles.columns:
            raise DataError(f"missing; the frame has {candles.columns}", source=CANDLES, column=name)
    if (dtype := candles.schema["ts"]) != pl.Datetime("us"):
        raise DataError(
            f"has type {dtype}; stamps are UTC without zone in microseconds", source=CANDLES, column="ts"
        )
