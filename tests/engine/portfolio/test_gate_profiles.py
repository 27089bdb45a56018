from __future__ import annotations

import itertools
import json
import math
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.portfolio.gate_profiles import PROFILES, GateProfile, GateProfiles, GateVerdict
from engine.portfolio.view import SymbolView

CALM = SymbolView(
    "BTC/USDT", direction=1, confidence=0.65, regime_probabilities=(0.5, 0.45, 0.05), p_changepoint=0.05,
    volatility=0.50, cost_bps=6.0, data_age_hours=0.5, fear_greed=50.0, fear_greed_age_hours=3.0,
)  # fmt: skip
GATES = GateProfiles()
ORDER = ("conservative", "balanced", "aggressive")
WORST = {
    "confidence": {"confidence": 0.3}, "regime": {"regime_probabilities": (0.0, 0.1, 0.9)},
    "change point": {"p_changepoint": 0.95}, "volatility": {"volatility": 5.0}, "cost": {"cost_bps": 50.0},
    "data freshness": {"data_age_hours": 30.0}, "sentiment": {"fear_greed": 2.0},
}  # fmt: skip


def vetoes(profile: str = "balanced", **changes: object) -> list[str]:
    return [gate.name for gate in GATES.evaluate(profile, replace(CALM, **changes)).vetoes]


@pytest.mark.parametrize("profile", ORDER)
def test_a_calm_view_passes_everything(profile):
    verdict = GATES.evaluate(profile, CALM)
    assert verdict.passed
    assert [gate.name for gate in verdict.gates] == list(WORST)


@pytest.mark.parametrize("profile", ORDER)
@pytest.mark.parametrize("gate", WORST)
def test_each_gate_vetoes_alone_and_unknown_vetoes_too(profile, gate):
    assert vetoes(profile, **WORST[gate]) == [gate]
    assert vetoes(profile, **dict.fromkeys(WORST[gate])) == [gate]


def test_all_gates_answer_with_value_and_bound_in_words():
    verdict = GATES.evaluate("balanced", replace(CALM, confidence=0.5012, cost_bps=None, fear_greed=8.0))
    reasons = {gate.name: gate.reason for gate in verdict.gates}
    assert reasons["confidence"] == "confidence 0.5012, at least 0.54 needed"
    assert reasons["cost"] == "basis points a fill unknown, at most 12 allowed"
    assert reasons["sentiment"] == "Fear & Greed 8, 20 to 80 needed to open again"
    assert reasons["volatility"] == "annualised volatility 0.5, at most 1.5 allowed"
    assert [gate.name for gate in verdict.vetoes] == ["confidence", "cost", "sentiment"]
    assert not verdict.passed


def test_bounds_are_inclusive():
    at = {
        "confidence": 0.54,
        "p_changepoint": 0.60,
        "volatility": 1.5,
        "cost_bps": 12.0,
        "data_age_hours": 3.0,
    }
    assert vetoes(**at) == []
    assert vetoes(confidence=math.nextafter(0.54, 0)) == ["confidence"]
    assert vetoes(cost_bps=math.nextafter(12.0, 99)) == ["cost"]


def test_zero_is_a_value_and_not_missing():
    """``value or default`` would turn certainty of no change point, no cost and fresh data into doubt."""
    assert vetoes(p_changepoint=0.0, cost_bps=0.0, data_age_hours=0.0) == []


@given(
    st.floats(0.4, 0.7), st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 4), st.floats(0, 30),
    st.floats(0, 10), st.floats(0, 100), st.booleans(),
)  # fmt: skip
def test_what_a_stricter_profile_lets_in_a_looser_one_does_too(
    c, panic, change, vol, cost, age, index, was_open
):
    view = SymbolView("A", 1, c, (0.0, 1 - panic, panic), change, vol, cost, age, index, 1.0)
    passed = [GATES.evaluate(name, view, was_open).passed for name in ORDER]
    assert passed == sorted(passed)


def test_the_table_loosens_in_every_column():
    for stricter, looser in itertools.pairwise(PROFILES[name] for name in ORDER):
        assert stricter.min_confidence > looser.min_confidence
        for field in fields(GateProfile):
            if field.name.startswith("max_"):
                assert getattr(stricter, field.name) < getattr(looser, field.name)
        assert stricter.fear_greed.lowest > looser.fear_greed.lowest
        assert stricter.fear_greed.highest < looser.fear_greed.highest


def test_the_sentiment_gate_remembers():
    """An index at its bound for weeks changes its mind once, not daily."""
    is_open, course = True, []
    for index in (16, 14, 16, 14, 16, 21, 16, 14, 16):
        verdict = GATES.evaluate("balanced", replace(CALM, fear_greed=float(index)), is_open)
        is_open = verdict.sentiment_open
        course.append(verdict.passed)
    assert course == [True, False, False, False, False, True, True, False, False]


@pytest.mark.parametrize("profile", ORDER)
@pytest.mark.parametrize(
    "unknown",
    [{"fear_greed": None}, {"fear_greed": math.nan}, {"fear_greed": 140.0}, {"fear_greed": -1.0},
     {"fear_greed_age_hours": 49.0}, {"fear_greed_age_hours": None}],
)  # fmt: skip
def test_a13_1_an_index_that_is_not_known_closes_the_gate_even_if_it_was_open(profile, unknown):
    verdict = GATES.evaluate(profile, replace(CALM, **unknown), sentiment_was_open=True)
    assert [gate.name for gate in verdict.vetoes] == ["sentiment"]
    assert "Fear & Greed unknown" in verdict.vetoes[0].reason
    assert not verdict.sentiment_open


@pytest.mark.parametrize("profile", ORDER)
@pytest.mark.parametrize("was_open", [True, False])
def test_the_gate_is_open_in_one_range_and_takes_no_side(profile, was_open):
    """Closed at both ends: a gate for one side of the market's mood would be open at one of them."""
    open_at = [
        GATES.evaluate(profile, replace(CALM, fear_greed=float(i), direction=side), was_open).sentiment_open
        for side in (1, -1)
        for i in range(101)
    ]
    assert open_at[:101] == open_at[101:]
    assert not open_at[0]
    assert not open_at[100]
    assert sum(a != b for a, b in itertools.pairwise(open_at[:101])) == 2


def test_an_unknown_profile_is_named():
    with pytest.raises(ValueError, match="'bold' must be one of"):
        GATES.evaluate("bold", CALM)


def test_own_profiles_and_json():
    own = replace(PROFILES["balanced"], name="own", min_confidence=0.1 + 0.2)
    restored = GateProfile.from_dict(json.loads(json.dumps(own.to_dict())))
    assert restored == own
    verdict = GateProfiles({"own": restored}).evaluate("own", CALM)
    assert GateVerdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict


@pytest.mark.parametrize("wrong", [{"min_confidence": 1.2}, {"max_panic": -0.1}, {"max_cost_bps": math.inf}])
def test_bad_bounds_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(PROFILES["balanced"], **wrong)
