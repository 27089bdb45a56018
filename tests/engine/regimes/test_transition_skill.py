"""Scores of stated risks: known values for perfect, useless and wrong ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.regimes.transition_plots import risk_over_time, risk_reliability
from engine.regimes.transition_skill import judged_risks, transition_reliability, transition_skill

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1, tzinfo=UTC).replace(tzinfo=None)


def judged(p: np.ndarray, truth: np.ndarray, seed: int = 0) -> pl.DataFrame:
    """Independent outcomes whose true probabilities are given."""
    happened = np.random.default_rng(seed).random(truth.size) < truth
    return pl.DataFrame(
        {
            "symbol": "A",
            "ts": pl.Series([START + k * HOUR for k in range(truth.size)], dtype=pl.Datetime("us")),
            "regime": np.where(np.arange(truth.size) % 300 < 20, "PANIC", "RANGE"),
            "p": p,
            "base": np.full(truth.size, truth.mean()),
            "regime_base": np.full(truth.size, truth.mean()),
            "outcome": happened,
        }
    )


def test_the_truth_has_skill_and_no_calibration_error() -> None:
    truth = np.random.default_rng(1).uniform(0.05, 0.6, 10_000)
    found = transition_skill(judged(truth, truth))
    expected = truth.var() / (truth.mean() * (1 - truth.mean()))
    assert found["Brier skill"].low < expected < found["Brier skill"].high
    assert found["Brier skill"].low > 0.0
    assert found["calibration error"].value < 0.02
    assert found["bias"].low < 0.0 < found["bias"].high
    assert found["AUC"].low > 0.6


def test_the_base_rate_has_none_and_what_is_too_high_is_biased() -> None:
    truth = np.random.default_rng(2).uniform(0.05, 0.6, 5_000)
    base = transition_skill(judged(np.full(truth.size, truth.mean()), truth))
    assert base["Brier skill"].value == pytest.approx(0.0, abs=1e-12)
    assert base["AUC"].value == pytest.approx(0.5)
    high = transition_skill(judged(truth + 0.2, truth))
    assert high["bias"].value == pytest.approx(0.2, abs=0.02)
    assert high["bias"].low > 0.15
    assert high["calibration error"].value == pytest.approx(0.2, abs=0.02)
    assert high["Brier skill"].value < 0.0


def test_the_same_seed_gives_the_same_intervals() -> None:
    truth = np.random.default_rng(3).uniform(0.05, 0.6, 2_000)
    frame = judged(truth, truth)
    assert transition_skill(frame, seed=4) == transition_skill(frame, seed=4)
    assert (
        transition_skill(frame, seed=4)["Brier skill"].low
        != transition_skill(frame, seed=5)["Brier skill"].low
    )


def test_risks_are_joined_to_what_came() -> None:
    path = ["RANGE"] * 30 + ["PANIC"] * 10 + ["RANGE"] * 20
    regimes = pl.DataFrame(
        {
            "symbol": "A",
            "ts": pl.Series([START + k * HOUR for k in range(60)], dtype=pl.Datetime("us")),
            "regime": path,
        }
    )
    risks = regimes.select(
        "symbol", "ts", horizon=pl.lit(5), p_transition=pl.lit(0.3), p_panic_entry=pl.lit(0.2)
    ).with_columns(pl.when(pl.col("ts") > START + 20 * HOUR).then("p_transition").alias("p_transition"))
    found = judged_risks(risks, regimes, "leaves", HOUR, hold=2)
    assert found["ts"].min() == START + 21 * HOUR, "no risk was stated before"
    assert found["ts"].max() == START + 53 * HOUR, "later labels are not known"
    assert found.filter(pl.col("outcome"))["ts"].to_list() == [
        START + k * HOUR for k in (*range(25, 30), *range(36, 40))
    ], "the base rate of PANIC is known once its first label is"
    assert found["p"].unique().to_list() == [0.3]
    assert found["base"][0] == 0.0
    panic = judged_risks(risks, regimes, "panic_entry", HOUR, hold=2)
    assert panic["regime"].unique().to_list() == ["RANGE"]
    assert panic["outcome"].sum() == 5
    assert judged_risks(risks.head(0), regimes.head(0), "leaves", HOUR).is_empty()


def test_pictures() -> None:
    truth = np.random.default_rng(5).uniform(0.05, 0.6, 3_000)
    frame = judged(truth, truth)
    table = transition_reliability(frame, 24)
    empty = transition_reliability(frame.head(0), 24)
    assert risk_reliability({"left": table, "entered": empty}, "reliability").startswith(b"\x89PNG")
    risks = frame.select(
        horizon=pl.lit(24), p_transition="p", p_panic_entry=pl.when(pl.col("p") < 0.5).then("p")
    )
    png = risk_over_time(frame["ts"].to_list(), np.exp(truth), frame["regime"].to_list(), risks, "BTC/USDT")
    assert png.startswith(b"\x89PNG")
    assert len(png) < 200_000
