"""Candles of one simulated symbol, given what the whole market does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from engine.market.random_streams import stream
from engine.market.regime_path import MarketPath, ar1

__all__ = ["SYMBOL_PATTERN", "PricePath", "SymbolTraits", "price_path", "symbol_traits"]

SYMBOL_PATTERN = re.compile(r"[A-Z0-9]{2,12}/USDT")

LARGEST_RETURN = 0.5
# The first trade of a bar comes one second into the hour: that is all of the gap between close and next open.
FIRST_TRADE = 1.0 / 3600.0
USUAL_VOLATILITY = 0.0065
TURNOVER_ON_VOLATILITY, TURNOVER_ON_MOVE, TURNOVER_AR, TURNOVER_SHOCK = 0.7, 0.35, 0.95, 0.15


class SymbolTraits(NamedTuple):
    """What tells one symbol from another.

    First price in USDT, usual turnover in USD per hour, and volatility as a multiple of the market factor's.
    """

    first_price: float
    turnover: float
    volatility: float


_KNOWN = {
    "BTC": SymbolTraits(40_000.0, 80e6, 0.9),
    "ETH": SymbolTraits(2_400.0, 40e6, 1.25),
    "BNB": SymbolTraits(310.0, 10e6, 1.2),
    "SOL": SymbolTraits(95.0, 12e6, 1.7),
    "XRP": SymbolTraits(0.55, 10e6, 1.5),
    "ADA": SymbolTraits(0.50, 5e6, 1.5),
    "DOGE": SymbolTraits(0.08, 6e6, 1.7),
    "AVAX": SymbolTraits(35.0, 4e6, 1.7),
    "DOT": SymbolTraits(7.5, 3e6, 1.5),
    "LINK": SymbolTraits(14.0, 4e6, 1.55),
    "LTC": SymbolTraits(70.0, 5e6, 1.35),
}


def symbol_traits(seed: int, symbol: str) -> SymbolTraits:
    """Traits of a symbol: those of a well-known one from the table, of any other drawn from seed and name."""
    base = symbol.removesuffix("/USDT")
    if base in _KNOWN:
        return _KNOWN[base]
    draw = stream(seed, symbol, "traits").random(3)
    return SymbolTraits(10.0 ** (3.0 * draw[0] - 1.0), 10.0 ** (5.7 + draw[1]), 1.3 + 0.6 * draw[2])


@dataclass(frozen=True)
class PricePath:
    """Arrays of one value per hour: prices, volume in base units, and the log return from close to close."""

    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    log_return: np.ndarray


def price_path(seed: int, symbol: str, market: MarketPath) -> PricePath:
    """Simulate one symbol with one-factor correlation to the market.

    Inside a bar the logarithm of the price is a Brownian bridge between its ends, so that high and low have
    the law of the bridge's extremes (Asmussen, Glynn & Pitman 1995) and opens add no return of their own.
    Volume grows with volatility and with the size of the move (Karpoff 1987).

    Parameters
    ----------
    seed : int
    symbol : str
    market : MarketPath
        Of the same seed.
    """
    hours = len(market.shock)
    traits = symbol_traits(seed, symbol)

    def draws(purpose: str) -> np.random.Generator:
        return stream(seed, symbol, purpose)

    own = draws("shock").standard_normal(hours)
    scale = traits.volatility * market.volatility
    shock = market.loading * market.shock + np.sqrt(1.0 - market.loading**2) * own
    simple = traits.volatility * (market.drift + market.jump) + scale * shock
    log_return = np.log1p(np.clip(simple, -LARGEST_RETURN, LARGEST_RETURN))
    close = np.log(traits.first_price) + np.cumsum(log_return)
    opening = _brownian_open(close, log_return, scale, draws("open").standard_normal(hours))
    body = close - opening
    high = opening + _bridge_maximum(body, scale, draws("high").standard_exponential(hours))
    low = opening - _bridge_maximum(-body, scale, draws("low").standard_exponential(hours))
    first, last = np.exp(opening), np.exp(close)
    return PricePath(
        open=first,
        # Rounding may put an extreme that lies at an end of the bar just inside it.
        high=np.maximum(np.exp(high), np.maximum(first, last)),
        low=np.minimum(np.exp(low), np.minimum(first, last)),
        close=last,
        volume=_turnover(market, shock, traits, draws("volume").standard_normal(hours)) / last,
        log_return=log_return,
    )


def _brownian_open(
    close: np.ndarray, log_return: np.ndarray, scale: np.ndarray, noise: np.ndarray
) -> np.ndarray:
    """Log price at the first trade: the bridge from the previous close, a moment after its start."""
    spread = np.sqrt(FIRST_TRADE * (1.0 - FIRST_TRADE))
    return close - (1.0 - FIRST_TRADE) * log_return + spread * scale * noise


def _bridge_maximum(end: np.ndarray, scale: np.ndarray, exponential: np.ndarray) -> np.ndarray:
    """Highest point of a Brownian bridge from 0 to ``end``: (end + sqrt(end^2 + 2 scale^2 E)) / 2."""
    return 0.5 * (end + np.sqrt(end**2 + 2.0 * scale**2 * exponential))


def _turnover(market: MarketPath, shock: np.ndarray, traits: SymbolTraits, noise: np.ndarray) -> np.ndarray:
    """Turnover in USD per hour."""
    move = np.abs(shock) * market.volatility / market.state_volatility
    return traits.turnover * np.exp(
        TURNOVER_ON_VOLATILITY * np.log(market.state_volatility / USUAL_VOLATILITY)
        + TURNOVER_ON_MOVE * np.log(0.3 + move)
        + ar1(TURNOVER_SHOCK * noise, TURNOVER_AR, 0.0)
    )
