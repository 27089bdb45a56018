"""The simulator's contract: formats, consistency, and what its paths may and may not depend on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from engine.alternative.series import MARKET_WIDE, OBSERVATION_COLUMNS, SERIES
from engine.market.candles import CANDLE_SCHEMA, resample
from engine.market.simulator import VERSION, MarketSimulator, SimulatedMarket
from engine.regimes.names import REGIMES

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1)
SYMBOLS = ["BTC/USDT", "ETH/USDT", "SOL/USDT"]
seeds = st.integers(0, 10_000)

# seed 7, 2000 bars: last candles, sum of each series, hours in each regime.
FROZEN: dict[str, float] = {
    "BTC/USDT close": 21306.64883107413,
    "NEW/USDT close": 0.08174354098774816,
    "BTC/USDT volume": 8102.375560746032,
    "NEW/USDT volume": 32727818.70261137,
    "commit_authors": 373.0,
    "commits": 845.0,
    "exchange_inflow": 72254811196.07042,
    "exchange_outflow": 69250365785.47258,
    "fear_greed": 3626.0,
    "funding_interval_hours": 3992.0,
    "funding_rate": 0.048923192556267876,
    "liquidation_print_usd": 61103997.46198029,
    "liquidations_long_usd": 2393161690.5865374,
    "liquidations_short_usd": 1695061707.7804925,
    "long_short_ratio": 1583.205118365506,
    "news_score": 2001.3503508654883,
    "open_interest_usd": 1981640383817.7183,
    "repository_archived": 0.0,
    "social_score": 2191.0692101751115,
    "PANIC": 261,
    "RANGE": 979,
    "TREND": 760,
}


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    return MarketSimulator(SYMBOLS).simulate(START, 12_000)


def test_candles_have_the_declared_format(market: SimulatedMarket) -> None:
    assert dict(market.candles.schema) == CANDLE_SCHEMA
    assert market.candles.equals(market.candles.sort("symbol", "ts"))
    for symbol in SYMBOLS:
        ts = market.candles.filter(pl.col("symbol") == symbol)["ts"]
        assert ts[0] == START
        assert (ts.diff().drop_nulls() == HOUR).all()
        assert len(ts) == 12_000


def test_observations_have_the_declared_format(market: SimulatedMarket) -> None:
    rows = market.observations
    assert tuple(rows.columns) == OBSERVATION_COLUMNS
    assert rows.schema["ts"] == rows.schema["available_at"] == pl.Datetime("us")
    key = ["series", "symbol", "ts", "available_at"]
    assert rows.equals(rows.sort(key))
    assert not rows.select(key).is_duplicated().any()
    assert not rows.select(pl.any_horizontal(pl.all().is_null())).to_series().any()
    assert rows["available_at"].max() <= START + 12_000 * HOUR
    assert rows["source"].unique().to_list() == [f"simulator {VERSION}"]


def test_every_series_is_there_for_every_symbol_and_plausible(market: SimulatedMarket) -> None:
    for name, series in SERIES.items():
        rows = market.observations.filter(pl.col("series") == name)
        expected = [MARKET_WIDE] if name == "fear_greed" else SYMBOLS
        assert rows["symbol"].unique().sort().to_list() == expected
        assert rows["value"].is_finite().all()
        assert rows["value"].is_between(series.lower, series.upper).all()
        for symbol in expected:
            own = rows.filter(pl.col("symbol") == symbol)["available_at"].sort()
            assert own.diff().max() < series.max_age
    assert set(market.observations["series"].unique()) == set(SERIES)


def test_truth_has_the_declared_format(market: SimulatedMarket) -> None:
    truth = market.truth
    assert dict(truth.schema) == {
        "ts": pl.Datetime("us"),
        "regime": pl.String(),
        "drift_sign": pl.Int64(),
        "jump": pl.Boolean(),
        "market_return": pl.Float64(),
    }
    signs = {name: set(truth.filter(pl.col("regime") == name)["drift_sign"]) for name in REGIMES}
    assert signs == {"TREND": {-1, 1}, "RANGE": {0}, "PANIC": {-1}}
    assert 0 < truth["jump"].sum() < 200


@settings(max_examples=25, deadline=None)
@given(seeds, st.from_regex(r"[A-Z0-9]{2,12}/USDT", fullmatch=True), st.integers(1, 3000))
def test_bars_are_consistent(seed: int, symbol: str, bars: int) -> None:
    rows = MarketSimulator([symbol], seed=seed).simulate(START, bars).candles
    ends = pl.col("open"), pl.col("close")
    assert rows.select((pl.col("low") <= pl.min_horizontal(ends)).all()).item()
    assert rows.select((pl.col("high") >= pl.max_horizontal(ends)).all()).item()
    assert rows["low"].min() > 0
    assert rows["volume"].min() > 0
    gap = np.log(rows["open"].to_numpy()[1:] / rows["close"].to_numpy()[:-1])
    size = np.log(rows["high"] / rows["low"]).to_numpy()[1:]
    assert np.all(np.abs(gap) <= 0.2 * size.max() if bars > 1 else [True])
    assert np.abs(np.log(rows["close"] / rows["open"])).max() < np.log(2.0) + 0.01


@settings(max_examples=25, deadline=None)
@given(
    seeds,
    st.integers(1, 1500),
    st.integers(1, 1500),
    st.integers(0, 23),
    st.sampled_from(["regimes", "null"]),
)
def test_the_first_bars_do_not_depend_on_how_many_follow(
    seed: int, bars: int, more: int, hour: int, mode: str
) -> None:
    simulator = MarketSimulator(["BTC/USDT", "NEW/USDT"], seed=seed, mode=mode)
    start = START + hour * HOUR
    short, long = simulator.simulate(start, bars), simulator.simulate(start, bars + more)
    end = start + bars * HOUR
    assert_frame_equal(short.candles, long.candles.filter(pl.col("ts") < end), check_exact=True)
    assert_frame_equal(short.truth, long.truth[:bars], check_exact=True)
    known = long.observations.filter(pl.col("available_at") <= end)
    assert_frame_equal(short.observations, known, check_exact=True)


def test_a_symbol_does_not_depend_on_the_others() -> None:
    alone = MarketSimulator(["ETH/USDT"], seed=3).simulate(START, 3000)
    among = MarketSimulator(["XRP/USDT", "ETH/USDT", "BTC/USDT"], seed=3).simulate(START, 3000)
    own = pl.col("symbol").is_in(["ETH/USDT", MARKET_WIDE])
    assert_frame_equal(alone.candles, among.candles.filter(own), check_exact=True)
    assert_frame_equal(alone.observations, among.observations.filter(own), check_exact=True)
    assert_frame_equal(alone.truth, among.truth, check_exact=True)


def test_same_seed_same_path_other_seed_other_path() -> None:
    first, again, other = (MarketSimulator(SYMBOLS, seed=s).simulate(START, 500) for s in (1, 1, 2))
    assert_frame_equal(first.candles, again.candles, check_exact=True)
    assert_frame_equal(first.observations, again.observations, check_exact=True)
    assert not np.isclose(first.candles["close"], other.candles["close"]).any()
    assert not np.isclose(first.truth["market_return"], other.truth["market_return"]).any()


def test_symbols_differ_beyond_the_common_factor(market: SimulatedMarket) -> None:
    wide = np.log(market.candles.pivot("symbol", index="ts", values="close").drop("ts").to_numpy())
    correlation = np.corrcoef(np.diff(wide, axis=0), rowvar=False)[np.triu_indices(3, 1)]
    assert np.all((correlation > 0.3) & (correlation < 0.9))


def test_the_path_is_anchored_at_its_start() -> None:
    simulator = MarketSimulator(SYMBOLS)
    here, there = simulator.simulate(START, 400), simulator.simulate(datetime(2020, 2, 28, 5), 400)
    assert there.candles["ts"][0] == datetime(2020, 2, 28, 5)
    assert_frame_equal(here.candles.drop("ts"), there.candles.drop("ts"), check_exact=True)
    assert_frame_equal(here.truth.drop("ts"), there.truth.drop("ts"), check_exact=True)


def test_a_start_with_a_zone_is_converted() -> None:
    simulator = MarketSimulator(["BTC/USDT"])
    aware = simulator.simulate(datetime(2024, 1, 1, tzinfo=UTC), 30)
    assert_frame_equal(aware.candles, simulator.simulate(START, 30).candles)


def test_prices_start_where_such_coins_have_traded() -> None:
    rows = MarketSimulator(["BTC/USDT", "DOGE/USDT", "QQQ/USDT"]).simulate(START, 1).candles
    first = dict(zip(rows["symbol"], rows["open"], strict=True))
    assert 10_000 < first["BTC/USDT"] < 100_000
    assert 0.01 < first["DOGE/USDT"] < 1
    assert 0.05 < first["QQQ/USDT"] < 150


def test_larger_bars_are_the_same_market() -> None:
    four = MarketSimulator(SYMBOLS, bar=4 * HOUR, seed=5).simulate(START, 1000)
    one = MarketSimulator(SYMBOLS, seed=5).simulate(START, 4000)
    assert_frame_equal(four.candles, resample(one.candles, HOUR, 4 * HOUR), check_exact=True)
    assert_frame_equal(four.observations, one.observations, check_exact=True)
    assert four.truth["ts"].to_list() == one.truth["ts"][::4].to_list()
    assert four.truth["regime"].to_list() == one.truth["regime"][3::4].to_list()
    jumped = one.truth["jump"].to_numpy().reshape(-1, 4).any(axis=1)
    assert four.truth["jump"].to_list() == jumped.tolist()
    assert jumped.any()
    assert four.truth["market_return"].sum() == pytest.approx(one.truth["market_return"].sum())


@pytest.mark.parametrize("symbol", ["BTC", "btc/usdt", "BTC/EUR", "BTC/USDT:USDT", "B/USDT", "", "BTC/USDT "])
def test_a_symbol_of_another_form_is_refused_by_name(symbol: str) -> None:
    with pytest.raises(ValueError, match="XXX/USDT") as refused:
        MarketSimulator(["ETH/USDT", symbol])
    assert repr(symbol) in str(refused.value)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"symbols": []}, "at least one symbol"),
        ({"symbols": "BTC/USDT"}, "must be a list"),
        ({"symbols": ["BTC/USDT", "BTC/USDT"]}, "repeat"),
        ({"bar": timedelta(minutes=15)}, "the recipe is hourly"),
        ({"bar": timedelta(hours=5)}, "divides a day"),
        ({"bar": timedelta(days=2)}, "divides a day"),
        ({"seed": -1}, "seed = -1"),
        ({"mode": "noise"}, "mode = 'noise'"),
    ],
)
def test_parameters_out_of_bounds_are_refused(parameters: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MarketSimulator(**{"symbols": SYMBOLS, **parameters})


def test_a_start_off_the_grid_and_no_bars_are_refused() -> None:
    with pytest.raises(ValueError, match="not the open of a bar"):
        MarketSimulator(SYMBOLS).simulate(datetime(2024, 1, 1, 0, 30), 10)
    with pytest.raises(ValueError, match="not the open of a bar"):
        MarketSimulator(SYMBOLS, bar=4 * HOUR).simulate(datetime(2024, 1, 1, 2), 10)
    with pytest.raises(ValueError, match="bars = 0"):
        MarketSimulator(SYMBOLS).simulate(START, 0)


def test_the_generator_is_frozen() -> None:
    """Results carry the version: other figures under the same version would make them incomparable."""
    market = MarketSimulator(["BTC/USDT", "NEW/USDT"]).simulate(START, 2000)
    assert market.version == VERSION == "1"
    last = market.candles.filter(pl.col("ts") == market.candles["ts"].max())
    found = {
        **{f"{row['symbol']} close": row["close"] for row in last.to_dicts()},
        **{f"{row['symbol']} volume": row["volume"] for row in last.to_dicts()},
        **dict(market.observations.group_by("series").agg(pl.sum("value")).iter_rows()),
        **dict(market.truth.group_by("regime").len().iter_rows()),
    }
    assert found == pytest.approx(FROZEN, rel=1e-9)
