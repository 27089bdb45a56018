"""Cascades: clusters and not single prints, which side, how long ago; the recorded ones."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from engine.alternative.cascades import STANDS
from engine.alternative.features import features_at
from engine.alternative.series import SERIES
from resources.feeds.files import FilesFeed

START = datetime(2024, 1, 1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BARS = 60 * 6
COLUMNS = ["series", "symbol", "ts", "available_at", "value"]
Observed = Callable[..., pl.DataFrame]


def bars(long: dict[int, float], short: dict[int, float] | None = None, usual: float = 1e6) -> pl.DataFrame:
    """Four-hour liquidations around a usual size, but for the bars given, counted from the last (-1)."""
    random = np.random.default_rng(0)
    rows = []
    for side, given in (("long", long), ("short", short or {})):
        value = usual * np.exp(random.normal(0.0, 1.0, BARS))
        for bar, size in given.items():
            value[bar] = size
        for n, v in enumerate(value):
            ts = START + n * 4 * HOUR
            rows.append((f"liquidations_{side}_usd", "A/USDT", ts, ts + 4 * HOUR, v))
    return frame(rows)


def prints(*sizes_and_minutes: tuple[float, float]) -> pl.DataFrame:
    """Two prints a day for 60 days, then the given ones, minutes after the last day's end."""
    random = np.random.default_rng(1)
    rows = [(START + n * 12 * HOUR, 5e3 * float(np.exp(random.normal(0, 2)))) for n in range(120)]
    rows += [(START + 60 * DAY + timedelta(minutes=minute), size) for size, minute in sizes_and_minutes]
    return frame([("liquidation_print_usd", "A/USDT", ts, ts, value) for ts, value in rows])


def frame(rows: list[tuple]) -> pl.DataFrame:
    made = pl.DataFrame(rows, schema=COLUMNS, orient="row")
    return made.with_columns(pl.col("ts", "available_at").cast(pl.Datetime("us")))


def at(observations: pl.DataFrame, *moments: datetime) -> pl.DataFrame:
    asked = pl.DataFrame({"symbol": "A/USDT", "decided_at": moments})
    return features_at(asked.with_columns(pl.col("decided_at").cast(pl.Datetime("us"))), observations)


END = START + BARS * 4 * HOUR


class TestBars:
    def test_one_large_bar_is_no_cascade_however_large(self) -> None:
        row = at(bars({-1: 1e12}), END).row(0, named=True)
        assert 1.0 <= row["liquidation_cascade"] < STANDS
        assert row["liquidation_cascade_hours"] == 720.0
        assert row["liquidation_cascade_side"] > 0.6

    def test_several_large_bars_are_one(self) -> None:
        row = at(bars({-1: 1e9, -2: 1e9, -3: 1e9}), END).row(0, named=True)
        assert row["liquidation_cascade"] > 1 + np.exp(-0.5)
        assert row["liquidation_cascade_hours"] == 0.0

    @pytest.mark.parametrize("side", [1.0, -1.0])
    def test_the_side_is_the_one_that_is_closed(self, side: float) -> None:
        large = {-1: 1e9, -2: 1e9}
        made = bars(large if side > 0 else {}, large if side < 0 else {})
        row = at(made, END).row(0, named=True)
        assert row["liquidation_cascade_side"] * side > 0.7

    def test_it_fades_while_nothing_new_is_published_and_is_remembered(self) -> None:
        made = bars({-1: 1e9, -2: 1e9})
        rows = at(made, END, END + 8 * HOUR, END + 12 * HOUR, END + 13 * HOUR)
        first, later, last, _ = rows["liquidation_cascade"]
        assert later == pytest.approx(first / np.e)
        assert last == pytest.approx(first * np.exp(-1.5))
        assert rows["liquidation_cascade_hours"].to_list() == [0.0, 8.0, 12.0, None]
        assert rows["liquidation_cascade"][3] is None  # stale

    def test_the_cascade_of_one_asset_is_not_that_of_the_next(self) -> None:
        calm = bars({}).with_columns(symbol=pl.lit("B/USDT"))
        observations = pl.concat([bars({-1: 1e9, -2: 1e9}), calm])
        asked = pl.DataFrame({"symbol": ["A/USDT", "B/USDT"], "decided_at": [END, END]})
        rows = features_at(asked.with_columns(pl.col("decided_at").cast(pl.Datetime("us"))), observations)
        assert rows["liquidation_cascade_hours"].to_list() == [0.0, 720.0]
        assert rows["liquidation_cascade"][1] == at(bars({}), END)["liquidation_cascade"][0]

    def test_calm_is_720_hours_and_not_missing(self) -> None:
        row = at(bars({}), END).row(0, named=True)
        assert row["liquidation_cascade_hours"] == 720.0
        assert 0.0 < row["liquidation_cascade"] < 1.0

    def test_a_cascade_counts_thirty_days(self) -> None:
        made = bars({-100: 1e9, -99: 1e9})
        seen = START + (BARS - 98) * 4 * HOUR
        assert at(made, END)["liquidation_cascade_hours"][0] == (END - seen) / HOUR
        assert at(bars({-300: 1e9, -299: 1e9}), END)["liquidation_cascade_hours"][0] == 720.0

    def test_without_a_past_nothing_is_large(self) -> None:
        row = at(bars({5: 1e9, 6: 1e9}), START + 29 * 4 * HOUR).row(0, named=True)
        assert row["liquidation_cascade"] is row["liquidation_cascade_hours"] is None
        assert row["liquidations_long_usd"] is not None

    def test_bars_without_liquidations_are_known_zeros(self) -> None:
        row = at(bars({-n: 0.0 for n in range(1, 40)}, {-n: 0.0 for n in range(1, 40)}), END).row(
            0, named=True
        )
        assert 0.0 <= row["liquidation_cascade"] < 1e-3
        assert row["liquidation_imbalance"] == 0.0

    def test_what_is_large_is_judged_by_the_past_and_not_by_the_whole(self) -> None:
        """The deliberately wrong version: a threshold over all data, with the quiet year to come in it."""
        noisy, quiet = bars({}, usual=1e9), bars({}, usual=1e3)
        later = quiet.with_columns(pl.col("ts", "available_at") + (END - START))
        row = at(pl.concat([noisy, later]), END).row(0, named=True)
        assert row["liquidation_cascade"] == at(noisy, END)["liquidation_cascade"][0] < STANDS
        large = np.exp(pl.concat([noisy, later])["value"].log().median())
        assert noisy["value"].median() > 100 * large


