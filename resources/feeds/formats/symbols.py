"""Symbols as vendors spell them, turned into the one spelling used here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from engine.errors import DataError

__all__ = ["Market", "asset_of", "market_of_path", "spell", "symbol_in_name", "token_of_venue"]

Market = Literal["spot", "perpetual", "mark"]

_QUOTES: tuple[str, ...] = (
    "USDT",
    "FDUSD",
    "BUSD",
    "TUSD",
    "USDC",
    "USDP",
    "DAI",
    "USD",
    "EUR",
    "GBP",
    "JPY",
    "CHF",
    "AUD",
    "CAD",
)
_QUOTES += ("TRY", "BRL", "RUB", "BTC", "ETH", "BNB", "XRP", "DOGE")
_PERPETUAL_WORDS = {"futures", "fapi", "um", "perp", "perpetual", "swap"}
_MARK_WORDS = {"mark", "markprice", "markpriceklines"}
_VENUES = (
    "binance",
    "bybit",
    "gate",
    "dydx",
    "gemini",
    "kraken",
    "coinbase",
    "okx",
    "bitfinex",
    "hyperliquid",
)
_WRAPPED = {"WBTC": "BTC", "CBBTC": "BTC", "WETH": "ETH"}


def spell(text: str, market: Market = "spot") -> str | None:
    """Spell a symbol ``BASE/QUOTE`` (spot) or ``BASE/QUOTE:SETTLE`` (perpetual and mark).

    Parameters
    ----------
    text : str
        ``BTCUSDT``, ``BTC_USDT``, ``BTC-USDT``, ``BTC/USDT``, ``BTC_USDT_USDT`` or ``BTC/USDT:USDT``.
    market : Market
        What the file holds; a perpetual without a settlement coin is settled in its quote.

    Returns
    -------
    str or None
        ``None`` where the text is no pair.
    """
    parts = [part for part in re.split(r"[/_:\-]", text.strip().upper()) if part]
    if len(parts) == 1:
        quotes = [q for q in _QUOTES if parts[0].endswith(q) and len(parts[0]) > len(q)]
        if not quotes:
            return None
        quote = max(quotes, key=len)
        parts = [parts[0].removesuffix(quote), quote]
    if len(parts) not in (2, 3) or not all(re.fullmatch(r"[A-Z0-9]{1,20}", part) for part in parts):
        return None
    settle = parts[2] if len(parts) == 3 else parts[1] if market != "spot" else ""
    return f"{parts[0]}/{parts[1]}" + (f":{settle}" if settle else "")


def symbol_in_name(path: Path, market: Market) -> str:
    """Find the symbol in a file's name, for files that do not carry it inside.

    Raises
    ------
    DataError
        If no part of the name is a pair.
    """
    quotes = "|".join(_QUOTES)
    stem = path.name.split(".")[0]
    pairs = re.findall(rf"(?<![A-Z0-9])[A-Z0-9]+[_-](?:{quotes})(?:[_-](?:{quotes}))?(?![A-Za-z0-9])", stem)
    for candidate in (*pairs, *re.split(r"[^A-Za-z0-9]", stem)):
        if candidate.isupper() and (symbol := spell(candidate, market)) is not None:
            return symbol
    raise DataError(
        "neither the rows nor the file name say which symbol this is; name the file like BTCUSDT-1h.csv",
        source=str(path),
    )


def market_of_path(path: Path) -> Market:
    """Market that a file's name, or else the folder it lies in, claims to hold; spot where they say nothing.

    A name such as ``BTC_USDT_USDT`` is a perpetual: it states its settlement coin.
    """
    for part in (path.name, path.parent.name):
        words = set(re.split(r"[^a-z]+", part.lower()))
        if words & _MARK_WORDS:
            return "mark"
        if words & _PERPETUAL_WORDS:
            return "perpetual"
        if "spot" in words:
            return "spot"
    quotes = "|".join(_QUOTES)
    return "perpetual" if re.match(rf"[A-Z0-9]+_({quotes})_({quotes})(?![A-Z])", path.name) else "spot"


def token_of_venue(path: Path) -> str:
    """Venue named in the file's name or its folder, or an empty text."""
    for part in (path.name, path.parent.name):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in _VENUES:
                return word
    return ""


def asset_of(symbol: str) -> str:
    """Coin that a symbol is about: ``BTC`` of ``BTC/USDT:USDT``; a wrapped coin counts as the coin itself."""
    coin = symbol.split("/")[0].upper()
    return _WRAPPED.get(coin, coin)
