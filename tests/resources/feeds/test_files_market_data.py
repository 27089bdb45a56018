"""Recorded files of real vendors: what is known about each must come out of its reader."""

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from engine.market.finding import Reading
from resources.feeds.files import FilesFeed, spot_symbols
from resources.feeds.formats.commits import KNOWN
from resources.feeds.formats.registry import UnknownFormatError, read, recognise

EVER = (datetime(1960, 1, 1), datetime(2100, 1, 1))
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OHLCV = ["open", "high", "low", "close", "volume"]
COINS = ("ADA", "AVAX", "BNB", "BTC", "DOGE", "DOT", "ETH", "LINK", "LTC", "SOL", "XRP")
ELEVEN = tuple(f"{coin}/USDT" for coin in COINS)
LOCAL = {"raw/funding_csv/*binance*": "+03:00", "*EURUSD*": "America/New_York"}
CDD = "raw/cryptodatadownload"
PERPETUALS = "raw/freqtrade/user_data/binance/futures"
OI = "open_interest/coinglass_all_exchanges"
FUNDING = "raw/funding_csv/BTC-USDT_{}_funding_history.csv"


def counts(reading: Reading) -> dict[str, int]:
    total: dict[str, int] = {}
    for finding in reading.findings:
        total[finding.kind] = total.get(finding.kind, 0) + finding.count
    return total


def spot(market: Path, coin: str) -> pl.DataFrame:
    return read(market / f"candles/spot_1h/{coin}_USDT.parquet").frame


def rates(reading: Reading, series: str = "funding_rate") -> pl.DataFrame:
    return reading.frame.filter(pl.col("series") == series).select("ts", "value")


def venue_rates(market: Path, symbol: str) -> pl.DataFrame:
    frame = read(market / "funding/binance_usdm.parquet").frame
    return frame.filter((pl.col("series") == "funding_rate") & (pl.col("symbol") == symbol)).select(
        "ts", "value"
    )


ROWS = {
    f"{CDD}/Binance_BTCUSDT_1h.csv": 32_181 - 2_649 - 116 - 2,
    f"{CDD}/BTCUSDT_Binance_futures_data_hour.csv": 3_599 - 1,
    f"{CDD}/gemini_BTCUSD_1hr_trimmed_2020.csv": 8_800 - 17 - 1,
    f"{CDD}/Binance_SOLUSDT_1h_resaved_by_spreadsheet.csv": 5_363 - 1,
    "raw/binance_public_data/spot/BTCUSDT-1h-2024-12.csv": 744,
    "raw/binance_public_data/spot/BTCUSDT-1h-2025-01.csv": 744,
    "raw/binance_public_data/spot/BTCUSDT-1h-2025-03.zip": 744,
    "raw/binance_public_data/futures_um/BTCUSDT-1h-2023-01.csv": 744,
    "raw/binance_public_data/futures_um/BTCUSDT-1h-2023-03.csv": 743,
    "raw/binance_rest/fapi_v1_klines_BTCUSDT_1d.json": 2_192,
    "raw/freqtrade/user_data/binance/DOGE_USDT-1h.json": 28_612,
    "raw/freqtrade/user_data/binance/futures/BNB_USDT_USDT-1h-futures.feather": 8_870,
    "raw/freqtrade/user_data/binance/futures/BNB_USDT_USDT-8h-mark.feather": 1_108,
    "raw/freqtrade/testdata/ADA_BTC-5m.feather": 5_720,
    "raw/freqtrade/testdata/UNITTEST_BTC-1m.feather": 13_681,
    "raw/freqtrade/testdata/UNITTEST_BTC-5m.feather": 5_760,
    "raw/freqtrade/testdata/XRP_ETH-1m.feather": 2_469,
    "raw/freqtrade/testdata/XRP_ETH-5m.feather": 706,
    "raw/freqtrade/testdata/futures/XRP_USDT_USDT-1h-futures.feather": 100,
    "raw/freqtrade/testdata/futures/XRP_USDT_USDT-1h-mark.feather": 100,
    "raw/freqtrade/testdata/futures/XRP_USDT_USDT-5m-futures.feather": 1_999,
    "raw/freqtrade/testdata/futures/XRP_USDT_USDT-8h-mark.feather": 91,
    "raw/eurusd/EURUSD_H1.csv": 20_714,
    "candles/spot_1d/BTC_USD_since_2010.parquet": 5_524,
    "candles/non_crypto/SPX_1d.parquet": 14_036,
    "candles/multi_venue_1h/perp_2025.parquet": 38_276,
}


