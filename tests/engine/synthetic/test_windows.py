from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engine.errors import DataError, NotEnoughDataError
from engine.market.segments import segments
from engine.market.simulator import MarketSimulator
from engine.synthetic.windows import (
    CHANNELS,
    WINDOW_COLUMNS,
    PanicWindows,
    as_delivered,
    decode,
    encode,
    panic_windows,
    window_frame,
)

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1)
END = datetime(2030, 1, 1)
ONE = np.ones(1)


def market(hours: int = 1_500) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Candles of two symbols without some hours, and the true regimes as if they had been filtered."""
    simulated = MarketSimulator(["BTC/USDT", "ETH/USDT"], seed=5).simulate(START, hours)
    candles = simulated.candles.filter(
        ~pl.col("ts").is_between(START + 640 * HOUR, START + 645 * HOUR)
    ).with_columns(
        volume=pl.when(pl.col("ts") == START + 930 * HOUR).then(0.0).otherwise("volume"),
    )
    candles = candles.with_columns(segment=segments(candles, HOUR)).with_columns(
        log_return=(pl.col("close") / pl.col("close").shift(1)).log().over("symbol", "segment")
    )
    hour = (pl.col("ts") - START).dt.total_hours()
    regimes = candles.select("symbol", "ts").with_columns(
        regime=pl.when((hour // 100) % 3 == 0).then(pl.lit("PANIC")).otherwise(pl.lit("RANGE"))
    )
    return candles, regimes


CANDLES, REGIMES = market()


def found(**changes: object) -> PanicWindows:
    return panic_windows(CANDLES, REGIMES, END, **changes)  # type: ignore[arg-type]


def gapless(candles: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Open each bar where the last one closed; Wilder's true high and low."""
    closed = candles.copy()
    closed[:, :, 0] = np.concatenate([before[:, None], candles[:, :-1, 3]], axis=1)
    closed[:, :, 1] = np.maximum(candles[:, :, 1], closed[:, :, 0])
    closed[:, :, 2] = np.minimum(candles[:, :, 2], closed[:, :, 0])
    return closed


def valid(candles: np.ndarray) -> bool:
    opened, high, low, close, volume = np.moveaxis(candles, 2, 0)
    return bool(
        np.isfinite(candles).all()
        and (low > 0).all()
        and (volume > 0).all()
        and (low <= np.minimum(opened, close)).all()
        and (high >= np.maximum(opened, close)).all()
    )


def test_candles_come_back_to_a_billionth() -> None:
    windows = found()
    rows = CANDLES.with_row_index()
    first = [
        rows.filter(pl.col("symbol") == symbol, pl.col("ts") == opened)["index"][0]
        for symbol, opened in zip(windows.symbol, windows.opens.tolist(), strict=True)
    ]
    at = np.array(first)[:, None] + np.arange(30)
    ohlcv = CANDLES.select("open", "high", "low", "close", "volume").to_numpy()[at]
    expected = gapless(ohlcv, windows.before)
    back = decode(windows.values, windows.before, windows.scale, windows.level)
    np.testing.assert_allclose(back, expected, rtol=1e-9)
    again = encode(back, windows.before, windows.scale, windows.level)
    np.testing.assert_allclose(again, windows.values, atol=1e-9)
    assert windows.values.shape[2] == len(CHANNELS)


@settings(max_examples=100, deadline=None)
@given(
    arrays(np.float64, (2, 40, 4), elements=st.floats(allow_nan=False, allow_infinity=False)),
    st.floats(1e-6, 1.0),
)
def test_any_real_numbers_are_valid_candles(values: np.ndarray, scale: float) -> None:
    candles = decode(values, np.array([1.0, 60_000.0]), np.full(2, scale), np.array([1.0, 1e6]))
    assert valid(candles)
    np.testing.assert_array_equal(candles[:, 1:, 0], candles[:, :-1, 3])


def test_prices_learnt_one_by_one_are_not_candles() -> None:
    windows = found()
    candles = decode(windows.values, windows.before, windows.scale, windows.level)
    random = np.random.default_rng(0)
    independent = candles + 0.001 * candles * random.standard_normal(candles.shape)
    assert not valid(independent)
    noisy = windows.values + random.standard_normal(windows.values.shape)
    assert valid(decode(noisy, windows.before, windows.scale, windows.level))


def test_a_bar_without_a_wick_is_where_all_coordinates_below_lie() -> None:
    flat = np.array([[[1.0, 1.01, 1.0, 1.01, 5.0], [1.01, 1.02, 1.01, 1.02, 5.0]]])
    values = encode(flat, ONE, 0.01 * ONE, ONE)
    below = values.copy()
    below[:, :, 1:3] -= 3.0
    np.testing.assert_allclose(decode(below, ONE, 0.01 * ONE, ONE), decode(values, ONE, 0.01 * ONE, ONE))
    np.testing.assert_array_equal(as_delivered(below)[:, 1:], as_delivered(values)[:, 1:])


