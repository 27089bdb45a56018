"""Errors that name where the trouble is and what to do about it."""

from __future__ import annotations

__all__ = ["DataError", "EngineError", "NotEnoughDataError"]


class EngineError(Exception):
    """Base of every error that Engine raises on purpose."""


class DataError(EngineError, ValueError):
    """Input that cannot be read rightly, refused with its place.

    Parameters
    ----------
    reason : str
        What is wrong and, where it helps, what to do.
    source : str, optional
        The file, table or address the data came from.
    row : int, optional
        One-based row (line) in the source.
    column : str, optional
        The column at fault.
    """

    def __init__(
        self, reason: str, *, source: str | None = None, row: int | None = None, column: str | None = None
    ) -> None:
        self.reason, self.source, self.row, self.column = reason, source, row, column
        place = [
            str(source) if source is not None else "",
            f"row {row}" if row is not None else "",
            f"column {column!r}" if column is not None else "",
        ]
        where = ", ".join(part for part in place if part)
        super().__init__(f"{where}: {reason}" if where else reason)


class NotEnoughDataError(EngineError, ValueError):
    """A fit or an estimate was asked for on fewer observations than it needs."""
