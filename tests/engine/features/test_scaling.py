"""The scaler sees its training window alone."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.errors import DataError, NotEnoughDataError
from engine.evaluation.splits import Window
from engine.features.scaling import Scaler, scalable

START = datetime(2024, 1, 1)
TRAIN = Window(START, START + timedelta(hours=500))


def frame(seed: int = 0, rows: int = 1000) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "ts": pl.Series([START + timedelta(hours=i) for i in range(rows)], dtype=pl.Datetime("us")),
            "a": random.normal(5.0, 2.0, rows),
            "b": random.exponential(1.0, rows),
            "constant": np.full(rows, 0.1),
            "rare": (np.arange(rows) % 10 == 0).astype(float),
        }
    )


COLUMNS = ["a", "b", "constant", "rare"]


@pytest.mark.parametrize("method", ["robust", "standard"])
def test_the_future_and_the_past_of_the_window_do_not_reach_the_statistics(method: str) -> None:
    data = frame()
    changed = data.with_columns(
        pl.when(TRAIN.mask()).then(pl.col(c)).otherwise(pl.col(c) * 1e6).alias(c) for c in COLUMNS
    )
    assert Scaler.fit(data, COLUMNS, TRAIN, method).fingerprint() == (
        Scaler.fit(changed, COLUMNS, TRAIN, method).fingerprint()
    )
    only = data.filter(TRAIN.mask())
    assert Scaler.fit(data, COLUMNS, TRAIN, method).fingerprint() == (
        Scaler.fit(only, COLUMNS, TRAIN, method).fingerprint()
    )


def test_statistics_are_those_of_the_definition() -> None:
    train = frame().filter(TRAIN.mask())["a"].to_numpy()
    assert train.size == 500
    robust = Scaler.fit(frame(), ["a"], TRAIN)
    assert robust.center[0] == pytest.approx(np.median(train))
    assert robust.scale[0] == pytest.approx(np.subtract(*np.percentile(train, [75, 25])) / 1.349)
    standard = Scaler.fit(frame(), ["a"], TRAIN, "standard")
    assert (standard.center[0], standard.scale[0]) == pytest.approx((train.mean(), train.std(ddof=1)))


def test_a_constant_becomes_zero_and_a_rare_event_keeps_a_scale() -> None:
    scaler = Scaler.fit(frame(), COLUMNS, TRAIN)
    out = scaler.transform(frame())
    assert out["constant"].abs().max() == pytest.approx(0.0)
    assert out["rare"].unique().sort().to_list() == pytest.approx([0.0, 1.0 / scaler.scale[3]])


def test_missing_stays_missing_and_extremes_are_clipped() -> None:
    scaler = Scaler.fit(frame(), ["a"], TRAIN, clip=3.0)
    odd = pl.DataFrame({"a": [None, float("nan"), float("inf"), 1e9, -1e9], "other": [1, 2, 3, 4, 5]})
    out = scaler.transform(odd)
    assert out["a"].to_list() == [None, None, None, 3.0, -3.0]
    assert out["other"].to_list() == [1, 2, 3, 4, 5]


def test_stored_and_loaded_it_transforms_to_the_same_bits() -> None:
    scaler = Scaler.fit(frame(), COLUMNS, TRAIN, clip=4.0)
    loaded = Scaler.from_arrays(scaler.to_arrays())
    assert loaded.window == TRAIN
    assert loaded.columns == tuple(COLUMNS)
    assert loaded.transform(frame(1)).equals(scaler.transform(frame(1)))
    assert loaded.fingerprint() == scaler.fingerprint()


def test_missing_values_do_not_reach_the_statistics() -> None:
    holes = frame().with_columns(a=pl.when(pl.col("a") > 4.0).then("a").otherwise(float("nan")))
    kept = frame().filter(pl.col("a") > 4.0)
    assert Scaler.fit(holes, ["a"], TRAIN).center[0] == Scaler.fit(kept, ["a"], TRAIN).center[0]


def test_refusals() -> None:
    empty = Window(START - timedelta(days=9), START)
    with pytest.raises(NotEnoughDataError, match="a has 0 finite values"):
        Scaler.fit(frame(), ["a"], empty)
    with pytest.raises(DataError, match="'missing'"):
        Scaler.fit(frame(), ["missing"], TRAIN)
    with pytest.raises(DataError, match="'a'"):
        Scaler.fit(frame(), ["a"], TRAIN).transform(frame().drop("a"))
    with pytest.raises(ValueError, match="clip"):
        Scaler.fit(frame(), ["a"], TRAIN, clip=0.0)
    with pytest.raises(ValueError, match="method"):
        Scaler.fit(frame(), ["a"], TRAIN, "minmax")  # type: ignore[arg-type]


def test_what_the_window_does_not_know_twice_is_not_scalable() -> None:
    row = pl.int_range(pl.len())
    data = frame().with_columns(
        later=pl.when(row >= 500).then(1.0),
        once=pl.when(row == 499).then(1.0),
        twice=pl.when(row.is_in([0, 499])).then(row.cast(pl.Float64)),
        infinite=pl.lit(float("inf")),
        unknown=pl.lit(None, pl.Null),
    )
    assert scalable(data, ["later", "b", "once", "twice", "infinite", "unknown", "a"], TRAIN) == (
        "b",
        "twice",
        "a",
    )
    Scaler.fit(data, ["twice"], TRAIN)
    for name in ("later", "once", "infinite"):
        with pytest.raises(NotEnoughDataError, match=name):
            Scaler.fit(data, [name], TRAIN)
