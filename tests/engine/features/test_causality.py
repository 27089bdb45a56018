"""Look-back of expressions, and the refusal of those that read the future or never forget."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.features.causality import look_back

x, y = pl.col("x"), pl.col("y")


@pytest.mark.parametrize(
    ("expr", "bars"),
    [
        (x, 0),
        (pl.lit(2.0) * x.log().abs() ** 2, 0),
        (x.shift(3), 3),
        (x.diff(2), 2),
        (x.rolling_mean(5), 4),
        (x.shift(1).rolling_std(24), 24),
        (x.rolling_mean(24).rolling_max(3), 25),
        ((x / x.shift(24)).log() - y.rolling_mean(168), 167),
        (pl.when(x > x.shift(7)).then(y).otherwise(0.0), 7),
        (pl.max_horizontal(x - y, x.shift(1)), 1),
        (pl.rolling_corr(x, x.shift(1), window_size=72), 72),
        (pl.col("ts").dt.hour().cast(pl.Float64).sin(), 0),
        (x.is_finite() & ~y.is_between(0, 1), 0),
        (x.clip(lower_bound=0).alias("z"), 0),
        (x.ewm_mean(span=5), 69),
    ],
)
def test_look_back(expr: pl.Expr, bars: int) -> None:
    assert look_back(expr) == bars


def test_columns_that_are_computed_bring_their_own() -> None:
    assert look_back(x.rolling_mean(5) - y, {"x": 10, "y": 3}) == 14


@pytest.mark.parametrize(
    ("expr", "named"),
    [
        (x.shift(-1), "Shift by -1 bars reads the future"),
        (x.diff(-2), "Diff by -2 bars reads the future"),
        (x.rolling_mean(5, center=True), "centred"),
        (x.backward_fill(), "FillNullWithStrategy"),
        (x.fill_null(strategy="backward"), "FillNullWithStrategy"),
        (x.forward_fill(), "FillNullWithStrategy"),
        (x.fill_null(0.0), "FillNull"),
        (x.interpolate(), "Interpolate"),
        ((x - x.mean()) / x.std(), "Agg"),
        (x.quantile(0.5), "Quantile"),
        (x.cum_sum(), "CumSum"),
        (x.rank(), "Rank"),
        (x.reverse().shift(3).reverse(), "Reverse"),
        (x.sum().over("y"), "Over"),
        (x.is_duplicated(), "IsDuplicated"),
        (x.any(), "Any"),
        (x.shift(pl.len()), "fixed number"),
        (x.rolling_map(lambda window: window.mean(), 3), "rolling_map"),
        (x.map_batches(lambda column: column), "AnonymousFunction"),
        (x + pl.lit(pl.Series([1.0, 2.0])), "Literal"),
        (x.rolling_mean_by("y", "2h"), "RollingExprBy"),
        (x.sort(), "Sort"),
        (x.clip(upper_bound=y.max()), "Agg"),
    ],
)
def test_what_reads_the_future_or_never_forgets_is_refused(expr: pl.Expr, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        look_back(expr)


windows = st.integers(1, 12)
expressions = st.recursive(
    st.just(x),
    lambda inner: st.one_of(
        st.builds(lambda e, w: e.shift(w), inner, windows),
        st.builds(lambda e, w: e.rolling_mean(w), inner, windows),
        st.builds(lambda e, w: e.rolling_max(w), inner, windows),
        st.builds(lambda a, b: a - 2.0 * b, inner, inner),
    ),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(expr=expressions)
def test_the_last_row_depends_on_exactly_as_many_bars(expr: pl.Expr) -> None:
    frame = pl.DataFrame({"x": np.random.default_rng(0).normal(size=200)})
    bars = look_back(expr)
    whole = frame.select(expr).to_series()[-1]
    assert frame.tail(bars + 1).select(expr).to_series()[-1] == pytest.approx(whole, rel=1e-9, abs=1e-12)
    if bars:
        assert frame.tail(bars).select(expr).to_series()[-1] is None
