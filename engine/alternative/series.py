"""Every alternative series: its unit, lag, staleness limit and plausible range, written once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

__all__ = ["MARKET_WIDE", "OBSERVATION_COLUMNS", "SERIES", "TABLES", "Series"]

MARKET_WIDE = "*"
OBSERVATION_COLUMNS = ("series", "symbol", "ts", "available_at", "value", "source")


@dataclass(frozen=True)
class Series:
    """One alternative series.

    Parameters
    ----------
    name : str
        Name in the ``series`` column of an observation.
    table : str
        Table of schema ``raw`` that holds it.
    unit : str
        Unit of ``value``.
    lag : timedelta
        From the start of the period described to the moment its first value is known,
        where the source itself does not say.
    max_age : timedelta
        A value known for longer than this is stale: it counts as missing.
    lower, upper : float
        Plausible range; outside it a value counts as missing and is reported.
    description : str
        What it measures.
    """

    name: str
    table: str
    unit: str
    lag: timedelta
    max_age: timedelta
    lower: float
    upper: float
    description: str


_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_INF = float("inf")

SERIES: dict[str, Series] = {
    s.name: s
    for s in (
        Series(
            "funding_rate",
            "funding",
            "fraction per interval",
            timedelta(0),
            9 * _HOUR,
            -0.05,
            0.05,
            "Paid by longs to shorts at each funding stamp of the perpetual.",
        ),
        Series(
            "funding_interval_hours",
            "funding",
            "hours",
            timedelta(0),
            9 * _HOUR,
            0.5,
            24.0,
            "Hours from the previous funding stamp; venues shorten it under stress.",
        ),
        Series(
            "liquidations_long_usd",
            "liquidations",
            "USD",
            4 * _HOUR,
            12 * _HOUR,
            0.0,
            _INF,
            "Long positions closed by force in the period.",
        ),
        Series(
            "liquidations_short_usd",
            "liquidations",
            "USD",
            4 * _HOUR,
            12 * _HOUR,
            0.0,
            _INF,
            "Short positions closed by force in the period.",
        ),
        Series(
            "liquidation_print_usd",
            "liquidations",
            "USD",
            5 * _MINUTE,
            30 * _DAY,
            0.0,
            _INF,
            "Collateral of loans liquidated on chain in one block; blocks without a liquidation have no row.",
        ),
        Series(
            "exchange_inflow",
            "exchange_flows",
            "native units",
            40 * _HOUR,
            3 * _DAY,
            0.0,
            _INF,
            "Coins that moved to exchanges in the day.",
        ),
        Series(
            "exchange_outflow",
            "exchange_flows",
            "native units",
            40 * _HOUR,
            3 * _DAY,
            0.0,
            _INF,
            "Coins that left exchanges in the day.",
        ),
        Series(
            "open_interest_usd",
            "open_interest",
            "USD",
            4 * _HOUR,
            2 * _DAY,
            0.0,
            _INF,
            "Value of open derivative contracts at the end of the period.",
        ),
        Series(
            "long_short_ratio",
            "long_short_ratio",
            "ratio",
            4 * _HOUR,
            12 * _HOUR,
            0.0,
            100.0,
            "Accounts that are long over accounts that are short.",
        ),
        Series(
            "commits",
            "commits",
            "count per day",
            _DAY,
            3 * _DAY,
            0.0,
            10_000.0,
            "Commits to the project's main repository in the day.",
        ),
        Series(
            "commit_authors",
            "commits",
            "count per day",
            _DAY,
            3 * _DAY,
            0.0,
            1_000.0,
            "Distinct authors of those commits.",
        ),
        Series(
            "repository_archived",
            "commits",
            "0 or 1",
            _DAY,
            3 * _DAY,
            0.0,
            1.0,
            "Whether the repository is archived: the work went elsewhere, and there are no counts to read.",
        ),
        Series(
            "social_score",
            "social",
            "share in 0..1",
            _HOUR,
            12 * _HOUR,
            0.0,
            1.0,
            "Share of social and news items about the asset that are favourable.",
        ),
        Series(
            "news_score",
            "social",
            "share in 0..1",
            _HOUR,
            12 * _HOUR,
            0.0,
            1.0,
            "The same share over the news items alone.",
        ),
        Series(
            "fear_greed",
            "fear_greed",
            "index 0..100",
            timedelta(0),
            48 * _HOUR,
            0.0,
            100.0,
            "Fear & Greed index: 0 extreme fear, 100 extreme greed.",
        ),
    )
}

TABLES: tuple[str, ...] = tuple(dict.fromkeys(s.table for s in SERIES.values()))