class TestPrints:
    END = START + 60 * DAY

    def test_one_large_print_is_no_cascade(self) -> None:
        row = at(prints((1e9, 0.0)), self.END).row(0, named=True)
        assert row["onchain_cascade"] == pytest.approx(1.0, abs=1e-3)
        assert row["onchain_cascade_hours"] == 720.0

    def test_a_cluster_of_large_prints_is_one_and_the_same_prints_apart_are_none(self) -> None:
        sizes = (1e6, 2e6, 1e6)
        near = prints(*zip(sizes, (0.0, 2.0, 9.0), strict=True))
        apart = prints(*zip(sizes, (0.0, 200.0, 900.0), strict=True))
        assert at(near, self.END + HOUR)["onchain_cascade_hours"][0] == pytest.approx(51 / 60)
        assert at(apart, self.END + 20 * HOUR)["onchain_cascade_hours"][0] == 720.0

    def test_a_cluster_of_dust_is_none(self) -> None:
        dust = prints(*((20.0, float(minute)) for minute in range(30)))
        row = at(dust, self.END + 31 * timedelta(minutes=1)).row(0, named=True)
        assert row["onchain_cascade"] < 0.1

    def test_silence_is_calm_for_thirty_days_and_unknown_after(self) -> None:
        rows = at(prints((1e6, 0.0)), *(self.END + days * DAY for days in (1, 29, 31)))
        assert rows["onchain_cascade"][0] < 1e-9
        assert rows["onchain_cascade"][1] is not None
        assert rows["onchain_cascade"][2] is rows["onchain_cascade_hours"][2] is None


