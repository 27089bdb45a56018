from __future__ import annotations

from dataclasses import fields, replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.alternative.features import alternative_features
from engine.errors import DataError, NotEnoughDataError
from engine.evaluation.costs import Costs
from engine.tuning.liquidity import measured_half_spread
from engine.tuning.market_state import _COLUMNS, WARMUP, StateTape, state_tape
from engine.tuning.trailing import trailing_mean, trailing_percentile

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1)


def candles_of(close, symbol="A/USDT", spread=0.004, volume=1000.0, start=START) -> pl.DataFrame:
    """Bars whose closes are given and that begin where the one before ended."""
    close = np.asarray(close, float)
    open_ = np.append(close[0], close[:-1])
    return pl.DataFrame(
        {
            "symbol": symbol,
            "ts": [start + i * HOUR for i in range(close.size)],
            "open": open_,
            "high": np.maximum(open_, close) * (1.0 + spread),
            "low": np.minimum(open_, close) * (1.0 - spread),
            "close": close,
            "volume": np.full(close.size, volume),
        }
    )


def walked(bars: int, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return candles_of(100 * np.exp(np.cumsum(0.006 * rng.standard_t(4, bars))))


def columns(tape: StateTape, rows=slice(None)) -> dict[str, np.ndarray]:
    return {name: getattr(tape, name)[rows] for name in _COLUMNS}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(one[name], other[name], equal_nan=True) for name in one)


# ------------------------------------------------------------------------------------- definitions


def test_every_figure_is_what_its_definition_says():
    candles = walked(900)
    tape = state_tape(candles, None, HOUR)
    close, high, low = (candles[name].to_numpy() for name in ("close", "high", "low"))
    log_return = np.append(np.nan, np.diff(np.log(close)))
    volatility = np.full(900, np.nan)
    for t in range(24, 900):
        volatility[t] = np.sqrt(np.mean(log_return[t - 23 : t + 1] ** 2))
    broken = 0
    for t in range(49, 900):
        past = close[t - 48 : t]
        assert tape.mean[t] == pytest.approx(past.mean(), rel=1e-12)
        assert tape.zscore[t] == pytest.approx((close[t] - past.mean()) / past.std(), rel=1e-9)
        expected = int(close[t] > high[t - 48 : t].max()) - int(close[t] < low[t - 48 : t].min())
        assert tape.breakout_side[t] == expected
        broken += abs(expected)
        earlier = volatility[max(t - 719, 0) : t]
        earlier = earlier[np.isfinite(earlier)]
        if earlier.size >= 360:
            assert tape.volatility_percentile[t] == pytest.approx(100 * np.mean(earlier < volatility[t]))
        else:
            assert np.isnan(tape.volatility_percentile[t])
    assert broken > 20


def test_figures_are_unknown_until_their_windows_are_full():
    tape = state_tape(walked(500), None, HOUR)
    assert np.isnan(tape.zscore[:48]).all()
    assert not np.isnan(tape.zscore[48:]).any()
    assert (tape.breakout_side[:49] == 0).all()
    first = 24 + 360
    assert np.isnan(tape.volatility_percentile[:first]).all()
    assert not np.isnan(tape.volatility_percentile[first:]).any()
    assert np.isnan(tape.expected_cost_bps[:11]).all()
    assert not np.isnan(tape.expected_cost_bps[11:]).any()
    assert np.isnan(tape.social_strength).all()
    assert tape.state(0).news_direction == 0


def test_equal_values_count_half_and_unknown_ones_not_at_all():
    values = np.array([1.0, 2.0, np.nan, 2.0, 2.0, 3.0])
    first = np.zeros(6, np.int64)
    assert trailing_percentile(values, first, 3)[4] == pytest.approx(100 * (1 + 0.5 * 2) / 3)
    assert np.isnan(trailing_percentile(values, first, 3)[2:4]).all()
    mean, error = trailing_mean(values, first, 1)
    assert mean[3] == pytest.approx(5 / 3)
    assert error[3] == pytest.approx(np.std([1, 2, 2], ddof=1) / np.sqrt(3))
    assert np.isnan(error[0])


def test_an_outage_costs_the_channel_its_hours_but_the_percentile_keeps_its_month():
    candles = walked(1000)
    holed = candles.filter(~pl.int_range(pl.len()).is_between(700, 704))
    tape = state_tape(holed, None, HOUR)
    after = slice(700, 748)
    assert np.isnan(tape.zscore[after]).all()
    assert np.isfinite(tape.zscore[748])
    assert np.isnan(tape.volatility_percentile[700:724]).all()
    assert np.isfinite(tape.volatility_percentile[724])
    assert np.isfinite(tape.expected_cost_bps[after]).all()