@pytest.mark.parametrize("name", ROWS)
def test_candles_that_each_file_holds(market_data: Path, name: str) -> None:
    assert read(market_data / name).frame.height == ROWS[name]


RATES = {
    "raw/binance_rest/fapi_v1_fundingRate_BTCUSDT.json": 6_548,
    "raw/binance_rest/fapi_v1_fundingRate_SOLUSDT.json": 5_515,
    "raw/freqtrade/user_data/binance/futures/BNB_USDT_USDT-8h-funding_rate.feather": 999,
    "raw/freqtrade/testdata/futures/XRP_USDT_USDT-8h-funding_rate.feather": 91,
    FUNDING.format("binance_2020-01-01_2024-01-01"): 4_383,
    FUNDING.format("bybit_2021-01-01_2024-01-01"): 3_285,
    FUNDING.format("dydx_2022-01-01_2024-01-01"): 17_520,
    FUNDING.format("gate_2020-01-01_2024-01-01"): 4_290,
    "funding/binance_usdm.parquet": 60_760,
    "funding/multi_venue_2025.parquet": 38_136,
}


@pytest.mark.parametrize("name", RATES)
def test_funding_rates_that_each_file_holds(market_data: Path, name: str) -> None:
    assert rates(read(market_data / name)).height == RATES[name]


def test_every_data_file_is_recognised(market_data: Path) -> None:
    unknown = set()
    for path in sorted(p for p in market_data.rglob("*") if p.is_file()):
        try:
            recognise(path)
        except UnknownFormatError:
            unknown.add(path.name)
    assert unknown == {"README.md", "gaps.csv", "manifest.csv", "quality.csv"}


def test_cryptodatadownload_bitcoin(market_data: Path) -> None:
    reading = read(market_data / f"{CDD}/Binance_BTCUSDT_1h.csv")
    found = {f.kind: f for f in reading.findings}
    assert found["timestamp_unit"].detail == "28584 rows in s, 3597 rows in ms"
    assert found["duplicate"].count == 2_649
    assert (found["duplicate"].first, found["duplicate"].last) == (
        datetime(2020, 8, 1, 23),
        datetime(2020, 11, 20, 7),
    )
    assert found["filled_outage"].count == 116
    assert "opens at 16199.9" in found["price"].detail
    assert found["unfinished"].first == datetime(2020, 12, 30)
    assert found["damage"].count == 91
    assert reading.frame["ts"].min() == datetime(2017, 8, 17, 5)
    kept = reading.frame.filter(pl.col("ts").is_between(datetime(2020, 8, 2), datetime(2020, 11, 20)))
    venue = spot(market_data, "BTC").join(kept.select("ts"), on="ts", how="semi")
    assert_frame_equal(kept.drop("volume"), venue.drop("volume"))
    assert (kept["volume"] != venue["volume"]).sum() == 1


def test_the_recovered_stamps_of_solana_are_those_of_the_venue(market_data: Path) -> None:
    reading = read(market_data / f"{CDD}/Binance_SOLUSDT_1h_resaved_by_spreadsheet.csv")
    assert counts(reading)["damage"] == 5_363
    later = reading.frame.filter(pl.col("ts") >= datetime(2021, 6, 1, 5))
    both = later.join(spot(market_data, "SOL"), on="ts", suffix="_venue")
    assert both.height == later.height == 4_501
    assert both.filter(pl.all_horizontal(pl.col(c) == pl.col(f"{c}_venue") for c in OHLCV)).height == 4_501


