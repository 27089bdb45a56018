"""Moments on the wire and in frames: aware or naive datetimes, milliseconds, ISO texts; all UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["DAY", "as_utc", "floor", "from_iso", "from_milliseconds", "milliseconds", "utc_now"]

DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - frames hold UTC without zone


def utc_now() -> datetime:
    """Read the local clock, UTC without zone."""
    return datetime.now(UTC).replace(tzinfo=None)


def as_utc(moment: datetime) -> datetime:
    """Drop the zone of an aware moment after converting it to UTC; a naive one is UTC already."""
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def milliseconds(moment: datetime) -> int:
    """Count milliseconds from the epoch to ``moment``, UTC without zone, rounded down."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def from_milliseconds(count: int) -> datetime:
    """Turn milliseconds since the epoch into a moment, UTC without zone."""
    return _EPOCH + timedelta(milliseconds=count)


def from_iso(text: str) -> datetime:
    """Read an ISO 8601 text; one without offset is UTC."""
    return as_utc(datetime.fromisoformat(text))


def floor(moment: datetime, step: timedelta) -> datetime:
    """Round ``moment`` down to the grid of ``step`` counted from the epoch."""
    return moment - (moment - _EPOCH) % step