def test_after_a_delisting_everything_begins_anew():
    candles = walked(1600)
    holed = candles.filter(~pl.int_range(pl.len()).is_between(700, 773))
    tape = state_tape(holed, None, HOUR)
    alone = state_tape(candles[774:], None, HOUR)
    assert same(columns(tape, slice(700, None)), columns(alone))


# ------------------------------------------------------------------------------------- nothing from later


def test_nothing_depends_on_the_future(simulated):
    """All that became known after a moment is made different; whatever was known by then stays as it was."""
    candles, observations = simulated.candles, simulated.observations
    moment = START + 2000 * HOUR
    later = pl.col("ts") + HOUR > moment
    prices = [
        pl.when(later).then(pl.col(c) * 1.3).otherwise(pl.col(c)) for c in ("open", "high", "low", "close")
    ]
    changed = candles.with_columns(
        *prices, pl.when(later).then(7.0).otherwise(pl.col("volume")).alias("volume")
    )
    unheard = pl.col("available_at") > moment
    rewritten = observations.with_columns(
        pl.when(unheard).then(0.99).otherwise(pl.col("value")).alias("value")
    )
    tape, other = state_tape(candles, observations, HOUR), state_tape(changed, rewritten, HOUR)
    past = tape.ts + np.timedelta64(HOUR) <= np.datetime64(moment, "us")
    assert same(columns(tape, past), columns(other, past))
    for name in ("volatility_percentile", "zscore", "social_strength", "expected_cost_bps"):
        assert not np.array_equal(getattr(tape, name)[~past], getattr(other, name)[~past], equal_nan=True)


def test_a_short_history_gives_the_same_state_bit_for_bit(simulated, simulated_tape):
    """What runs live sees the warm-up alone."""
    since = simulated.candles["ts"].max() - WARMUP
    live = state_tape(simulated.candles.filter(pl.col("ts") >= since), simulated.observations, HOUR)
    for symbol in live.symbols:
        now, whole = live.rows_of(symbol)[-1:], simulated_tape.rows_of(symbol)[-1:]
        assert same(columns(live, now), columns(simulated_tape, whole))


def test_a_window_keeps_its_states_warm(simulated_tape):
    start, end = START + 1000 * HOUR, START + 1500 * HOUR
    window = simulated_tape.between(start, end)
    rows = (simulated_tape.ts >= np.datetime64(start)) & (simulated_tape.ts < np.datetime64(end))
    assert same(columns(window), columns(simulated_tape, rows))
    assert (len(window), window.symbols, window.ts[0]) == (1000, simulated_tape.symbols, np.datetime64(start))
    assert np.array_equal(window.close, simulated_tape.close[rows])
    alone = window.of("ETH/USDT")
    assert alone.symbols == ("ETH/USDT",)
    assert same(columns(alone), columns(window, window.rows_of("ETH/USDT")))
    assert alone.state(3) == window.state(int(window.rows_of("ETH/USDT")[3]))
    with pytest.raises(NotEnoughDataError, match="no bar opens"):
        simulated_tape.between(end, end)
    with pytest.raises(ValueError, match="holds BTC/USDT, ETH/USDT"):
        simulated_tape.rows_of("XRP/USDT")


# ------------------------------------------------------------------------------------- scores


def observed(value: float, available_at: datetime, series: str = "social_score") -> pl.DataFrame:
    row = {"series": series, "symbol": "A/USDT", "ts": START, "available_at": available_at, "value": value}
    return pl.DataFrame([row]).with_columns(pl.col("ts", "available_at").dt.cast_time_unit("us"))


@pytest.mark.parametrize(
    ("value", "strength", "direction"), [(1.0, 1.0, 1), (0.875, 0.75, 1), (0.5, 0.0, 0), (0.1, 0.8, -1)]
)
def test_a_share_of_favourable_items_is_a_strength_and_a_direction(value, strength, direction):
    tape = state_tape(walked(10), observed(value, START + HOUR), HOUR)
    state = tape.state(0)
    assert (state.social_strength, state.social_direction) == (pytest.approx(strength), direction)
    assert np.isnan(state.news_strength)


def test_a_score_counts_from_its_publication_until_it_is_stale():
    just = timedelta(microseconds=1)
    tape = state_tape(walked(30), observed(0.9, START + 3 * HOUR + just), HOUR)
    known = np.isfinite(tape.social_strength)
    # Known at the close of bar 3 at the earliest, and for twelve hours.
    assert np.flatnonzero(known).tolist() == list(range(3, 15))
    assert not np.isfinite(state_tape(walked(30), observed(1.5, START), HOUR).social_strength).any()