def test_the_silent_switch_of_venue_is_found(market_data: Path) -> None:
    found = FilesFeed(market_data).candles(["SOL/USDT"], *EVER).findings
    alone, beside = (f for f in found if f.kind == "venue_switch" and f.count == 861)
    for switch in (alone, beside):
        assert (switch.first, switch.last) == (datetime(2021, 4, 26, 8), datetime(2021, 6, 1, 4))
    assert (alone.severity, beside.severity) == ("warn", "error")
    assert "close is 0.10% away and volume 1.85 times" in beside.detail


@pytest.mark.parametrize(
    "name", ["spot/BTCUSDT-1h-2024-12.csv", "spot/BTCUSDT-1h-2025-01.csv", "spot/BTCUSDT-1h-2025-03.zip"]
)
def test_binance_archives_equal_the_tidy_series(market_data: Path, name: str) -> None:
    reading = read(market_data / "raw/binance_public_data" / name)
    tidy = spot(market_data, "BTC").join(reading.frame.select("ts"), on="ts", how="semi")
    assert_frame_equal(reading.frame, tidy)
    assert reading.findings == ()


def test_doge_in_the_old_format_equals_the_tidy_series(market_data: Path) -> None:
    frame = read(market_data / "raw/freqtrade/user_data/binance/DOGE_USDT-1h.json").frame
    assert_frame_equal(frame, spot(market_data, "DOGE").join(frame.select("ts"), on="ts", how="semi"))


def test_files_filed_as_perpetuals_are_spot(market_data: Path) -> None:
    hourly = FilesFeed(market_data).candles(["BTC/USDT:USDT"], *EVER)
    daily = FilesFeed(market_data, bar=DAY).candles(["BTC/USDT:USDT"], *EVER)
    claims = [f.detail.split(", but ")[1] for f in daily.findings if "claims to be" in f.detail]
    assert claims[0].startswith("2192 of 2192 bars are those of BTC/USDT")
    found = [f.count for f in hourly.findings if "claims to be" in f.detail]
    assert found == [744, 743]
    assert_frame_equal(hourly.frame, read(market_data / "candles/futures_1h/BTC_USDT_USDT.parquet").frame)
    assert daily.frame.height == 2_185


def test_marks_and_what_is_only_named_so(market_data: Path) -> None:
    folder = market_data / "raw/freqtrade/testdata/futures"
    assert counts(read(folder / "XRP_USDT_USDT-1h-mark.feather")) == {"missing_value": 100}
    assert counts(read(folder / "XRP_USDT_USDT-8h-mark.feather")) == {"implausible": 91}


@pytest.mark.parametrize("declared", [False, True])
def test_euro_is_in_local_time(market_data: Path, declared: bool) -> None:
    zones = {"*EURUSD*": "America/New_York"} if declared else {}
    reading = FilesFeed(market_data, zones=zones).candles(["EUR/USD"], *EVER)
    assert ("local_time" in counts(reading)) != declared
    fridays = reading.frame.filter(pl.col("ts").dt.weekday() == 5)
    last = fridays.group_by(pl.col("ts").dt.date().alias("date")).agg(
        pl.col("ts").max().dt.hour().alias("hour")
    )
    usual = {m: last.filter(pl.col("date").dt.month() == m)["hour"].mode().to_list() for m in (1, 7)}
    assert usual == ({1: [21], 7: [20]} if declared else {1: [16], 7: [16]})


@pytest.mark.parametrize("declared", [False, True])
def test_funding_in_local_time_equals_the_venue_once_declared(market_data: Path, declared: bool) -> None:
    path = market_data / FUNDING.format("binance_2020-01-01_2024-01-01")
    reading = read(path, "+03:00" if declared else "UTC")
    both = rates(reading).join(venue_rates(market_data, "BTC/USDT:USDT"), on="ts", suffix="_venue")
    assert both.height == (4_383 if declared else 0)
    assert (both["value"] == both["value_venue"]).all()
    assert ("local_time" in counts(reading)) != declared


