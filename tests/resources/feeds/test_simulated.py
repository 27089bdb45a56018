"""The simulated feed: what a feed promises, from a simulation that runs once."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from engine.alternative.series import SERIES, TABLES
from engine.market import simulator
from engine.market.candles import CANDLE_COLUMNS
from resources.feeds.feed import Feed
from resources.feeds.simulated import SimulatedFeed, _simulated

HOUR = timedelta(hours=1)
START, END = datetime(2024, 1, 1), datetime(2024, 3, 1)
SYMBOLS = ("BTC/USDT", "ETH/USDT")


def feed(**changes: object) -> SimulatedFeed:
    return SimulatedFeed(
        **{"symbols": SYMBOLS, "bar": HOUR, "seed": 7, "start": START, "end": END, **changes}
    )


def test_it_is_a_feed() -> None:
    simulated: Feed = feed()
    assert simulated.name == "simulated"
    assert simulated.last_bar(SYMBOLS) == END - HOUR
    assert feed(end=END + timedelta(minutes=40)).last_bar(SYMBOLS) == END - HOUR


def test_a_symbol_that_cannot_be_simulated_is_told_before_anything_is() -> None:
    simulated = _simulated.cache_info().misses
    with pytest.raises(ValueError, match="'no such'"):
        feed(symbols=("BTC/USDT", "no such")).last_bar(["BTC/USDT"])
    with pytest.raises(ValueError, match="'no such'"):
        feed().last_bar(["BTC/USDT", "no such"])
    assert _simulated.cache_info().misses == simulated


def test_candles_of_a_window() -> None:
    reading = feed().candles(["ETH/USDT", "BTC/USDT"], datetime(2024, 1, 5), datetime(2024, 1, 6))
    assert reading.findings == ()
    assert tuple(reading.frame.columns) == CANDLE_COLUMNS
    assert reading.frame["symbol"].to_list() == ["BTC/USDT"] * 24 + ["ETH/USDT"] * 24
    assert reading.frame["ts"][0] == datetime(2024, 1, 5)
    assert reading.frame["ts"][23] == datetime(2024, 1, 5, 23)


def test_windows_join_without_seam() -> None:
    whole = feed().candles(SYMBOLS, START, END).frame
    parts = [
        feed().candles(SYMBOLS, *window).frame
        for window in ((START, datetime(2024, 2, 1)), (datetime(2024, 2, 1), END))
    ]
    assert_frame_equal(whole, pl.concat(parts).sort("symbol", "ts"))
    assert len(whole) == 2 * 60 * 24
    assert feed().candles(SYMBOLS, datetime(2020, 1, 1), START).frame.is_empty()
    assert feed().candles([], START, END).frame.is_empty()


@pytest.mark.parametrize("table", TABLES)
def test_observations_of_a_table(table: str) -> None:
    rows = feed().observations(table, ["BTC/USDT"], START, END).frame
    assert set(rows["series"]) == {series.name for series in SERIES.values() if series.table == table}
    assert set(rows["symbol"]) == ({"*"} if table == "fear_greed" else {"BTC/USDT"})
    assert not rows.is_empty()


def test_observations_are_bounded_by_the_period_they_describe() -> None:
    middle = datetime(2024, 2, 1)
    before = feed().observations("liquidations", SYMBOLS, START, middle).frame
    after = feed().observations("liquidations", SYMBOLS, middle, END).frame
    assert before["ts"].max() < middle <= after["ts"].min()
    assert before["available_at"].max() > middle
    whole = feed().observations("liquidations", SYMBOLS, START, END).frame
    assert_frame_equal(whole, pl.concat([before, after]).sort("series", "symbol", "ts", "available_at"))


def test_an_unknown_table_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"'sentiment'.*funding"):
        feed().observations("sentiment", SYMBOLS, START, END)


def test_any_symbol_can_be_asked_for_and_is_the_same_in_any_company() -> None:
    invented = feed().candles(["NEW/USDT", "BTC/USDT"], START, END).frame
    assert invented["symbol"].unique(maintain_order=True).to_list() == ["BTC/USDT", "NEW/USDT"]
    member = feed(symbols=(*SYMBOLS, "NEW/USDT")).candles(["NEW/USDT", "BTC/USDT"], START, END).frame
    assert_frame_equal(invented, member, check_exact=True)
    sentiment = feed().observations("fear_greed", ["NEW/USDT", "BTC/USDT"], START, END).frame
    assert not sentiment.select("ts", "available_at").is_duplicated().any()


@pytest.mark.parametrize("symbol", ["BTC", "BTC/USDT:USDT", "btc/usdt"])
def test_other_forms_are_refused_by_name(symbol: str) -> None:
    with pytest.raises(ValueError, match="XXX/USDT") as refused:
        feed().candles([symbol], START, END)
    assert repr(symbol) in str(refused.value)


def test_a_later_end_only_adds() -> None:
    longer = feed(end=datetime(2024, 4, 1))
    assert_frame_equal(
        feed().candles(SYMBOLS, START, END).frame, longer.candles(SYMBOLS, START, END).frame, check_exact=True
    )


def test_truth_of_a_window() -> None:
    truth = feed().truth(datetime(2024, 1, 5), datetime(2024, 1, 7))
    assert len(truth) == 48
    assert truth.columns == ["ts", "regime", "drift_sign", "jump", "market_return"]
    assert feed(mode="null").truth(START, END)["drift_sign"].to_list() == [0] * 1440


def test_ten_calls_simulate_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    simulate = simulator.MarketSimulator.simulate

    def counted(self: simulator.MarketSimulator, start: datetime, bars: int) -> simulator.SimulatedMarket:
        runs.append(self.symbols)
        return simulate(self, start, bars)

    monkeypatch.setattr(simulator.MarketSimulator, "simulate", counted)
    _simulated.cache_clear()
    for _ in range(3):
        feed().candles(SYMBOLS, START, END)
        feed().observations("funding", ["ETH/USDT"], START, END)
        feed().truth(START, END)
    assert runs == [SYMBOLS]


def test_fingerprint_changes_with_what_could_be_delivered() -> None:
    base = feed()
    others = [
        feed(seed=8),
        feed(mode="null"),
        feed(end=END + HOUR),
        feed(start=START + HOUR),
        feed(bar=4 * HOUR),
    ]
    assert len({base.fingerprint(), *(other.fingerprint() for other in others)}) == 6
    assert base.fingerprint() == feed().fingerprint()
    assert simulator.VERSION in base.fingerprint()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"symbols": ()}, "symbols is empty"),
        ({"end": START + timedelta(minutes=59)}, "no bar"),
        ({"end": START - HOUR}, "no bar"),
        ({"bar": timedelta(0)}, "no bar"),
        ({"start": datetime(2024, 1, 1, tzinfo=UTC)}, "time zone"),
    ],
)
def test_nonsense_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        feed(**changes)


def test_loading_the_module_loads_nothing_heavy() -> None:
    heavy = {"polars", "numpy", "numba", "scipy"}
    code = f"import sys, resources.feeds.simulated; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
