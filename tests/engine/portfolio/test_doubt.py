"""Nothing ever loosens under doubt: whatever gets worse or unknown, no gate opens and no position grows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.portfolio.decide import DecisionConfig, DecisionInputs, target_positions
from engine.portfolio.gate_profiles import PROFILES, GateProfiles
from engine.portfolio.position_sizer import PositionSizer
from engine.portfolio.risk_limits import RiskLimits
from engine.portfolio.risk_manager import Proposal, RiskManager
from engine.portfolio.risk_state import RiskState
from engine.portfolio.view import SymbolView

FIELDS = ("confidence", "p_changepoint", "volatility", "cost_bps", "data_age_hours")
share = st.floats(0.0, 1.0)


def with_panic(p: float | None) -> tuple[float, ...] | None:
    return None if p is None else ((1 - p) / 2, 1 - p - (1 - p) / 2, p)


@st.composite
def worsening(draw, symbol: str = "A") -> tuple[SymbolView, SymbolView]:
    """A view, and the same with some of its fields worse or unknown."""
    direction = draw(st.sampled_from([-1, 1]))
    top = {
        "confidence": 1.0,
        "p_changepoint": 1.0,
        "volatility": 4.0,
        "cost_bps": 40.0,
        "data_age_hours": 9.0,
    }
    now = {name: draw(st.floats(0.01, top[name])) for name in FIELDS}
    panic, index, age = draw(share), draw(st.floats(0, 100)), draw(st.floats(0, 48))
    worse: dict[str, float | None] = {}
    for name in FIELDS:
        step = draw(st.sampled_from(["same", "worse", "unknown"]))
        worst = 0.0 if name == "confidence" else top[name]
        worse[name] = {
            "same": now[name],
            "worse": now[name] + draw(share) * (worst - now[name]),
            "unknown": None,
        }[step]
    worse_panic = draw(st.sampled_from([panic, None, panic + draw(share) * (1 - panic)]))
    edge = 0.0 if index < 50 else 100.0
    worse_index = draw(st.sampled_from([index, None, index + draw(share) * (edge - index)]))
    worse_age = draw(st.sampled_from([age, None, 50.0]))
    view = SymbolView(
        symbol, direction, regime_probabilities=with_panic(panic), fear_greed=index,
        fear_greed_age_hours=age, **now,
    )  # fmt: skip
    return view, replace(
        view, regime_probabilities=with_panic(worse_panic), fear_greed=worse_index,
        fear_greed_age_hours=worse_age, **worse,
    )  # fmt: skip


@given(worsening(), st.floats(0, 1))
def test_a_size_never_grows(pair, base):
    sizer = PositionSizer()
    before, after = (sizer.size(view, base) for view in pair)
    assert abs(after.weight) <= abs(before.weight) + 1e-15
    # all but the last, which is a bound on what the others leave
    assert all(a.value <= b.value for a, b in zip(after.factors[:-1], before.factors[:-1], strict=True))


@given(worsening(), st.sampled_from(sorted(PROFILES)), st.booleans())
def test_a_gate_never_opens(pair, profile, was_open):
    gates = GateProfiles()
    before, after = (gates.evaluate(profile, view, was_open) for view in pair)
    for one, other in zip(before.gates, after.gates, strict=True):
        assert one.passed or not other.passed
    assert before.sentiment_open or not after.sentiment_open


@st.composite
def proposals(draw) -> tuple[Proposal, Proposal]:
    pairs = [draw(worsening(name)) for name in "ABCDE"[: draw(st.integers(1, 5))]]
    weights = {calm.symbol: draw(st.floats(-1.5, 1.5)) for calm, _ in pairs}
    current = {calm.symbol: draw(st.sampled_from([0.0, 0.3, -0.2])) for calm, _ in pairs}
    equity = draw(st.sampled_from([100.0, 93.0, 89.0, 79.0, 60.0]))
    calm = Proposal(weights, current, equity, "2024-03-02", tuple(a for a, _ in pairs))
    worse = replace(calm, views=tuple(b for _, b in pairs))
    return calm, draw(st.sampled_from([worse, replace(worse, equity=None)]))


STATE = RiskState(day="2024-03-01", equity=100.0, day_start=100.0, peak=100.0, base=100.0)


@given(proposals(), st.sampled_from(["normal", "reduced", "flat"]))
@settings(max_examples=300)
def test_no_allowed_position_of_any_asset_grows(pair, mode):
    manager, state = RiskManager(), replace(STATE, mode=mode, mode_since="2024-02-28")
    before, after = (manager.review(proposal, state).allowed for proposal in pair)
    for symbol in before:
        assert abs(after[symbol]) <= abs(before[symbol]) + 1e-12


@given(proposals())
@settings(max_examples=300)
def test_limits_are_never_exceeded_and_nothing_is_raised(pair):
    limits = RiskLimits(max_net=0.5)
    for proposal in pair:
        allowed = RiskManager(limits).review(proposal, STATE).allowed
        weights = np.array(list(allowed.values()))
        proposed = np.array(list(proposal.weights.values()))
        assert (np.abs(weights) <= np.minimum(np.abs(proposed), limits.max_weight) + 1e-12).all()
        assert (weights * proposed >= 0).all()
        assert np.abs(weights).sum() <= limits.max_gross + 1e-12
        assert abs(weights.sum()) <= limits.max_net + 1e-12
        assert (weights**2).sum() <= limits.max_concentration + 1e-12


@pytest.mark.parametrize(
    "doubt",
    [{"p_changepoint": 0.95}, {"p_changepoint": None}, {"regime_probabilities": None}, {"fear_greed": 2.0},
     {"data_age_hours": None}],
)  # fmt: skip
def test_a_veto_gives_no_room_to_others(doubt):
    """Plain scaling to the gross limit would let B grow as soon as A is vetoed."""
    calm = {"p_changepoint": 0.1, "regime_probabilities": (0.5, 0.5, 0.0), "data_age_hours": 0.5,
            "fear_greed": 50.0, "fear_greed_age_hours": 1.0}  # fmt: skip
    views = (SymbolView("A", 1, **calm), SymbolView("B", 1, **calm))
    proposal = Proposal({"A": 0.4, "B": 0.4}, {}, 100.0, "2024-03-02", views)
    manager = RiskManager(RiskLimits(max_gross=0.5))
    before = manager.review(proposal, STATE).allowed
    worse = replace(proposal, views=(replace(views[0], **doubt), views[1]))
    after = manager.review(worse, STATE).allowed
    assert before["B"] == pytest.approx(0.25)
    assert after["A"] < before["A"]
    assert after["B"] <= before["B"] + 1e-12


def test_a_doubtful_hedge_does_not_offset():
    calm = {"p_changepoint": 0.1, "regime_probabilities": (0.5, 0.5, 0.0), "data_age_hours": 0.5,
            "fear_greed": 50.0, "fear_greed_age_hours": 1.0}  # fmt: skip
    views = (SymbolView("A", 1, **calm), SymbolView("B", -1, **calm))
    proposal = Proposal({"A": 0.4, "B": -0.4}, {}, 100.0, "2024-03-02", views)
    manager = RiskManager(RiskLimits(max_net=0.2))
    assert manager.review(proposal, STATE).allowed == {"A": 0.4, "B": -0.4}
    worse = replace(proposal, views=(views[0], replace(views[1], p_changepoint=0.95)))
    assert manager.review(worse, STATE).allowed == {"A": pytest.approx(0.2), "B": 0.0}


@given(worsening("S0"), st.integers(0, 5), st.booleans())
@settings(max_examples=100, deadline=None)
def test_in_the_whole_decision_the_doubted_asset_never_grows(pair, seed, held):
    rng = np.random.default_rng(seed)
    returns = rng.standard_normal((200, 3)) * [0.02, 0.03, 0.04]
    calm = {"confidence": 0.65, "p_changepoint": 0.1, "regime_probabilities": (0.5, 0.5, 0.0),
            "volatility": 0.6, "cost_bps": 6.0, "data_age_hours": 0.5, "fear_greed": 50.0,
            "fear_greed_age_hours": 1.0}  # fmt: skip
    others = (SymbolView("S1", 1, **calm), SymbolView("S2", 1, **calm))
    current = {"S0": 0.1 * pair[0].direction} if held else {}
    before, after = (
        target_positions(
            DecisionInputs("2024-03-02", 100.0, current, (view, *others)), returns, DecisionConfig()
        )
        for view in pair
    )
    assert abs(after.weights["S0"]) <= abs(before.weights["S0"]) + 1e-9
