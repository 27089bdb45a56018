"""Other ways to decide, which the gate holds against the one in force."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from engine.evaluation.paper_broker import Account
from engine.portfolio.decide import DecisionConfig
from engine.portfolio.gate_profiles import PROFILES
from engine.portfolio.paper_trading import Book, Market, trade_days

__all__ = ["alternatives", "replay"]


def alternatives(config: DecisionConfig) -> dict[str, DecisionConfig]:
    """Every gate profile, with and without the limit on pairwise correlation, except what is in force.

    The list is fixed: what is tried must not depend on what was seen.
    """
    free = replace(config.portfolio, correlation_limit=1.0, hysteresis=0.0)
    every = {
        f"{name}{note}": replace(config, gates=profile, portfolio=portfolio)
        for name, profile in PROFILES.items()
        for note, portfolio in (("", config.portfolio), (", no correlation limit", free))
    }
    return {name: other for name, other in every.items() if other != config}


def replay(
    views: pl.DataFrame, closes: pl.DataFrame, market: Market, config: DecisionConfig, capital: float
) -> pl.DataFrame:
    """Daily net returns of a new account that decides this way.

    Parameters
    ----------
    views, closes, market, config
        As in `engine.portfolio.paper_trading.trade_days`.
    capital : float
        What the account begins with.

    Returns
    -------
    DataFrame
        ``day, net_return, orders``; the return of the first day is 0.
    """
    days = list(trade_days(Book(Account(capital)), market.panel.symbols, views, closes, market, config))
    equity = pl.Series([day.before.account.equity for day in days])
    return pl.DataFrame(
        {
            "day": [day.decided_at for day in days],
            "net_return": (equity / equity.shift(1) - 1.0).fill_null(0.0),
            "orders": [len(day.orders) for day in days],
        }
    )
