"""Known answers for every kind of defect of alternative observations, and recorded series."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.alternative.audit import audit_observations, revisions
from engine.errors import DataError
from engine.market.finding import Finding

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = datetime.fromisoformat("2024-01-01")
PERIODS = 300


def regular(
    series: str = "funding_rate",
    symbol: str = "BTC/USDT",
    step: timedelta = 8 * HOUR,
    lag: timedelta = timedelta(0),
    level: float = 1e-4,
    seed: int = 0,
) -> pl.DataFrame:
    """Clean observations of one series."""
    rng = np.random.default_rng(seed)
    ts = [START + i * step for i in range(PERIODS)]
    return pl.DataFrame(
        {
            "series": series,
            "symbol": symbol,
            "ts": ts,
            "available_at": [t + lag for t in ts],
            "value": level * (1 + 0.2 * rng.standard_normal(PERIODS).clip(-4, 4)),
            "source": "test",
        },
        schema_overrides={"ts": pl.Datetime("us"), "available_at": pl.Datetime("us")},
    )


def with_row(frame: pl.DataFrame, row: int, **values: object) -> pl.DataFrame:
    """Replace some values of one row."""
    changed = frame[row].with_columns(pl.lit(v).cast(frame.schema[k]).alias(k) for k, v in values.items())
    return pl.concat([frame[:row], changed, frame[row + 1 :]])


def one(findings: tuple[Finding, ...]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


def test_clean_series_have_no_finding() -> None:
    frame = pl.concat(
        [
            regular(),
            regular("fear_greed", "*", DAY, level=50.0),
            regular("open_interest_usd", "ETH/USDT", 4 * HOUR, 4 * HOUR, level=1e9),
        ]
    )
    assert audit_observations(frame) == ()
    assert audit_observations(frame.clear()) == ()
    assert audit_observations(regular(), now=START + PERIODS * 8 * HOUR) == ()


def test_finding_names_table_series_and_symbol() -> None:
    finding = one(audit_observations(with_row(regular(), 100, value=0.2)))
    assert (finding.table, finding.series) == ("raw.funding", "funding_rate BTC/USDT")
    whole = regular("fear_greed", "*", DAY, level=50.0)
    assert one(audit_observations(with_row(whole, 9, value=101.0))).series == "fear_greed"


@pytest.mark.parametrize(
    ("value", "kind"), [(0.2, "implausible"), (None, "missing_value"), (np.nan, "missing_value")]
)
def test_value_that_cannot_be_used(value: float | None, kind: str) -> None:
    finding = one(audit_observations(with_row(regular(), 100, value=value)))
    assert (finding.kind, finding.first, finding.count) == (kind, START + 800 * HOUR, 1)


def test_bounds_belong_to_the_range() -> None:
    assert audit_observations(with_row(regular("fear_greed", "*", DAY, level=50.0), 9, value=100.0)) == ()


def test_known_before_the_period_began_looks_ahead() -> None:
    frame = with_row(regular(), 100, available_at=START + 799 * HOUR)
    finding = one(audit_observations(frame))
    assert (finding.kind, finding.severity) == ("order", "error")
    assert "1:00:00 before" in finding.detail


def test_stamps_after_now_are_future() -> None:
    now = START + 298 * 8 * HOUR + HOUR
    finding = one(audit_observations(regular(), now=now))
    assert (finding.kind, finding.count, finding.first) == ("future", 1, START + 299 * 8 * HOUR)
    assert one(audit_observations(regular(), now=now.replace(tzinfo=UTC))) == finding
    published_later = with_row(regular(), 5, available_at=now + 30 * DAY)
    assert len([f for f in audit_observations(published_later, now=now) if f.kind == "future"]) == 2


def test_series_that_stopped_is_stale() -> None:
    last = START + 299 * 8 * HOUR
    assert audit_observations(regular(), now=last + 9 * HOUR) == ()
    finding = one(audit_observations(regular(), now=last + 10 * HOUR))
    assert (finding.kind, finding.cause, finding.first) == ("gap", "stale", last)


def test_repeated_key_is_worse_when_values_differ() -> None:
    frame = regular()
    same = pl.concat([frame, frame[100:103]])
    finding = one(audit_observations(same))
    assert (finding.kind, finding.severity, finding.count) == ("duplicate", "warn", 3)
    assert (finding.first, finding.last) == (START + 800 * HOUR, START + 816 * HOUR)
    other = pl.concat([frame, frame[100:103].with_columns(pl.col("value") * 1.5)])
    findings = {f.kind: f for f in audit_observations(other)}
    assert (findings["duplicate"].severity, findings["duplicate"].cause) == ("error", "values differ")


def test_gap_is_relative_to_the_interval_in_force() -> None:
    frame = regular()
    finding = one(audit_observations(pl.concat([frame[:100], frame[103:]])))
    assert (finding.kind, finding.count) == ("gap", 3)
    assert (finding.first, finding.last) == (START + 800 * HOUR, START + 816 * HOUR)


def test_jitter_of_the_stamps_is_no_gap() -> None:
    rng = np.random.default_rng(1)
    jitter = pl.Series(rng.integers(0, 47_000, PERIODS)).cast(pl.Duration("us"))
    frame = regular().with_columns(pl.col("ts") + jitter, pl.col("available_at") + jitter)
    assert audit_observations(frame) == ()


def test_shorter_interval_is_a_change_and_the_way_back_no_gap() -> None:
    frame = regular()
    extra = [frame[200 + i].with_columns(pl.col("ts", "available_at") - 4 * HOUR) for i in range(10)]
    finding = one(audit_observations(pl.concat([frame, *extra])))
    assert (finding.kind, finding.count) == ("interval_change", 20)
    assert (finding.first, finding.last) == (START + 1596 * HOUR, START + 209 * 8 * HOUR)
    assert finding.detail == "interval 4 h, usual 8 h"


def test_odd_step_between_two_rhythms_is_no_gap() -> None:
    hours = [*range(0, 800, 8), *range(798, 998, 2)]  # 8 h, once 6 h, then 2 h
    frame = regular()[: len(hours)].with_columns(ts=pl.Series([START + h * HOUR for h in hours]))
    findings = audit_observations(frame.with_columns(available_at="ts"))
    assert [(f.kind, f.count) for f in findings] == [("interval_change", 99)]


def test_series_without_a_rhythm_is_one_finding() -> None:
    rng = np.random.default_rng(2)
    frame = regular("commits", "ETH/USDT", DAY, level=20.0).filter(pl.Series(rng.random(PERIODS) < 0.6))
    finding = one(audit_observations(frame))
    span = int((frame["ts"][-1] - frame["ts"][0]) / DAY)
    assert (finding.kind, finding.cause, finding.severity) == ("gap", "irregular series", "info")
    assert finding.count == span + 1 - frame.height


def test_bursts_within_a_minute_are_no_interval() -> None:
    """The commonest interval of prints is none at all; a rhythm that comes in bursts has still no hole."""
    hourly = regular("liquidations_long_usd", step=timedelta(hours=1), level=1e6)
    bursts = [hourly.with_columns(pl.col("ts", "available_at") + timedelta(seconds=s)) for s in (0, 7, 11)]
    assert audit_observations(pl.concat(bursts).sort("ts")) == ()
    holed = pl.concat(burst.filter(pl.int_range(pl.len()) != 50) for burst in bursts).sort("ts")
    finding = one(audit_observations(holed))
    assert (finding.kind, finding.count) == ("gap", 1)


def test_revisions_are_counted_by_period() -> None:
    frame = regular("open_interest_usd", "BTC/USDT", 4 * HOUR, 4 * HOUR, level=1e9)
    value = frame["value"]
    later = frame[:60].with_columns(pl.col("available_at") + DAY, pl.col("value") * 2)
    unchanged = frame[60:90].with_columns(pl.col("available_at") + DAY)
    zeroed = frame[59].with_columns(pl.col("available_at") + 2 * DAY, value=pl.lit(0.0))
    vintages = pl.concat([frame, later, unchanged, zeroed])
    finding = one(audit_observations(vintages))
    assert (finding.kind, finding.severity, finding.count) == ("revision", "info", 60)
    assert "20.0% of 300 periods" in finding.detail
    row = revisions(vintages).row(0, named=True)
    assert (row["values"], row["zeroed"], row["periods"]) == (3, 1, 300)
    assert row["factor"] == pytest.approx(2.0)
    assert revisions(frame)["revised"].to_list() == [0]
    assert value.len() == PERIODS


def test_outlier_is_measured_by_the_past() -> None:
    frame = with_row(regular(), 200, value=-0.02)
    finding = one(audit_observations(frame))
    assert (finding.kind, finding.first, finding.severity) == ("outlier", START + 1600 * HOUR, "warn")
    assert "value -0.02" in finding.detail
    revised = frame[200].with_columns(pl.col("available_at") + HOUR)
    kinds = [f.kind for f in audit_observations(pl.concat([regular(), revised]))]
    assert sorted(kinds) == ["outlier", "revision"], "the newest vintage is judged"
    early = with_row(regular(), 10, value=-0.02)
    assert audit_observations(early) == (), "too few observations before it to judge by"


def test_net_flow_is_judged_where_neither_side_is_far_out() -> None:
    inflow = regular("exchange_inflow", "BTC/USDT", DAY, DAY, level=50_000.0, seed=1)
    noise = regular(seed=2)["value"] * 1e7
    outflow = inflow.with_columns(series=pl.lit("exchange_outflow"), value=pl.col("value") + noise)
    assert audit_observations(pl.concat([inflow, outflow])) == ()
    moved = with_row(outflow, 200, value=150_000.0)
    finding = one(audit_observations(pl.concat([inflow, moved])))
    assert (finding.series, finding.kind) == ("exchange_netflow BTC/USDT", "outlier")
    assert finding.table == "raw.exchange_flows"


def test_undeclared_series_is_reported_and_the_rest_audited() -> None:
    frame = pl.concat([regular(), regular("moon_phase"), with_row(regular(symbol="ETH/USDT"), 50, value=0.2)])
    findings = audit_observations(frame)
    assert [(f.kind, f.count) for f in findings] == [("implausible", 1), ("damage", PERIODS)]


def test_frame_that_cannot_be_audited_is_refused() -> None:
    with pytest.raises(DataError, match="'value'"):
        audit_observations(regular().drop("value"))
    with pytest.raises(DataError, match="'available_at'"):
        audit_observations(regular().with_columns(pl.col("available_at").dt.replace_time_zone("UTC")))


INJECTED: dict[str, Callable[[pl.DataFrame, int], pl.DataFrame]] = {
    "implausible": lambda f, i: with_row(f, i, value=1.0),
    "missing_value": lambda f, i: with_row(f, i, value=None),
    "order": lambda f, i: with_row(f, i, available_at=f["ts"][i] - timedelta(minutes=1)),
    "future": lambda f, i: with_row(f, i, available_at=START + 10_000 * DAY),
    "duplicate": lambda f, i: pl.concat([f, f[i]]),
    "gap": lambda f, i: pl.concat([f[:i], f[i + 2 :]]),
    "outlier": lambda f, i: with_row(f, i, value=0.01),
    "revision": lambda f, i: pl.concat(
        [f, f[i].with_columns(pl.col("available_at") + HOUR, pl.col("value") * 1.01)]
    ),
}


@settings(max_examples=40, deadline=None)
@given(kind=st.sampled_from(sorted(INJECTED)), seed=st.integers(0, 10_000), place=st.integers(80, 290))
def test_one_defect_in_clean_observations_is_found_and_nothing_else(kind: str, seed: int, place: int) -> None:
    now = START + PERIODS * 8 * HOUR
    clean = pl.concat([regular(seed=seed), regular(symbol="ETH/USDT", seed=seed + 1)])
    assert audit_observations(clean, now) == ()
    found = audit_observations(INJECTED[kind](clean, place), now)
    assert {f.kind for f in found} == {kind}
    assert {f.series for f in found} == {"funding_rate BTC/USDT"}


def observed(
    frame: pl.DataFrame, series: str, symbol: pl.Expr, available: pl.Expr, value: pl.Expr
) -> pl.DataFrame:
    return frame.select(
        series=pl.lit(series),
        symbol=symbol,
        ts=pl.col("ts").dt.replace_time_zone(None),
        available_at=available.dt.replace_time_zone(None),
        value=value.cast(pl.Float64),
        source=pl.lit("recorded"),
    )


def test_recorded_liquidations_were_revised(market_data: Path) -> None:
    vintages = pl.read_parquet(market_data / "liquidations" / "coinglass_4h_vintages.parquet")
    symbol, known = pl.col("symbol"), pl.col("as_of")
    # A vintage is kept when either side changed: their sum changes with it.
    either = pl.col("long_usd") + pl.col("short_usd")
    sides = revisions(observed(vintages, "liquidations_long_usd", symbol, known, either))
    share = dict(sides.select("symbol", (pl.col("revised") / pl.col("periods"))).rows())
    assert share["BTC/USDT"] == pytest.approx(0.56, abs=0.005)
    assert share["ETH/USDT"] == pytest.approx(0.67, abs=0.005)
    long_side = observed(vintages, "liquidations_long_usd", symbol, known, pl.col("long_usd"))
    findings = audit_observations(long_side)
    revised = {f.series: f for f in findings if f.kind == "revision"}
    assert revised["liquidations_long_usd BTC/USDT"].count == 748
    assert "up to 7 values" in revised["liquidations_long_usd BTC/USDT"].detail


def test_recorded_flow_outliers(market_data: Path) -> None:
    flows = pl.read_parquet(market_data / "exchange_flows" / "coinmetrics_btc_1d.parquet")
    known, symbol = pl.col("ts") + DAY, pl.lit("BTC/USDT")
    frame = pl.concat(
        observed(flows, f"exchange_{side}", symbol, known, pl.col(side)) for side in ("inflow", "outflow")
    )
    findings = {(f.series, f.first): f for f in audit_observations(frame) if f.kind == "outlier"}
    net = findings["exchange_netflow BTC/USDT", datetime.fromisoformat("2023-05-07")]
    assert "-191,455" in net.detail
    assert ("exchange_netflow BTC/USDT", datetime.fromisoformat("2022-11-28")) in findings
    assert ("exchange_netflow BTC/USDT", datetime.fromisoformat("2023-06-19")) in findings


def test_recorded_funding_interval_changes(market_data: Path) -> None:
    funding = pl.read_parquet(market_data / "funding" / "binance_usdm.parquet")
    frame = observed(funding, "funding_rate", pl.col("symbol"), pl.col("ts"), pl.col("funding_rate"))
    changes = [f for f in audit_observations(frame) if f.kind == "interval_change"]
    assert [(f.series, f.count, f.detail) for f in changes] == [
        ("funding_rate SOL/USDT:USDT", 3, "interval 4 h, usual 8 h"),
        ("funding_rate SOL/USDT:USDT", 98, "interval 2 h, usual 8 h"),
    ]
    assert not [f for f in audit_observations(frame) if f.kind == "gap"]


def test_recorded_fear_and_greed_lacks_four_days(market_data: Path) -> None:
    index = pl.read_parquet(market_data / "fear_greed" / "alternative_me.parquet")
    frame = observed(index, "fear_greed", pl.lit("*"), pl.col("ts"), pl.col("value"))
    gaps = [(f.first, f.count) for f in audit_observations(frame)]
    assert gaps == [(datetime.fromisoformat("2018-04-14"), 3), (datetime.fromisoformat("2024-10-26"), 1)]
