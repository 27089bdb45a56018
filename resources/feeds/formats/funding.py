"""Funding rates of any source: stamps that jitter, intervals that change, local time that is not declared."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl

from engine.market.finding import Finding, Reading
from resources.feeds.formats.observed import drop_repeated, found, observed, source_of
from resources.feeds.formats.text import ROW
from resources.feeds.formats.timestamps import UTC_ZONE, refuse_future

__all__ = ["settle_funding"]

_SERIES = {"rate": "funding_rate", "interval": "funding_interval_hours"}
_JITTER = timedelta(minutes=1)


def settle_funding(frame: pl.DataFrame, path: Path, zone: str = UTC_ZONE) -> Reading:
    """Make observations of funding stamps.

    A venue stamps funding some milliseconds after the hour, so ``available_at`` is the true stamp and ``ts``
    the nearest full hour: a join on hours loses no row, and nothing is known before it was. The interval is
    the distance to the previous stamp; one that exceeds both its neighbours, or a day, is a hole in the file
    and no interval.

    Parameters
    ----------
    frame : DataFrame
        ``symbol, ts`` (true stamp, UTC), ``rate``, ``row``, and perhaps ``venue`` and ``interval`` (hours, as
        the vendor states them).
    path : Path
        The file.
    zone : str
        Zone that was declared for the file.

    Raises
    ------
    DataError
        If a stamp lies in the future, a rate is not finite, or a stamp has two rates; the row is named.
    """
    refuse_future(frame["ts"], frame[ROW], str(path))
    group: list[str] = [name for name in ("venue", "symbol") if name in frame.columns]
    label = ", ".join(sorted(frame["symbol"].unique()))
    findings: list[Finding] = []
    stamped = frame.with_columns(pl.col("ts").alias("available_at"), pl.col("ts").dt.round("1h"))
    stamped, repeated = drop_repeated(stamped, [*group, "ts"], ["rate"], "funding", label, path)
    findings += repeated
    stamped = stamped.sort([*group, "ts"])
    away = stamped.filter((pl.col("available_at") - pl.col("ts")).abs() > _JITTER)
    detail = f"stamps more than a minute away from the hour in {source_of(path)}"
    findings += found(away, "funding", label, "implausible", "warn", detail)
    if "interval" not in stamped.columns:
        stamped, holes = _intervals(stamped, group)
        steps = sorted({f"{h:g} h" for h in holes["hours"]})
        detail = f"{holes.height} holes in {source_of(path)}: {', '.join(steps)} between stamps"
        findings += found(holes, "funding", label, "gap", "warn", detail)
    for key, part in stamped.group_by(group, maintain_order=True):
        findings += _about(part, str(key[-1]), path, zone)
    return Reading(observed(stamped, _SERIES, path), tuple(findings))


def _intervals(stamped: pl.DataFrame, group: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Add ``interval`` in hours, and return the rows that follow a hole."""
    hours = pl.col("ts").diff().over(group).dt.total_minutes() / 60
    frame = stamped.with_columns(hours.alias("hours"))
    before, after = pl.col("hours").shift(1).over(group), pl.col("hours").shift(-1).over(group)
    hole = ((pl.col("hours") > before) & (pl.col("hours") > after)) | (pl.col("hours") > 24)
    frame = frame.with_columns(hole.fill_null(value=False).alias("hole"))
    interval = pl.when(~pl.col("hole")).then(pl.col("hours")).alias("interval")
    return frame.with_columns(interval), frame.filter("hole")


def _about(part: pl.DataFrame, symbol: str, path: Path, zone: str) -> tuple[Finding, ...]:
    """Report changes of the interval, and settlement hours that no venue has in UTC."""
    known = part["interval"].drop_nulls()
    if not known.len():
        return ()
    usual = float(known.mode().sort()[0])
    changed = part.filter(pl.col("interval") != usual)
    counts = changed.group_by("interval").len().sort("interval")
    spelled = ", ".join(f"{n} of {h:g} h" for h, n in counts.iter_rows())
    notes = found(
        changed,
        "funding",
        symbol,
        "interval_change",
        "info",
        f"intervals other than {usual:g} h in {source_of(path)}: {spelled}",
        "the venue changes the interval under stress",
    )
    hour = int(part["ts"].dt.hour().mode().sort()[0])
    if usual == 8 and zone == UTC_ZONE and hour % 8:
        detail = f"stamps of {source_of(path)} fall on {hour} h; venues settle at 0, 8 and 16 h UTC"
        notes += found(
            part,
            "funding",
            symbol,
            "local_time",
            "warn",
            detail,
            "stamps are local time; declare the zone of the file",
        )
    return notes