def test_rows_of_features_and_observations_with_vintages_give_the_same(simulated, simulated_tape):
    features = alternative_features(simulated.candles, simulated.observations, HOUR)
    tape = state_tape(simulated.candles, features, HOUR, funding=simulated.observations)
    assert same(columns(tape), columns(simulated_tape))
    assert np.array_equal(tape.funding, simulated_tape.funding)
    assert tape.funding.any()
    assert not state_tape(simulated.candles, features, HOUR).funding.any()


def test_a_perpetual_is_charged_the_funding_of_its_asset():
    candles = walked(30).with_columns(symbol=pl.lit("A/USDT:USDT"))
    rates = observed(0.001, START + 8 * HOUR, "funding_rate").with_columns(
        ts=pl.lit(START + 8 * HOUR).cast(pl.Datetime("us"))
    )
    assert np.flatnonzero(state_tape(candles, rates, HOUR).funding[:, 0]).tolist() == [8]


# ------------------------------------------------------------------------------------- what a fill costs


def bounced(half_spread: float, bars: int, seed: int) -> tuple[np.ndarray, ...]:
    """High, low and close of hourly bars of minutes that trade at bid or ask at random."""
    rng = np.random.default_rng(seed)
    efficient = np.cumsum(0.0007 * rng.normal(size=(bars, 60)).ravel()).reshape(bars, 60)
    traded = efficient + half_spread * rng.choice([-1.0, 1.0], size=(bars, 60))
    return np.exp(traded.max(axis=1)), np.exp(traded.min(axis=1)), np.exp(traded[:, -1])


def measured(high, low, close) -> np.ndarray:
    n = close.size
    first = np.maximum(np.arange(n) - 719, 0)
    return measured_half_spread(high, low, close, np.arange(n) > 0, first, 360)


def test_a_wide_spread_is_found_and_noise_is_not_taken_for_one():
    wide = np.median([measured(*bounced(0.004, 720, seed))[-1] for seed in range(20)])
    assert 0.6 * 0.004 < wide < 1.05 * 0.004
    none = np.array([measured(*bounced(0.0, 720, seed))[-1] for seed in range(60)])
    assert (none > 0).mean() < 0.12


def test_expected_cost_by_hand():
    tape = state_tape(
        candles_of(np.full(60, 50.0), volume=400.0), None, HOUR, Costs(4.0, 1.5, 80.0), capital=9000.0
    )
    # A third of the capital is the usual order: 3,000 of the 20,000 that are traded in a bar.
    assert tape.expected_cost_bps[-1] == pytest.approx(4.0 + 1.5 + 80.0 * np.sqrt(3000 / 20000))
    dry = candles_of(np.full(60, 50.0), volume=0.0)
    assert np.isnan(state_tape(dry, None, HOUR).expected_cost_bps).all()


def binding(tape: StateTape, symbol: str) -> float:
    cost = tape.expected_cost_bps[tape.rows_of(symbol)]
    return float((cost[np.isfinite(cost)] > 8.0).mean())


def test_the_default_cost_cap_binds_now_and_then(simulated_tape):
    assert 0.02 < binding(simulated_tape, "BTC/USDT") < 0.98
    assert 0.02 < binding(simulated_tape, "ETH/USDT") < 0.98


def test_the_default_cost_cap_binds_now_and_then_on_recorded_markets(recorded):
    for symbol, candles in recorded():
        if symbol in ("BTC/USDT", "ETH/USDT"):
            tape = state_tape(candles.filter(pl.col("ts") >= datetime(2022, 9, 1)), None, HOUR)
            assert 0.05 < binding(tape, symbol) < 0.95


# ------------------------------------------------------------------------------------- refusals


def test_what_cannot_be_read_is_refused_by_name():
    candles = walked(60)
    with pytest.raises(DataError, match="column 'high'"):
        state_tape(candles.drop("high"), None, HOUR)
    with pytest.raises(DataError, match="two candles"):
        state_tape(pl.concat([candles, candles[:1]]), None, HOUR)
    with pytest.raises(DataError, match="column 'social_score'"):
        state_tape(candles, candles, HOUR)
    with pytest.raises(ValueError, match="divide the channel"):
        state_tape(candles, None, timedelta(hours=7))
    with pytest.raises(ValueError, match="capital = 0"):
        state_tape(candles, None, HOUR, capital=0.0)


def test_a_changed_tape_is_laid_out_anew(simulated_tape):
    changed = replace(simulated_tape, zscore=np.full(len(simulated_tape), np.nan))
    assert changed.ground is not simulated_tape.ground
    assert {field.name for field in fields(StateTape)} >= set(_COLUMNS)