@pytest.mark.parametrize(
    ("name", "symbol", "equal"),
    [
        ("raw/binance_rest/fapi_v1_fundingRate_BTCUSDT.json", "BTC/USDT:USDT", 6_548),
        ("raw/binance_rest/fapi_v1_fundingRate_SOLUSDT.json", "SOL/USDT:USDT", 5_515),
        (
            "raw/freqtrade/user_data/binance/futures/BNB_USDT_USDT-8h-funding_rate.feather",
            "BNB/USDT:USDT",
            999,
        ),
        ("raw/freqtrade/testdata/futures/XRP_USDT_USDT-8h-funding_rate.feather", "XRP/USDT:USDT", 90),
    ],
)
def test_funding_of_vendors_equals_the_tidy_series(
    market_data: Path, name: str, symbol: str, equal: int
) -> None:
    both = rates(read(market_data / name)).join(venue_rates(market_data, symbol), on="ts", suffix="_venue")
    assert both.filter(pl.col("value") == pl.col("value_venue")).height == equal


def test_solana_paid_every_two_hours_in_november_2022(market_data: Path) -> None:
    frame = read(market_data / "funding/binance_usdm.parquet").frame.filter(
        pl.col("symbol") == "SOL/USDT:USDT"
    )
    hours = frame.filter(pl.col("series") == "funding_interval_hours")
    changed = hours.filter(pl.col("value") != 8)
    assert dict(changed.group_by("value").len().iter_rows()) == {4.0: 3, 2.0: 98}
    assert (changed["ts"].min(), changed["ts"].max()) == (
        datetime(2022, 11, 9, 20),
        datetime(2022, 11, 18, 8),
    )


def test_no_rate_is_lost_to_jitter(market_data: Path) -> None:
    frame = read(market_data / "funding/binance_usdm.parquet").frame.filter(
        pl.col("series") == "funding_rate"
    )
    late = frame["available_at"] - frame["ts"]
    assert (late.min(), late.max()) == (timedelta(0), timedelta(milliseconds=47))
    assert (frame["ts"] == frame["ts"].dt.truncate("1h")).all()
    assert frame.select("symbol", "ts").is_unique().all()


def test_holes_in_funding(market_data: Path) -> None:
    (gate,) = read(market_data / FUNDING.format("gate_2020-01-01_2024-01-01")).findings
    assert (gate.kind, gate.first) == ("gap", datetime(2021, 1, 1))
    assert gate.detail.endswith("752 h between stamps")
    kraken = counts(read(market_data / "funding/multi_venue_2025.parquet"))
    assert kraken == {"gap": 8}


def test_fear_and_greed(market_data: Path) -> None:
    tidy = read(market_data / "fear_greed/alternative_me.parquet")
    vendor = read(market_data / "raw/alternative_me/fng.json")
    assert_frame_equal(tidy.frame.drop("source"), vendor.frame.drop("source"))
    assert tidy.frame.height == 2_765
    assert "4 days are missing" in tidy.findings[0].detail
    reading = FilesFeed(market_data).observations("fear_greed", ["BTC/USDT"], *EVER)
    assert_frame_equal(reading.frame, tidy.frame)
    (switch,) = (f for f in reading.findings if f.kind == "venue_switch")
    assert (switch.first, switch.last) == (datetime(2025, 5, 11), datetime(2025, 8, 31))
    assert "on 111 of 113 periods" in switch.detail


def test_exchange_flows(market_data: Path) -> None:
    tidy = read(market_data / "exchange_flows/coinmetrics_btc_1d.parquet")
    vendor = read(market_data / "raw/coinmetrics/btc.csv")
    columns = ["series", "symbol", "ts", "value"]
    assert_frame_equal(tidy.frame.select(columns), vendor.frame.select(columns))
    assert tidy.frame["ts"].min() == datetime(2012, 6, 29)
    (missing,) = (f for f in tidy.findings if f.kind == "missing_value")
    assert "(1266 of them 0)" in missing.detail
    (outlier,) = (f for f in tidy.findings if f.kind == "outlier")
    assert "2023-05-07 -191,455, 2022-11-28 -135,113, 2023-06-19 -133,875" in outlier.detail
    lags = (vendor.frame["available_at"] - vendor.frame["ts"]).dt.total_minutes() / 60
    assert lags.min() > 26, "a day of flows is never known at its end"