def test_windows_open_when_panic_is_known_and_hold_no_hole() -> None:
    windows = found()
    regime = {(s, t): r for s, t, r in REGIMES.iter_rows()}
    traded = {(s, t) for s, t in CANDLES.filter(pl.col("volume") > 0).select("symbol", "ts").iter_rows()}
    assert len(windows) > 20
    for symbol, opened in zip(windows.symbol.tolist(), windows.opens.tolist(), strict=True):
        assert regime[symbol, opened - HOUR] == "PANIC"
        assert sum(regime.get((symbol, opened + k * HOUR)) == "PANIC" for k in range(30)) >= 15
        assert all((symbol, opened + k * HOUR) in traded for k in range(30))


def test_a_choice_without_a_share_looks_at_nothing_inside() -> None:
    inside = pl.col("ts") > START + 390 * HOUR
    quiet = REGIMES.with_columns(regime=pl.when(inside).then(pl.lit("RANGE")).otherwise("regime"))
    kept, cut_short = (
        panic_windows(CANDLES, quiet, END, least_share=share).opens.max() for share in (0.0, 0.5)
    )
    assert kept > cut_short


def test_windows_of_a_symbol_are_a_stride_apart() -> None:
    for stride, options in ((30, {}), (7, {"stride": 7})):
        windows = found(**options)
        for symbol in ("BTC/USDT", "ETH/USDT"):
            distance = np.diff(windows.opens[windows.symbol == symbol]) / np.timedelta64(1, "h")
            assert distance.min() == stride


def test_nothing_after_the_cut_and_embargo_is_looked_at() -> None:
    cut, embargo = START + 1_000 * HOUR, timedelta(days=2)
    later = pl.col("ts") >= cut - embargo
    changed = CANDLES.with_columns(
        pl.when(later).then(pl.col(name) * 7.0).otherwise(name).alias(name)
        for name in ("high", "low", "close", "volume", "log_return")
    )
    other = REGIMES.with_columns(regime=pl.when(later).then(pl.lit("PANIC")).otherwise("regime"))
    before = panic_windows(CANDLES, REGIMES, cut, embargo=embargo)
    after = panic_windows(changed, other, cut, embargo=embargo)
    assert before.known_at is not None
    assert before.known_at <= cut - embargo
    for name in ("values", "scale", "level", "opens", "episode"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))


def test_a_window_depends_on_nothing_that_follows_it() -> None:
    whole = found()
    part = panic_windows(CANDLES, REGIMES, START + 650 * HOUR)
    kept = whole.take(whole.opens + np.timedelta64(30, "h") <= np.datetime64(START + 650 * HOUR))
    np.testing.assert_array_equal(kept.values, part.values)


def test_symbols_share_the_episodes_of_the_market() -> None:
    windows = found()
    for episode in np.unique(windows.episode):
        opens = np.sort(windows.opens[windows.episode == episode])
        assert (np.diff(opens) <= np.timedelta64(30, "h")).all()
    per_episode = [set(windows.symbol[windows.episode == e].tolist()) for e in np.unique(windows.episode)]
    assert {"BTC/USDT", "ETH/USDT"} in per_episode
    of_episode = [windows.opens[windows.episode == e] for e in np.unique(windows.episode)]
    for before, after in pairwise(of_episode):
        assert after.min() - before.max() > np.timedelta64(30, "h")


def test_a_pause_longer_than_a_window_ends_an_episode() -> None:
    hour = (pl.col("ts") - START).dt.total_hours()
    panic = hour.is_between(150, 179) | hour.is_between(195, 224)
    regimes = REGIMES.with_columns(regime=pl.when(panic).then(pl.lit("PANIC")).otherwise(pl.lit("RANGE")))
    windows = panic_windows(CANDLES, regimes, END)
    opened = (windows.opens - np.datetime64(START)) // np.timedelta64(1, "h")
    assert opened.tolist() == [151, 196] * 2
    assert windows.episode.tolist() == [0, 1] * 2


def test_scale_is_what_was_usual_before_the_window() -> None:
    windows = found(memory=50)
    symbol, opened = str(windows.symbol[3]), windows.opens[3].item()
    past = (
        CANDLES.filter(pl.col("symbol") == symbol, pl.col("ts") < opened)["log_return"]
        .drop_nulls()
        .to_numpy()
    )
    weight = 0.5 ** (np.arange(len(past))[::-1] / 50)
    assert windows.scale[3] == pytest.approx(np.sqrt((weight * past**2).sum() / weight.sum()), rel=1e-9)


def test_the_frame_rebases_every_window() -> None:
    windows = found()
    frame = windows.frame()
    assert tuple(frame.columns) == WINDOW_COLUMNS
    assert frame.height == 30 * len(windows)
    assert frame.filter(pl.col("step") == 0)["open"].to_list() == pytest.approx([1.0] * len(windows))
    assert not frame["synthetic"].any()
    assert frame["ts"].to_list()[30] == windows.opens[1].item()
    made = window_frame(windows.values, windows.scale, synthetic=True)
    assert made["synthetic"].all()
    assert made["ts"].null_count() == made.height
    assert made.schema == frame.schema


def test_refusals() -> None:
    with pytest.raises(NotEnoughDataError, match="opens in PANIC"):
        panic_windows(CANDLES, REGIMES, START + timedelta(days=2))
    with pytest.raises(ValueError, match="stride 0"):
        found(stride=0)
    with pytest.raises(ValueError, match=r"least_share = 1\.1"):
        found(least_share=1.1)
    with pytest.raises(DataError, match="sort by symbol and ts"):
        panic_windows(CANDLES.reverse(), REGIMES, END)
