"""The feed over a folder of small files made here."""

import hashlib
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from engine.alternative.series import OBSERVATION_COLUMNS, TABLES
from engine.errors import DataError
from engine.market.candles import CANDLE_SCHEMA
from engine.market.finding import Reading
from resources.feeds.feed import Feed
from resources.feeds.files import FilesFeed, spot_symbols

START, HOUR, DAY = datetime(2024, 1, 1), timedelta(hours=1), timedelta(days=1)
EVER = (datetime(2000, 1, 1), datetime(2100, 1, 1))


def candles(
    n: int = 96, symbol: str = "BTC/USDT", start: datetime = START, bar: timedelta = HOUR, seed: int = 0
) -> pl.DataFrame:
    i = pl.int_range(n, eager=True) + seed
    price = 100.0 + (i * 7 % 13).cast(pl.Float64)
    return pl.DataFrame(
        {
            "symbol": [symbol] * n,
            "ts": pl.Series([start + k * bar for k in range(n)], dtype=pl.Datetime("us")),
            "open": price,
            "high": price + 2.0 + (i % 5) * 0.25,
            "low": price - 2.0 - (i % 7) * 0.125,
            "close": price + 1.0 - (i % 3) * 0.5,
            "volume": 10.0 + (i * 3 % 11).cast(pl.Float64),
        }
    )


