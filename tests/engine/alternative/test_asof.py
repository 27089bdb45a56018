"""As-of joins: the A13.1 cases, a brute-force reference, the future, and recorded revisions."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.alternative.asof import as_of, known_steps
from engine.alternative.features import ALTERNATIVE_COLUMNS, alternative_features
from engine.alternative.series import MARKET_WIDE, SERIES
from engine.errors import DataError

T0 = datetime(2024, 1, 1)
HOUR = timedelta(hours=1)
SCHEMA = {
    "series": pl.String,
    "symbol": pl.String,
    "ts": pl.Datetime("us"),
    "available_at": pl.Datetime("us"),
    "value": pl.Float64,
}
Row = tuple[str, str, datetime, datetime, float | None]


def observations(*rows: Row) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=SCHEMA, orient="row")


def decisions(*moments: tuple[str, float]) -> pl.DataFrame:
    rows = [(symbol, T0 + hours * HOUR) for symbol, hours in moments]
    return pl.DataFrame(rows, schema={"symbol": pl.String, "decided_at": pl.Datetime("us")}, orient="row")


def fear_greed(*published: tuple[float, float | None]) -> pl.DataFrame:
    """Observations published at the given hours, each describing the day it is published in."""
    rows: list[Row] = [
        ("fear_greed", MARKET_WIDE, T0 + int(hours // 24) * 24 * HOUR, T0 + hours * HOUR, value)
        for hours, value in published
    ]
    return observations(*rows)


def value_at(hours: float, published: pl.DataFrame, series: str = "fear_greed") -> float | None:
    return as_of(decisions(("BTC/USDT", hours)), published, [series])[series][0]


class TestFearAndGreed:
    INDEX = fear_greed((0.5, 20.0), (24.5, 35.0), (48.5, 60.0))

    def test_a13_1_publication_time_decides_not_the_day_described(self) -> None:
        assert value_at(24.4, self.INDEX) == 20.0
        assert value_at(24.5, self.INDEX) == 35.0

    def test_a13_1_nothing_is_known_before_the_first_publication(self) -> None:
        assert value_at(0.4, self.INDEX) is None

    def test_a13_1_stale_after_48_hours_is_missing(self) -> None:
        assert value_at(48.5 + 48.0, self.INDEX) == 60.0
        assert value_at(48.5 + 49.0, self.INDEX) is None

    @pytest.mark.parametrize("value", [140.0, -1.0, float("nan"), float("inf"), None])
    def test_a13_1_an_implausible_value_is_missing_and_hides_the_one_before(
        self, value: float | None
    ) -> None:
        assert value_at(25.0, fear_greed((0.5, 20.0), (24.5, value))) is None
        assert value_at(24.4, fear_greed((0.5, 20.0), (24.5, value))) == 20.0

    def test_zero_is_a_value(self) -> None:
        assert value_at(1.0, fear_greed((0.5, 0.0))) == 0.0

    def test_a13_1_changing_later_values_changes_nothing(self) -> None:
        moments = decisions(*(("BTC/USDT", float(h)) for h in range(48)))
        changed = self.INDEX.with_columns(
            value=pl.when(pl.col("available_at") > T0 + 47 * HOUR).then(99.0).otherwise("value")
        )
        assert as_of(moments, self.INDEX).equals(as_of(moments, changed))

    def test_market_wide_serves_every_symbol_and_perpetuals(self) -> None:
        joined = as_of(decisions(("BTC/USDT", 1), ("ETH/USDT", 1), ("BTC/USDT:USDT", 1)), self.INDEX)
        assert joined["fear_greed"].to_list() == [20.0, 20.0, 20.0]


class TestVintages:
    def test_a_late_revision_of_an_older_period_does_not_displace_the_newer_one(self) -> None:
        rows = observations(
            ("liquidations_long_usd", "BTC/USDT", T0, T0 + 4 * HOUR, 10.0),
            ("liquidations_long_usd", "BTC/USDT", T0 + 4 * HOUR, T0 + 8 * HOUR, 20.0),
            ("liquidations_long_usd", "BTC/USDT", T0, T0 + 9 * HOUR, 99.0),
        )
        assert value_at(8.5, rows, "liquidations_long_usd") == 20.0
        assert value_at(9.5, rows, "liquidations_long_usd") == 20.0

    def test_a_revision_of_the_current_period_counts_from_when_it_is_known_and_does_not_make_it_young(
        self,
    ) -> None:
        rows = observations(
            ("liquidations_long_usd", "BTC/USDT", T0, T0 + 4 * HOUR, 10.0),
            ("liquidations_long_usd", "BTC/USDT", T0, T0 + 7 * HOUR, 11.0),
        )
        joined = as_of(
            decisions(*(("BTC/USDT", h) for h in (6.9, 7, 16, 16.1))), rows, ["liquidations_long_usd"]
        )
        assert joined["liquidations_long_usd"].to_list() == [10.0, 11.0, 11.0, None]
        assert joined["liquidations_long_usd_age_hours"].to_list() == pytest.approx([2.9, 3.0, 12.0, 12.1])

    def test_periods_published_together_give_the_newest(self) -> None:
        rows = observations(
            *(("commits", "BTC/USDT", T0 + d * 24 * HOUR, T0 + 100 * HOUR, float(d)) for d in (2, 0, 1))
        )
        assert value_at(101, rows, "commits") == 2.0

    def test_steps_of_a_series_are_the_current_values(self) -> None:
        rows = pl.DataFrame(
            {
                "symbol": ["A"] * 4,
                "ts": [T0, T0, T0 + HOUR, T0],
                "available_at": [T0 + HOUR, T0 + 2 * HOUR, T0 + 3 * HOUR, T0 + 4 * HOUR],
                "value": [1.0, 2.0, 3.0, 4.0],
            }
        )
        steps = known_steps(rows)
        assert steps["value"].to_list() == [1.0, 2.0, 3.0]
        assert steps["published_at"].to_list() == [T0 + HOUR, T0 + HOUR, T0 + 3 * HOUR]


def reference(symbol: str, moment: datetime, rows: list[Row], name: str) -> tuple[float | None, float | None]:
    """The definition, word for word, over every row."""
    asset = symbol.split(":")[0]
    known = [
        (ts, at, sym != MARKET_WIDE, value)
        for series, sym, ts, at, value in rows
        if series == name and sym in (asset, MARKET_WIDE) and at <= moment
    ]
    if not known:
        return None, None
    newest = max(ts for ts, *_ in known)
    vintages = [row for row in known if row[0] == newest]
    value = max(vintages, key=lambda row: (row[1], row[2]))[3]
    age = moment - min(at for _, at, *_ in vintages)
    spec = SERIES[name]
    trusted = value is not None and spec.lower <= value <= spec.upper and age <= spec.max_age
    return (value if trusted else None), age / HOUR


hours = st.integers(0, 60)
keys = st.tuples(
    st.sampled_from(["social_score", "fear_greed"]),
    st.sampled_from(["A/USDT", "B/USDT", MARKET_WIDE]),
    hours,
    hours,
)
contents = st.dictionaries(
    keys, st.sampled_from([0.0, 0.25, 0.5, 1.0, 140.0, float("nan"), None]), max_size=40
)
moments = st.lists(st.tuples(st.sampled_from(["A/USDT", "B/USDT:USDT"]), st.integers(-1, 130)), max_size=30)


@settings(max_examples=150, deadline=None)
@given(contents=contents, moments=moments)
def test_equals_the_brute_force_reference(contents: dict, moments: list[tuple[str, int]]) -> None:
    rows: list[Row] = [(n, s, T0 + t * HOUR, T0 + a * HOUR, v) for (n, s, t, a), v in contents.items()]
    asked = decisions(*moments)
    joined = as_of(asked, observations(*rows), ["social_score", "fear_greed"])
    assert joined.select("symbol", "decided_at").equals(asked)
    for row in joined.iter_rows(named=True):
        for name in ("social_score", "fear_greed"):
            value, age = reference(row["symbol"], row["decided_at"], rows, name)
            assert row[name] == value
            assert row[f"{name}_age_hours"] == (None if age is None else pytest.approx(age))


@settings(max_examples=60, deadline=None)
@given(contents=contents, cut=hours)
def test_what_becomes_known_later_changes_nothing(contents: dict, cut: int) -> None:
    rows: list[Row] = [(n, s, T0 + t * HOUR, T0 + a * HOUR, v) for (n, s, t, a), v in contents.items()]
    asked = decisions(*(("A/USDT", h) for h in range(cut + 1)))
    full = observations(*rows)
    late = pl.col("available_at") > T0 + cut * HOUR
    names = ["social_score", "fear_greed"]
    truncated = as_of(asked, full.filter(~late), names)
    changed = as_of(asked, full.with_columns(value=pl.when(late).then(0.75).otherwise("value")), names)
    assert as_of(asked, full, names).equals(truncated)
    assert truncated.equals(changed)


class TestRefusals:
    def test_a_repeated_key(self) -> None:
        row: Row = ("fear_greed", MARKET_WIDE, T0, T0, 1.0)
        with pytest.raises(DataError, match="repeats"):
            as_of(decisions(("A", 1)), observations(row, row))

    def test_an_unknown_series(self) -> None:
        with pytest.raises(ValueError, match="moon_phase"):
            as_of(decisions(("A", 1)), observations(), ["moon_phase"])

    def test_a_missing_moment(self) -> None:
        with pytest.raises(DataError, match="row 1, column 'available_at'"):
            as_of(decisions(("A", 1)), observations(("fear_greed", "*", T0, None, 1.0)))  # type: ignore[arg-type]

    def test_moments_with_a_time_zone(self) -> None:
        zoned = decisions(("A", 1)).with_columns(pl.col("decided_at").dt.replace_time_zone("UTC"))
        with pytest.raises(DataError, match="without zone"):
            as_of(zoned, observations())

    def test_nothing_observed_is_null_everywhere(self) -> None:
        joined = as_of(decisions(("A", 1)), observations())
        assert joined.drop("symbol", "decided_at").null_count().row(0) == (1,) * 2 * len(SERIES)


class TestAlternativeFeatures:
    KEYS = pl.DataFrame(
        {"symbol": ["BTC/USDT"], "ts": [T0 + 7 * HOUR]}, schema_overrides={"ts": pl.Datetime("us")}
    )

    def derive(self, **values: float | None) -> dict[str, float | None]:
        """The wide row of a bar, all series published when it closed."""
        rows: list[Row] = [(n, "BTC/USDT", T0, T0 + 8 * HOUR, value) for n, value in values.items()]
        wide = alternative_features(self.KEYS, observations(*rows), HOUR)
        assert wide.columns == ["symbol", "ts", *ALTERNATIVE_COLUMNS]
        return wide.row(0, named=True)

    def test_values_known_at_the_close_are_used_and_no_later_ones(self) -> None:
        rows = observations(
            ("commits", "BTC/USDT", T0, T0 + 8 * HOUR, 3.0),
            ("commit_authors", "BTC/USDT", T0, T0 + 8 * HOUR + timedelta(microseconds=1), 2.0),
        )
        wide = alternative_features(self.KEYS, rows, HOUR).row(0, named=True)
        assert (wide["commits"], wide["commit_authors"]) == (3.0, None)
        assert wide["commits_age_hours"] == 0.0

    def test_funding_is_normalised_by_its_interval(self) -> None:
        assert self.derive(funding_rate=0.001, funding_interval_hours=2.0)["funding_rate_8h"] == 0.004
        assert self.derive(funding_rate=0.001)["funding_rate_8h"] is None

    def test_imbalance(self) -> None:
        both = self.derive(liquidations_long_usd=3.0, liquidations_short_usd=1.0)
        assert both["liquidation_imbalance"] == 0.5
        none = self.derive(liquidations_long_usd=0.0, liquidations_short_usd=0.0)
        assert none["liquidation_imbalance"] == 0.0
        assert self.derive(liquidations_long_usd=3.0)["liquidation_imbalance"] is None

    def test_net_flow(self) -> None:
        wide = self.derive(exchange_inflow=3.0, exchange_outflow=5.0)
        assert (wide["netflow"], wide["netflow_share"]) == (-2.0, -0.25)


def test_recorded_revisions_are_seen_when_they_were_made(market_data: Path) -> None:
    recorded = pl.read_parquet(market_data / "liquidations" / "coinglass_4h_vintages.parquet").filter(
        pl.col("symbol") == "BTC/USDT"
    )
    rows = recorded.select(
        series=pl.lit("liquidations_long_usd"),
        symbol="symbol",
        ts=pl.col("ts").dt.replace_time_zone(None),
        available_at=pl.col("as_of").dt.replace_time_zone(None),
        value="long_usd",
    ).unique(["ts", "available_at"], maintain_order=True)
    first, last = rows["available_at"].min(), rows["available_at"].max()
    asked = pl.DataFrame({"decided_at": pl.datetime_range(first, last, "7h", eager=True)}).select(  # type: ignore[arg-type]
        symbol=pl.lit("BTC/USDT"), decided_at="decided_at"
    )
    joined = as_of(asked, rows, ["liquidations_long_usd"])
    as_rows = rows.rows()
    for row in joined.sample(60, seed=1).iter_rows(named=True):
        value, age = reference("BTC/USDT", row["decided_at"], as_rows, "liquidations_long_usd")
        assert row["liquidations_long_usd"] == value
        assert row["liquidations_long_usd_age_hours"] == pytest.approx(age)

    final = rows.sort("available_at").unique("ts", keep="last")
    hindsight = as_of(
        asked, final.with_columns(available_at=pl.col("ts") + 4 * HOUR), ["liquidations_long_usd"]
    )
    both = joined.with_columns(hindsight=hindsight["liquidations_long_usd"]).drop_nulls()
    revised = (both["liquidations_long_usd"] != both["hindsight"]).mean()
    assert both.height > 50
    assert revised > 0.5  # type: ignore[operator]  # the final table knows what nobody knew then
