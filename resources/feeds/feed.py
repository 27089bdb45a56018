"""What every source of market data offers, whatever lies behind it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from engine.market.finding import Reading

__all__ = ["Feed"]


class Feed(Protocol):
    """A source of candles and alternative data.

    Moments are UTC without zone. ``start`` is inclusive, ``end`` exclusive, both compared with ``ts``.
    """

    @property
    def name(self) -> str:
        """What is stored as the source of its rows."""
        ...

    def candles(self, symbols: Sequence[str], start: datetime, end: datetime) -> Reading:
        """Read finished bars: ``symbol, ts, open, high, low, close, volume``, sorted by symbol and ts."""
        ...

    def observations(self, table: str, symbols: Sequence[str], start: datetime, end: datetime) -> Reading:
        """Read alternative observations of one raw table, with every vintage that the source knows."""
        ...

    def last_bar(self, symbols: Sequence[str]) -> datetime | None:
        """Open of the newest finished bar that the source can deliver now, over all symbols."""
        ...

    def fingerprint(self) -> str:
        """Return a text that changes whenever the source could deliver something else."""
        ...