def save(path: Path, frame: pl.DataFrame) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_csv(path) if path.suffix == ".csv" else frame.write_parquet(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two spot symbols and a perpetual as tidy Parquet."""
    folder = tmp_path / "market"
    save(folder / "spot_1h" / "BTC_USDT.parquet", candles())
    save(folder / "spot_1h" / "ETH_USDT.parquet", candles(symbol="ETH/USDT", seed=5))
    save(folder / "futures_1h" / "BTC_USDT_USDT.parquet", candles(symbol="BTC/USDT:USDT", seed=40))
    return folder


def kinds(reading: Reading, severity: str | None = None) -> list[str]:
    return sorted({f.kind for f in reading.findings if severity in (None, f.severity)})


def btc(root: Path, **setup: object) -> Reading:
    return FilesFeed(root, **setup).candles(["BTC/USDT"], *EVER)  # type: ignore[arg-type]


def test_it_is_a_feed_and_reads_what_is_there(root: Path) -> None:
    feed: Feed = FilesFeed(root)
    reading = feed.candles(["ETH/USDT", "BTC/USDT"], *EVER)
    assert_frame_equal(reading.frame, pl.concat([candles(), candles(symbol="ETH/USDT", seed=5)]))
    assert dict(reading.frame.schema) == CANDLE_SCHEMA
    assert reading.findings == ()
    assert feed.last_bar(["BTC/USDT", "ETH/USDT"]) == START + 95 * HOUR
    assert feed.last_bar([]) is None


def test_start_is_inclusive_and_end_is_not(root: Path) -> None:
    reading = FilesFeed(root).candles(["BTC/USDT"], START + 3 * HOUR, START + 5 * HOUR)
    assert reading.frame["ts"].to_list() == [START + 3 * HOUR, START + 4 * HOUR]


def test_the_universe_is_spot_with_volume(root: Path) -> None:
    save(root / "fx" / "EURUSD_1h.parquet", candles(symbol="EUR/USD").with_columns(volume=0.0))
    save(root / "plain" / "ADAUSDT_1h.csv", candles(symbol="ADA/USDT"))
    save(root / "spot_1d" / "LTC_USDT.parquet", candles(symbol="LTC/USDT", bar=DAY))
    assert FilesFeed(root).symbols == spot_symbols(root, HOUR) == ("BTC/USDT", "ETH/USDT")
    assert FilesFeed(root, ("ADA/USDT",)).symbols == ("ADA/USDT",)
    with pytest.raises(DataError, match="no file holds spot candles"):
        spot_symbols(root, timedelta(minutes=1))


def test_an_unknown_symbol_is_refused_with_what_is_there(root: Path) -> None:
    with pytest.raises(
        DataError, match=r"no file holds XRP/USDT.*there is: BTC/USDT, BTC/USDT:USDT, ETH/USDT"
    ):
        FilesFeed(root).candles(["BTC/USDT", "XRP/USDT"], *EVER)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder"):
        FilesFeed(tmp_path / "nowhere").candles(["BTC/USDT"], *EVER)


def test_notes_and_hidden_files_do_not_disturb(root: Path) -> None:
    save(root / ".cache" / "BTC_USDT.parquet", candles(10))
    (root / "README.md").write_text("# prices\n")
    (root / "sizes.csv").write_text("path,bytes\na,1\n")
    reading = btc(root)
    assert reading.frame.height == 96
    assert [(f.series, f.kind, f.severity) for f in reading.findings] == [("sizes.csv", "damage", "info")]


@pytest.mark.parametrize("spoil", [lambda b: b[: len(b) // 2], lambda b: b""], ids=["cut", "empty"])
def test_a_damaged_file_is_refused_and_nothing_is_changed(
    root: Path, spoil: Callable[[bytes], bytes]
) -> None:
    path = root / "spot_1h" / "ETH_USDT.parquet"
    path.write_bytes(spoil(path.read_bytes()))
    before = {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in root.rglob("*.parquet")}
    with pytest.raises(DataError, match=r"ETH_USDT\.parquet"):
        btc(root)
    assert {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in root.rglob("*.parquet")} == before


def test_another_file_adds_the_bars_that_are_missing(root: Path) -> None:
    save(root / "plain" / "BTCUSDT_1h.csv", candles(120, start=START - 12 * HOUR, seed=-12))
    reading = btc(root)
    assert_frame_equal(reading.frame, candles(120, start=START - 12 * HOUR, seed=-12))
    assert reading.findings == ()


def test_the_better_source_wins_where_both_speak(root: Path) -> None:
    other = candles(120, start=START - 12 * HOUR, seed=-12)
    some = pl.int_range(pl.len()) % 10 == 0
    save(
        root / "plain" / "BTCUSDT_1h.csv",
        other.with_columns(
            pl.when(some).then(pl.col("close") + 0.01).otherwise(pl.col("close")).alias("close")
        ),
    )
    reading = btc(root)
    assert_frame_equal(reading.frame.filter(pl.col("ts").is_between(START, START + 95 * HOUR)), candles())
    (finding,) = reading.findings
    assert (finding.kind, finding.severity, finding.count) == ("duplicate", "info", 9)


def test_another_venue_is_not_mixed_in(root: Path) -> None:
    other = candles(120, start=START - 12 * HOUR, seed=-12).with_columns(
        pl.col("high", "low", "close") * 1.001
    )
    save(root / "plain" / "BTCUSDT_1h.csv", other.with_columns(pl.col("open") * 1.001))
    reading = btc(root)
    assert_frame_equal(reading.frame, candles())
    assert kinds(reading, "error") == ["venue_switch"]
    assert "0.10% away" in reading.findings[0].detail


def test_a_stretch_of_another_venue_is_not_mixed_in(root: Path) -> None:
    other = candles(160, start=START - 48 * HOUR, seed=-48)
    foreign = pl.col("ts") < START + 40 * HOUR
    moved = [
        pl.when(foreign).then(pl.col(c) * 1.001).otherwise(pl.col(c)).alias(c)
        for c in ("open", "high", "low", "close")
    ]
    save(root / "plain" / "BTCUSDT_1h.csv", other.with_columns(moved))
    reading = btc(root)
    assert_frame_equal(reading.frame, pl.concat([candles(), other.filter(pl.col("ts") >= START + 96 * HOUR)]))
    (finding,) = reading.findings
    assert (finding.kind, finding.count, finding.last) == ("venue_switch", 88, START + 39 * HOUR)


def test_volumes_that_are_counted_differently_are_told(root: Path) -> None:
    save(root / "plain" / "BTCUSDT_1h.csv", candles(120).with_columns(pl.col("volume") * 0.94))
    reading = btc(root)
    assert reading.frame.height == 120
    (finding,) = reading.findings
    assert (finding.kind, finding.severity, finding.count) == ("unit_jump", "warn", 96)


def test_spot_filed_as_a_perpetual_is_found_out(root: Path) -> None:
    save(root / "futures_um" / "BTCUSDT_1h.csv", candles(60))
    reading = FilesFeed(root).candles(["BTC/USDT:USDT"], *EVER)
    assert_frame_equal(reading.frame, candles(symbol="BTC/USDT:USDT", seed=40))
    (finding,) = reading.findings
    assert (finding.kind, finding.severity, finding.count) == ("venue_switch", "error", 60)
    assert "60 of 60 bars are those of BTC/USDT" in finding.detail


def test_an_impostor_alone_is_refused(root: Path) -> None:
    save(root / "futures_um" / "ETHUSDT_1h.csv", candles(60, symbol="ETH/USDT", seed=5))
    with pytest.raises(DataError, match="claims to be ETH/USDT:USDT"):
        FilesFeed(root).candles(["ETH/USDT:USDT"], *EVER)


def test_marks_are_never_candles(root: Path) -> None:
    save(root / "mark_1h" / "SOL_USDT_USDT.parquet", candles(symbol="SOL/USDT:USDT").with_columns(volume=0.0))
    with pytest.raises(DataError, match="no file holds SOL/USDT:USDT"):
        FilesFeed(root).candles(["SOL/USDT:USDT"], *EVER)


def test_venues_of_one_file_are_not_mixed(root: Path) -> None:
    venues = [
        candles(n, symbol="BTC/USD:PERP", seed=seed).with_columns(venue=pl.lit(venue))
        for venue, n, seed in (("a", 60, 1), ("b", 90, 2), ("c", 90, 3))
    ]
    save(root / "many_1h" / "perp.parquet", pl.concat(venues))
    reading = FilesFeed(root).candles(["BTC/USD:PERP"], *EVER)
    assert_frame_equal(reading.frame, candles(90, symbol="BTC/USD:PERP", seed=2))
    assert [(f.kind, f.severity) for f in reading.findings] == [("venue_switch", "info")] * 2


def test_small_bars_are_added_up_only_where_no_file_has_the_bar(root: Path) -> None:
    quarters = candles(4 * 30 + 2, symbol="SOL/USDT", bar=timedelta(minutes=15))
    save(root / "spot_15m" / "SOL_USDT.parquet", quarters)
    save(root / "spot_15m" / "BTC_USDT.parquet", candles(400, bar=timedelta(minutes=15), seed=9))
    feed = FilesFeed(root)
    sol = feed.candles(["SOL/USDT"], *EVER).frame
    assert sol.height == 30, "the hour of which only half is there must not count"
    assert sol["open"].to_list() == quarters["open"].gather_every(4).to_list()[:30]
    assert sol["volume"][0] == quarters["volume"][:4].sum()
    assert_frame_equal(feed.candles(["BTC/USDT"], *EVER).frame, candles())
    assert FilesFeed(root, bar=DAY).candles(["BTC/USDT"], *EVER).frame.height == 4


def test_a_zone_is_applied_where_it_is_declared(root: Path) -> None:
    save(root / "local" / "LTCUSDT_1h.csv", candles(symbol="LTC/USDT"))
    reading = FilesFeed(root, zones={"local/*": "+03:00"}).candles(["LTC/USDT", "BTC/USDT"], *EVER)
    assert reading.frame.group_by("symbol").agg(pl.col("ts").min()).sort("symbol")["ts"].to_list() == [
        START,
        START - 3 * HOUR,
    ]


def test_a_zone_for_no_file_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match=r"'locla/\*' matches no file"):
        btc(root, zones={"locla/*": "+03:00"})


def test_a_shifted_copy_is_not_mixed_in(root: Path) -> None:
    save(root / "local" / "BTCUSDT_1h.csv", candles().with_columns(pl.col("ts") + timedelta(hours=3)))
    reading = btc(root)
    assert_frame_equal(reading.frame, candles())
    assert kinds(reading, "error") == ["venue_switch"]
    declared = btc(root, zones={"local/*": "+03:00"})
    assert declared.findings == ()


def test_the_fingerprint_follows_files_and_setup(root: Path) -> None:
    first = FilesFeed(root).fingerprint()
    assert FilesFeed(root).fingerprint() == first
    assert FilesFeed(root, bar=DAY).fingerprint() != first
    assert FilesFeed(root, zones={"spot_1h/*": "+01:00"}).fingerprint() != first
    path = root / "spot_1h" / "BTC_USDT.parquet"
    os.utime(path, ns=(1, 1))
    touched = FilesFeed(root).fingerprint()
    assert touched != first
    path.unlink()
    assert FilesFeed(root).fingerprint() not in (first, touched)


def test_a_new_file_is_seen_at_once(root: Path) -> None:
    feed = FilesFeed(root)
    assert feed.last_bar(["BTC/USDT"]) == START + 95 * HOUR
    save(root / "spot_1h" / "BTC_USDT.parquet", candles(100))
    assert feed.last_bar(["BTC/USDT"]) == START + 99 * HOUR


def funding(
    hours: int, rate: float = 1e-4, symbol: str = "BTC/USDT:USDT", shift: int = 0, step: int = 8
) -> pl.DataFrame:
    stamps = [START + timedelta(hours=shift + h) for h in range(0, hours, step)]
    values = [rate * (1 + k % 7) for k in range(len(stamps))]
    return pl.DataFrame(
        {"symbol": symbol, "ts": pl.Series(stamps, dtype=pl.Datetime("us")), "funding_rate": values}
    )


def observe(root: Path, table: str, symbols: tuple[str, ...] = ("BTC/USDT",), **setup: object) -> Reading:
    return FilesFeed(root, **setup).observations(table, symbols, *EVER)  # type: ignore[arg-type]


def values(reading: Reading, series: str, symbol: str = "BTC/USDT") -> pl.DataFrame:
    return reading.frame.filter((pl.col("series") == series) & (pl.col("symbol") == symbol))


def test_funding_of_the_perpetual_belongs_to_the_pair(root: Path) -> None:
    save(root / "funding.parquet", funding(80))
    reading = observe(root, "funding", ("BTC/USDT", "BTC/USDT:USDT", "ETH/USDT"))
    assert tuple(reading.frame.columns) == OBSERVATION_COLUMNS
    for symbol in ("BTC/USDT", "BTC/USDT:USDT"):
        assert values(reading, "funding_rate", symbol).height == 10
        assert values(reading, "funding_interval_hours", symbol)["value"].to_list() == [8.0] * 9
    (missing,) = reading.findings
    assert (missing.kind, missing.severity, missing.count) == ("missing_value", "info", 1)
    assert "ETH/USDT" in missing.detail


def test_funding_of_another_venue_or_zone_is_not_mixed_in(root: Path) -> None:
    save(root / "funding.parquet", funding(800))
    for name, frame in (("shifted", funding(400, shift=3)), ("bybit", funding(1000, 3e-4))):
        rows = frame.select(
            Symbol=pl.lit("BTC-USDT"),
            Date=pl.col("ts").dt.strftime("%F %T"),
            **{"Funding Rate": "funding_rate"},
        )
        save(root / f"BTC-USDT_{name}.csv", rows)
    reading = observe(root, "funding")
    assert values(reading, "funding_rate")["ts"].to_list() == funding(800)["ts"].to_list()
    assert kinds(reading, "error") == ["local_time"]
    assert kinds(reading, "info") == ["venue_switch"]
    declared = observe(root, "funding", zones={"*shifted*": "+03:00"})
    assert kinds(declared, "error") == []


def test_vintages_leave_no_room_for_last_known_values(root: Path) -> None:
    base = pl.DataFrame(
        {
            "symbol": "BTC/USDT",
            "ts": pl.Series([START + k * timedelta(hours=4) for k in range(60)], dtype=pl.Datetime("us")),
            "long_usd": [float(k) for k in range(60)],
            "short_usd": [float(100 + k) for k in range(60)],
        }
    )
    seen = base.filter(pl.int_range(pl.len()) != 30).with_columns(as_of=START + 20 * DAY)
    save(root / "liq_vintages.parquet", seen)
    save(root / "liq.parquet", base)
    rows = values(observe(root, "liquidations"), "liquidations_long_usd")
    assert rows.height == 59
    assert rows["available_at"].unique().to_list() == [START + 20 * DAY]


def test_snapshots_of_following_days_are_vintages(root: Path) -> None:
    for day, first in (("20240110", 1.0), ("20240111", 7.0)):
        page = pl.DataFrame(
            {
                "time": pl.Series([START + k * timedelta(hours=4) for k in range(5)]).dt.timestamp("ms"),
                "aggregated_long_liquidation_usd": [first, 2.0, 3.0, 4.0, 5.0],
                "aggregated_short_liquidation_usd": [1.0, 2.0, 3.0, 4.0, 5.0],
            }
        )
        save(root / day / "api_futures_liquidation_aggregated_coin_history_BTC.parquet", page)
    reading = observe(root, "liquidations")
    long = values(reading, "liquidations_long_usd")
    assert long["value"].to_list() == [1.0, 7.0, 2.0, 3.0, 4.0]
    assert long["ts"].to_list()[:2] == [START, START]
    assert values(reading, "liquidations_short_usd").height == 4


def test_a_jump_of_the_level_between_sources_is_told(root: Path) -> None:
    oi = pl.DataFrame(
        {"symbol": "BTC/USDT", "ts": pl.Series([START + k * DAY for k in range(40)], dtype=pl.Datetime("us"))}
    )
    save(root / "a.parquet", oi.with_columns(oi_usd=2.0e9))
    later = oi.with_columns(pl.col("ts") + 50 * DAY, oi_close=5.0e9, as_of=START + 200 * DAY)
    save(root / "b.parquet", later)
    reading = observe(root, "open_interest")
    assert values(reading, "open_interest_usd").height == 80
    (jump,) = (f for f in reading.findings if f.kind == "unit_jump")
    assert (jump.severity, jump.first, jump.last) == ("warn", START + 39 * DAY, START + 50 * DAY)


def test_an_index_that_changes_into_another_is_left_at_that_point(root: Path) -> None:
    days = pl.Series([START + k * DAY for k in range(300)], dtype=pl.Datetime("us"))
    index = pl.DataFrame({"ts": days, "value": [20 + k * 7 % 60 for k in range(300)]})
    save(
        root / "alt.parquet",
        index.with_columns(classification=pl.lit("Fear")).filter(pl.col("ts") != START + 100 * DAY),
    )
    changed = pl.when(pl.int_range(pl.len()) >= 200).then(pl.col("value") + 9).otherwise(pl.col("value"))
    save(root / "variant.parquet", index.with_columns(changed.alias("value")))
    reading = observe(root, "fear_greed")
    frame = values(reading, "fear_greed", "*")
    assert frame["value"].to_list() == index["value"].to_list()
    assert frame.filter(pl.col("source").str.contains("variant"))["ts"].to_list() == [START + 100 * DAY]
    (switch,) = (f for f in reading.findings if f.kind == "venue_switch")
    assert (switch.first, switch.last, switch.count) == (START + 200 * DAY, START + 299 * DAY, 100)


@pytest.mark.parametrize("table", TABLES)
def test_a_table_without_files_is_empty_and_told(root: Path, table: str) -> None:
    reading = observe(root, table)
    assert reading.frame.is_empty()
    assert tuple(reading.frame.columns) == OBSERVATION_COLUMNS
    assert kinds(reading) == ["missing_value"]


def test_an_unknown_table_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match="'weather' is unknown; known are funding"):
        observe(root, "weather")
