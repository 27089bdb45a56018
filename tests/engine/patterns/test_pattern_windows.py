from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.errors import DataError
from engine.evaluation.splits import Window
from engine.features.catalogue import CATALOGUE
from engine.features.scaling import Scaler
from engine.patterns.windows import LENGTH, PatternWindows, fit_scaler, price_free

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1)


def moments(*stretches):
    """Hours since the start, as datetimes."""
    return np.concatenate(
        [np.datetime64(START, "us") + np.arange(a, b) * np.timedelta64(HOUR) for a, b in stretches]
    )


def windows(ts, symbol=None, width=2, known=None):
    symbol = np.zeros(len(ts), np.int16) if symbol is None else np.asarray(symbol, np.int16)
    x = np.arange(len(ts) * width, dtype=np.float32).reshape(-1, width)
    return PatternWindows(("A", "B"), symbol, ts, x, HOUR, known)


def rows(seed, n=500, price=100.0):
    random = np.random.default_rng(seed)
    values = {name: random.normal(size=n) for name in CATALOGUE.columns}
    ts = [START + k * HOUR for k in range(n)]
    values["amihud_24"] = np.cumsum(random.normal(0, 0.1, n)) - np.log(price)
    return pl.DataFrame({"symbol": "A", "ts": pl.Series(ts).cast(pl.Datetime("us")), **values})


def test_a_window_ends_where_its_thirty_bars_follow_each_other():
    """Forty bars, a hole, thirty bars, a hole, twenty bars, then another symbol."""
    ts = np.concatenate([moments((0, 40), (41, 71), (80, 100)), moments((0, 31))])
    made = windows(ts, [0] * 90 + [1] * 31)
    assert made.ends.tolist() == [*range(29, 40), 69, 119, 120]
    for end in made.ends:
        inside = slice(end - LENGTH + 1, end + 1)
        assert len(set(made.run[inside])) == 1
        assert (np.diff(made.ts[inside]) == np.timedelta64(HOUR)).all()


def test_bars_without_features_are_in_no_window():
    known = np.ones(100, bool)
    known[[3, 50]] = False
    assert windows(moments((0, 100)), known=known).ends.tolist() == [*range(33, 50), *range(80, 100)]


def test_views_share_the_memory_of_the_bars_and_batches_hold_the_bars_in_order():
    made = windows(moments((0, 100)), width=3)
    assert np.shares_memory(made.views, made.x)
    assert made.views.shape == (71, LENGTH, 3)
    np.testing.assert_array_equal(made.batch(np.array([29, 64])), [made.x[:30], made.x[35:65]])


def test_every_fifth_is_the_same_moment_for_all_symbols():
    made = windows(np.concatenate([moments((0, 60)), moments((2, 60))]), [0] * 60 + [1] * 58)
    ends = made.every(5)
    hours = made.ts[ends].astype("datetime64[h]").astype(int)
    assert (hours % 5 == 0).all()
    assert set(hours[made.symbol[ends] == 1]) <= set(hours[made.symbol[ends] == 0])
    with pytest.raises(ValueError, match="stride = 0"):
        made.every(0)


def test_disorder_is_refused():
    with pytest.raises(DataError, match="row 3"):
        windows(moments((0, 2), (1, 3)))
    with pytest.raises(DataError, match="alternate"):
        windows(moments((0, 3)), [0, 1, 0])
    ts = moments((0, 3))
    with pytest.raises(DataError, match="not finite"):
        PatternWindows(("A",), np.zeros(3, np.int16), ts, np.full((3, 1), np.nan, np.float32), HOUR)


def test_a_price_in_other_units_changes_nothing_and_the_plain_feature_would():
    """A8.2: prices times 1000 move log illiquidity, as the catalogue has it, by ln 1000."""
    usual, dear = rows(1), rows(1, price=100_000.0)
    window = Window(START, START + 300 * HOUR)
    scaler = fit_scaler(usual, window, HOUR)
    one, other = (PatternWindows.from_frame(frame, scaler, HOUR) for frame in (usual, dear))
    np.testing.assert_allclose(one.x, other.x, atol=1e-4)
    plainly = Scaler.fit(usual, CATALOGUE.columns, window)
    plain = [plainly.transform(frame)["amihud_24"].to_numpy() for frame in (usual, dear)]
    assert np.abs(plain[0] - plain[1]).max() > 1.0


def test_scaling_uses_the_past_alone():
    """Truncation: rows up to a bar are bit-identical without those after it, and so is the scaler."""
    whole = rows(2)
    window = Window(START, START + 300 * HOUR)
    scaler = fit_scaler(whole, window, HOUR)
    assert scaler.fingerprint() == fit_scaler(whole[:300], window, HOUR).fingerprint()
    changed = whole.with_columns(
        pl.when(pl.int_range(pl.len()) >= 400).then(1e3).otherwise(pl.col(name)).alias(name)
        for name in CATALOGUE.columns
    )
    full, cut = (PatternWindows.from_frame(f, scaler, HOUR) for f in (changed, whole[:400]))
    np.testing.assert_array_equal(full.x[:400], cut.x)


def test_the_mean_of_illiquidity_does_not_reach_across_a_gap():
    gap = rows(3).filter(pl.int_range(pl.len()).is_between(240, 250).not_())
    after = price_free(gap, HOUR)["amihud_24"][240 : 240 + 83]
    assert after.null_count() == 83


def test_missing_features_are_zero_and_unknown_bars_make_no_window():
    frame = rows(4).with_columns(
        pl.when(pl.int_range(pl.len()) < 100).then(None).otherwise(pl.col(name)).alias(name)
        for name in CATALOGUE.columns[:26]
    )
    scaler = fit_scaler(frame, Window(START, START + 400 * HOUR), HOUR)
    made = PatternWindows.from_frame(frame, scaler, HOUR)
    assert (made.x[:100, :26] == 0).all()
    assert made.ends[0] == 100 + LENGTH - 1
