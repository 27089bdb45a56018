"""Pages of what has an id of its own, the newest first."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from console.api.problems import Problem
from console.api.schemas.wire import Page

__all__ = ["checked_cursor", "page"]

_ID = re.compile(r"[0-9a-f]{32}")


class _Named(Protocol):
    @property
    def id(self) -> str: ...


Found = TypeVar("Found", bound=_Named)
Row = TypeVar("Row")


def checked_cursor(before: str | None) -> str | None:
    """Return the id after which a page begins.

    Raises
    ------
    Problem
        422 if it is none.
    """
    if before is not None and not _ID.fullmatch(before):
        raise Problem(
            422,
            "invalid-request",
            f"before = {before!r} must be what the page before gave as next",
            title="Not possible as asked for",
            parameter="before",
        )
    return before


def page(found: Sequence[Found], limit: int, row: Callable[[Found], Row]) -> Page[Row]:
    """Make a page of what was found, one more of it than the page holds where another follows."""
    return Page(
        items=[row(one) for one in found[:limit]], next=found[limit - 1].id if len(found) > limit else None
    )
