"""The five scenarios, the market's mode, and the recommendation."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import NotEnoughDataError
from engine.tuning.market_mode import market_view
from engine.tuning.parameters import PARAMETERS
from engine.tuning.recommender import THRESHOLDS, Figures, recommend
from engine.tuning.scenarios import BY_MARKET, GOALS, HIGH, LOW, SCENARIOS, Goal, MarketMode, scenario


def test_the_five_scenarios_have_their_budgets() -> None:
    assert {name: (each.minutes, each.episodes, each.goal) for name, each in SCENARIOS.items()} == {
        "quick_tune": (15, 10, "balanced"),
        "volatility_master": (30, 20, "sharpe"),
        "risk_optimizer": (25, 15, "drawdown"),
        "news_sentiment_pro": (35, 25, "return"),
        "comprehensive_evolution": (60, 40, "balanced"),
    }
    assert len(SCENARIOS["comprehensive_evolution"].targets) == 7
    assert all(set(each.targets) <= set(PARAMETERS) for each in SCENARIOS.values())


def test_every_goal_and_mode_is_described_once() -> None:
    assert set(GOALS) == set(get_args(Goal))
    assert set(BY_MARKET) == set(get_args(MarketMode))


def test_a_hard_market_calls_for_the_lower_aggressiveness() -> None:
    assert SCENARIOS["comprehensive_evolution"].in_market("bear") is LOW
    assert SCENARIOS["comprehensive_evolution"].in_market("bull") is HIGH
    assert SCENARIOS["risk_optimizer"].in_market("bull") is LOW


def test_an_unknown_scenario_is_refused_with_those_known() -> None:
    with pytest.raises(ValueError, match="'quick' is not known; known are quick_tune, "):
        scenario("quick")


WELL = {"confidence": 0.7, "drawdown": 0.02, "volatility_percentile": 50.0, "history_days": 200.0}


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({}, "news_sentiment_pro"),
        ({"confidence": 0.4}, "quick_tune"),
        ({"drawdown": 0.2}, "risk_optimizer"),
        ({"volatility_percentile": 95.0}, "volatility_master"),
        ({"history_days": 3.0}, "comprehensive_evolution"),
        ({"confidence": 0.4, "drawdown": 0.2}, "quick_tune"),
        ({"drawdown": 0.2, "volatility_percentile": 95.0, "history_days": 3.0}, "risk_optimizer"),
        ({"confidence": None, "drawdown": None, "volatility_percentile": None}, "news_sentiment_pro"),
    ],
)
def test_rules_are_judged_in_their_order(figures: dict[str, float | None], expected: str) -> None:
    assert recommend(Figures(**{**WELL, **figures})).scenario.name == expected  # type: ignore[arg-type]


def test_the_figures_judged_by_are_stated() -> None:
    found = recommend(Figures(0.71, None, 91.0, 10.0))
    assert found.reasons == (
        "decisions' confidence 0.71, as wanted at least 0.55",
        "drawdown of the account: not known",
        "percentile of volatility 91, wanted below 80: Volatility master",
    )
    assert found.to_dict()["figures"] == {
        "confidence": 0.71, "drawdown": None, "volatility_percentile": 91.0, "history_days": 10.0,
    }  # fmt: skip


def test_bounds_belong_to_the_worse_side_as_documented() -> None:
    edge = Figures(THRESHOLDS.least_confidence, THRESHOLDS.most_drawdown, 0.0, 1e9)
    assert recommend(edge).scenario.name == "risk_optimizer"


@pytest.mark.parametrize(
    "wrong", [{"confidence": 1.2}, {"drawdown": -0.1}, {"volatility_percentile": 101.0}, {"history_days": -1}]
)
def test_impossible_figures_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Figures(**{**WELL, **wrong})


def _days(drift: float, deviation: float, n: int = 365) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(n)
    return drift + deviation * (noise - noise[-30:].mean()) / noise.std()


def test_direction_decides_where_volatility_is_usual() -> None:
    calm = _days(0.0, 0.02)
    calm[-30:] *= 0.9
    assert market_view(calm).mode == "sideways"
    assert market_view(calm + 0.01).mode == "bull"
    assert market_view(calm - 0.01).mode == "bear"


def test_high_volatility_outweighs_direction() -> None:
    wild = _days(0.01, 0.02)
    wild[-30:] *= 3.0
    assert market_view(wild).mode == "volatile"


def test_days_without_trades_are_left_out_and_a_still_market_is_sideways() -> None:
    assert market_view([0.0] * 100).mode == "sideways"
    days = _days(0.01, 0.02)
    assert market_view(np.insert(days, 50, np.nan)) == market_view(days)
    with pytest.raises(NotEnoughDataError, match="59 days"):
        market_view([*days[:59], np.nan])


@given(st.lists(st.floats(-0.2, 0.2), min_size=60, max_size=500))
def test_only_the_past_year_counts(days: list[float]) -> None:
    assert market_view(days) == market_view(days[-395:])
