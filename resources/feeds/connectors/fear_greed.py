"""Fear & Greed index of alternative.me: one number a day, public, without a key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from engine.alternative.series import MARKET_WIDE
from engine.errors import DataError
from engine.market.finding import Reading
from resources.feeds.connectors.connector import Clock, number, settled
from resources.feeds.connectors.http import JsonClient
from resources.feeds.connectors.moments import DAY, from_milliseconds, milliseconds
from resources.feeds.connectors.pages import Row, duplicate_findings, sift
from resources.feeds.connectors.retry import MinimumInterval, Patience

__all__ = ["FearGreed"]

SOURCE = "alternative.me"
_ALL = 0


class FearGreed:
    """Reads ``GET /fng/?limit=n``: numbers and stamps as texts, newest first, one row a UTC day.

    The row of a day is published as that day begins. The source serves only the values it holds today: what a
    value of last year was on its day is not known, so history becomes available at its declared moment, and a
    value that is still fresh at the moment of reading, see `engine.alternative.vintages.first_known`.

    Parameters
    ----------
    base_url : str
        Address of the service.
    patience : Patience
        Retries, waits and deadline.
    min_interval : float
        Least seconds between requests; the service allows 60 a minute.
    """

    table = "fear_greed"

    def __init__(
        self,
        base_url: str = "https://api.alternative.me",
        *,
        patience: Patience | None = None,
        min_interval: float = 1.0,
    ) -> None:
        self._base_url, self._patience = base_url, patience or Patience()
        self._interval = MinimumInterval(min_interval, self._patience.sleep)

    def pages(self, symbols: Sequence[str], start: datetime, end: datetime, now: Clock) -> Iterator[Reading]:
        """See `Connector.pages`; the index is market-wide, ``symbols`` do not matter. One page."""
        with JsonClient(self._base_url, interval=self._interval, patience=self._patience) as client:
            # Rows are counted back from today; should repeated ones use up the count, all are asked for.
            for limit in (max(1, (now() - start) // DAY + 2), _ALL):
                rows = _rows(client.get("fng/", {"limit": limit}).body)
                if len(rows) < limit or min(rows)[0] <= milliseconds(start):
                    break
        page = sift(rows, milliseconds(start), milliseconds(end), {})
        values = [
            ("fear_greed", MARKET_WIDE, from_milliseconds(stamp), value)
            for stamp, (value,) in page.rows
            if value is not None
        ]
        reading = settled(values, SOURCE, now(), self.table)
        repeats = duplicate_findings([page], "raw.fear_greed", "fear_greed")
        yield Reading(reading.frame, (*reading.findings, *repeats))


def _rows(body: Any) -> list[Row]:
    rows = body.get("data") if isinstance(body, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"answer has no list 'data' of days: {str(body)[:120]}", source=SOURCE)
    if error := (body.get("metadata") or {}).get("error"):
        raise DataError(f"the service reports {error!r}", source=SOURCE)
    return [
        (
            int(number(row.get("timestamp"), source=SOURCE, column="timestamp", row=at)) * 1000,
            (number(row.get("value"), source=SOURCE, column="value", row=at),),
        )
        for at, row in enumerate(rows, start=1)
    ]