@pytest.mark.parametrize(
    ("table", "series", "symbols", "vintages"),
    [
        ("liquidations", "liquidations_long_usd", "BTC ETH SOL XRP", "liquidations/coinglass_4h_vintages"),
        (
            "open_interest",
            "open_interest_usd",
            "BTC ETH SOL XRP",
            "open_interest/coinglass_all_exchanges_4h_vintages",
        ),
        ("long_short_ratio", "long_short_ratio", "BTC", "long_short_ratio/coinglass_binance_4h_vintages"),
    ],
)
def test_vintages_are_all_there_and_nothing_is_known_early(
    market_data: Path, table: str, series: str, symbols: str, vintages: str
) -> None:
    asked = [f"{coin}/USDT" for coin in symbols.split()]
    frame = FilesFeed(market_data).observations(table, asked, *EVER).frame.filter(pl.col("series") == series)
    late = frame.filter(pl.col("ts") >= datetime(2024, 11, 22))
    raw = pl.read_parquet(market_data / f"{vintages}.parquet").with_columns(
        pl.col(pl.Datetime).dt.replace_time_zone(None)
    )
    assert late["source"].unique().to_list() == [f"{vintages}.parquet"]
    assert set(late["available_at"]) <= set(raw["as_of"])
    assert (late["available_at"] >= late["ts"] + timedelta(hours=4)).all()
    assert frame.select("symbol", "ts", "available_at").is_unique().all()


def test_revisions_are_counted(market_data: Path) -> None:
    found = read(market_data / "liquidations/coinglass_4h_vintages.parquet").findings
    revised = {f.series: f.count for f in found if f.kind == "revision"}
    assert revised == {"BTC/USDT": 927, "ETH/USDT": 1_128, "SOL/USDT": 154, "XRP/USDT": 201}
    assert counts(read(market_data / "liquidations/coinglass_4h_vintages.parquet"))["unfinished"] == 304


def test_daily_liquidations_continue_the_vintages(market_data: Path) -> None:
    reading = FilesFeed(market_data).observations("liquidations", ["BTC/USDT"], *EVER)
    early = reading.frame.filter(pl.col("source").str.contains("coinglass_btc_1d"))
    assert (early["ts"].min(), early["ts"].max()) == (datetime(2022, 8, 17), datetime(2024, 11, 13))
    (events,) = (f for f in reading.findings if f.kind == "venue_switch")
    assert "1733 of 1733 periods of liquidations/aave_btc_collateral_events.parquet" in events.detail


def test_open_interest_of_other_units_and_definitions(market_data: Path) -> None:
    reading = FilesFeed(market_data).observations("open_interest", ["BTC/USDT"], *EVER)
    assert set(reading.frame["source"]) == {
        "open_interest/btc_all_exchanges_1d_2019_2024.parquet",
        "open_interest/coinglass_all_exchanges_4h_vintages.parquet",
    }
    coins, seam = sorted((f for f in reading.findings if f.kind == "unit_jump"), key=lambda f: f.severity)
    assert (coins.count, coins.severity) == (1_000, "error")
    assert (seam.first, seam.last) == (datetime(2024, 11, 20), datetime(2024, 11, 21, 20))
    page = read(
        market_data / "raw/coinglass/20250829/api_futures_openInterest_ohlc_aggregated_history_BTC.parquet"
    )
    assert "1079 rows" in page.findings[0].detail


def test_liquidation_events(market_data: Path) -> None:
    reading = read(market_data / "liquidations/aave_btc_collateral_events.parquet")
    found = counts(reading)
    assert (found["duplicate"], found["implausible"]) == (5, 1)
    raw = pl.read_parquet(market_data / "liquidations/aave_btc_collateral_events.parquet")
    single = raw.drop("profit_usd").unique()
    assert single.height == 4_244 - 5
    for series in ("liquidations_long_usd", "liquidation_print_usd"):
        of = reading.frame.filter(pl.col("series") == series)
        assert of["value"].sum() == pytest.approx(single["amount_usd"].sum())
    assert of.height == single.filter(pl.col("amount_usd") > 0)["ts"].n_unique() == 3_336
    merged = FilesFeed(market_data).observations("liquidations", ["BTC/USDT"], *EVER).frame
    prints = merged.filter(pl.col("series") == "liquidation_print_usd")
    assert prints.height == of.height  # also within the time of a vendor's vintages, which hold none


