"""Every alternative feature: what it is made of, its unit, when it counts as missing, written once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import polars as pl

from engine.alternative.asof import HOURS_PER_MICROSECOND
from engine.alternative.cascades import REMEMBERED, STANDS, Cascade
from engine.alternative.replay import ENOUGH, WINDOW, Earlier, Past, Statistic, Trailing
from engine.alternative.series import SERIES

__all__ = ["FEATURES", "HISTORIES", "LOOKBACK", "AlternativeFeature", "History", "feature_table"]

_c = pl.col
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_INF = float("inf")
CLIP = 10.0
"""Robust deviations at which a z-score is cut: what lies beyond says no more."""
FUNDING_FLOOR = 5e-5
"""Least spread of funding per 8 hours: half of the rate that quiet markets rest at for weeks.

Without it 32 % of the settlements of BTC would be judged by a spread of 0.
"""


class History(NamedTuple):
    """Series whose past is replayed together, and the statistics taken of it."""

    series: tuple[str, ...]
    statistics: tuple[Statistic, ...]


@dataclass(frozen=True)
class AlternativeFeature:
    """One column of the wide table, and one value of the collector.

    Parameters
    ----------
    name : str
        Name of the column.
    series : tuple of str
        Series that it needs: it is missing where one of them is unknown, stale or implausible.
    value : pl.Expr
        Over the columns of the series, their ages and the statistics in `HISTORIES`.
    unit : str
        Unit of the value.
    description : str
        What it is.
    when_missing : str
        When it is missing, beyond what holds for every feature.
    lower, upper : float
        Range that the definition implies; a value outside of it is a defect.
    """

    name: str
    series: tuple[str, ...]
    value: pl.Expr
    unit: str
    description: str
    when_missing: str = ""
    lower: float = -_INF
    upper: float = _INF

    @property
    def lag(self) -> timedelta:
        """From the start of the newest period to the moment its value is known, by declaration."""
        return max(SERIES[name].lag for name in self.series)

    @property
    def max_age(self) -> timedelta:
        """A value whose period was published longer ago is stale."""
        return min(SERIES[name].max_age for name in self.series)


_RATE_8H = _c("funding_rate") * 8.0 / _c("funding_interval_hours")
_LONG, _SHORT = _c("liquidations_long_usd"), _c("liquidations_short_usd")
_PRINT = _c("liquidation_print_usd")
_INFLOW, _OUTFLOW = _c("exchange_inflow"), _c("exchange_outflow")
_FUNDING = ("funding_rate", "funding_interval_hours")
_LIQUIDATIONS = ("liquidations_long_usd", "liquidations_short_usd")
_FLOWS = ("exchange_inflow", "exchange_outflow")

_BARS = Cascade("cascade", _LONG, _SHORT, memory=8 * _HOUR, deviations=2.0)
_PRINTS = Cascade("onchain", _PRINT, pl.lit(0.0), memory=_HOUR, deviations=1.5)

HISTORIES: tuple[History, ...] = (
    History(
        _FUNDING,
        (
            Past("funding", _RATE_8H),
            Trailing("funding_paid", _c("funding_rate"), 7 * _DAY),
            Trailing("funding_hours", _c("funding_interval_hours"), 7 * _DAY),
        ),
    ),
    History(_LIQUIDATIONS, (_BARS,)),
    History(("liquidation_print_usd",), (_PRINTS,)),
    History(
        _FLOWS, (Past("inflow", _INFLOW), Past("outflow", _OUTFLOW), Past("netflow", _INFLOW - _OUTFLOW))
    ),
    History(("open_interest_usd",), (Earlier("open_interest", _c("open_interest_usd")),)),
    History(("long_short_ratio",), (Past("long_short", _c("long_short_ratio").log()),)),
    History(
        ("commits",),
        (Trailing("commits_7d", _c("commits"), 7 * _DAY), Trailing("commits_90d", _c("commits"), WINDOW)),
    ),
    History(("social_score",), (Earlier("social", _c("social_score")),)),
    History(("news_score",), (Earlier("news", _c("news_score")),)),
)

LOOKBACK = (
    WINDOW
    + REMEMBERED
    + max(SERIES[name].lag + SERIES[name].max_age for history in HISTORIES for name in history.series)
    + 5 * _DAY
)
"""Observations of periods that began this long before the first bar determine its features.

