"""What the live algorithm decided and earned."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from console.api.reads import decisions as read_decisions
from console.api.reads import performance as read
from console.api.routes.parts import Before, Limit, TheDesk, shown
from console.api.schemas.performance import DecisionRow, Performance, Symbols
from console.api.schemas.wire import ActionName, Page, SymbolName
from console.api.security.callers import Viewer

__all__ = ["router"]

router = APIRouter(tags=["performance"])


@router.get("/performance/{symbol:path}", operation_id="get_performance", response_model=Performance)
async def get_performance(
    desk: TheDesk,
    caller: Viewer,
    symbol: Annotated[
        SymbolName,
        Path(
            description="BTC-USDT or BTC/USDT; all: the accounts of all symbols as one.",
            examples=["BTC-USDT"],
        ),
    ],
) -> Response:
    """Return equity, drawdown, figures with intervals, and what confidence was worth."""
    return await shown(desk, ("performance", symbol), lambda: read.performance(desk, symbol), *read.TABLES)


@router.get("/decisions", operation_id="list_decisions", response_model=Page[DecisionRow])
async def list_decisions(
    desk: TheDesk,
    caller: Viewer,
    symbol: Annotated[SymbolName | None, Query()] = None,
    action: Annotated[ActionName | None, Query(description="Only decisions of this kind.")] = None,
    limit: Limit = 50,
    before: Before = None,
) -> Response:
    """Return decisions of the live algorithm, the newest first."""
    return await shown(
        desk,
        ("decisions", symbol, action, limit, before),
        lambda: read_decisions.decisions(desk.warehouse, symbol, action, limit, before),
        *read_decisions.TABLES,
    )


@router.get("/symbols", operation_id="list_symbols", response_model=Symbols)
async def list_symbols(desk: TheDesk, caller: Viewer) -> Response:
    """Return the symbols that are stored."""
    return await shown(
        desk,
        ("symbols",),
        lambda: read_decisions.symbols(desk),
        *read_decisions.SYMBOL_TABLES,
        version=desk.store.head,
    )
