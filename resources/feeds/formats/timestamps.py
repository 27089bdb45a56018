"""Stamps: which unit a number is in, what a text means, and what a local time is in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from engine.errors import DataError
from engine.market.finding import Finding

__all__ = [
    "UTC_ZONE",
    "bar_of",
    "from_epoch",
    "from_text",
    "mixed_units",
    "now_utc",
    "refuse_future",
    "span",
    "to_utc",
]

UTC_ZONE = "UTC"
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# A number is read in the unit that puts it between these moments (2009-01-01 and 2100-01-01, in seconds);
# the four windows do not touch, so at most one unit fits.
_EARLIEST, _LATEST = 1_230_768_000, 4_102_444_800
_PLAIN, _FIRST_YEAR = "%Y-%m-%d %H:%M:%S", datetime(1900, 1, 1)  # noqa: DTZ001  UTC without zone
_TEXT_FORMATS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%Y-%m-%d %I:%M %p")


def now_utc() -> datetime:
    """Present moment, UTC without zone."""
    return datetime.now(UTC).replace(tzinfo=None)


def from_epoch(values: pl.Series, rows: pl.Series, source: str) -> tuple[pl.Series, dict[str, int]]:
    """Turn numbers into moments, each row in the unit that its size allows.

    Parameters
    ----------
    values : Series
        Seconds, milliseconds, microseconds or nanoseconds since 1970, mixed at will; Int64 or Float64.
    rows : Series
        Row number of each value in the file.
    source : str
        The file.

    Returns
    -------
    tuple of Series and dict
        Moments (Datetime in microseconds) and the number of rows per unit.

    Raises
    ------
    DataError
        If a value lies between 2009 and 2100 in no unit.
    """
    unit = pl.lit(None, pl.String)
    for name, scale in _PER_SECOND.items():
        fits = (pl.col("v") >= _EARLIEST * scale) & (pl.col("v") < _LATEST * scale)
        unit = pl.when(fits).then(pl.lit(name)).otherwise(unit)
    frame = pl.DataFrame({"v": values, "row": rows}).with_columns(unit.alias("unit"))
    strange = frame.filter(pl.col("unit").is_null())
    if strange.height:
        value, row, _ = strange.row(0)
        raise DataError(
            f"stamp {value!r} is no time between 2009 and 2100 in seconds, milliseconds, microseconds "
            "or nanoseconds",
            source=source,
            row=row,
        )
    v = pl.col("v")
    moment = (
        pl.when(pl.col("unit") == "s")
        .then((v * 10**6).cast(pl.Int64))
        .when(pl.col("unit") == "ms")
        .then((v * 10**3).cast(pl.Int64))
        .when(pl.col("unit") == "us")
        .then(v.cast(pl.Int64))
        .otherwise(v.cast(pl.Int64) // 10**3)
    )
    stamps = frame.select(moment.cast(pl.Datetime("us")).alias("ts"))["ts"]
    counts = dict(frame.group_by("unit").len().sort("len", descending=True).iter_rows())
    return stamps, counts


def mixed_units(counts: dict[str, int], table: str, series: str, stamps: pl.Series) -> tuple[Finding, ...]:
    """Report that one file counts time in more than one unit."""
    if len(counts) < 2:
        return ()
    detail = ", ".join(f"{n} rows in {unit}" for unit, n in counts.items())
    rarer = sum(counts.values()) - max(counts.values())
    cause = "the vendor changed the unit"
    return (Finding(table, series, "timestamp_unit", "warn", *span(stamps), rarer, detail, cause),)


def span(stamps: pl.Series) -> tuple[datetime | None, datetime | None]:
    """First and last moment, in the order of time; ``None`` where there is none."""
    first, last = stamps.min(), stamps.max()
    return (
        first if isinstance(first, datetime) else None,
        last if isinstance(last, datetime) else None,
    )


def from_text(values: pl.Series, rows: pl.Series, source: str, formats: tuple[str, ...] = ()) -> pl.Series:
    """Turn texts into moments without zone; an offset in the text is applied.

    Parameters
    ----------
    values : Series
        Texts such as ``2020-12-30 00:00:00``, ``2020-12-30T00:00:00Z`` or ``2020-11-20 07-AM``.
    rows : Series
        Row number of each value in the file.
    source : str
        The file.
    formats : tuple of str
        Formats to read them with instead; a day that could be a month is never guessed.

    Raises
    ------
    DataError
        If a text fits no format; the row is named.
    """
    plain = values.str.to_datetime(_PLAIN, time_unit="us", strict=False)
    if not formats and not plain.null_count() and plain.min() >= _FIRST_YEAR:  # type: ignore[operator]
        return plain.rename("ts")
    hour_only = r"^(\d{4}-\d\d-\d\d \d\d)-([AP]M)$"
    text = (
        values.str.strip_chars().str.replace(r"^(\d{4}-\d\d-\d\d)T", "$1 ").str.replace(hour_only, "$1:00 $2")
    )
    text = text.str.replace(r"( ?UTC|Z)$", "+00:00")
    if not formats:
        text = text.set(~text.str.contains(r"^\d{4}-"), None)
    offset = text.str.contains(r"\d\d:\d\d.*[+-]\d\d:?\d\d$")
    if offset.any():
        with_zone = "%Y-%m-%d %H:%M:%S%.f%z"
        stamps = text.str.to_datetime(with_zone, time_unit="us", time_zone="UTC", strict=False)
        stamps = stamps.dt.replace_time_zone(None)
    else:
        tried = [text.str.to_datetime(f, time_unit="us", strict=False) for f in formats or _TEXT_FORMATS]
        stamps = pl.select(pl.coalesce([pl.lit(t) for t in tried])).to_series()
    if stamps.null_count():
        at = int(stamps.is_null().arg_max() or 0)
        raise DataError(
            f"date {values[at]!r} is not understood; write 2020-12-30 00:00:00", source=source, row=rows[at]
        )
    return stamps.rename("ts")


def to_utc(stamps: pl.Series, zone: str, rows: pl.Series, source: str) -> pl.Series:
    """Turn local moments into UTC.

    Parameters
    ----------
    stamps : Series
        Moments without zone.
    zone : str
        ``UTC``, an offset such as ``+03:00``, or a name such as ``America/New_York`` (with its summer time).
    rows, source
        Place, for errors.

    Raises
    ------
    ValueError
        If the zone is unknown.
    DataError
        If a moment occurs twice or never in the zone (the hour of a clock change); the row is named.
    """
    if zone == UTC_ZONE:
        return stamps
    if match := re.fullmatch(r"([+-])(\d{1,2})(?::?(\d\d))?", zone):
        offset = timedelta(hours=int(match[2]), minutes=int(match[3] or 0))
        return stamps - (offset if match[1] == "+" else -offset)
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"zone {zone!r} is unknown; write 'UTC', an offset such as '+03:00' or a name such as "
            "'America/New_York'"
        ) from error
    local = stamps.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    if local.null_count():
        at = int(local.is_null().arg_max() or 0)
        raise DataError(
            f"{stamps[at]} occurs twice or never in {zone} (clock change); give these rows in UTC",
            source=source,
            row=rows[at],
        )
    return local.dt.convert_time_zone("UTC").dt.replace_time_zone(None)


def bar_of(stamps: pl.Series, source: str) -> timedelta:
    """Bar size: the most frequent distance between neighbouring stamps.

    Raises
    ------
    DataError
        If there are fewer than two different stamps.
    """
    steps = stamps.unique().sort().diff().drop_nulls()
    if not steps.len():
        raise DataError("fewer than two bars: their size cannot be told", source=source)
    return steps.mode().min()  # type: ignore[return-value]  # the mode of durations is a duration


def refuse_future(stamps: pl.Series, rows: pl.Series, source: str) -> None:
    """Refuse stamps that have not come yet.

    Raises
    ------
    DataError
        If a stamp lies after the present moment; the row is named.
    """
    now = now_utc()
    late = stamps > now
    if late.any():
        at = int(late.arg_max() or 0)
        raise DataError(
            f"{stamps[at]} UTC lies in the future (now {now:%Y-%m-%d %H:%M}): wrong unit, wrong zone or a "
            f"made-up row; {int(late.sum())} such rows",
            source=source,
            row=rows[at],
        )
