"""Known answers for every kind of defect, one defect in clean data, and recorded data with known defects."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import DataError
from engine.market.audit import audit_candles
from engine.market.finding import Finding

HOUR = timedelta(hours=1)
START = datetime.fromisoformat("2024-01-01")
SYMBOLS = ("AAA/USDT", "BBB/USDT", "CCC/USDT")
PRICES = ("open", "high", "low", "close")


def walk(bars: int = 600, seed: int = 0, symbols: tuple[str, ...] = SYMBOLS) -> pl.DataFrame:
    """Clean candles: a geometric random walk per symbol."""
    rng = np.random.default_rng(seed)
    parts = []
    for symbol in symbols:
        close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.005, bars)))
        open_ = np.concatenate([[100.0], close[:-1]])
        top, bottom = np.maximum(open_, close), np.minimum(open_, close)
        parts.append(
            pl.DataFrame(
                {
                    "symbol": symbol,
                    "ts": pl.datetime_range(START, START + (bars - 1) * HOUR, "1h", eager=True),
                    "open": open_,
                    "high": top * (1 + np.abs(rng.normal(0.0, 0.002, bars))),
                    "low": bottom * (1 - np.abs(rng.normal(0.0, 0.002, bars))),
                    "close": close,
                    "volume": np.exp(rng.normal(3.0, 0.4, bars)),
                }
            )
        )
    return pl.concat(parts)


def at(symbol: str, bar: int, last: int | None = None) -> pl.Expr:
    """Rows of ``symbol`` from bar number ``bar`` to ``last``."""
    end = START + HOUR * (bar if last is None else last)
    return (pl.col("symbol") == symbol) & pl.col("ts").is_between(START + bar * HOUR, end)


def put(frame: pl.DataFrame, where: pl.Expr, **values: pl.Expr | float | None) -> pl.DataFrame:
    """Set columns in some rows."""
    return frame.with_columns(
        pl.when(where)
        .then(v if isinstance(v, pl.Expr) else pl.lit(v, dtype=pl.Float64))
        .otherwise(c)
        .alias(c)
        for c, v in values.items()
    )


def scaled(frame: pl.DataFrame, where: pl.Expr, factor: float, *columns: str) -> pl.DataFrame:
    return put(frame, where, **{c: pl.col(c) * factor for c in columns})


def one(findings: tuple[Finding, ...]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


def hour(bar: int) -> datetime:
    return START + bar * HOUR


def test_clean_candles_have_no_finding() -> None:
    assert audit_candles(walk(), HOUR, now=hour(600)) == ()


def test_an_empty_frame_has_no_finding() -> None:
    assert audit_candles(walk().clear(), HOUR) == ()


def test_gap_of_one_symbol_has_its_place_and_length() -> None:
    frame = walk().filter(~at("AAA/USDT", 100, 104))
    finding = one(audit_candles(frame, HOUR))
    assert (finding.kind, finding.series, finding.count) == ("gap", "AAA/USDT", 5)
    assert (finding.first, finding.last, finding.cause) == (hour(100), hour(104), "unknown")


def test_bars_before_the_listing_are_no_gap() -> None:
    assert audit_candles(walk().filter(~at("AAA/USDT", 0, 299)), HOUR) == ()


def test_outage_is_what_all_trading_symbols_lack() -> None:
    listed_later = walk().filter(~at("CCC/USDT", 0, 299))
    findings = audit_candles(listed_later.filter(pl.col("ts") != hour(100), pl.col("ts") != hour(400)), HOUR)
    assert Counter((f.first, f.cause) for f in findings) == {
        (hour(100), "outage"): 2,
        (hour(400), "outage"): 3,
    }
    assert "2 of 2 symbols" in findings[0].detail
    assert "3 of 3 symbols" in next(f.detail for f in findings if f.first == hour(400))


def test_perpetuals_that_trade_on_do_not_hide_an_outage_of_spot() -> None:
    perpetuals = ("AAA/USDT:USDT", "BBB/USDT:USDT")
    frame = walk(symbols=("AAA/USDT", "BBB/USDT", *perpetuals))
    gone = (pl.col("ts") == hour(100)) & ~pl.col("symbol").str.contains(":")
    assert {f.cause for f in audit_candles(frame.filter(~gone), HOUR)} == {"outage"}


def test_known_outage_explains_the_gap_of_a_lone_symbol() -> None:
    frame = walk(symbols=("AAA/USDT",)).filter(~at("AAA/USDT", 100, 102))
    assert one(audit_candles(frame, HOUR)).cause == "unknown"
    assert one(audit_candles(frame, HOUR, outages=[(hour(100), hour(102))])).cause == "outage"
    assert one(audit_candles(frame, HOUR, outages=[(hour(300), hour(302))])).cause == "unknown"


def test_weekly_closure_is_named() -> None:
    week = pl.col("ts").dt.weekday().cast(pl.Int32) * 24 + pl.col("ts").dt.hour()
    frame = walk(24 * 70, symbols=("EUR/USD",)).filter(~week.is_between(6 * 24, 7 * 24 + 10))
    findings = audit_candles(frame, HOUR)
    assert len(findings) == 10
    assert {(f.cause, f.severity, f.count) for f in findings} == {("market closed", "info", 35)}


def test_delisting_is_a_long_absence_of_one_symbol() -> None:
    finding = one(audit_candles(walk().filter(~at("AAA/USDT", 100, 400)), HOUR))
    assert (finding.kind, finding.cause, finding.count) == ("gap", "delisting", 301)
    ended = one(audit_candles(walk().filter(~at("AAA/USDT", 300, 599)), HOUR))
    assert (ended.kind, ended.cause, ended.count) == ("gap", "delisting", 300)
    late = one(audit_candles(walk().filter(~at("AAA/USDT", 595, 599)), HOUR))
    assert (late.cause, late.count, late.first, late.last) == ("behind", 5, hour(595), hour(599))


@pytest.mark.parametrize("factor", [50.0, 1000.0])
def test_relisting_is_a_delisting_with_a_break_of_the_price_level(factor: float) -> None:
    frame = scaled(walk(), at("AAA/USDT", 401, 599), factor, *PRICES).filter(~at("AAA/USDT", 100, 400))
    finding = one(audit_candles(frame, HOUR))
    assert (finding.kind, finding.count) == ("relisting", 301)


def test_duplicates_are_worse_when_their_prices_differ() -> None:
    frame = walk()
    same = frame.filter(at("AAA/USDT", 100, 102))
    finding = one(audit_candles(pl.concat([frame, same]).sort("symbol", "ts"), HOUR))
    assert (finding.kind, finding.severity, finding.count) == ("duplicate", "warn", 3)
    assert (finding.first, finding.last, finding.cause) == (hour(100), hour(102), "same prices")
    other = scaled(same, pl.lit(value=True), 1.001, *PRICES)
    finding = one(audit_candles(pl.concat([frame, other]).sort("symbol", "ts"), HOUR))
    assert (finding.severity, finding.cause) == ("error", "prices differ")
    assert "0.001" in finding.detail


def test_order_counts_rows_behind_a_later_bar() -> None:
    frame = walk(symbols=("AAA/USDT",))
    swapped = pl.concat([frame[:10], frame[11], frame[10], frame[12:]])
    finding = one(audit_candles(swapped, HOUR))
    assert (finding.kind, finding.count, finding.first) == ("order", 1, hour(10))
    newest_first = one(audit_candles(frame.reverse(), HOUR))
    assert (newest_first.count, newest_first.cause) == (599, "newest first")


def test_order_is_judged_within_a_symbol() -> None:
    assert audit_candles(walk().sort("ts", "symbol"), HOUR) == ()


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_price(value: float) -> None:
    frame = put(walk(), at("AAA/USDT", 100, 101), close=value)
    finding = one(audit_candles(frame, HOUR))
    assert (finding.kind, finding.severity, finding.count) == ("price", "error", 2)
    assert (finding.first, finding.last) == (hour(100), hour(101))


def test_missing_price() -> None:
    frame = put(walk(), at("AAA/USDT", 100), open=None, high=None)
    finding = one(audit_candles(frame, HOUR))
    assert (finding.kind, finding.severity) == ("missing_value", "error")
    assert "2 of the prices" in finding.detail


@pytest.mark.parametrize(
    "broken",
    [
        {"high": pl.col("low") * 0.99},
        {"high": (pl.col("high") + pl.min_horizontal("open", "close")) / 2 * 0.99},
        {"low": pl.max_horizontal("open", "close") * 1.0001},
        {"close": pl.col("high") * 1.01},
        {"open": pl.col("low") * 0.99},
    ],
)
def test_bar_at_odds_with_itself(broken: dict[str, pl.Expr]) -> None:
    finding = one(audit_candles(put(walk(), at("AAA/USDT", 100), **broken), HOUR))
    assert (finding.kind, finding.severity, finding.count) == ("ohlc", "error", 1)


def test_rows_without_symbol_or_stamp() -> None:
    frame = walk().with_columns(ts=pl.when(at("AAA/USDT", 599)).then(None).otherwise("ts"))
    findings = audit_candles(frame, HOUR)
    assert [(f.kind, f.count) for f in findings if f.series == "*"] == [("missing_value", 1)]


def test_wick_spike_and_listing_are_told_apart() -> None:
    wick = put(walk(), at("AAA/USDT", 400), low=0.001)
    finding = one(audit_candles(wick, HOUR))
    assert (finding.kind, finding.cause, finding.count) == ("outlier", "wick", 1)
    spike = scaled(walk(), at("AAA/USDT", 400), 1.5, "close", "high")
    finding = one(audit_candles(spike, HOUR))
    assert (finding.cause, finding.first, finding.last) == ("spike", hour(400), hour(401))
    jump = scaled(walk(), at("AAA/USDT", 400, 599), 1.5, *PRICES)
    finding = one(audit_candles(jump, HOUR))
    assert (finding.cause, finding.first, finding.count) == ("unknown", hour(400), 1)
    listing = put(walk(), at("AAA/USDT", 0), low=1.0)
    assert one(audit_candles(listing, HOUR)).cause == "listing"
    crash = scaled(walk(), pl.col("ts") >= hour(400), 0.7, *PRICES)
    assert {f.cause for f in audit_candles(crash, HOUR)} == {"market"}


def test_wild_first_weeks_are_measured_by_themselves() -> None:
    rng = np.random.default_rng(3)
    deviation = np.where(np.arange(1500) < 300, 0.06, 0.001)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 1.0, 1500).clip(-3, 3) * deviation))
    calm_later = walk(1500, symbols=("AAA/USDT",)).with_columns(
        pl.lit(pl.Series(close)).alias(p) for p in PRICES
    )
    assert audit_candles(calm_later, HOUR) == ()


def test_a_move_across_a_gap_is_no_outlier() -> None:
    frame = scaled(walk(), at("AAA/USDT", 400, 599), 1.5, *PRICES).filter(~at("AAA/USDT", 399))
    assert [f.kind for f in audit_candles(frame, HOUR)] == ["gap"]


def test_stale_bar_without_volume() -> None:
    frame = walk()
    close = frame.filter(at("AAA/USDT", 99))["close"][0]
    stale = put(frame, at("AAA/USDT", 100, 101), **dict.fromkeys(PRICES, close), volume=0.0)
    finding = one(audit_candles(stale, HOUR))
    assert (finding.kind, finding.count, finding.cause) == ("zero_volume", 2, "unknown")
    assert "1 of 3 symbols" in finding.detail


def test_stale_bars_of_all_symbols_are_an_outage() -> None:
    frame = walk()
    for symbol in SYMBOLS:
        close = frame.filter(at(symbol, 99))["close"][0]
        frame = put(frame, at(symbol, 100), **dict.fromkeys(PRICES, close), volume=0.0)
    assert [(f.kind, f.cause) for f in audit_candles(frame, HOUR)] == [("zero_volume", "outage")] * 3


def test_moving_price_without_volume() -> None:
    finding = one(audit_candles(put(walk(), at("AAA/USDT", 100), volume=0.0), HOUR))
    assert (finding.kind, finding.cause) == ("zero_volume", "price moved without volume")


@pytest.mark.parametrize("volume", [0.0, None])
def test_series_without_any_volume_is_one_finding(volume: float | None) -> None:
    frame = put(walk(), pl.col("symbol") == "AAA/USDT", volume=volume)
    finding = one(audit_candles(frame, HOUR))
    assert (finding.kind, finding.severity, finding.count) == ("zero_volume", "info", 600)


@pytest.mark.parametrize("volume", [-1.0, float("nan"), float("inf")])
def test_impossible_volume(volume: float) -> None:
    finding = one(audit_candles(put(walk(), at("AAA/USDT", 100), volume=volume), HOUR))
    assert (finding.kind, finding.severity) == ("implausible", "error")


def test_missing_volume() -> None:
    finding = one(audit_candles(put(walk(), at("AAA/USDT", 100), volume=None), HOUR))
    assert (finding.kind, finding.severity) == ("missing_value", "warn")


def test_price_in_another_unit() -> None:
    finding = one(audit_candles(scaled(walk(), at("AAA/USDT", 300, 599), 100.0, *PRICES), HOUR))
    assert (finding.kind, finding.first, finding.cause) == ("unit_jump", hour(300), "price unit")


def test_redenomination_leaves_the_money_alone() -> None:
    frame = scaled(walk(), at("AAA/USDT", 300, 599), 0.001, *PRICES)
    finding = one(audit_candles(scaled(frame, at("AAA/USDT", 300, 599), 1000.0, "volume"), HOUR))
    assert (finding.kind, finding.cause) == ("unit_jump", "redenomination")


def test_volume_in_another_unit() -> None:
    quote = scaled(walk(), at("AAA/USDT", 300, 599), 1.0, "close")
    quote = put(quote, at("AAA/USDT", 300, 599), volume=pl.col("volume") * pl.col("close"))
    finding = one(audit_candles(quote, HOUR))
    assert (finding.kind, finding.cause, finding.first) == (
        "unit_jump",
        "volume in quote currency",
        hour(300),
    )
    lots = one(audit_candles(scaled(walk(), at("AAA/USDT", 300, 599), 1e5, "volume"), HOUR))
    assert (lots.cause, lots.severity) == ("volume unit", "error")
    unclear = one(audit_candles(scaled(walk(), at("AAA/USDT", 300, 599), 4000.0, "volume"), HOUR))
    assert (unclear.cause, unclear.severity) == ("unknown", "warn")


def test_a_market_that_wakes_up_is_no_unit_jump() -> None:
    awake = at("AAA/USDT", 300, 599)
    frame = scaled(walk(), awake, 100.0, "volume")
    frame = put(frame, awake, high=pl.col("high") * 1.03, low=pl.col("low") * 0.97)
    assert all(f.kind != "unit_jump" for f in audit_candles(frame, HOUR))


def test_unfinished_and_future_bars() -> None:
    findings = audit_candles(walk(), HOUR, now=hour(597) + timedelta(minutes=30))
    assert Counter((f.kind, f.first, f.last, f.count) for f in findings) == {
        ("unfinished", hour(597), hour(597), 1): 3,
        ("future", hour(598), hour(599), 2): 3,
    }
    aware = hour(600).replace(tzinfo=UTC).astimezone()
    assert audit_candles(walk(), HOUR, now=aware) == ()


def test_a_future_stamp_makes_no_gap() -> None:
    wild = walk().filter(at("AAA/USDT", 599)).with_columns(ts=pl.lit(datetime.fromisoformat("2106-01-01")))
    findings = audit_candles(pl.concat([walk(), wild]), HOUR, now=hour(600))
    assert [(f.kind, f.series) for f in findings] == [("future", "AAA/USDT")]


def test_bar_off_the_grid() -> None:
    late = pl.when(at("AAA/USDT", 100)).then(pl.col("ts") + timedelta(minutes=7)).otherwise("ts")
    finding = one(audit_candles(walk().with_columns(ts=late), HOUR))
    assert (finding.kind, finding.cause, finding.count) == ("damage", "off the bar grid", 1)


def test_a_grid_that_does_not_start_at_midnight_is_a_grid() -> None:
    assert audit_candles(walk().with_columns(pl.col("ts") + timedelta(minutes=30)), HOUR) == ()


def test_a_defect_that_keeps_coming_back_is_one_finding() -> None:
    every_other = (pl.col("symbol") == "AAA/USDT") & (pl.col("ts").dt.hour() % 2 == 0)
    finding = one(audit_candles(put(walk(), every_other, close=0.0), HOUR))
    assert (finding.kind, finding.count) == ("price", 300)
    assert "300 separate runs" in finding.detail


def test_frame_that_cannot_be_audited_is_refused() -> None:
    with pytest.raises(DataError, match="'volume'"):
        audit_candles(walk().drop("volume"), HOUR)
    with pytest.raises(DataError, match="'ts'"):
        audit_candles(walk().with_columns(pl.col("ts").dt.replace_time_zone("UTC")), HOUR)
    with pytest.raises(ValueError, match="bar="):
        audit_candles(walk(), timedelta(0))


def _stale(frame: pl.DataFrame, where: pl.Expr) -> pl.DataFrame:
    before = pl.col("close").shift().over("symbol")
    return put(frame, where, **dict.fromkeys(PRICES, before), volume=0.0)


INJECTED: dict[str, Callable[[pl.DataFrame, str, int], pl.DataFrame]] = {
    "gap": lambda f, s, i: f.filter(~at(s, i, i + 3)),
    "duplicate": lambda f, s, i: pl.concat([f, f.filter(at(s, i))]).sort("symbol", "ts"),
    "order": lambda f, s, i: f.sort(
        "symbol", pl.when(at(s, i)).then(pl.col("ts") + 5 * HOUR / 2).otherwise("ts")
    ),
    "price": lambda f, s, i: put(f, at(s, i), low=0.0),
    "missing_value": lambda f, s, i: put(f, at(s, i), close=None),
    "ohlc": lambda f, s, i: put(f, at(s, i), high=pl.col("low") * 0.999),
    "outlier": lambda f, s, i: put(f, at(s, i), low=pl.col("low") / 2),
    "zero_volume": lambda f, s, i: _stale(f, at(s, i)),
    "implausible": lambda f, s, i: put(f, at(s, i), volume=-1.0),
    "unit_jump": lambda f, s, i: scaled(f, at(s, i, 599), 100.0, *PRICES),
    "relisting": lambda f, s, i: scaled(f, at(s, i, 599), 20.0, *PRICES).filter(~at(s, i, i + 200)),
    "damage": lambda f, s, i: f.with_columns(
        ts=pl.when(at(s, i)).then(pl.col("ts") + HOUR / 4).otherwise("ts")
    ),
    "future": lambda f, s, i: f.with_columns(
        ts=pl.when(at(s, 599)).then(pl.col("ts") + i * HOUR).otherwise("ts")
    ),
}


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(sorted(INJECTED)),
    seed=st.integers(0, 10_000),
    symbol=st.sampled_from(SYMBOLS),
    place=st.integers(60, 340),
)
def test_one_defect_in_clean_candles_is_found_and_nothing_else(
    kind: str, seed: int, symbol: str, place: int
) -> None:
    clean = walk(seed=seed)
    assert audit_candles(clean, HOUR, now=hour(600)) == ()
    findings = audit_candles(INJECTED[kind](clean, symbol, place), HOUR, now=hour(600))
    # A bar whose stamp was moved into the future is also missing where it belongs.
    expected = {"future", "gap"} if kind == "future" else {kind}
    assert {f.kind for f in findings} == expected
    assert {f.series for f in findings} == {symbol}


def recorded(folder: Path, pattern: str) -> pl.DataFrame:
    frame = pl.concat([pl.read_parquet(path) for path in sorted((folder / "candles").glob(pattern))])
    return frame.with_columns(pl.col("ts").dt.replace_time_zone(None)).sort("symbol", "ts")


@pytest.fixture(scope="module")
def spot(market_data: Path) -> tuple[Finding, ...]:
    return audit_candles(recorded(market_data, "spot_1h/*.parquet"), HOUR)


def known_gaps(folder: Path, prefix: str) -> set[tuple[str, datetime, datetime, int]]:
    gaps = pl.read_csv(folder / "gaps.csv", try_parse_dates=True).filter(
        pl.col("file").str.starts_with(f"candles/{prefix}")
    )
    stamps = pl.col("last_bar_before", "first_bar_after").cast(pl.Datetime("us"))
    return set(
        gaps.select("series", stamps.name.keep(), pl.col("missing_bars"))
        .select("series", "last_bar_before", "first_bar_after", "missing_bars")
        .rows()
    )


def found_gaps(findings: tuple[Finding, ...], bar: timedelta) -> set[tuple[str, datetime, datetime, int]]:
    return {
        (f.series, f.first - bar, f.last + bar, f.count)
        for f in findings
        if f.kind == "gap" and f.first and f.last and f.cause not in ("behind", "delisting")
    }


def test_recorded_outages(spot: tuple[Finding, ...], market_data: Path) -> None:
    assert found_gaps(spot, HOUR) == known_gaps(market_data, "spot_1h")
    gaps = [f for f in spot if f.kind == "gap"]
    assert {f.cause for f in gaps} == {"outage"}
    counts = {
        s: (n, sum(f.count for f in gaps if f.series == s))
        for s, n in Counter(f.series for f in gaps).items()
    }
    assert counts["BTC/USDT"] == (27, 122)
    assert counts["SOL/USDT"] == (10, 20)
    longest = max((f for f in gaps if f.series == "BTC/USDT"), key=lambda f: f.count)
    assert (longest.first, longest.last) == (
        datetime.fromisoformat("2018-02-08T01:00"),
        datetime.fromisoformat("2018-02-09T09:00"),
    )
    assert "4 of 4 symbols" in longest.detail


def test_recorded_stale_bars(spot: tuple[Finding, ...]) -> None:
    stale = [f for f in spot if f.kind == "zero_volume" and f.series == "BTC/USDT"]
    assert [f.first for f in stale] == [
        datetime.fromisoformat("2019-06-07T21:00"),
        datetime.fromisoformat("2021-02-11T03:00"),
        datetime.fromisoformat("2023-03-24T12:00"),
    ]
    assert {f.cause for f in stale} == {"outage"}


def test_recorded_outliers(spot: tuple[Finding, ...]) -> None:
    outliers = {(f.series, f.first): f for f in spot if f.kind == "outlier"}
    assert ("LINK/USDT", datetime.fromisoformat("2020-03-12T10:00")) in outliers
    assert ("DOGE/USDT", datetime.fromisoformat("2021-01-29T03:00")) in outliers
    assert outliers["XRP/USDT", datetime.fromisoformat("2018-05-04T08:00")].cause == "listing"
    assert outliers["AVAX/USDT", datetime.fromisoformat("2020-09-22T06:00")].cause == "listing"
    assert not [f for f in spot if f.severity == "error"]


def test_recorded_gaps_of_quarter_hours(market_data: Path) -> None:
    bar = timedelta(minutes=15)
    findings = audit_candles(recorded(market_data, "spot_15m/*.parquet"), bar)
    assert found_gaps(findings, bar) == known_gaps(market_data, "spot_15m")


@pytest.mark.parametrize(
    ("series", "hours", "holes", "missing"), [("EURUSD", 1, 853, 11319), ("SPX", 24, 3040, 6293)]
)
def test_recorded_gaps_of_markets_that_close(
    market_data: Path, series: str, hours: int, holes: int, missing: int
) -> None:
    findings = audit_candles(recorded(market_data, f"non_crypto/{series}*.parquet"), hours * HOUR)
    gaps = [f for f in findings if f.kind == "gap"]
    assert (len(gaps), sum(f.count for f in gaps)) == (holes, missing)
    closed = sum(f.count for f in gaps if f.cause == "market closed")
    assert closed > missing / 2


def test_recorded_currency_has_no_volume(market_data: Path) -> None:
    findings = audit_candles(recorded(market_data, "non_crypto/EURUSD*.parquet"), HOUR)
    assert [(f.kind, f.count) for f in findings if f.kind != "gap"] == [("zero_volume", 20714)]


def test_recorded_mark_prices_have_no_volume(market_data: Path) -> None:
    findings = audit_candles(recorded(market_data, "mark_1h/*.parquet"), HOUR)
    volumes = [f for f in findings if f.kind == "zero_volume"]
    assert [(f.series, f.count, f.severity) for f in volumes] == [
        ("BTC/USDT:USDT", 49885, "info"),
        ("ETH/USDT:USDT", 49885, "info"),
    ]


def test_recorded_venues_with_holes(market_data: Path) -> None:
    frame = recorded(market_data, "multi_venue_1h/*.parquet")
    venue = next(c for c in frame.columns if c in ("exchange", "venue"))
    joined = frame.with_columns(symbol=pl.concat_str(venue, "symbol", separator="|")).sort("symbol", "ts")
    assert found_gaps(audit_candles(joined, HOUR), HOUR) == known_gaps(market_data, "multi_venue_1h")
