"""Moments as the store keeps them: UTC, to the microsecond, as text that sorts in order of time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

__all__ = ["Clock", "checked", "from_text", "readable", "to_text", "utc_now"]

Clock: TypeAlias = Callable[[], datetime]

_FORM = "%Y-%m-%dT%H:%M:%S.%fZ"


def utc_now() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)


def checked(name: str, moment: object) -> datetime:
    """Return the moment in UTC.

    Raises
    ------
    TypeError
        If it is no datetime.
    ValueError
        If it has no zone: nobody could say which moment is meant.
    """
    if not isinstance(moment, datetime):
        raise TypeError(f"{name} = {moment!r} must be a datetime with a zone")
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise ValueError(f"{name} = {moment} has no zone; say which, such as {moment}+00:00 for UTC")
    return moment.astimezone(UTC)


def to_text(moment: datetime) -> str:
    """Write a moment."""
    # %Y does not pad years before 1000 everywhere, and text must sort.
    return f"{moment.astimezone(UTC):{_FORM}}".rjust(27, "0")


def readable(moment: datetime) -> str:
    """Write a moment for people."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def from_text(text: str) -> datetime:
    """Read a moment."""
    return datetime.strptime(text, _FORM).replace(tzinfo=UTC)
