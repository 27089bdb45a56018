from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from engine.errors import DataError
from engine.market.finding import Reading
from resources.feeds.formats.balances import read_balance_list, read_balances
from resources.feeds.formats.registry import read, recognise

Found = Callable[[Reading], dict[str, int]]
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
START = datetime(2025, 1, 1)


def save(folder: Path, name: str, frame: pl.DataFrame) -> Path:
    path = folder / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    moments = [c for c, t in frame.schema.items() if isinstance(t, pl.Datetime)]
    frame.with_columns(pl.col(moments).dt.replace_time_zone("UTC")).write_parquet(path)
    return path


def liquidations(n: int, step: timedelta = 4 * HOUR) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "symbol": ["BTC/USDT"] * n,
            "ts": pl.Series([START + k * step for k in range(n)], dtype=pl.Datetime("us")),
            "long_usd": [float(10 + k) for k in range(n)],
            "short_usd": [float(100 + k) for k in range(n)],
        }
    )


def series(reading: Reading, name: str) -> list[tuple[datetime, datetime, float]]:
    return reading.frame.filter(pl.col("series") == name).select("ts", "available_at", "value").rows()


def test_vintages_are_dated_by_their_own_moment(tmp_path: Path, found: Found) -> None:
    first, second = START + DAY, START + 2 * DAY
    rows = liquidations(3)
    revised = rows.with_columns(pl.Series("long_usd", [10.0, 99.0, 12.0]))
    path = save(
        tmp_path, "l.parquet", pl.concat([rows.with_columns(as_of=first), revised.with_columns(as_of=second)])
    )
    reading = read(path)
    assert recognise(path).name == "liquidations, vintages"
    ts = rows["ts"].to_list()
    assert series(reading, "liquidations_long_usd") == [
        (ts[0], first, 10.0),
        (ts[1], first, 11.0),
        (ts[1], second, 99.0),
        (ts[2], first, 12.0),
    ]
    assert len(series(reading, "liquidations_short_usd")) == 3
    assert found(reading) == {"revision": 1}


def test_a_period_looked_at_before_it_was_over_is_left_out(tmp_path: Path, found: Found) -> None:
    looked = START + 6 * HOUR
    reading = read(save(tmp_path, "l.parquet", liquidations(2).with_columns(as_of=looked)))
    assert [ts for ts, _, _ in series(reading, "liquidations_long_usd")] == [START]
    assert found(reading) == {"unfinished": 1}


def test_last_known_values_come_with_a_warning_and_without_the_newest(tmp_path: Path, found: Found) -> None:
    reading = read(save(tmp_path, "l.parquet", liquidations(4)))
    assert found(reading) == {"unfinished": 1, "revision": 3}
    assert series(reading, "liquidations_long_usd")[0] == (START, START + 4 * HOUR, 10.0)


def test_daily_sums_become_usd_per_four_hours(tmp_path: Path, found: Found) -> None:
    reading = read(save(tmp_path, "l.parquet", liquidations(4, DAY)))
    assert found(reading)["unit_jump"] == 4
    assert series(reading, "liquidations_short_usd")[1] == (
        START + DAY,
        START + 2 * DAY,
        pytest.approx(101 / 6),
    )


def test_open_interest_in_coins_is_left_out(tmp_path: Path, found: Found) -> None:
    base = liquidations(3, DAY).select("symbol", "ts", pl.col("long_usd").alias("oi_close"))
    units = [base.with_columns(unit=pl.lit(u)) for u in ("usd_coin_margined", "coins_stablecoin_margined")]
    reading = read(save(tmp_path, "oi.parquet", pl.concat(units)))
    assert [value for _, _, value in series(reading, "open_interest_usd")] == [10.0, 11.0]
    assert found(reading) == {"unit_jump": 3, "unfinished": 1, "revision": 2}


def test_the_ratio_of_accounts_is_the_one_that_counts(tmp_path: Path) -> None:
    base = liquidations(3).select("symbol", "ts", pl.col("long_usd").alias("ratio"))
    kinds = [
        base.with_columns(kind=pl.lit(k), ratio=pl.col("ratio") * f)
        for k, f in (("top_position", 9), ("global_account", 1))
    ]
    reading = read(save(tmp_path, "r.parquet", pl.concat(kinds)))
    assert [value for _, _, value in series(reading, "long_short_ratio")] == [10.0, 11.0]


def page(n: int = 5) -> pl.DataFrame:
    frame = liquidations(n)
    return frame.select(
        pl.col("ts").dt.timestamp("ms").alias("time"),
        pl.col("long_usd").alias("aggregated_long_liquidation_usd"),
        pl.col("short_usd").alias("aggregated_short_liquidation_usd"),
    )


def test_a_snapshot_was_known_after_the_day_of_its_folder(tmp_path: Path, found: Found) -> None:
    path = save(tmp_path, "20250102/api_futures_liquidation_aggregated_coin_history_BTC.parquet", page())
    reading = read(path)
    assert recognise(path).name == "CoinGlass snapshot of liquidations"
    assert {known for _, known, _ in series(reading, "liquidations_long_usd")} == {START + 2 * DAY + HOUR}
    assert reading.frame["symbol"].unique().to_list() == ["BTC"]
    assert found(reading) == {"unfinished": 1, "missing_value": 1}


def test_a_snapshot_of_no_coin_is_left_out(tmp_path: Path, found: Found) -> None:
    frame = page().select(
        "time", pl.col("aggregated_long_liquidation_usd").alias("global_account_long_short_ratio")
    )
    reading = read(
        save(tmp_path, "20250102/api_futures_global_long_short_account_ratio_history.parquet", frame)
    )
    assert reading.frame.height == 0
    assert [f.severity for f in reading.findings if f.kind == "missing_value"] == ["info", "error"]


def test_two_values_for_one_vintage_are_refused(tmp_path: Path) -> None:
    rows = liquidations(3).with_columns(as_of=START + DAY)
    path = save(tmp_path, "l.parquet", pl.concat([rows, rows[1:2].with_columns(long_usd=5.0)]))
    with pytest.raises(DataError, match="second, different value") as error:
        read(path)
    assert error.value.row == 4


def test_balances_seen_twice_a_day_are_both_kept(tmp_path: Path, found: Found) -> None:
    frame = pl.DataFrame(
        {
            "asset": ["BTC"] * 3,
            "exchange": ["Binance"] * 3,
            "ts": pl.Series([START, START, START + DAY], dtype=pl.Datetime("us")),
            "as_of": pl.Series(
                [START + 9 * HOUR, START + 16 * HOUR, START + DAY + 9 * HOUR], dtype=pl.Datetime("us")
            ),
            "total_balance": [1.0, 2.0, 3.0],
        }
    )
    reading = read_balances(save(tmp_path, "b.parquet", frame))
    assert reading.frame["total_balance"].to_list() == [1.0, 2.0, 3.0]
    assert found(reading) == {"revision": 1}


def test_a_balance_list_needs_its_coin_and_day(tmp_path: Path) -> None:
    frame = pl.DataFrame({"exchange_name": ["Binance"], "total_balance": [4.0]})
    reading = read_balance_list(save(tmp_path, "20250102/api_exchange_balance_list_ETH.parquet", frame))
    assert reading.frame.row(0) == ("ETH", "Binance", START + DAY, START + 2 * DAY + HOUR, 4.0)
    with pytest.raises(DataError, match="named after its day"):
        read_balance_list(save(tmp_path, "somewhere/api_exchange_balance_list_ETH.parquet", frame))
