"""Features over recorded data: vintages, outliers of flows, days before the first, archives and forks."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from engine.alternative.declared import CLIP
from engine.alternative.features import features_at
from resources.feeds.files import FilesFeed

EVER = datetime(2009, 1, 1), datetime(2025, 9, 1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def read(market_data: Path, table: str, *symbols: str) -> pl.DataFrame:
    return FilesFeed(market_data).observations(table, list(symbols), *EVER).frame


def at(observations: pl.DataFrame, symbol: str, first: datetime, last: datetime, every: str) -> pl.DataFrame:
    moments = pl.datetime_range(first, last, every, eager=True, time_unit="us")
    return features_at(pl.DataFrame({"symbol": symbol, "decided_at": moments}), observations)


def test_open_interest_of_the_past_is_that_known_then(market_data: Path) -> None:
    """The deliberately wrong version: the final table, as if it had been known at once."""
    vintages = read(market_data, "open_interest", "BTC/USDT").filter(pl.col("ts") >= datetime(2025, 5, 1))
    final = (
        vintages.sort("available_at")
        .with_columns(pl.col("available_at").first().over("ts"))
        .unique("ts", keep="last", maintain_order=True)
    )
    assert 0.02 < 1 - final.height / vintages.height < 0.2
    span = datetime(2025, 6, 1), datetime(2025, 8, 29), "1h"
    then, hindsight = at(vintages, "BTC/USDT", *span), at(final, "BTC/USDT", *span)
    for name in ("open_interest_usd", "open_interest_change_24h"):
        both = pl.DataFrame({"then": then[name], "hindsight": hindsight[name]}).drop_nulls()
        assert both.height > 1_500
        apart = both.filter(pl.col("then") != pl.col("hindsight"))
        assert 0.005 < apart.height / both.height < 0.5, name
    assert then["open_interest_change_24h"].abs().max() < 0.3


def test_flows_judged_by_medians_survive_impossible_days(market_data: Path) -> None:
    flows = read(market_data, "exchange_flows", "BTC/USDT")
    wide = at(flows, "BTC/USDT", datetime(2012, 1, 1), datetime(2025, 8, 31), "1d")
    before = wide.filter(pl.col("decided_at") < datetime(2012, 6, 28))
    assert (
        before.select("exchange_inflow", "netflow", "netflow_z").null_count().row(0) == (before.height,) * 3
    )
    outlier = wide.filter(pl.col("netflow") < -191_000)
    assert outlier["netflow_z"].to_list() == [-CLIP] * outlier.height != []
    z = wide["netflow_z"].drop_nulls()
    assert (z.abs() == CLIP).mean() < 0.05
    # The deliberately wrong version: after such a day a standard deviation knows no outlier for a quarter.
    after = wide.filter(pl.col("decided_at").is_between(datetime(2023, 5, 10), datetime(2023, 8, 1)))
    deviation = wide["netflow"].rolling_std(90).shift(1)
    wrong = (wide["netflow"] - wide["netflow"].rolling_mean(90).shift(1)) / deviation
    wrong = wrong.filter(wide["decided_at"].is_in(after["decided_at"].implode()))
    assert wrong.filter(after["netflow"].abs() < 50_000).abs().max() < 1.5
    assert after["netflow_z"].abs().quantile(0.9) > 1.5


def test_an_archived_repository_is_unknown_and_not_in_decline(market_data: Path) -> None:
    commits = read(market_data, "commits", "DOT/USDT", "SOL/USDT", "BTC/USDT")
    for symbol, end in (("DOT/USDT", datetime(2023, 8, 25)), ("SOL/USDT", datetime(2025, 3, 10))):
        wide = at(commits, symbol, end - 60 * DAY, end + 120 * DAY, "1d")
        after = wide.filter(pl.col("decided_at") > end + 2 * DAY)
        assert after["commit_activity"].null_count() == after.height > 50
        assert after.filter(pl.col("decided_at") > end + 5 * DAY)["commits"].drop_nulls().is_empty()
        assert set(after["repository_archived"]) == {1.0}
        assert wide.filter(pl.col("decided_at") < end)["commit_activity"].null_count() == 0


def test_a_fork_has_no_history_before_it_was_one(market_data: Path) -> None:
    commits = read(market_data, "commits", "BNB/USDT", "LTC/USDT")
    wide = at(commits, "BNB/USDT", datetime(2015, 1, 1), datetime(2020, 8, 28), "7d")
    assert wide["commits"].null_count() == wide["commit_activity"].null_count() == wide.height
    wide = at(commits, "BNB/USDT", datetime(2021, 1, 1), datetime(2025, 8, 1), "7d")
    assert wide["commit_activity"].null_count() == 0
    assert wide["commit_activity"].median() == pytest.approx(1.0, abs=0.3)


def test_funding_at_rest_is_judged_by_the_floor_and_seldom_clipped(market_data: Path) -> None:
    funding = read(market_data, "funding", "BTC/USDT")
    wide = at(funding, "BTC/USDT", datetime(2020, 1, 1), datetime(2025, 8, 31), "8h")
    assert wide["funding_z"].null_count() == 0
    assert (wide["funding_z"].abs() == CLIP).mean() < 0.03
    assert wide["funding_7d"].null_count() == 0
    # Longs paid most of the time; at rest, 0.01 % three times a day, it is 0.21 % a week.
    assert 0.001 < wide["funding_7d"].median() < 0.0021
    assert (wide["funding_7d"] > 0).mean() > 0.8
    assert wide["funding_percentile"].is_between(0.0, 1.0).all()
