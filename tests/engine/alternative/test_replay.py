"""Statistics of what was known, against their definitions word for word; the future; where history begins."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.alternative.declared import FEATURES, LOOKBACK
from engine.alternative.features import ALTERNATIVE_COLUMNS, alternative_features, features_at
from engine.alternative.replay import Past, Replay, Trailing
from engine.alternative.series import MARKET_WIDE, SERIES

START = datetime(2024, 1, 1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
Observed = Callable[..., pl.DataFrame]


def asked(*moments: datetime, symbol: str = "A/USDT") -> pl.DataFrame:
    return pl.DataFrame(
        {"symbol": [symbol] * len(moments), "decided_at": moments},
        schema={"symbol": pl.String, "decided_at": pl.Datetime("us")},
    )


class Reference:
    """What was known of one symbol at one moment, read row by row, sorted by when they became known."""

    def __init__(self, rows: list[tuple], symbol: str, moment: datetime) -> None:
        self.known: dict[str, dict[datetime, float]] = {}
        for series, sym, ts, at, value in rows:
            if sym in (symbol, MARKET_WIDE) and at <= moment:
                bounds = SERIES[series]
                sane = value is not None and bounds.lower <= value <= bounds.upper and np.isfinite(value)
                self.known.setdefault(series, {})[ts] = value if sane else np.nan

    def of(self, name: str) -> dict[datetime, float]:
        return self.known.get(name, {})

    def both(self, one: str, other: str, value: Callable[[float, float], float]) -> dict[datetime, float]:
        a, b = self.of(one), self.of(other)
        return {ts: value(a.get(ts, np.nan), b.get(ts, np.nan)) for ts in {*a, *b}}


def past(values: dict[datetime, float]) -> tuple[float, np.ndarray]:
    """The current value and the finite ones of the 90 days before it."""
    now = max(values)
    before = [v for ts, v in values.items() if now - 90 * DAY <= ts < now and np.isfinite(v)]
    return values[now], np.array(before)


def z(values: dict[datetime, float], least: float = 0.0) -> float | None:
    now, before = past(values)
    if len(before) < 30 or not np.isfinite(now):
        return None
    median = np.median(before)
    spread = max(1.4826 * np.median(np.abs(before - median)), least)
    return float(np.clip((now - median) / spread, -10.0, 10.0)) if spread > 0 else None


def percentile(values: dict[datetime, float]) -> float | None:
    now, before = past(values)
    if len(before) < 30 or not np.isfinite(now):
        return None
    return float(np.mean(before < now) + 0.5 * np.mean(before == now))


def last_days(values: dict[datetime, float], days: int) -> list[float]:
    now = max(values)
    inside = [ts for ts in values if now - days * DAY + timedelta(minutes=1) < ts <= now]
    return [values[ts] for ts in inside if np.isfinite(values[ts])]


def day_before(values: dict[datetime, float]) -> float | None:
    now = max(values)
    inside = [ts for ts in values if now - 36 * HOUR <= ts <= now - 24 * HOUR + timedelta(minutes=1)]
    known = [ts for ts in inside if np.isfinite(values[ts])]
    return values[max(known)] if known else None


def expected(reference: Reference) -> dict[str, float | None]:
    rate = reference.both("funding_rate", "funding_interval_hours", lambda rate, hours: rate * 8.0 / hours)
    paid, hours = (
        last_days(reference.both("funding_rate", "funding_interval_hours", pick), 7)
        for pick in (lambda rate, _: rate, lambda _, hours: hours)
    )
    with np.errstate(all="ignore"):
        ratio = {ts: float(np.log(v)) for ts, v in reference.of("long_short_ratio").items()}
    week, quarter = (last_days(reference.of("commits"), days) for days in (7, 90))
    enough = len(week) >= 5 and len(quarter) >= 60 and sum(quarter) > 0
    interest, social = reference.of("open_interest_usd"), reference.of("social_score")
    earlier, score = day_before(interest), day_before(social)
    return {
        "funding_z": z(rate, 5e-5),
        "funding_percentile": percentile(rate),
        "funding_7d": sum(paid) if sum(hours) >= 160 else None,
        "exchange_inflow_z": z(reference.both("exchange_inflow", "exchange_outflow", lambda i, o: i)),
        "netflow_z": z(reference.both("exchange_inflow", "exchange_outflow", lambda i, o: i - o)),
        "open_interest_change_24h": None
        if earlier is None
        else float(np.log(interest[max(interest)] / earlier)),
        "long_short_z": z(ratio),
        "commit_activity": np.mean(week) / np.mean(quarter) if enough else None,
        "social_momentum": None if score is None else social[max(social)] - score,
    }


def test_equals_the_definitions_read_row_by_row(observed: Observed) -> None:
    seed = 1
    observations = observed(seed)
    shared = observations.filter(pl.col("series") == "long_short_ratio", pl.col("symbol") == "B/USDT")
    observations = pl.concat(
        [observations, shared.with_columns(pl.lit(MARKET_WIDE).alias("symbol"), pl.col("value") * 0.9)]
    )
    own = pl.col("symbol").is_in(["A/USDT", MARKET_WIDE])
    rows = observations.drop("source").filter(own).rows()
    rows.sort(key=lambda row: (row[3], row[1] != MARKET_WIDE))
    random = np.random.default_rng(seed)
    moments = [START + float(day) * DAY for day in np.sort(random.uniform(50, 128, 18))]
    wide = features_at(asked(*moments), observations)
    compared = dict.fromkeys(expected(Reference(rows, "A/USDT", moments[-1])), 0)
    for row in wide.iter_rows(named=True):
        for name, value in expected(Reference(rows, "A/USDT", row["decided_at"])).items():
            usable = all(row[series] is not None for series in FEATURES[name].series if series in row)
            if name.startswith("funding"):
                usable = row["funding_rate_8h"] is not None
            compared[name] += usable and value is not None
            assert row[name] == (pytest.approx(value) if usable and value is not None else None), name
    assert min(compared.values()) >= 5


def test_the_values_known_then_count_and_not_the_final_ones(observed: Observed) -> None:
    """The deliberately wrong version: windows over the last vintage of each period."""
    observations = observed(3)
    final = observations.sort("available_at").with_columns(
        pl.col("value").last().over("series", "symbol", "ts")
    )
    moments = [START + day * DAY for day in range(60, 130)]
    names = ["funding_z", "long_short_z", "netflow_z", "liquidation_cascade", "commit_activity"]
    true, wrong = (features_at(asked(*moments), rows).select(names) for rows in (observations, final))
    for name in names:
        assert (true[name] != wrong[name]).fill_null(value=False).sum() > 10, name


def test_a_revision_of_the_past_moves_the_baseline_when_it_is_published_and_not_before() -> None:
    days = range(60)
    rows = [("commits", "A", START + d * DAY, START + (d + 1) * DAY, float(d % 7)) for d in days]
    late = [("commits", "A", START + d * DAY, START + 61 * DAY, 50.0) for d in range(40)]
    frame = pl.DataFrame(
        rows + late, schema=["series", "symbol", "ts", "available_at", "value"], orient="row"
    ).with_columns(pl.col("ts", "available_at").cast(pl.Datetime("us")), symbol=pl.lit(0))
    steps = Replay(frame, ["commits"]).steps([Past("past", pl.col("commits"))])
    assert steps["past.median"].tail(2).to_list() == [3.0, 50.0]
    assert steps["available_at"][-1] == START + 61 * DAY


def test_funding_stamps_that_jitter_make_neither_more_nor_fewer_settlements() -> None:
    stamps = [START + 8 * n * HOUR + timedelta(milliseconds=(n * 37) % 48) for n in range(90)]
    rows = [("funding_rate", 0, ts, ts, 0.01) for ts in stamps]
    frame = pl.DataFrame(rows, schema=["series", "symbol", "ts", "available_at", "value"], orient="row")
    frame = frame.with_columns(pl.col("ts", "available_at").cast(pl.Datetime("us")))
    steps = Replay(frame, ["funding_rate"]).steps([Trailing("paid", pl.col("funding_rate"), 7 * DAY)])
    assert set(steps["paid.count"][21:]) == {21.0}


values = st.lists(st.integers(-3, 3).map(float), min_size=31, max_size=45)


@settings(max_examples=40, deadline=None)
@given(before=values, now=st.integers(-4, 4).map(float))
def test_median_spread_and_rank_of_a_sorted_window(before: list[float], now: float) -> None:
    rows = [
        (0, START + n * DAY, START + n * DAY, "funding_rate", v / 100) for n, v in enumerate([*before, now])
    ]
    frame = pl.DataFrame(rows, schema=["symbol", "ts", "available_at", "series", "value"], orient="row")
    frame = frame.with_columns(pl.col("ts", "available_at").cast(pl.Datetime("us")))
    last = Replay(frame, ["funding_rate"]).steps([Past("p", pl.col("funding_rate"))]).row(-1, named=True)
    known = np.array(before) / 100
    assert last["p.median"] == np.median(known)
    assert last["p.spread"] == 1.4826 * np.median(np.abs(known - np.median(known)))
    assert last["p.rank"] == pytest.approx(np.mean(known < now / 100) + np.mean(known == now / 100) / 2)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 50), cut=st.floats(60.0, 125.0), scale=st.floats(0.0, 5.0))
def test_what_becomes_known_later_changes_no_earlier_answer(
    observed: Observed, seed: int, cut: float, scale: float
) -> None:
    observations = observed(20 + seed % 3, symbols=("A/USDT",))
    moment = START + cut * DAY
    late = pl.col("available_at") > moment
    moments = asked(*(moment - hours * HOUR for hours in (0, 1, 7, 50, 300)))
    full = features_at(moments, observations)
    truncated = features_at(moments, observations.filter(~late))
    changed = features_at(
        moments,
        observations.with_columns(value=pl.when(late).then(pl.col("value") * scale).otherwise("value")),
    )
    assert full.equals(truncated)
    assert full.equals(changed)


def test_answers_do_not_depend_on_where_history_begins_beyond_the_lookback(observed: Observed) -> None:
    observations = observed(5, days=260)
    keys = pl.DataFrame(
        {"ts": pl.datetime_range(START + 220 * DAY, START + 260 * DAY, "5h", eager=True, time_unit="us")}
    ).join(pl.DataFrame({"symbol": ["A/USDT", "B/USDT"]}), how="cross")
    whole = alternative_features(keys, observations, HOUR)
    recent = alternative_features(keys, observations.filter(pl.col("ts") > keys["ts"].min() - LOOKBACK), HOUR)
    assert recent.equals(whole)
    short = alternative_features(keys, observations.filter(pl.col("ts") > keys["ts"].min() - 40 * DAY), HOUR)
    assert not short.equals(whole)


def test_a_month_alone_is_the_month_of_the_whole(observed: Observed) -> None:
    observations = observed(6)
    ts = pl.datetime_range(START + 80 * DAY, START + 125 * DAY, "1h", eager=True, time_unit="us")
    keys = pl.DataFrame({"symbol": ["B/USDT"] * len(ts), "ts": ts})
    inside = pl.col("ts").is_between(START + 100 * DAY, START + 110 * DAY)
    whole, month = (alternative_features(k, observations, HOUR) for k in (keys, keys.filter(inside)))
    assert month.equals(whole.filter(inside))


def test_every_feature_keeps_the_range_that_it_declares(observed: Observed) -> None:
    moments = asked(*(START + hours * HOUR for hours in range(0, 130 * 24, 3)))
    wide = features_at(moments, observed(7))
    assert set(wide.columns) == {"symbol", "decided_at", *ALTERNATIVE_COLUMNS}
    for name, feature in FEATURES.items():
        known = wide[name].drop_nulls()
        assert known.is_between(feature.lower, feature.upper).all(), name
        assert known.is_finite().all(), name
        assert known.len() > 100, name
        assert wide[name].null_count() > 0, name  # null where it is not known, and never 0 in its place
