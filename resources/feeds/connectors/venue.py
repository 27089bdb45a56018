"""One trading venue behind ccxt, asked with patience and without ccxt's silent trimming."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any

from engine.errors import DataError
from resources.feeds.connectors.moments import from_milliseconds
from resources.feeds.connectors.retry import TRANSIENT, Patience, Refusal, persist, retry_after

if TYPE_CHECKING:
    from ccxt.base.exchange import Exchange

__all__ = ["Venue"]

_BINANCE = {"options": {"fetchMarkets": {"types": ["spot", "linear"]}}}
"""Markets used here; the inverse ones would cost one more request at each start."""

_MISREAD = (AttributeError, IndexError, KeyError, TypeError, ValueError)


class Venue:
    """A venue that ccxt knows.

    Parameters
    ----------
    name : str
        ccxt's name of the venue, such as ``binance``. Public endpoints only: no key is needed.
    patience : Patience
        Retries, waits and deadline of each request; ccxt's own rate limiter spaces them.
    config : mapping
        Passed to ccxt's constructor: proxies, ``timeout`` (milliseconds), ``rateLimit``, or
        ``{"urls": {"api": {...}}}`` for a mirror.
    """

    def __init__(
        self, name: str, patience: Patience | None = None, config: Mapping[str, Any] | None = None
    ) -> None:
        self.name = name
        self._patience, self._config = patience or Patience(), dict(config or {})

    @cached_property
    def exchange(self) -> Exchange:
        """The ccxt exchange, with its markets still to load.

        Raises
        ------
        ValueError
            If ccxt knows no such venue.
        """
        import ccxt

        if self.name not in ccxt.exchanges:
            near = get_close_matches(self.name, ccxt.exchanges, n=3, cutoff=0.5)
            raise ValueError(f"venue is {self.name!r}, which ccxt does not know; near names: {near}")
        defaults = _BINANCE if self.name.startswith("binance") else {}
        exchange: Exchange = _untrimmed(getattr(ccxt, self.name))({**defaults, **self._config})
        return exchange

    @cached_property
    def markets(self) -> dict[str, dict[str, Any]]:
        """Every market of the venue by its unified symbol."""
        markets: dict[str, dict[str, Any]] = self.call("load_markets")
        return markets

    def offers(self, method: str) -> bool:
        """Whether the venue has an endpoint behind a unified method, by its camel-case name."""
        return bool(self.exchange.has.get(method))

    def market(self, symbol: str) -> dict[str, Any]:
        """Look up a market whose volume is in units of its base.

        Raises
        ------
        DataError
            If the venue does not list it (with near names), or counts its volume in contracts.
        """
        market = self.markets.get(symbol)
        if market is None:
            base = symbol.partition("/")[0].upper()
            of_base = [listed for listed in self.markets if listed.partition("/")[0] == base]
            near = get_close_matches(symbol, self.markets, n=5, cutoff=0.5)
            names = ", ".join(list(dict.fromkeys([*near, *of_base]))[:5]) or "none"
            raise DataError(
                f"unknown symbol {symbol!r}; near names it lists: {names}", source=self.name, column="symbol"
            )
        if market.get("contractSize") not in (None, 1, 1.0):
            raise DataError(
                f"{symbol} counts volume in contracts of {market['contractSize']} {market['base']}; "
                "use a market that counts in units of its base",
                source=self.name,
                column="volume",
            )
        return market

    def perpetual(self, symbol: str) -> str | None:
        """Find the linear perpetual of a symbol: ``BTC/USDT:USDT`` for ``BTC/USDT``; None without one."""
        name = symbol if ":" in symbol else f"{symbol}:{symbol.partition('/')[2]}"
        market = self.markets.get(name)
        return name if market is not None and market.get("swap") else None

    def time(self) -> datetime | None:
        """Read the venue's clock, UTC without zone; None if it does not show one."""
        return from_milliseconds(int(self.call("fetch_time"))) if self.offers("fetchTime") else None

    def call(self, method: str, *args: object) -> Any:
        """Call a ccxt method, trying again as patience allows.

        Raises
        ------
        FetchError
            If the venue does not answer, or refuses the request.
        """
        import ccxt

        exchange = self.exchange

        def attempt() -> Any:
            exchange.last_status, exchange.last_response_headers = None, None
            try:
                return getattr(exchange, method)(*args)
            except ccxt.BaseError as error:
                raise self._refused(error, isinstance(error, ccxt.NetworkError)) from error
            except _MISREAD as error:
                reason = f"{method}: answer not understood: {type(error).__name__}: {error}"
                raise Refusal(
                    reason, url=self._asked, status=exchange.last_status, transient=False
                ) from error

        return persist(attempt, self._patience)

    @property
    def _asked(self) -> str:
        return self.exchange.last_request_url or self.name

    def _refused(self, error: Exception, network: bool) -> Refusal:
        status: int | None = self.exchange.last_status
        # ccxt files some refusals (403, 404, 451) under network errors; a status above 399 decides.
        answered_badly = status is not None and status >= 400
        headers = self.exchange.last_response_headers or {}
        return Refusal(
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
            url=self._asked,
            status=status,
            transient=status in TRANSIENT if answered_badly else network,
            wait=retry_after(headers.get("Retry-After"), time.time()),
        )


def _untrimmed(base: type[Exchange]) -> type[Exchange]:
    """Make a class of ``base`` that hides nothing of what the venue answered."""
    import ccxt

    class Untrimmed(base):
        """Refuses answers that are not JSON, and returns rows that were not asked for too."""

        last_status: int | None = None

        def on_rest_response(self, code: int, *answer: Any) -> Any:
            self.last_status = code
            return super().on_rest_response(code, *answer)

        def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
            # ccxt hands half-written JSON on as text, which its parsers read as "no rows".
            answer = super().fetch(url, method, headers, body)
            if not isinstance(answer, dict | list):
                raise ccxt.NetworkError(f"{self.id} {method} {url}: answer is not JSON: {str(answer)[:80]!r}")
            return answer

        # A venue that ignores ``since`` would look like one without data if its rows were dropped here.
        def filter_by_since_limit(
            self, array: Any, since: Any = None, limit: Any = None, key: Any = "timestamp", tail: bool = False
        ) -> Any:
            return super().filter_by_since_limit(array, None, None, key, tail)

        def filter_by_value_since_limit(
            self,
            array: Any,
            field: Any,
            value: Any = None,
            since: Any = None,
            limit: Any = None,
            key: Any = "timestamp",
            tail: bool = False,
        ) -> Any:
            return super().filter_by_value_since_limit(array, field, value, None, None, key, tail)

    return Untrimmed