Earlier ones change nothing, as long as no current value came more than the days on top later than declared.
"""


def _plain(name: str) -> AlternativeFeature:
    series = SERIES[name]
    return AlternativeFeature(
        name, (name,), _c(name), series.unit, series.description, lower=series.lower, upper=series.upper
    )


def _imbalance(first: pl.Expr, second: pl.Expr) -> pl.Expr:
    """Difference over sum, in -1..1; two *known* zeros balance."""
    total = first + second
    return pl.when(total > 0.0).then((first - second) / total).when(total == 0.0).then(0.0)


def _robust_z(name: str, least: float = 0.0) -> pl.Expr:
    """Deviation from the median of the past in robust deviations (Iglewicz and Hoaglin 1993), clipped."""
    spread = pl.max_horizontal(_c(f"{name}.spread"), pl.lit(least))
    known = _c(f"{name}.median").is_not_null() & (spread > 0.0)
    return pl.when(known).then(((_c(f"{name}.value") - _c(f"{name}.median")) / spread).clip(-CLIP, CLIP))


def _change(name: str) -> pl.Expr:
    return _c(f"{name}.value") - _c(f"{name}.earlier")


def _fading(cascade: Cascade, age: str, side: pl.Expr) -> pl.Expr:
    """Intensity at the moment of the decision: forgetting goes on while nothing new is published."""
    return side * (-_c(f"{age}_age_hours") * (_HOUR / cascade.memory)).exp()


def _hours_since(cascade: Cascade) -> pl.Expr:
    longest = REMEMBERED / _HOUR
    hours = (_c("decided_at").dt.epoch("us") - _c(f"{cascade.name}.seen")) * HOURS_PER_MICROSECOND
    return pl.when(_c(f"{cascade.name}.long").is_not_null()).then(hours.fill_null(longest).clip(0.0, longest))


# The rate per interval is not comparable between intervals, and the last print is no state of anything.
_NOT_OFFERED = {*_FUNDING, "liquidation_print_usd"}
_LITTLE_PAST = f"fewer than {ENOUGH} known periods in the {WINDOW.days} days before"
_NO_DAY_BEFORE = "no value of 24 to 36 hours before"
_FEW_PRINTS = f"{_LITTLE_PAST} in which anything was liquidated"
_DERIVED: Sequence[AlternativeFeature] = (
    AlternativeFeature(
        "funding_rate_8h", _FUNDING, _RATE_8H, "fraction per 8 hours",
        "Funding rate, whatever the interval of the venue.", lower=-0.8, upper=0.8,
    ),
    AlternativeFeature(
        "funding_z", _FUNDING, _robust_z("funding", FUNDING_FLOOR), "robust deviations",
        f"Funding per 8 hours against its median over {WINDOW.days} days.", _LITTLE_PAST, -CLIP, CLIP,
    ),
    AlternativeFeature(
        "funding_percentile", _FUNDING, _c("funding.rank"), "share in 0..1",
        f"Share of the past {WINDOW.days} days with lower funding per 8 hours; equal funding counts half.",
        _LITTLE_PAST, 0.0, 1.0,
    ),
    AlternativeFeature(
        "funding_7d", _FUNDING, pl.when(_c("funding_hours.sum") >= 160.0).then(_c("funding_paid.sum")),
        "fraction", "Funding that a long position paid over the last 7 days, at the rates as charged.",
        "settlements of the 7 days cover fewer than 160 hours",
    ),
    AlternativeFeature(
        "liquidation_imbalance", _LIQUIDATIONS, _imbalance(_LONG, _SHORT), "-1..1",
        "Long less short liquidations over their sum; 0 where nothing was liquidated.", "", -1.0, 1.0,
    ),
    AlternativeFeature(
        "liquidation_cascade", _LIQUIDATIONS,
        _fading(_BARS, "liquidations_long_usd", _c("cascade.long") + _c("cascade.short")), "large bars",
        "Bars with large liquidations, each at most 1, forgotten with a memory of 8 hours; a cascade stands "
        f"from {STANDS} on.", _FEW_PRINTS, 0.0,
    ),
    AlternativeFeature(
        "liquidation_cascade_side", _LIQUIDATIONS,
        _imbalance(_c("cascade.long"), _c("cascade.short")), "-1..1",
        "Side of that intensity: 1 where longs are closed, -1 where shorts are.", _FEW_PRINTS, -1.0, 1.0,
    ),
    AlternativeFeature(
        "liquidation_cascade_hours", _LIQUIDATIONS, _hours_since(_BARS), "hours",
        f"Hours since a cascade was last seen to stand; {REMEMBERED / _HOUR:g} where none was in "
        f"{REMEMBERED.days} days.", _FEW_PRINTS, 0.0, REMEMBERED / _HOUR,
    ),
    AlternativeFeature(
        "onchain_cascade", ("liquidation_print_usd",),
        _fading(_PRINTS, "liquidation_print_usd", _c("onchain.long")), "large prints",
        "Large on-chain liquidations, each at most 1, forgotten with a memory of an hour; a cascade stands "
        f"from {STANDS} on.", _FEW_PRINTS, 0.0,
    ),
    AlternativeFeature(
        "onchain_cascade_hours", ("liquidation_print_usd",), _hours_since(_PRINTS), "hours",
        f"Hours since an on-chain cascade was last seen to stand; {REMEMBERED / _HOUR:g} where none was in "
        f"{REMEMBERED.days} days.", _FEW_PRINTS, 0.0, REMEMBERED / _HOUR,
    ),
    AlternativeFeature(
        "netflow", _FLOWS, _INFLOW - _OUTFLOW, "native units",
        "Coins that moved to exchanges in the day less those that left.",
    ),
    AlternativeFeature(
        "netflow_share", _FLOWS, _imbalance(_INFLOW, _OUTFLOW), "-1..1",
        "Net flow to exchanges over the gross flow.", "", -1.0, 1.0,
    ),
    AlternativeFeature(
        "exchange_inflow_z", _FLOWS, _robust_z("inflow"), "robust deviations",
        f"Inflow of the day against its median over {WINDOW.days} days.", _LITTLE_PAST, -CLIP, CLIP,
    ),
    AlternativeFeature(
        "exchange_outflow_z", _FLOWS, _robust_z("outflow"), "robust deviations",
        f"Outflow of the day against its median over {WINDOW.days} days.", _LITTLE_PAST, -CLIP, CLIP,
    ),
    AlternativeFeature(
        "netflow_z", _FLOWS, _robust_z("netflow"), "robust deviations",
        f"Net flow of the day against its median over {WINDOW.days} days.", _LITTLE_PAST, -CLIP, CLIP,
    ),
    AlternativeFeature(
        "open_interest_change_24h", ("open_interest_usd",),
        pl.when((_c("open_interest.value") > 0.0) & (_c("open_interest.earlier") > 0.0)).then(
            (_c("open_interest.value") / _c("open_interest.earlier")).log()
        ),
        "log ratio", "Open interest over that of 24 hours before, both as known now.", _NO_DAY_BEFORE,
    ),
    AlternativeFeature(
        "long_short_z", ("long_short_ratio",), _robust_z("long_short"), "robust deviations",
        f"Logarithm of the long/short ratio against its median over {WINDOW.days} days.",
        _LITTLE_PAST, -CLIP, CLIP,
    ),
    AlternativeFeature(
        "commit_activity", ("commits",),
        pl.when(
            (_c("repository_archived").fill_null(0.0) < 1.0)
            & (_c("commits_7d.count") >= 5.0)
            & (_c("commits_90d.count") >= 60.0)
            & (_c("commits_90d.sum") > 0.0)
        ).then(
            (_c("commits_7d.sum") / _c("commits_7d.count"))
            / (_c("commits_90d.sum") / _c("commits_90d.count"))
        ),
        "ratio", "Commits a day over the last 7 days relative to the last 90.",
        "archived repository; fewer than 5 of 7 or 60 of 90 days known; no commit in 90 days", 0.0,
    ),
    AlternativeFeature(
        "social_momentum", ("social_score",), _change("social"), "share in -1..1",
        "Change of the social score over 24 hours.", _NO_DAY_BEFORE, -1.0, 1.0,
    ),
    AlternativeFeature(
        "news_momentum", ("news_score",), _change("news"), "share in -1..1",
        "Change of the news score over 24 hours.", _NO_DAY_BEFORE, -1.0, 1.0,
    ),
)  # fmt: skip

FEATURES: dict[str, AlternativeFeature] = {
    feature.name: feature
    for feature in (*(_plain(name) for name in SERIES if name not in _NOT_OFFERED), *_DERIVED)
}
"""Every feature by name, in the order of the wide table."""


def feature_table() -> str:
    """Describe all features as a Markdown table."""
    rows = [
        f"| `{feature.name}` | {feature.description} | {feature.unit} | {_hours(feature.lag)} | "
        f"{_hours(feature.max_age)} | {feature.when_missing or '-'} |"
        for feature in FEATURES.values()
    ]
    head = "| feature | what it is | unit | lag | stale after | also missing |"
    return "\n".join([head, "| --- " * 6 + "|", *rows]) + "\n"


def _hours(span: timedelta) -> str:
    """Write a span in the largest unit that divides it."""
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (timedelta(minutes=1), "min")):
        if span >= unit and not span % unit:
            return f"{span // unit} {name}"
    return "0"
