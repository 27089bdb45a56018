from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.errors import NotEnoughDataError
from engine.evaluation.promotion_gate import PromotionGate
from engine.evaluation.splits import Window
from engine.tuning.evidence import EvidenceWindows, effective_days, fingerprint, gate_for, judge, weigh
from engine.tuning.evidence_plots import evidence_interval
from engine.tuning.kernel import Evaluation
from engine.tuning.market_state import WARMUP
from engine.tuning.parameters import DEFAULTS, ParameterSet
from engine.tuning.search import EPISODES, SearchResult
from engine.tuning.stress import StressTest

DAY = timedelta(days=1)
START = datetime(2023, 1, 1)
GATE = PromotionGate(draws=199)
WINDOWS = EvidenceWindows(
    Window(START, START + 300 * DAY), Window(START + 340 * DAY, START + 705 * DAY), 40 * DAY
)


def neighbours(count: int) -> np.ndarray:
    """What is in force and `count` other sets."""
    sets = np.tile(DEFAULTS.vector(), (count + 1, 1))
    sets[1:, 0] = 50.0 + np.arange(count) % 46
    sets[1:, 4] = 1.0 + 0.1 * (np.arange(count) // 46)
    return sets


def evaluation(returns: np.ndarray, trades: int = 100) -> Evaluation:
    count, periods = returns.shape
    days = np.datetime64(WINDOWS.evidence.start, "us") + np.arange(periods) * np.timedelta64(1, "D")
    some = np.full(count, trades)
    flat = np.zeros(count)
    return Evaluation(days, returns, some, some // 2, flat, flat, flat, flat)


def noise(
    rng: np.random.Generator, candidates: int, periods: int = 365, own: float = 0.002, edge: float = 0.0
) -> np.ndarray:
    """Returns of a baseline and of candidates that share its market and one another's deviation.

    Nothing has an edge, but for the last candidate `edge` a day.
    """
    market = 0.01 * rng.standard_t(4, periods)
    shared = own * rng.standard_normal(periods)
    apart = own * rng.standard_normal((candidates, periods))
    returns = np.vstack([market, market + 0.7 * shared + 0.7 * apart])
    returns[-1] += edge
    return returns


def weighed(returns: np.ndarray, alpha: float = 0.05, gate: PromotionGate = GATE):
    sets = neighbours(len(returns) - 1)
    return weigh(evaluation(returns), sets, DEFAULTS, WINDOWS, alpha=alpha, gate=gate)


# ------------------------------------------------------------------------------------- windows


def test_evidence_must_follow_the_search_at_a_distance():
    search = Window(START, START + 100 * DAY)
    EvidenceWindows(search, Window(START + 110 * DAY, START + 400 * DAY), 10 * DAY)
    for begin in (50, 100, 109):
        with pytest.raises(ValueError, match="must not begin before 2023-04-21"):
            EvidenceWindows(search, Window(START + begin * DAY, START + 400 * DAY), 10 * DAY)
    with pytest.raises(ValueError, match="purge"):
        EvidenceWindows(search, Window(START + 110 * DAY, START + 400 * DAY), -DAY)


def test_latest_windows_leave_a_purge_and_whole_days(simulated_tape):
    windows = EvidenceWindows.latest(simulated_tape, evidence=30 * DAY)
    last = simulated_tape.ts.max().item() + simulated_tape.bar
    assert windows.evidence.end == last.replace(hour=0) <= last
    assert windows.evidence.start - windows.search.end == WARMUP
    assert windows.search.start == simulated_tape.ts.min().item()
    short = EvidenceWindows.latest(simulated_tape, evidence=30 * DAY, search=10 * DAY)
    assert short.search.days == 10
    assert EvidenceWindows.from_dict(json.loads(json.dumps(windows.to_dict()))) == windows
    with pytest.raises(NotEnoughDataError, match="nothing is left to search"):
        EvidenceWindows.latest(simulated_tape, evidence=100 * DAY)


def test_too_little_is_refused_loudly(simulated_tape, monkeypatch):
    windows = EvidenceWindows.latest(simulated_tape, evidence=30 * DAY, purge=DAY)
    with pytest.raises(NotEnoughDataError, match="30 daily periods; the gate needs 250"):
        windows.check(simulated_tape, PromotionGate(), 10)
    brief = PromotionGate(min_periods=20)
    with pytest.raises(NotEnoughDataError, match=r"the search has 8.*; at least 90"):
        windows.check(simulated_tape, brief, 10)
    monkeypatch.setattr("engine.tuning.evidence_windows.LEAST_SEARCH", 40 * DAY)
    windows.check(simulated_tape, brief, 10)
    for count in (0, 10_001):
        with pytest.raises(ValueError, match="must lie between 1 and 10000"):
            windows.check(simulated_tape, brief, count)
    unknown = np.where(simulated_tape.symbol == 1, np.nan, simulated_tape.volatility_percentile)
    with pytest.raises(NotEnoughDataError, match="ETH/USDT: the state is known at 0 of"):
        windows.check(replace(simulated_tape, volatility_percentile=unknown), brief, 10)
    later = replace(windows, evidence=Window(windows.evidence.start, windows.evidence.end + 60 * DAY))
    with pytest.raises(NotEnoughDataError, match=r"BTC/USDT: .* of the evidence window"):
        later.check(simulated_tape, brief, 10)
    shifted = Window(windows.evidence.start + timedelta(hours=1), windows.evidence.end)
    with pytest.raises(ValueError, match="whole days"):
        replace(windows, evidence=shifted).check(simulated_tape, brief, 10)


# ------------------------------------------------------------------------------------- the gate


@pytest.mark.parametrize("candidates", [1, 15])
def test_nothing_is_promoted_beyond_the_level_without_an_edge(candidates):
    rng = np.random.default_rng(candidates)
    repetitions, alpha = 120, 0.05
    promoted = sum(weighed(noise(rng, candidates), alpha).decision.promote for _ in range(repetitions))
    assert promoted / repetitions <= alpha + 2 * np.sqrt(alpha * (1 - alpha) / repetitions)


def test_testing_the_best_alone_would_promote_too_often():
    """The wrong way: the best of all on the evidence, tested as if nothing else had been searched."""
    rng = np.random.default_rng(40)
    repetitions, promoted = 60, 0
    for _ in range(repetitions):
        returns = noise(rng, 40)
        best = 1 + np.argmax(returns[1:].mean(axis=1))
        promoted += GATE.decide(returns[0], {"best": returns[best]}, alpha=0.05).promote
    assert promoted / repetitions > 0.15


def test_a_planted_better_candidate_is_the_one_promoted():
    rng = np.random.default_rng(3)
    repetitions, right = 50, 0
    for _ in range(repetitions):
        # Five standard errors: 0.002 / sqrt(365) each.
        evidence = weighed(noise(rng, 15, edge=5 * 0.002 / np.sqrt(365)))
        right += evidence.promoted == ParameterSet.from_vector(neighbours(15)[-1])
    assert right / repetitions >= 0.8


def test_what_is_promoted_need_not_be_the_best_of_the_search():
    returns = noise(np.random.default_rng(5), 6)
    returns[3] = returns[0] + 0.001 + 0.0005 * np.random.default_rng(6).standard_normal(365)
    evidence = weighed(returns)
    assert evidence.decision.chosen == "set 3"
    assert evidence.promoted == ParameterSet.from_vector(neighbours(6)[3])
    assert np.array_equal(evidence.candidate, returns[3])


def test_days_that_a_difference_rests_on_are_counted_by_their_weight():
    differences = np.array([[1.0, -1.0, 1.0, -1.0], [2.0, 0.0, 0.0, 0.0], [0.0] * 4, [3.0, 4.0, 0.0, 0.0]])
    np.testing.assert_allclose(effective_days(differences), [4.0, 1.0, 0.0, 25.0**2 / (81.0 + 256.0)])


def test_what_differs_on_a_few_days_does_not_raise_the_bar_for_the_rest():
    rng = np.random.default_rng(8)
    live = noise(rng, 1)[0]
    returns = np.tile(live, (300, 1))
    returns[np.arange(1, 300), rng.integers(0, 365, 299)] += 0.01
    returns[7] = live + 0.0004 + 0.002 * rng.standard_normal(365)
    evidence = weighed(returns)
    assert (evidence.searched, evidence.tested) == (300, 1)
    assert evidence.promoted == ParameterSet.from_vector(neighbours(299)[7])
    returns[7] = live
    assert weighed(returns).tested == 298, "where nothing else differs, they are judged by themselves"


def test_candidates_that_did_the_same_are_searched_and_not_tested():
    returns = noise(np.random.default_rng(7), 4)
    twins = np.vstack([returns, np.tile(returns[0], (300, 1))])
    alone, among = weighed(returns), weighed(twins)
    assert (among.searched, among.tested, among.decision.searched) == (305, 4, 304)
    assert among.decision.p_value == alone.decision.p_value
    same = weighed(np.tile(returns[0], (3, 1)))
    assert same.promoted is None
    assert same.tested == 0
    assert "identical to the baseline" in same.reasons[0]


def test_the_incumbent_must_be_candidate_zero():
    returns, sets = noise(np.random.default_rng(8), 3), neighbours(3)
    other = replace(DEFAULTS, social_go=0.5)
    with pytest.raises(ValueError, match="not what is in force"):
        weigh(evaluation(returns), sets, other, WINDOWS, alpha=0.05, gate=GATE)
    with pytest.raises(ValueError, match="nothing but what is in force"):
        weigh(evaluation(returns[:1]), sets[:1], DEFAULTS, WINDOWS, alpha=0.05, gate=GATE)
    with pytest.raises(ValueError, match="4 evaluations for 3"):
        weigh(evaluation(returns), sets[:3], DEFAULTS, WINDOWS, alpha=0.05, gate=GATE)


def test_what_fails_under_stress_is_not_promoted():
    returns = noise(np.random.default_rng(9), 2, edge=0.002)
    found = weigh(evaluation(returns), neighbours(2), DEFAULTS, WINDOWS, alpha=0.05, gate=GATE)
    assert found.promoted is not None, "the gate alone lets it pass"
    row = {
        "stress": "dear", "meaning": "-", "paths": 9, "incumbent": 0.1, "candidate": 0.3, "difference": 0.2,
        "low": 0.15, "allowed": 0.05, "passed": False,
    }  # fmt: skip
    broken = replace(found, stress=StressTest(pl.DataFrame([row])))
    assert broken.promoted is None
    assert not broken.to_dict()["promoted"]
    assert broken.reasons[0].startswith("refused under stress: dear")
    borne = replace(found, stress=StressTest(pl.DataFrame([{**row, "low": 0.01, "passed": True}])))
    assert borne.promoted == found.judged


def test_too_few_trades_are_not_enough():
    returns = noise(np.random.default_rng(9), 2, edge=0.002)
    found = weigh(evaluation(returns, trades=29), neighbours(2), DEFAULTS, WINDOWS, alpha=0.05, gate=GATE)
    assert found.promoted is None
    assert any("29 trades" in reason for reason in found.reasons)


def test_gates_test_what_the_goal_is_about():
    assert gate_for("return").statistic == gate_for("balanced").statistic == "mean"
    assert gate_for("sharpe", min_improvement=0.1).min_improvement == 0.1
    drawdown = gate_for("drawdown")
    assert drawdown.statistic == "sharpe"
    assert drawdown.guardrails.max_drawdown.limit(0.1) == 0.1


# ------------------------------------------------------------------------------------- on a market


@pytest.fixture
def brief(monkeypatch):
    monkeypatch.setattr("engine.tuning.evidence_windows.LEAST_SEARCH", 20 * DAY)
    return PromotionGate(min_periods=30, draws=199)


def result_of(sets: np.ndarray) -> SearchResult:
    return SearchResult(DEFAULTS, sets, np.zeros(len(sets)), EPISODES.to_frame())


def test_judged_on_the_evidence_alone(simulated_tape, brief):
    windows = EvidenceWindows.latest(simulated_tape, evidence=40 * DAY, purge=DAY)
    searched = result_of(neighbours(5))
    found = judge(simulated_tape, searched, DEFAULTS, windows, alpha=0.05, gate=brief)
    assert found.periods.size == found.decision.periods == 40
    assert found.periods[0] == np.datetime64(windows.evidence.start)
    # Whatever the search window holds, the verdict is the same.
    before = simulated_tape.ts < np.datetime64(windows.search.end)
    other = np.where(before, -simulated_tape.breakout_side, simulated_tape.breakout_side).astype(np.int8)
    again = judge(
        replace(simulated_tape, breakout_side=other), searched, DEFAULTS, windows, alpha=0.05, gate=brief
    )
    assert again.to_dict() == found.to_dict()
    moved = replace(simulated_tape, breakout_side=-simulated_tape.breakout_side)
    assert judge(moved, searched, DEFAULTS, windows, alpha=0.05, gate=brief).data_hash != found.data_hash


def test_a_market_that_does_not_reach_over_the_evidence_is_not_judged_on(simulated_tape, brief):
    windows = EvidenceWindows.latest(simulated_tape, evidence=40 * DAY, purge=DAY)
    short = simulated_tape.between(simulated_tape.ts.min().item(), windows.evidence.end - 30 * DAY)
    with pytest.raises(NotEnoughDataError, match="of the evidence window"):
        judge(short, result_of(neighbours(5)), DEFAULTS, windows, alpha=0.05, gate=brief)


def test_evidence_is_plain_and_complete(simulated_tape, brief):
    windows = EvidenceWindows.latest(simulated_tape, evidence=40 * DAY, purge=DAY)
    found = judge(simulated_tape, result_of(neighbours(5)), DEFAULTS, windows, alpha=0.04, gate=brief)
    plain = found.to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["alpha"] == 0.04
    assert plain["searched"] == 6
    assert plain["incumbent_hash"] == DEFAULTS.content_hash
    assert plain["data_hash"] == fingerprint(
        simulated_tape.between(windows.evidence.start, windows.evidence.end)
    )
    assert ParameterSet.from_mapping(plain["judged"]) == found.judged
    assert set(plain["changes"]) == set(DEFAULTS.changes(found.judged))


@pytest.mark.parametrize("edge", [0.0, 0.002])
def test_picture(edge):
    png = evidence_interval(weighed(noise(np.random.default_rng(1), 20, edge=edge)))
    assert png.startswith(b"\x89PNG")


def test_without_a_lower_bound_it_is_still_told_and_drawn():
    """Where a statistic rests on few days no critical value can be given: none is made up."""
    found = weighed(noise(np.random.default_rng(1), 3))
    decision = found.decision
    unbounded = replace(
        decision,
        verdict=replace(decision.verdict, low=-np.inf),
        verdicts=tuple(replace(each, low=-np.inf) for each in decision.verdicts),
    )
    told = json.loads(json.dumps(replace(found, decision=unbounded).to_dict(), allow_nan=False))
    assert told["figures"]["low"] is None
    assert told["figures"]["p_value"] == decision.verdict.p_value
    drawn = evidence_interval(replace(found, decision=unbounded))
    assert drawn.startswith(b"\x89PNG")
    assert drawn != evidence_interval(found)
