"""What the routes have in common: the desk, pages, confirmations, and answers that were made before."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Annotated, cast

from fastapi import Depends, Header, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel

from console.api.desk import Desk
from console.api.security.confirmations import Confirmations
from console.api.shortcut import Shown

__all__ = ["Before", "Confirmed", "Limit", "TheConfirmations", "TheDesk", "shown"]


async def _desk(request: Request) -> Desk:
    return cast(Desk, request.app.state.desk)


async def _confirmations(request: Request) -> Confirmations:
    return cast(Confirmations, request.app.state.confirmations)


TheDesk = Annotated[Desk, Depends(_desk)]
TheConfirmations = Annotated[Confirmations, Depends(_confirmations)]
Limit = Annotated[int, Query(ge=1, le=200, description="Most items of a page.")]
Before = Annotated[
    str | None, Query(min_length=1, max_length=100, description="What the page before gave as next.")
]
Confirmed = Annotated[
    str | None,
    Header(alias="Confirmation", max_length=200, description="What /confirmations gave; good for one use."),
]


async def shown(
    desk: Desk,
    key: tuple[Hashable, ...],
    make: Callable[[], BaseModel],
    *tables: str,
    version: Callable[[], Hashable] | None = None,
) -> Response:
    """Answer with what was made for somebody else a moment ago, or make it.

    Parameters
    ----------
    desk : Desk
    key : tuple
        Names the answer; it follows from the address that was asked for, and from nothing else.
    make : callable
        Makes it, in a thread.
    *tables : str
        Of the warehouse, that it rests on; it is not made anew while they have the same content.
    version : callable, optional
        Returns what changes with all else that it rests on; by default it is always made anew.
    """
    kept = desk.answers.kept(key, make, desk.version_of(tables, version), slow=bool(tables))
    return Shown(await desk.answers.now(kept), kept)