def test_balances(market_data: Path) -> None:
    reading = read(market_data / "exchange_flows/coinglass_exchange_balances_snapshots.parquet")
    assert reading.frame.height == 4_059
    assert counts(reading) == {"revision": 235}
    assert (
        read(market_data / "raw/coinglass/20250828/api_exchange_balance_list_ETH.parquet").frame.height == 18
    )


def test_commits(market_data: Path) -> None:
    reading = read(market_data / "commit_activity/commits_daily.parquet")
    commits = reading.frame.filter(pl.col("series") == "commits")
    raw = pl.read_parquet(market_data / "commit_activity/commits_daily.parquet")
    inherited = pl.lit(value=False)
    for repository, known in KNOWN.items():
        if known.began:
            inherited |= (pl.col("repo") == repository) & (
                pl.col("ts").dt.replace_time_zone(None) < known.began
            )
    own = raw.filter(~inherited)
    assert raw.height == 15_475
    assert (raw.height - own.height, raw["commits"].sum() - own["commits"].sum()) == (2_006, 10_511)
    assert commits["value"].sum() == own["commits"].sum()
    assert commits.filter(pl.col("value") > 0).height == own.height
    assert commits.filter(pl.col("symbol") == "DOT")["ts"].max() == datetime(2023, 8, 25)
    assert {f.series for f in reading.findings if f.kind == "missing_value"} == {"DOT", "SOL"}
    assert {f.series for f in reading.findings if f.kind == "venue_switch"} == {"BNB", "LTC"}
    archived = reading.frame.filter(pl.col("series") == "repository_archived")
    assert set(KNOWN) == set(raw["repo"])
    since = archived.filter(pl.col("value") == 1).group_by("symbol").agg(pl.col("ts").min()).sort("symbol")
    assert since.rows() == [("DOT", datetime(2023, 8, 26)), ("SOL", datetime(2025, 3, 11))]
    assert archived.filter(pl.col("symbol") == "DOT")["ts"].max() == raw["ts"].max().replace(tzinfo=None)


def test_the_universe_of_the_folder(market_data: Path) -> None:
    assert spot_symbols(market_data, HOUR) == ELEVEN


def test_all_candles_at_once(market_data: Path) -> None:
    reading = FilesFeed(market_data, zones=LOCAL).candles(ELEVEN, datetime(2018, 1, 1), datetime(2025, 9, 1))
    rows = dict(reading.frame.group_by("symbol").len().iter_rows())
    files = {f"{coin}/USDT": market_data / f"candles/spot_1h/{coin}_USDT.parquet" for coin in COINS}
    assert rows == {
        symbol: pl.scan_parquet(p).select(pl.len()).collect().item() for symbol, p in files.items()
    }
    assert reading.frame.select("symbol", "ts").is_unique().all()
    assert reading.frame.equals(reading.frame.sort("symbol", "ts"))
    before = FilesFeed(market_data).candles(["BTC/USDT"], datetime(2017, 1, 1), datetime(2018, 1, 1)).frame
    assert (before.height, before["ts"].min()) == (3_272, datetime(2017, 8, 17, 5))


def test_quarter_hours_add_up_to_the_hours_of_the_venue(market_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "quarters"
    folder.mkdir()
    (folder / "SOL_USDT.parquet").symlink_to(market_data / "candles/spot_15m/SOL_USDT.parquet")
    hours = FilesFeed(folder).candles(["SOL/USDT"], *EVER).frame
    venue = spot(market_data, "SOL").filter(pl.col("ts") <= hours["ts"].max())
    assert hours["ts"].max() == datetime(2022, 10, 11, 7)
    assert_frame_equal(hours, venue, rel_tol=1e-9)


def test_the_newest_bar(market_data: Path) -> None:
    assert FilesFeed(market_data).last_bar(["BTC/USDT", "SOL/USDT"]) == datetime(2025, 8, 31, 23)
