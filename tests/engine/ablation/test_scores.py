from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.ablation.scores import account_scores, calibration_score, learning_scores, match_score
from engine.agents.tape import MarketTape

START = datetime.fromisoformat("2024-01-01")
BARS = 202


@pytest.fixture
def rows() -> pl.DataFrame:
    """One symbol that rises by 1 % a bar, but falls by 1 % in the last hundred bars, which are PANIC."""
    growth = np.where(np.arange(BARS) < 101, 1.01, 0.99)
    price = 100.0 * np.r_[1.0, np.cumprod(growth[:-1])]
    panic = np.arange(BARS) >= 100
    return pl.DataFrame(
        {
            "symbol": "A",
            "ts": [START + timedelta(hours=h) for h in range(BARS)],
            "segment": 0,
            "open": price,
            "volatility": 0.01,
            "p_trend": np.where(panic, 0.0, 1.0),
            "p_range": 0.0,
            "p_panic": np.where(panic, 1.0, 0.0),
            "regime": np.where(panic, "PANIC", "TREND"),
            "true_regime": pl.Series([None] * BARS, dtype=pl.String),
        }
    )


def test_scores_of_an_account_that_always_holds(rows):
    tape = MarketTape.from_frame(rows, ())
    scores = account_scores(tape, np.full(BARS, 0.5), rows, cost=0.001)
    # Held at half: each bar earns half a size, the first pays half of a tenth of a size.
    assert scores["net_return"]["TREND"] == pytest.approx(0.5 - 0.05 / 100)
    assert scores["net_return"]["PANIC"] == pytest.approx(-0.5)
    assert "RANGE" not in scores["net_return"]
    assert scores["net_return"]["all"] == pytest.approx(-0.05 / 200, abs=1e-9)
    assert scores["edge"]["all"] == pytest.approx((0.5 * (100 * 0.01 - 100 * 0.01) - 0.0005) / 0.5)
    assert scores["transition_drawdown"]["all"] == pytest.approx(1.0 - 0.995**48)
    lowest = 1.0 - 0.995 ** np.arange(91, 101)
    assert scores["tail_drawdown"]["all"] == pytest.approx(lowest.mean())


def test_an_account_without_positions_has_no_ratio(rows):
    scores = account_scores(MarketTape.from_frame(rows, ()), np.zeros(BARS), rows, cost=0.001)
    assert scores["net_return"]["all"] == 0.0
    assert not {"sharpe", "edge"} & set(scores)


def test_calibration_is_judged_where_something_was_stated():
    stated = np.r_[np.full(100, 0.75), np.nan]
    correct = pl.Series([True] * 50 + [False] * 50 + [True])
    assert calibration_score(stated, correct)["calibration_error"]["all"] == pytest.approx(0.25)
    assert calibration_score(stated[:10], correct[:10]) == {}


def test_a_perfect_match_has_skill_one_and_the_usual_none():
    rng = np.random.default_rng(2)
    label = rng.standard_normal(80)
    rows = pl.DataFrame({"label": label, "pattern_mean": label, "volatility": 1.0})
    assert match_score(rows, 0.1)["match_quality"]["all"] == 1.0
    assert match_score(rows.with_columns(pattern_mean=0.1), 0.1)["match_quality"]["all"] == 0.0


def test_learning_speed_tells_the_first_evaluation_on_target():
    report = pl.DataFrame(
        {"update": [2, 4, 6], "decisions": [10, 10, 10], "validation_reward": [-1.0, 0.2, -0.1]}
    )
    scores = learning_scores(report, 0.0, 5.0)
    assert scores["learning_speed"]["all"] == 1 / 4
    assert scores["sample_efficiency"]["all"] == 1 / 40
    assert learning_scores(report, 1.0, 5.0)["learning_speed"]["all"] == 0.0
