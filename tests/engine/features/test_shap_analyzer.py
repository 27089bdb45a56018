"""Shapley values against closed forms, and the judgement of features regime by regime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest

from engine.errors import DataError, NotEnoughDataError
from engine.features.attribution import attribute
from engine.features.shap_analyzer import SHAPAnalyzer, ShapConfig
from engine.features.shares import verdict


@dataclass
class Linear:
    """A linear model as libraries shape it."""

    coef_: np.ndarray
    intercept_: float = 0.0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return x @ self.coef_ + self.intercept_


def normal(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns))


def trees(x: np.ndarray, y: np.ndarray, rounds: int = 60) -> lgb.Booster:
    settings = {
        "objective": "l2",
        "num_leaves": 8,
        "verbose": -1,
        "seed": 0,
        "num_threads": 1,
        "deterministic": True,
    }
    return lgb.train(settings, lgb.Dataset(x, y), rounds)


def as_function(model: Linear) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: model(x)


# The library that explains functions takes long to load and to compile itself.
@pytest.mark.parametrize("kind", ["linear", pytest.param("function", marks=pytest.mark.slow)])
def test_linear_model_has_its_closed_form(kind: str) -> None:
    model = Linear(np.array([1.0, -2.0, 0.5]), 3.0)
    x, background = normal(20, 3), normal(50, 3, 1) + 1.0
    found = attribute(model if kind == "linear" else as_function(model), x, background)
    np.testing.assert_allclose(found.values, model.coef_ * (x - background.mean(axis=0)), atol=1e-6)
    np.testing.assert_allclose(found.values.sum(axis=1) + found.base, model(x), atol=1e-6)
    assert found.semantics == "interventional"


@pytest.mark.slow
def test_a_product_is_shared_equally() -> None:
    signs = np.array([[a, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)])
    x = normal(20, 2)
    found = attribute(lambda rows: rows[:, 0] * rows[:, 1], x, signs)
    np.testing.assert_allclose(
        found.values, np.repeat(x.prod(axis=1, keepdims=True) / 2, 2, axis=1), atol=1e-6
    )


@pytest.mark.slow
def test_many_features_add_up_to_the_output() -> None:
    weights = np.linspace(-1, 1, 12)
    x, background = normal(6, 12), normal(30, 12, 1)

    def model(rows: np.ndarray) -> np.ndarray:
        return np.tanh(rows @ weights) + rows[:, 0] * rows[:, 1]

    found = attribute(model, x, background)
    np.testing.assert_allclose(found.values.sum(axis=1) + found.base, model(x), atol=1e-6)
    np.testing.assert_allclose(found.base, model(background).mean(), atol=1e-6)


def test_trees_add_up_to_their_raw_output() -> None:
    x = normal(2_000, 4)
    booster = trees(x, x[:, 0] + x[:, 1] * x[:, 2])
    found = attribute(booster, x[:100])
    np.testing.assert_allclose(found.values.sum(axis=1) + found.base, booster.predict(x[:100]), atol=1e-9)
    assert found.semantics == "path-dependent"


def test_what_cannot_be_explained_is_refused() -> None:
    with pytest.raises(TypeError, match="str cannot be explained"):
        attribute("model", normal(2, 2), normal(2, 2))
    with pytest.raises(NotEnoughDataError, match="background"):
        attribute(Linear(np.ones(2)), normal(2, 2))


def planted(scale: float, rows: int = 5_000) -> tuple[Linear, pl.DataFrame, np.ndarray, list[str]]:
    """Ten real features, nineteen of no account, and one that works in PANIC alone, on 4 % of the rows."""
    rng = np.random.default_rng(5)
    regime = np.where(rng.random(rows) < 0.04, "PANIC", np.where(rng.random(rows) < 0.5, "TREND", "RANGE"))
    x = rng.standard_normal((rows, 30))
    x[regime != "PANIC", 29] = 0.0
    weights = np.r_[np.linspace(0.3, 1.2, 10), np.full(19, 0.001), 1.0] * scale
    names = [*(f"real_{i}" for i in range(10)), *(f"noise_{i}" for i in range(19)), "panic_only"]
    return Linear(weights), pl.DataFrame(x, schema=names), regime, names


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e4])
def test_what_works_in_panic_alone_is_kept_whatever_the_unit(scale: float) -> None:
    model, frame, regime, names = planted(scale)
    analyzer = SHAPAnalyzer(background=frame, background_regime=regime.tolist())
    report = analyzer.analyze_features(model, frame, model(frame.to_numpy()), regime.tolist())
    assert set(report.top_features) == {*names[:10], "panic_only"}
    assert set(report.noise_features) == set(names[10:29])
    assert report.copies == report.unjudged == ()
    overall = np.abs(report.values.select(names).to_numpy()).mean(axis=0)
    assert overall[-1] / overall.sum() < 0.01
    share = report.shares.filter((pl.col("feature") == "panic_only") & pl.col("kept"))
    assert dict(share.select("regime", "share").iter_rows())["PANIC"] > 0.05
    assert report.shares.group_by("regime").agg(pl.col("share").sum())["share"].to_list() == pytest.approx(
        [1.0] * 3
    )


def test_one_regime_is_enough_and_rounding_is_not() -> None:
    shares = pl.DataFrame(
        {
            "regime": ["TREND", "PANIC"] * 2,
            "group": [0, 0, 1, 1],
            "group_share": [0.0, 0.0101, 0.0099, 0.0099],
        }
    )
    judged = verdict(shares, ("rare", "weak"), [[0], [1]], 0.01)
    assert judged == {"top_features": ("rare",), "noise_features": ("weak",), "copies": ()}


@pytest.mark.parametrize("signs", ["alike", "opposite"])
def test_of_many_copies_of_one_signal_one_is_kept(signs: str) -> None:
    rng = np.random.default_rng(6)
    signal = rng.standard_normal(3_000)
    flip = np.where(np.arange(100) % 2, -1.0, 1.0) if signs == "opposite" else np.ones(100)
    copies = flip * (signal[:, None] + 0.05 * rng.standard_normal((3_000, 100)))
    frame = pl.DataFrame(
        np.hstack([copies, rng.standard_normal((3_000, 20))]),
        schema=[*(f"copy_{i}" for i in range(100)), *(f"weak_{i}" for i in range(20))],
    )
    model = Linear(np.r_[0.03 * flip, np.full(20, 0.02)])
    report = SHAPAnalyzer(background=frame).analyze_features(model, frame, signal, ["TREND"] * 3_000)
    assert report.shares.filter(pl.col("feature").str.starts_with("copy"))["share"].max() < 0.012
    assert 1 <= len(report.top_features) <= 10
    assert report.top_features[0].startswith("copy")
    assert len(report.copies) == 99
    assert set(report.noise_features) == {f"weak_{i}" for i in range(20)}
    assert report.unjudged == ("RANGE", "PANIC")


def test_worth_tells_a_signal_from_an_overfitted_feature() -> None:
    x = normal(4_000, 2)
    truth = x[:, 0] + normal(4_000, 1, 1)[:, 0]
    model = Linear(np.array([1.0, 1.0]))
    report = SHAPAnalyzer(background=x).analyze_features(model, x, truth, ["RANGE"] * 4_000)
    worth = dict(report.shares.select("feature", "worth").iter_rows())
    assert worth["column_0"] > 0.6
    assert abs(worth["column_1"]) < 0.06


def test_values_of_rows_carry_their_place_and_add_up() -> None:
    x = normal(1_000, 3)
    booster = trees(x, x[:, 0])
    start = datetime(2024, 1, 1, tzinfo=UTC).replace(tzinfo=None)
    frame = pl.DataFrame(x, schema=["a", "b", "c"]).with_columns(
        symbol=pl.lit("BTC/USDT"), ts=pl.Series([start + timedelta(hours=k) for k in range(1_000)])
    )
    regime = ["TREND"] * 600 + ["PANIC"] * 300 + [None] * 100
    config = ShapConfig(most_rows=200)
    report = SHAPAnalyzer(config).analyze_features(booster, frame, np.full(1_000, np.nan), regime)
    values = report.values
    assert values.columns == ["symbol", "ts", "row", "regime", "base_value", "a", "b", "c"]
    assert values["regime"].to_list().count("TREND") == 200
    assert values.height == 500
    assert [regime[row] for row in values["row"]] == values["regime"].to_list()
    assert values["ts"].to_list() == [frame["ts"][row] for row in values["row"]]
    outputs = values.select(pl.sum_horizontal("base_value", "a", "b", "c")).to_series().to_numpy()
    np.testing.assert_allclose(outputs, booster.predict(x[values["row"].to_numpy()]), atol=1e-9)
    assert report.shares["worth"].null_count() == report.shares.height
    again = SHAPAnalyzer(config).analyze_features(booster, frame, np.full(1_000, np.nan), regime)
    assert again.values.equals(values)


def test_a_model_without_any_output_has_noise_alone() -> None:
    frame = pl.DataFrame(normal(200, 2), schema=["a", "b"])
    report = SHAPAnalyzer(background=frame).analyze_features(
        Linear(np.zeros(2)), frame, np.zeros(200), ["TREND"] * 200
    )
    assert report.top_features == ()
    assert report.noise_features == ("a", "b")


def test_wrong_input_is_refused() -> None:
    frame = pl.DataFrame(normal(200, 2), schema=["a", "b"])
    model = Linear(np.ones(2))
    analyzer = SHAPAnalyzer(background=frame)
    with pytest.raises(DataError, match="200 rows, 3 outcomes and 200 regimes"):
        analyzer.analyze_features(model, frame, np.zeros(3), ["TREND"] * 200)
    with pytest.raises(NotEnoughDataError, match="no regime has 50 rows"):
        analyzer.analyze_features(model, frame, np.zeros(200), [None] * 200)
    with pytest.raises(DataError, match="'c'"):
        analyzer.analyze_features(model, frame.rename({"b": "c"}), np.zeros(200), ["TREND"] * 200)
