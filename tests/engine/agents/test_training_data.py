"""A training window cut in two: nothing of the second part, or of what comes after, is learned from."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.agents.tape import MarketTape
from engine.agents.training_data import TrainingData, learning_part, published_features, training_data
from engine.errors import NotEnoughDataError
from engine.evaluation.splits import Window
from engine.features.scaling import Scaler

START, HOUR = datetime(2024, 1, 1), timedelta(hours=1)
FEATURES = ("lead", "noise")
HOURS = 400
WINDOW = Window(START + 20 * HOUR, START + 320 * HOUR)
CUT = START + 260 * HOUR
"""End of the part to learn from, at a validation share of a fifth."""


def market(
    seed: int = 0, hours: int = HOURS, symbols: tuple[str, ...] = ("AAA/USDT", "BBB/USDT")
) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.concat(
        pl.DataFrame(
            {
                "symbol": symbol,
                "ts": [START + i * HOUR for i in range(hours)],
                "segment": 0,
                "open": 100 * np.exp(np.cumsum(0.01 * rng.standard_normal(hours))),
                "funding": rng.normal(0, 1e-4, hours),
                "volatility": 0.01,
                "p_trend": 0.5,
                "p_range": 0.3,
                "p_panic": 0.2,
                "lead": rng.normal(3.0, 2.0, hours),
                "noise": rng.standard_t(3, hours),
            }
        )
        for symbol in symbols
    )


def cut(
    rows: pl.DataFrame, synthetic: pl.DataFrame | None = None, purge: timedelta = 3 * HOUR
) -> TrainingData:
    return training_data(rows, FEATURES, WINDOW, purge=purge, validation_share=0.2, synthetic=synthetic)


def assert_equal(one: MarketTape, other: MarketTape) -> None:
    for field in fields(MarketTape):
        np.testing.assert_array_equal(
            getattr(one, field.name), getattr(other, field.name), err_msg=field.name
        )


def changed(rows: pl.DataFrame, where: pl.Expr) -> pl.DataFrame:
    """Other features, prices and volatilities where it says."""
    return rows.with_columns(
        pl.when(where).then(pl.col(name) * 7.0 + 1.0).otherwise(name).alias(name)
        for name in ("lead", "noise", "open", "volatility")
    )


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0.02, 0.98), purge=st.integers(1, 400), hours=st.integers(10, 300))
def test_the_purge_is_whole_or_the_window_refused(share: float, purge: int, hours: int) -> None:
    window = Window(START, START + hours * HOUR)
    rows = market(hours=300, symbols=("AAA/USDT",))
    try:
        data = training_data(rows, FEATURES, window, purge=purge * HOUR, validation_share=share)
    except NotEnoughDataError:
        # A position to validate on is held over the last bar before the window ends, decided on two before;
        # and there are two bars to fit a scaler on before the cut.
        opens = np.ceil(hours * (1.0 - share) + purge - 1e-9)
        assert opens >= hours - 2 or np.ceil(hours * (1.0 - share) - 1e-9) < 2
        return
    end = learning_part(window, share).end
    assert data.train.ts.max().item() < end
    assert data.validation.ts.min().item() >= end + purge * HOUR
    assert data.validation.ts.max().item() == window.end - HOUR
    assert data.validation.ts.min().item() < end + (purge + 1) * HOUR, "and no longer than asked for"


def test_a_purge_that_takes_all_of_the_second_part_is_refused() -> None:
    assert len(cut(market(), purge=57 * HOUR).validation) == 6
    for purge in (59, 60, 61, 500):
        with pytest.raises(NotEnoughDataError, match="give a longer training window"):
            cut(market(), purge=purge * HOUR)


@pytest.mark.parametrize(("first", "last", "part"), [(0, 262, "validate on"), (261, 400, "learn from")])
def test_a_part_without_a_row_is_refused(first: int, last: int, part: str) -> None:
    rows = market().filter(pl.col("ts").is_between(START + first * HOUR, START + last * HOUR, closed="left"))
    with pytest.raises(NotEnoughDataError, match=f"no row to {part}"):
        cut(rows)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="validation_share"):
        learning_part(WINDOW, share)


def test_no_decision_of_a_part_earns_after_its_end() -> None:
    data = cut(market())
    for tape, end in ((data.train, CUT), (data.validation, WINDOW.end)):
        deciding = tape.ts[tape.decisions_left > 0]
        assert deciding.max().item() == end - 3 * HOUR, "filled at the next open, settled at the one after"
        assert np.isnan(tape.growth[tape.decisions_left == 0]).all()


def test_the_scaler_is_fitted_on_what_is_learned_from_alone() -> None:
    rows = market()
    data = cut(rows)
    learned = Window(WINDOW.start, CUT)
    assert data.scaler.window == learned
    assert data.scaler.fingerprint() == Scaler.fit(rows, FEATURES, learned).fingerprint()
    later = cut(changed(rows, pl.col("ts") >= CUT))
    assert later.scaler.fingerprint() == data.scaler.fingerprint()
    assert_equal(later.train, data.train)
    assert (later.validation.x != data.validation.x).any()
    earlier = cut(changed(rows, pl.col("ts") == CUT - HOUR))
    assert earlier.scaler.fingerprint() != data.scaler.fingerprint()


def test_nothing_outside_of_the_window_is_looked_at() -> None:
    rows = market()
    data, other = cut(rows), cut(changed(rows, ~WINDOW.mask()))
    assert other.scaler.fingerprint() == data.scaler.fingerprint()
    assert_equal(other.train, data.train)
    assert_equal(other.validation, data.validation)
    assert data.window == WINDOW


def test_synthetic_rows_are_learned_from_and_change_nothing_else() -> None:
    """Even with moments of the second part, which mean nothing."""
    rows = market()
    late = pl.col("ts").is_between(CUT + 10 * HOUR, CUT + 30 * HOUR)
    invented = market(seed=9).filter(late).with_columns(synthetic=True, lead=pl.lit(50.0))
    alone, data = cut(rows), cut(rows, invented)
    assert_equal(data.validation, alone.validation)
    assert not data.validation.synthetic.any()
    assert data.scaler.fingerprint() == alone.scaler.fingerprint()
    real = len(alone.train)
    assert data.train.synthetic.tolist() == [False] * real + [True] * invented.height
    np.testing.assert_array_equal(data.train.x[:real], alone.train.x)
    assert (data.train.x[real:, 0] == data.scaler.clip).all(), "in the units of what is real"
    assert (np.diff(data.train.run)[real - 1]) == 1, "no episode leads from one into the other"
    assert_equal(cut(rows, invented.clear()).train, alone.train)


def test_rows_without_a_volatility_are_left_out() -> None:
    gone = pl.col("ts").is_between(START + 50 * HOUR, START + 51 * HOUR)
    rows = market().with_columns(volatility=pl.when(~gone).then(pl.col("volatility")))
    data, whole = cut(rows), cut(market())
    assert len(whole.train) - len(data.train) == 4
    assert len(np.unique(data.train.run)) == 4, "no return is earned across the hole"


def test_what_is_published_too_late_to_be_learned_from_is_left_out() -> None:
    """Values while there is no volatility do not count: these rows are not trained on."""
    rows = market().with_columns(
        late=pl.when(pl.col("ts") >= CUT).then("lead"),
        early=pl.when(pl.col("ts") < START + 30 * HOUR).then("lead"),
        volatility=pl.when(pl.col("ts") >= START + 30 * HOUR).then("volatility"),
    )
    part = learning_part(WINDOW, 0.2)
    assert published_features(rows, ("noise", "late", "early", "lead"), part) == ("noise", "lead")
