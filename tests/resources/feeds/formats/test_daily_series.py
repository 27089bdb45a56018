import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from engine.errors import DataError
from engine.market.finding import Reading
from resources.feeds.formats.coinmetrics import KNOWN_AFTER
from resources.feeds.formats.registry import read, recognise

Write = Callable[[str, str | bytes], Path]
Found = Callable[[Reading], dict[str, int]]
START, DAY = datetime(2024, 1, 1), timedelta(days=1)


def values(reading: Reading, series: str, symbol: str) -> dict[int, float]:
    rows = reading.frame.filter((pl.col("series") == series) & (pl.col("symbol") == symbol))
    return {(ts - START) // DAY: value for ts, value in rows.select("ts", "value").iter_rows()}


def fng(days: list[int]) -> str:
    stamp = [int((START + d * DAY - datetime(1970, 1, 1)).total_seconds()) for d in days]
    rows = [
        {"value": str(40 + d), "value_classification": "Fear", "timestamp": str(t)}
        for d, t in zip(days, stamp, strict=True)
    ]
    return json.dumps({"name": "Fear and Greed Index", "data": rows})


def test_fear_and_greed_json(write: Write, found: Found) -> None:
    path = write("fng.json", fng([4, 3, 1, 0]))
    reading = read(path)
    assert recognise(path).name == "alternative.me JSON"
    assert values(reading, "fear_greed", "*") == {0: 40, 1: 41, 3: 43, 4: 44}
    assert found(reading) == {"gap": 1}
    assert (reading.frame["available_at"] == reading.frame["ts"]).all()


def test_fear_and_greed_of_another_vendor_is_marked(write: Write, found: Found) -> None:
    path = write("fear.csv", "ts,value\n2024-01-01 00:00:00,40\n2024-01-02 00:20:01,41\n")
    reading = read(path)
    assert recognise(path).name == "Fear & Greed, other table"
    assert values(reading, "fear_greed", "*") == {0: 40, 1: 41}
    assert reading.frame["available_at"][1] == datetime(2024, 1, 2, 0, 20, 1)
    assert found(reading) == {"order": 1, "implausible": 2}


def test_a_day_with_two_values_is_refused(write: Write) -> None:
    with pytest.raises(DataError, match="second, different value"):
        read(write("fear.csv", "ts,value\n2024-01-01 00:00:00,40\n2024-01-01 12:00:00,41\n"))


def flows(n: int, unlabelled: int) -> str:
    rows = []
    for k in range(n):
        day = START + k * DAY
        done = int((day + timedelta(hours=28) - datetime(1970, 1, 1)).total_seconds())
        late = int((datetime(2025, 1, 1) - datetime(1970, 1, 1)).total_seconds())
        amount = 0.0 if k < unlabelled else 100.0 + k
        outlier = 50 * amount if k == n - 5 else amount * 1.05
        flow = "" if k == n - 1 else f"{amount}"
        rows.append(f"{day:%Y-%m-%d},{done if k > n // 2 else late},{flow},{outlier}")
    return "time,AssetEODCompletionTime,FlowInExNtv,FlowOutExNtv\n" + "\n".join(rows) + "\n"


def test_flows_without_labels_are_missing_and_not_zero(write: Write, found: Found) -> None:
    path = write("btc.csv", flows(120, 20))
    reading = read(path)
    assert recognise(path).name == "Coin Metrics CSV"
    inflow = values(reading, "exchange_inflow", "BTC")
    assert sorted(inflow) == list(range(20, 119))
    assert inflow[20] == 120.0
    assert found(reading)["missing_value"] == 20
    assert found(reading)["outlier"] == 1
    assert found(reading)["revision"] == 100


def test_flows_are_known_when_the_vendor_says_so(write: Write) -> None:
    frame = read(write("btc.csv", flows(120, 20))).frame.with_columns(
        lag=pl.col("available_at") - pl.col("ts")
    )
    early, late = (
        frame.filter(pl.col("ts") < START + 61 * DAY),
        frame.filter(pl.col("ts") >= START + 61 * DAY),
    )
    assert early["lag"].unique().to_list() == [KNOWN_AFTER]
    assert late["lag"].unique().to_list() == [timedelta(hours=28)]


def test_a_flow_that_is_no_number_is_refused_with_its_row(write: Write) -> None:
    with pytest.raises(DataError, match="'x1' is not a number") as error:
        read(write("btc.csv", flows(120, 20).replace("131.0", "x1", 1)))
    assert (error.value.row, error.value.column) == (33, "flowinexntv")


def test_days_without_commits_are_zero_until_the_last_commit(write: Write, found: Found) -> None:
    rows = [
        ("BTC", "a/b", 0, 3),
        ("BTC", "a/b", 3, 5),
        ("BTC", "c/d", 1, 7),
        ("ETH", "e/f", 0, 1),
        ("ETH", "e/f", 200, 1),
    ]
    text = "asset,repo,ts,commits,authors\n" + "".join(
        f"{asset},{repo},{START + d * DAY},{n},1\n" for asset, repo, d, n in rows
    )
    path = write("commits.csv", text)
    reading = read(path)
    assert recognise(path).name == "commit activity"
    assert values(reading, "commits", "BTC") == {0: 3, 1: 7, 2: 0, 3: 5}
    assert values(reading, "commit_authors", "BTC") == {0: 1, 1: 1, 2: 0, 3: 1}
    assert len(values(reading, "commits", "ETH")) == 201
    assert found(reading) == {"missing_value": 2}
    assert (reading.frame["available_at"] - reading.frame["ts"]).unique().to_list() == [DAY]


def test_known_forks_and_archives_are_neither_inherited_work_nor_dead_projects(
    write: Write, found: Found
) -> None:
    rows = [
        ("BNB", "bnb-chain/bsc", "2020-08-27", 9),
        ("BNB", "bnb-chain/bsc", "2020-08-29", 2),
        ("DOT", "paritytech/polkadot", "2023-08-24", 3),
        ("DOT", "paritytech/polkadot", "2023-08-25", 1),
        ("BNB", "bnb-chain/bsc", "2023-08-28", 4),
        ("XRP", "nobody/knows", "2023-08-20", 4),
    ]
    text = "asset,repo,ts,commits,authors\n" + "".join(f"{a},{r},{d},{n},1\n" for a, r, d, n in rows)
    reading = read(write("commits.csv", text))
    of = {
        (name, symbol): reading.frame.filter(pl.col("series") == name, pl.col("symbol") == symbol)
        for name in ("commits", "repository_archived")
        for symbol in ("BNB", "DOT", "XRP")
    }
    assert of["commits", "BNB"]["ts"].min() == datetime(2020, 8, 29)
    assert of["commits", "BNB"]["value"].sum() == 6
    assert of["commits", "DOT"]["ts"].max() == datetime(2023, 8, 25)
    assert of["repository_archived", "DOT"]["value"].to_list() == [0, 0, 1, 1, 1]
    assert of["repository_archived", "DOT"]["ts"].max() == datetime(2023, 8, 28)
    assert set(of["repository_archived", "BNB"]["value"]) == {0.0}
    assert of["repository_archived", "XRP"].is_empty()
    assert found(reading) == {"venue_switch": 1}


def test_liquidation_events_add_up(write: Write, found: Found) -> None:
    events = [
        ("wBTC", "2024-01-01 05:00:00", 1.0, 100.0, "m"),
        ("wBTC", "2024-01-01 00:00:01", 2.0, 10.0, "m"),
        ("cbBTC", "2024-01-01 03:59:59", 3.0, 20.0, "m"),
        ("cbBTC", "2024-01-01 03:59:59", 3.0, 20.0, "m"),
        ("cbBTC", "2024-01-01 03:59:59", 3.0, 20.0, "n"),
        ("wBTC", "2024-01-01 14:00:00", 0.0, 0.0, "m"),
    ]
    text = "asset,ts,amount_native,amount_usd,profit_usd,market\n" + "".join(
        f"{a},{ts},{n},{usd},-1e23,{m}\n" for a, ts, n, usd, m in events
    )
    path = write("events.csv", text)
    reading = read(path)
    assert recognise(path).name == "on-chain liquidation events"
    sums = reading.frame.filter(pl.col("series") == "liquidations_long_usd")
    rows = sums.select("symbol", "ts", "available_at", "value").rows()
    hours = timedelta(hours=4)
    assert rows == [
        ("BTC", START + k * hours, START + (k + 1) * hours, usd)
        for k, usd in enumerate([50.0, 100.0, 0.0, 0.0])
    ]
    prints = reading.frame.filter(pl.col("series") == "liquidation_print_usd")
    assert prints.select("symbol", "ts", "value").rows() == [
        ("BTC", START + timedelta(seconds=1), 10.0),
        ("BTC", START + hours - timedelta(seconds=1), 40.0),  # one block: a repeated row counts once
        ("BTC", START + timedelta(hours=5), 100.0),
    ]
    assert set(prints["source"]) == {"data/events.csv prints"}
    assert (prints["available_at"] - prints["ts"]).unique().to_list() == [timedelta(minutes=5)]
    assert found(reading) == {"order": 1, "duplicate": 1, "implausible": 1}