def test_intensity_and_memory_against_the_definition(observed: Observed) -> None:
    observations = observed(11, days=40, symbols=("A/USDT",))
    names = ("liquidations_long_usd", "liquidations_short_usd")
    rows = observations.filter(pl.col("series").is_in(names)).sort("available_at")
    moments = rows["available_at"].unique().sort()
    known: dict[tuple[str, datetime], float] = {}
    at_moment = rows.select(COLUMNS).partition_by("available_at", maintain_order=True, as_dict=True)
    intensity, seen = [], []
    last = None
    for moment in moments:
        for series, _, ts, _, value in at_moment[(moment,)].iter_rows():
            sane = value is not None and 0.0 <= value < SERIES[series].upper
            known[series, ts] = value if sane else np.nan
        now = max(ts for _, ts in known)
        total = {
            ts: (known.get((names[0], ts), np.nan), known.get((names[1], ts), np.nan)) for _, ts in known
        }
        logs = [
            np.log(sum(both)) for ts, both in total.items() if now - 90 * DAY <= ts < now and sum(both) > 0
        ]
        if len(logs) < 30:
            intensity.append(None)
            seen.append(last)
            continue
        spread = 1.4826 * np.median(np.abs(logs - np.median(logs)))
        large = np.exp(np.median(logs) + 2.0 * spread)
        intensity.append(
            sum(
                min(sum(both) / large, 1.0) * np.exp(-((now - ts) / HOUR) / 8.0)
                for ts, both in total.items()
                if now - ts < 64 * HOUR and sum(both) > 0
            )
        )
        last = moment if intensity[-1] >= STANDS else last
        seen.append(last)
    wide = at(observations, *moments)
    compared = 0
    for row, value, when in zip(wide.iter_rows(named=True), intensity, seen, strict=True):
        if row["liquidations_long_usd"] is None or row["liquidations_short_usd"] is None or value is None:
            assert row["liquidation_cascade"] is None
            continue
        compared += 1
        fade = np.exp(-row["liquidations_long_usd_age_hours"] / 8.0)
        assert row["liquidation_cascade"] == pytest.approx(value * fade)
        hours = 720.0 if when is None else min((row["decided_at"] - when) / HOUR, 720.0)
        assert row["liquidation_cascade_hours"] == pytest.approx(hours)
    assert compared > 100
    assert last is not None


def test_recorded_crashes_are_cascades_on_chain(market_data: Path) -> None:
    read = FilesFeed(market_data).observations(
        "liquidations", ["BTC/USDT"], datetime(2020, 1, 1), datetime(2025, 9, 1)
    )
    moments = pl.datetime_range(datetime(2021, 4, 1), datetime(2025, 8, 29), "1h", eager=True, time_unit="us")
    asked = pl.DataFrame({"symbol": "BTC/USDT", "decided_at": moments})
    wide = features_at(asked, read.frame).drop_nulls("onchain_cascade")
    standing = wide.filter(pl.col("onchain_cascade_hours") <= 1.0)
    days = set(standing["decided_at"].dt.date())
    crashes = {date(2021, 5, 19), date(2022, 6, 13), date(2022, 11, 9), date(2024, 8, 5), date(2025, 4, 7)}
    assert crashes <= days
    assert len(days) < 0.05 * wide["decided_at"].dt.date().n_unique()


def test_recorded_bars_cascade_seldom_and_the_final_table_tells_another_story(market_data: Path) -> None:
    """At a past moment counts what was known then: 56 % of the bars were revised later."""
    folder = market_data / "liquidations"
    recorded = pl.read_parquet(folder / "coinglass_4h_vintages.parquet").filter(
        pl.col("symbol") == "BTC/USDT"
    )
    long = recorded.rename({"as_of": "available_at"}).unpivot(
        ["long_usd", "short_usd"], index=["symbol", "ts", "available_at"], variable_name="side"
    )
    rows = (
        long.with_columns(
            pl.col("ts", "available_at").dt.replace_time_zone(None),
            series=pl.format("liquidations_{}", "side"),
        )
        .filter(pl.col("available_at") >= pl.col("ts") + 4 * HOUR)
        .select(COLUMNS)
        .unique(COLUMNS[:4], maintain_order=True)
    )
    revised = recorded.group_by("ts").agg(pl.struct("long_usd", "short_usd").n_unique() > 1)["long_usd"]
    assert revised.mean() == pytest.approx(0.56, abs=0.01)
    final = (
        rows.sort("available_at")
        .unique(["series", "ts"], keep="last", maintain_order=True)
        .with_columns(available_at=pl.col("ts") + 4 * HOUR)
    )
    moments = pl.datetime_range(
        datetime(2025, 5, 20), datetime(2025, 8, 29), "1h", eager=True, time_unit="us"
    )
    asked = pl.DataFrame({"symbol": "BTC/USDT", "decided_at": moments})
    then, hindsight = features_at(asked, rows), features_at(asked, final)
    for name in ("liquidations_long_usd", "liquidation_cascade", "liquidation_imbalance"):
        both = pl.DataFrame({"then": then[name], "hindsight": hindsight[name]}).drop_nulls()
        assert both.height > 300
        assert (both["then"] != both["hindsight"]).mean() > 0.5
    standing = hindsight.drop_nulls("liquidation_cascade")["liquidation_cascade"] >= STANDS
    assert 0.0 < standing.mean() < 0.05
