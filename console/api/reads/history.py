"""The audit trail."""

from __future__ import annotations

from console.api.problems import Problem
from console.api.reads.health import verification
from console.api.schemas.history import HistoryRow
from console.api.schemas.wire import Page
from resources.parameter_store import ParameterStore
from resources.parameter_store.chain import Event

__all__ = ["history", "number_before", "row_of", "verification"]


def history(store: ParameterStore, scope: str | None, limit: int, before: str | None) -> Page[HistoryRow]:
    """Read a page."""
    rows = store.history(scope, limit=limit + 1, before=number_before(before))
    return Page(
        items=[row_of(row) for row in rows[:limit]],
        next=str(rows[limit - 1].seq) if len(rows) > limit else None,
    )


def row_of(event: Event) -> HistoryRow:
    """Read a row."""
    return HistoryRow(**{name: getattr(event, name) for name in HistoryRow.model_fields})


def number_before(text: str | None) -> int | None:
    """Read where a page begins, where pages go by number.

    Raises
    ------
    Problem
        422 if it is no number.
    """
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Problem(
            422,
            "invalid-request",
            f"before = {text!r} must be what the page before gave as next",
            title="Not possible as asked for",
            parameter="before",
        )
    return int(text)
