"""Coins that move to and from exchanges, by day: Coin Metrics community API, without a key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from engine.alternative.series import SERIES
from engine.errors import DataError
from engine.market.finding import Finding, Reading
from resources.feeds.connectors.connector import Clock, number, observations, settled, unavailable
from resources.feeds.connectors.http import JsonClient
from resources.feeds.connectors.moments import from_iso
from resources.feeds.connectors.retry import FetchError, MinimumInterval, Patience

__all__ = ["ExchangeFlows"]

SOURCE = "coinmetrics"
METRICS = {"FlowInExNtv": "exchange_inflow", "FlowOutExNtv": "exchange_outflow"}
_REFUSED = frozenset({400, 403})
"""Statuses that come with an error object where an asset or metric is not in the tier."""


def _is_zero(text: str | None) -> bool:
    return text is not None and number(text, source=SOURCE, column="flow") == 0.0


class ExchangeFlows:
    """Reads ``GET /v4/timeseries/asset-metrics``, following ``next_page_url`` as it is given.

    A day on which nothing moved either way counts as not observed: before the vendor labels the first
    exchange of a coin, its flows are 0.

    Licence of the data: CC BY-NC 4.0. The community tier covers few assets; one that it does not cover is
    reported, and the others are read.

    The vendor rewrites history when it learns which addresses belong to exchanges, and states when a value
    was last written in ``<metric>-status-time``. Values written long after their day are not what was known
    then: they are counted in a ``revision`` finding. They still become available at their declared moment,
    because a rewriting of everything would leave no history at all; a test that depends on them should say
    so.

    Parameters
    ----------
    base_url : str
        Address of the service.
    patience : Patience
        Retries, waits and deadline.
    min_interval : float
        Least seconds between requests; the tier allows 10 in 6 seconds.
    page_size : int
        Days in one page.
    """

    table = "exchange_flows"

    def __init__(
        self,
        base_url: str = "https://community-api.coinmetrics.io",
        *,
        patience: Patience | None = None,
        min_interval: float = 0.7,
        page_size: int = 1000,
    ) -> None:
        self._base_url, self._patience, self._page_size = base_url, patience or Patience(), page_size
        self._interval = MinimumInterval(min_interval, self._patience.sleep)

    def pages(self, symbols: Sequence[str], start: datetime, end: datetime, now: Clock) -> Iterator[Reading]:
        """See `Connector.pages`."""
        with JsonClient(self._base_url, interval=self._interval, patience=self._patience) as client:
            for symbol in symbols:
                asset = symbol.partition("/")[0].lower()
                try:
                    yield from self._asset_pages(client, symbol, asset, start, end, now)
                except FetchError as error:
                    if error.status not in _REFUSED or '"error"' not in error.reason:
                        raise
                    cause = f"the community tier refuses {asset}: {error.reason}"
                    yield observations((), [unavailable(self.table, symbol, "not covered", cause)])

    def _asset_pages(
        self, client: JsonClient, symbol: str, asset: str, start: datetime, end: datetime, now: Clock
    ) -> Iterator[Reading]:
        body = client.get(
            "v4/timeseries/asset-metrics",
            {
                "assets": asset,
                "metrics": ",".join(METRICS),
                "frequency": "1d",
                "start_time": start.isoformat(),
                "end_time": end.isoformat(),
                "end_inclusive": "false",
                "page_size": self._page_size,
                "paging_from": "start",
            },
        ).body
        newest: datetime | None = None
        while True:
            rows = self._rows(body, asset)
            times = [from_iso(row["time"]) for row in rows]
            # A border day that comes twice is one too; only a page without any later day is going nowhere.
            if times and newest is not None and max(times) <= newest:
                raise DataError(f"no progress: a page of {asset} ends at {max(times)} again", source=SOURCE)
            fresh = [
                (row, time)
                for row, time in zip(rows, times, strict=True)
                if start <= time < end and (newest is None or time > newest)
            ]
            yield self._reading(fresh, symbol, now())
            newest = max(times, default=newest)
            if not body.get("next_page_url"):
                return
            body = client.get(body["next_page_url"]).body

    def _rows(self, body: Any, asset: str) -> list[dict[str, str]]:
        rows = body.get("data") if isinstance(body, dict) else None
        if isinstance(rows, list) and all(isinstance(row, dict) and "time" in row for row in rows):
            return rows
        # The service has been seen to answer 200 with an error inside.
        said = body.get("error", body) if isinstance(body, dict) else body
        raise DataError(f"answer for {asset} has no list 'data' of days: {str(said)[:160]}", source=SOURCE)

    def _reading(
        self, rows: Sequence[tuple[dict[str, str], datetime]], symbol: str, fetched_at: datetime
    ) -> Reading:
        values: list[tuple[str, str, datetime, float]] = []
        missing: dict[str, list[datetime]] = {}
        unlabelled = [ts for row, ts in rows if all(_is_zero(row.get(metric)) for metric in METRICS)]
        rewritten: dict[str, list[tuple[datetime, datetime]]] = {}
        for row, ts in rows:
            for metric, name in METRICS.items():
                if row.get(metric) is None:
                    missing.setdefault(name, []).append(ts)
                    continue
                if ts in unlabelled:
                    continue
                values.append((name, symbol, ts, number(row[metric], source=SOURCE, column=metric)))
                written = row.get(f"{metric}-status-time")
                if written is not None:
                    series, at = SERIES[name], from_iso(written)
                    if at - (ts + series.lag) > series.max_age:
                        rewritten.setdefault(name, []).append((ts, at))
        findings = [
            Finding(
                "raw.exchange_flows",
                f"{name} {symbol}",
                "missing_value",
                "warn",
                min(days),
                max(days),
                len(days),
                "the source has no value for these days",
            )
            for name, days in missing.items()
        ]
        if unlabelled:
            findings.append(
                Finding(
                    "raw.exchange_flows",
                    f"{', '.join(METRICS.values())} {symbol}",
                    "missing_value",
                    "warn",
                    min(unlabelled),
                    max(unlabelled),
                    len(unlabelled),
                    "neither in nor out on these days: not observed, rather than 0; left out",
                    "no exchange was labelled yet",
                )
            )
        findings += [
            Finding(
                "raw.exchange_flows",
                f"{name} {symbol}",
                "revision",
                "warn",
                pairs[0][0],
                pairs[-1][0],
                len(pairs),
                f"last written up to {max(at - ts for ts, at in pairs).days} days after their day, "
                f"latest at {max(at for _, at in pairs)}: not what was known then",
                "the vendor relabelled addresses",
            )
            for name, pairs in rewritten.items()
        ]
        reading = settled(values, SOURCE, fetched_at, self.table)
        return Reading(reading.frame, (*reading.findings, *findings))
