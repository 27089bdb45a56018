from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from engine.errors import NotEnoughDataError
from engine.evaluation.skill import auc, skill

START = datetime(2024, 1, 1)


def forecasts(days: int, skilled: float, seed: int, horizon: int = 24) -> pl.DataFrame:
    """Hourly forecasts of the sign of a sum over the next `horizon` hours: outcomes overlap as labels do."""
    rng = np.random.default_rng(seed)
    n = 24 * days
    drift = np.repeat(rng.normal(0, 1, days), 24) * skilled
    steps = rng.normal(0, 1, n + horizon) + np.r_[drift, np.zeros(horizon)] / 5
    total = np.convolve(steps, np.ones(horizon), "valid")[:n]
    p = 1 / (1 + np.exp(-drift - rng.normal(0, 0.2, n)))
    return pl.DataFrame(
        {"ts": [START + timedelta(hours=i) for i in range(n)], "p": p, "base": 0.5, "outcome": total > 0}
    ).with_columns(pl.col("ts").cast(pl.Datetime("us")))


def test_auc_of_a_tiny_case_by_hand() -> None:
    """Scores 1 2 2 3 with outcomes 0 1 0 1: of four pairs three are right and one is tied."""
    wins, losses = np.array([0.0, 1.0, 1.0]), np.array([1.0, 1.0, 0.0])
    assert auc(wins, losses) == pytest.approx((1 + 0.5 + 1 + 1) / 4)


def test_auc_needs_both_outcomes() -> None:
    assert np.isnan(auc(np.array([1.0, 2.0]), np.zeros(2)))


def test_figures_equal_their_definitions() -> None:
    rows = forecasts(60, 1.0, seed=3)
    got = skill(rows, draws=50)
    p, y = rows["p"].to_numpy(), rows["outcome"].to_numpy()
    loss = -np.mean(np.where(y, np.log(p), np.log(1 - p)))
    assert got["log loss"].value == pytest.approx(loss)
    assert got["log loss of the base rate"].value == pytest.approx(np.log(2))
    assert got["gain in log loss"].value == pytest.approx(np.log(2) - loss)
    assert got["gain in Brier score"].value == pytest.approx(0.25 - np.mean((p - y) ** 2))
    assert got["AUC"].value == pytest.approx(roc_auc_score(y, p), abs=2e-3)


def test_skill_is_found() -> None:
    got = skill(forecasts(200, 1.0, seed=4), draws=300)
    assert got["AUC"].low > 0.5


def test_the_interval_of_no_skill_holds_one_half_as_often_as_it_says() -> None:
    """Forecasts unrelated to outcomes that overlap by 24 hours: 95 % intervals of 60 worlds."""
    held = 0
    for seed in range(60):
        rows = forecasts(150, 0.0, seed=seed)
        noise = np.random.default_rng(1_000 + seed).normal(0, 1, 150).repeat(24)
        rows = rows.with_columns(p=1 / (1 + np.exp(-noise)))
        area = skill(rows, draws=200)["AUC"]
        held += area.low <= 0.5 <= area.high
    assert held >= 52


def test_rows_without_an_outcome_are_left_out() -> None:
    rows = forecasts(40, 1.0, seed=5)
    unknown = rows.with_columns(outcome=pl.when(pl.col("ts") < START + timedelta(days=30)).then("outcome"))
    assert skill(unknown, draws=20)["AUC"].count == 30 * 24


def test_too_few_days_are_refused() -> None:
    with pytest.raises(NotEnoughDataError, match="9 days"):
        skill(forecasts(9, 1.0, seed=1))
