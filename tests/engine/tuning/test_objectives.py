from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.tuning.kernel import Evaluation
from engine.tuning.objectives import OBJECTIVES, score
from engine.tuning.scenarios import GOALS


def evaluation(returns, trades=100) -> Evaluation:
    r = np.atleast_2d(np.asarray(returns, float))
    none = np.zeros(len(r))
    days = np.datetime64("2024-01-01", "us") + np.arange(r.shape[1]) * np.timedelta64(1, "D")
    counted = np.broadcast_to(trades, len(r)).astype(np.int64)
    return Evaluation(days, r, counted, counted, none, none, none, none)


NOISE = 0.01 * np.random.default_rng(0).normal(size=730)


def test_every_goal_of_the_scenarios_has_an_objective():
    assert list(OBJECTIVES) == list(GOALS)
    with pytest.raises(ValueError, match="must be one of balanced, sharpe, drawdown, return"):
        score(evaluation(NOISE), "luck")  # type: ignore[arg-type]


def test_an_account_that_never_trades_scores_nothing():
    for goal in OBJECTIVES:
        assert score(evaluation(np.zeros(400), trades=0), goal).tolist() == [0.0]


def test_return_is_the_log_growth_of_a_year():
    twice = np.full(365, 2 ** (1 / 365) - 1)
    assert score(evaluation(twice), "return") == pytest.approx([np.log(2)])


def test_sharpe_is_per_year_and_shrunk_where_trades_are_few():
    ratio = NOISE.mean() / NOISE.std(ddof=1) * np.sqrt(365)
    found = score(evaluation(np.tile(NOISE, (3, 1)), trades=np.array([10**9, 30, 0])), "sharpe")
    assert found == pytest.approx([ratio, ratio / 2, 0.0])


def test_drawdown_by_hand():
    up = np.zeros(365)
    up[:3] = [0.10, -0.05, 0.10]
    gain = np.log(1.1 * 0.95 * 1.1)
    assert score(evaluation(up), "drawdown") == pytest.approx([gain / 0.06])
    down = np.zeros(365)
    down[0] = -0.05
    assert score(evaluation(down), "drawdown") == pytest.approx([np.log(0.95) * 0.06 / 0.01])


def test_a_deeper_fall_is_never_praised():
    """The plain ratio would: -10 % over a fall of 40 % is more than over one of 20 %."""
    shallow, deep = np.zeros(365), np.zeros(365)
    shallow[:2] = [-0.2, 0.9 / 0.8 - 1]
    deep[:2] = [-0.4, 0.9 / 0.6 - 1]
    found = score(evaluation(np.array([shallow, deep])), "drawdown")
    assert found[0] > found[1]
    ratio = np.log(0.9) / np.array([0.2, 0.4])
    assert ratio[0] < ratio[1]


def test_balanced_is_the_mean_of_the_three():
    one = evaluation(NOISE + 0.001)
    parts = [score(one, "return")[0] / 0.1, score(one, "sharpe")[0], score(one, "drawdown")[0]]
    assert score(one, "balanced") == pytest.approx([np.mean(parts)])


@given(st.lists(st.floats(-1.0, 3.0), min_size=2, max_size=40), st.integers(0, 500))
def test_every_score_is_finite(returns, trades):
    for goal in OBJECTIVES:
        assert np.isfinite(score(evaluation(returns, trades), goal)).all()


@pytest.mark.parametrize("goal", list(OBJECTIVES))
def test_more_on_every_day_is_better(goal):
    found = score(evaluation(np.array([NOISE - 0.002, NOISE, NOISE + 0.002])), goal)
    assert (np.diff(found) > 0).all()
