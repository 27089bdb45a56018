"""The collector: the numbers of the wide table, how old they are, and whether they can be relied on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from engine.alternative.collector import AlternativeDataCollector, AlternativeSnapshot
from engine.alternative.declared import FEATURES, LOOKBACK, feature_table
from engine.alternative.features import ALTERNATIVE_COLUMNS, alternative_features
from engine.alternative.series import MARKET_WIDE, SERIES
from engine.errors import NotEnoughDataError
from engine.market.simulator import MarketSimulator

START = datetime(2024, 1, 1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
COLUMNS = ["series", "symbol", "ts", "available_at", "value"]
Observed = Callable[..., pl.DataFrame]


def collect(
    observations: pl.DataFrame, at: datetime | None = None, symbol: str = "A/USDT"
) -> AlternativeSnapshot:
    return AlternativeDataCollector(observations).get_all_alternative_features(symbol, at)


def one(*rows: tuple[str, datetime, datetime, float | None]) -> pl.DataFrame:
    made = [(series, "A/USDT", ts, known, value) for series, ts, known, value in rows]
    schema = dict(zip(COLUMNS, (pl.String, pl.String, pl.Datetime("us"), pl.Datetime("us"), pl.Float64)))  # noqa: B905
    return pl.DataFrame(made, schema=schema, orient="row")


def test_the_numbers_are_those_of_the_wide_table_at_random_moments(observed: Observed) -> None:
    observations = observed(31)
    random = np.random.default_rng(31)
    bars = [START + int(hour) * HOUR for hour in random.integers(80 * 24, 130 * 24, 6)]
    keys = pl.DataFrame({"symbol": ["B/USDT"] * 6, "ts": bars}).with_columns(
        pl.col("ts").cast(pl.Datetime("us"))
    )
    wide = alternative_features(keys, observations, HOUR)
    known = 0
    for row in wide.iter_rows(named=True):
        found = collect(observations, row["ts"] + HOUR, "B/USDT")
        assert list(found) == list(FEATURES)
        assert {name: value.value for name, value in found.items()} == {name: row[name] for name in FEATURES}
        for name, value in found.items():
            ages = [row[f"{series}_age_hours"] for series in FEATURES[name].series]
            assert value.age_hours == (None if None in ages else max(ages))
            assert (value.status == "ok") == (value.value is not None)
        known += len(found.known())
    assert known > 100


def test_the_moment_need_not_be_a_bar_s_close_and_may_have_a_zone(observed: Observed) -> None:
    observations = observed(32, symbols=("A/USDT",))
    at = START + 100 * DAY + timedelta(minutes=17, microseconds=5)
    found = collect(observations, at)
    assert found.at == at
    assert collect(observations, at.replace(tzinfo=UTC)) == found
    assert collect(observations, at, "A/USDT:USDT") == found
    known = observations.filter(pl.col("available_at") <= at)
    assert collect(known, at) == found
    newest = known.filter(pl.col("symbol").is_in(["A/USDT", MARKET_WIDE]))["available_at"].max()
    assert collect(known).at == newest


def test_a_reader_is_asked_for_the_symbol_and_the_moment(observed: Observed) -> None:
    observations, asked = observed(33), []
    at = START + 128 * DAY

    def reader(symbol: str, moment: datetime | None) -> pl.DataFrame:
        asked.append((symbol, moment))
        needed = (pl.col("available_at") <= moment) & (pl.col("ts") > at - LOOKBACK)
        return observations.filter(needed)

    found = AlternativeDataCollector(reader).get_all_alternative_features("A/USDT", at)
    assert asked == [("A/USDT", at)]
    assert found == collect(observations, at)


def test_status_tells_why_a_value_is_not_there() -> None:
    at = START + 10 * DAY
    fresh, old = at - HOUR, at - 4 * DAY
    observations = one(
        ("social_score", fresh, fresh, 0.5),
        ("long_short_ratio", old, old, 1.5),
        ("open_interest_usd", fresh, fresh, -3.0),
        ("commits", fresh, fresh, None),
        ("exchange_inflow", fresh, fresh, 0.0),
        ("liquidations_long_usd", fresh, fresh, 1.0),
        ("liquidations_short_usd", fresh, fresh, float("inf")),
    )
    found = collect(observations, at)
    told = {name: (found[name].value, found[name].status) for name in found}
    assert told["social_score"] == (0.5, "ok")
    assert told["long_short_ratio"] == (None, "stale")
    assert told["open_interest_usd"] == (None, "implausible")
    assert told["commits"] == (None, "missing")
    assert told["fear_greed"] == (None, "missing")
    assert told["exchange_inflow"] == (0.0, "ok")  # a known zero
    assert told["netflow"] == (None, "missing")  # the other side was never known, and is not 0
    assert told["liquidation_imbalance"] == (None, "implausible")
    assert told["social_momentum"] == (None, "missing")  # no day before
    assert (found["social_score"].age_hours, found["social_score"].published_at) == (1.0, fresh)
    assert (found["long_short_ratio"].age_hours, found["long_short_ratio"].published_at) == (96.0, old)
    assert (found["fear_greed"].age_hours, found["fear_greed"].published_at) == (None, None)
    assert found["netflow"].age_hours is None
    assert found.known() == {"social_score": 0.5, "exchange_inflow": 0.0, "liquidations_long_usd": 1.0}


def test_a_revision_is_known_from_its_publication_on_and_does_not_make_a_value_young() -> None:
    observations = one(
        ("liquidations_long_usd", START, START + 4 * HOUR, 10.0),
        ("liquidations_long_usd", START, START + 6 * HOUR, 99.0),
    )
    before, after = (
        collect(observations, START + hours * HOUR)["liquidations_long_usd"] for hours in (5.9, 6)
    )
    assert (before.value, after.value) == (10.0, 99.0)
    assert (after.age_hours, after.published_at) == (2.0, START + 4 * HOUR)
    assert collect(observations).at == START + 6 * HOUR


def test_a_feature_of_two_series_is_as_old_as_the_older() -> None:
    observations = one(
        ("funding_rate", START, START, 1e-4),
        ("funding_interval_hours", START, START, 8.0),
        ("funding_rate", START + 8 * HOUR, START + 8 * HOUR, 2e-4),
    )
    found = collect(observations, START + 9 * HOUR)["funding_rate_8h"]
    assert (found.value, found.age_hours) == (2e-4, 9.0)
    assert collect(observations, START + 10 * HOUR)["funding_rate_8h"].status == "stale"


def test_an_archived_repository_has_no_activity() -> None:
    rows = [("commits", START + d * DAY, START + (d + 1) * DAY, 3.0) for d in range(90)]
    at = START + 90 * DAY
    assert collect(one(*rows), at)["commit_activity"].value == 1.0
    living = ("repository_archived", START + 89 * DAY, at, 0.0)
    assert collect(one(*rows, living), at)["commit_activity"].value == 1.0
    archived = ("repository_archived", START + 89 * DAY, at, 1.0)
    found = collect(one(*rows, archived), at)
    assert (found["commit_activity"].value, found["commit_activity"].status) == (None, "missing")
    assert found["repository_archived"].value == 1.0


def test_nothing_observed() -> None:
    with pytest.raises(NotEnoughDataError, match="nothing was ever observed of A/USDT"):
        collect(one())
    found = collect(one(), START)
    assert {value.status for value in found.values()} == {"missing"}
    assert found.known() == {}


def test_a_table_for_people() -> None:
    found = collect(one(("social_score", START, START + HOUR, 0.5)))
    table = found.to_frame()
    assert table.columns == [
        "feature", "value", "unit", "age_hours", "published_at", "status", "description",
    ]  # fmt: skip
    assert table["feature"].to_list() == list(FEATURES)
    row = table.row(table["feature"].index_of("social_score"), named=True)
    assert (row["value"], row["unit"], row["age_hours"], row["status"]) == (0.5, "share in 0..1", 0.0, "ok")


def test_the_simulated_market_has_every_feature() -> None:
    market = MarketSimulator(["BTC/USDT"]).simulate(START, 24 * 150)
    found = collect(market.observations, START + 149 * DAY, "BTC/USDT")
    assert [name for name, value in found.items() if value.status != "ok"] == []


class TestDeclaration:
    def test_every_feature_is_documented_with_lag_staleness_and_what_it_needs(self) -> None:
        assert list(ALTERNATIVE_COLUMNS) == [*FEATURES, *(f"{name}_age_hours" for name in SERIES)]
        for name, feature in FEATURES.items():
            assert set(feature.series) <= set(SERIES)
            assert feature.description.endswith(".")
            assert feature.unit in ALTERNATIVE_COLUMNS[name]
            assert feature.max_age == min(SERIES[series].max_age for series in feature.series)
            assert feature.lag == max(SERIES[series].lag for series in feature.series)
            assert feature.lower < feature.upper

    def test_the_table_has_a_row_for_each(self) -> None:
        lines = feature_table().splitlines()
        assert lines[0] == "| feature | what it is | unit | lag | stale after | also missing |"
        assert len(lines) == 2 + len(FEATURES)
        assert {line.count("|") for line in lines} == {7}
        (netflow,) = (line for line in lines if line.startswith("| `netflow` "))
        assert netflow.endswith("| native units | 40 h | 3 d | - |")

    def test_the_lookback_covers_the_windows(self) -> None:
        assert timedelta(days=120) < LOOKBACK < timedelta(days=341)  # a tail of 8,192 hourly bars holds it


def test_the_documented_table_is_the_declared_one() -> None:
    page = Path(__file__).parents[3] / "docs" / "alternative_features.md"
    assert page.read_text(encoding="utf-8").endswith("\n\n" + feature_table())
