from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from datetime import date, timedelta

import pytest

from engine.portfolio.risk_limits import RiskLimits
from engine.portfolio.risk_manager import Proposal, Review, RiskManager
from engine.portfolio.risk_state import AUTOMATIC, RiskState, advance
from engine.portfolio.view import SymbolView
from engine.regimes.bocd import BOCDConfig

LIMITS = RiskLimits()
CALM = {
    "regime_probabilities": (0.5, 0.5, 0.0), "p_changepoint": 0.05, "data_age_hours": 0.5, "fear_greed": 50.0,
    "fear_greed_age_hours": 3.0,
}  # fmt: skip
START = date(2024, 3, 1)


def review(
    weights, state=None, equity=100.0, current=None, day="2024-03-01", limits=LIMITS, **doubt
) -> Review:
    views = tuple(SymbolView(symbol, **{**CALM, **doubt}) for symbol in weights)
    proposal = Proposal(weights, current or {}, equity, day, views)
    return RiskManager(limits).review(proposal, state or RiskState())


def course(*equities: float, state: RiskState | None = None, limits=LIMITS) -> list[RiskState]:
    """States of consecutive days."""
    state, states = state or RiskState(), []
    for i, equity in enumerate(equities):
        state = advance(state, limits, equity, (START + timedelta(days=i)).isoformat())
        states.append(state)
    return states


def test_what_is_inside_the_limits_is_left_alone():
    proposed = {"A": 0.3, "B": -0.3, "C": 0.2}
    found = review(proposed)
    assert found.allowed == proposed
    assert found.cuts == ()


@pytest.mark.parametrize(
    ("limits", "weights", "rule", "measure", "bound"),
    [
        ({"max_gross": 0.5}, {"A": 0.3, "B": -0.3, "C": 0.2}, "gross limit", lambda w: sum(map(abs, w)), 0.5),
        ({"max_net": 0.4}, {"A": 0.3, "B": -0.1, "C": 0.3}, "net limit", sum, 0.4),
        ({"max_net": 0.4}, {"A": -0.3, "B": 0.1, "C": -0.3}, "net limit", lambda w: -sum(w), 0.4),
        ({"max_concentration": 0.1}, {"A": 0.3, "B": 0.3}, "concentration limit",
         lambda w: sum(x * x for x in w), 0.1),
    ],
)  # fmt: skip
def test_limits_of_the_portfolio_scale_all_alike_and_no_further(limits, weights, rule, measure, bound):
    found = review(weights, limits=RiskLimits(**limits))
    assert measure(list(found.allowed.values())) == pytest.approx(bound)
    ratios = {found.allowed[s] / w for s, w in weights.items()}
    assert max(ratios) - min(ratios) < 1e-12
    assert {cut.rule for cut in found.cuts} == {rule}
    assert all(
        cut.before == weights[cut.symbol] and cut.after == found.allowed[cut.symbol] for cut in found.cuts
    )


def test_two_limits_at_once_scale_by_the_tighter_one_alone():
    limits = RiskLimits(max_gross=0.4, max_net=0.2)
    found = review({"A": 0.4, "B": 0.4}, limits=limits)
    assert sum(found.allowed.values()) == pytest.approx(0.2)


def test_asset_limit_and_unusable_weights():
    found = review({"A": 0.9, "B": math.nan, "C": math.inf, "D": -0.1})
    assert found.allowed == {"A": 0.4, "B": 0.0, "C": 0.0, "D": -0.1}
    assert {cut.symbol: cut.rule for cut in found.cuts} == {"A": "asset limit", "B": "number", "C": "number"}
    assert [cut.symbol for cut in found.vetoes] == ["B", "C"]


@pytest.mark.parametrize(
    ("doubt", "share", "words"),
    [
        ({"regime_probabilities": (0.0, 0.0, 1.0)}, 0.4, "P(PANIC) 1.0000"),
        ({"regime_probabilities": None}, 0.4, "regime unknown"),
        ({"p_changepoint": 0.75}, 0.5, "P(change point) 0.7500"),
        ({"fear_greed": 95.0}, 0.25, "Fear & Greed 95.0"),
        ({"fear_greed": 5.0}, 0.25, "Fear & Greed 5.0"),
        ({"fear_greed": None}, 0.25, "Fear & Greed unknown"),
        ({"fear_greed_age_hours": 49.0}, 0.25, "Fear & Greed unknown"),
        ({"p_changepoint": 0.95}, 0.0, "P(change point) 0.9500"),
        ({"p_changepoint": None}, 0.0, "change-point probability unknown"),
    ],
)
def test_limits_tighten_with_doubt_and_say_which(doubt, share, words):
    found = review({"A": 0.4}, **doubt)
    assert found.allowed["A"] == pytest.approx(0.4 * share)
    assert words in found.cuts[0].reason


def test_extreme_sentiment_tightens_the_gross_limit_too():
    weights = dict.fromkeys("ABCDEFGHIJ", 0.1)
    assert sum(review(weights, fear_greed=2.0).allowed.values()) == pytest.approx(0.25)
    assert sum(review(weights).allowed.values()) == pytest.approx(1.0)


PORTFOLIOS = [{"A": 0.4}, dict.fromkeys("ABCDEFGHIJ", 0.1), {"A": 0.9, "B": -0.6, "C": 0.3}]


def sentiment_faults(manager: RiskManager, weights: dict[str, float]) -> set[str]:
    """Which of the demands on the use of Fear & Greed a review of these weights does not meet."""

    def held(index: float | None) -> list[float]:
        views = tuple(SymbolView(symbol, **{**CALM, "fear_greed": index}) for symbol in weights)
        proposal = Proposal(weights, {}, 100.0, "2024-03-01", views)
        return [abs(w) for w in manager.review(proposal, RiskState()).allowed.values()]

    path, calm = [held(float(i)) for i in range(101)], held(50.0)
    found = set()
    for index in [*path, held(None), held(math.nan), held(140.0)]:
        if any(one > most + 1e-12 for one, most in zip(index, calm, strict=True)):
            found.add("loosens")
        if any(size > LIMITS.max_weight + 1e-12 for size in index) or sum(index) > LIMITS.max_gross + 1e-12:
            found.add("exceeds a limit")
    if any(abs(sum(a) - sum(b)) > 0.10 * sum(calm) for a, b in itertools.pairwise(path)):
        found.add("cliff")
    if sum(max(held(None), held(math.nan), held(140.0))) > min(map(sum, path)) + 1e-12:
        found.add("careless")
    return found


@pytest.mark.parametrize("weights", PORTFOLIOS)
def test_a13_2_fear_and_greed_tightens_the_limits_only_and_without_a_cliff(weights):
    assert sentiment_faults(RiskManager(), weights) == set()


@pytest.mark.parametrize(
    ("caution", "fault"),
    [
        (lambda i: 0.25 if i is None else 0.25 if i < 25 or i > 75 else 1.0, "cliff"),
        (lambda i: 0.25 if i is None else 1.0 + max(i - 50.0, 0.0) / 100.0, "loosens"),
        (lambda i: 0.25 if i is None else 1.0 + max(i - 50.0, 0.0) / 100.0, "exceeds a limit"),
        (lambda i: 1.0 if i is None else 1.0 - 0.015 * abs(i - 50.0), "careless"),
    ],
)
def test_a13_2_limits_that_use_the_index_wrongly_are_caught(caution, fault):
    """A cliff, room for greed, and a calm guess for what is unknown."""

    class Wrong(RiskManager):
        def caution(self, view: SymbolView) -> tuple[float, str]:
            return caution(view.fear_greed), "wrong"

    assert fault in set().union(*(sentiment_faults(Wrong(), weights) for weights in PORTFOLIOS))


def test_the_bounds_of_a_change_point_are_those_of_the_detector():
    assert (LIMITS.reduce_at, LIMITS.exit_at) == (BOCDConfig().reduce_at, BOCDConfig().exit_at)
    assert review({"A": 0.4}, p_changepoint=0.69).cuts == ()


@pytest.mark.parametrize("age", [7.0, None, math.nan])
def test_on_stale_data_nothing_is_added_to(age):
    found = review(
        {"A": 0.3, "B": 0.3, "C": 0.1}, current={"A": 0.2, "B": -0.2, "C": 0.2}, data_age_hours=age
    )
    assert found.allowed == {"A": 0.2, "B": 0.0, "C": 0.1}
    assert {cut.rule for cut in found.cuts} == {"stale data"}


def test_an_asset_without_a_view_is_closed_and_unknown_equity_closes_all():
    proposal = Proposal({"A": 0.1}, {}, 100.0, "2024-03-01", ())
    assert RiskManager().review(proposal, RiskState()).allowed == {"A": 0.0}
    state = course(100.0)[-1]
    for equity in (None, math.nan):
        found = review({"A": 0.1}, state, equity)
        assert found.allowed == {"A": 0.0}
        assert found.cuts[-1].rule == "equity"
        assert found.state == state, "what is unknown is not remembered"


class TestDrawdown:
    def test_reduce_then_flat(self):
        modes = [s.mode for s in course(100.0, 95.0, 90.0, 85.0, 80.0, 95.0)]
        assert modes == ["normal", "normal", "reduced", "reduced", "flat", "flat"]

    def test_the_exposure_follows(self):
        states = course(100.0, 95.0, 90.0)
        assert review({"A": 0.3}, states[-1], 90.0, day="2024-03-03").allowed["A"] == pytest.approx(0.15)
        flat = course(100.0, 95.0, 90.0, 85.0, 80.0)[-1]
        found = review({"A": 0.3}, flat, 80.0, day="2024-03-05")
        assert found.allowed["A"] == 0.0
        assert found.cuts[-1].reason == "flat since 2024-03-05"

    def test_reentry_after_the_cooldown_at_reduced_exposure_and_counted_anew(self):
        """Flat equity cannot rise: a stop that waits for recovery would never end."""
        states = course(100.0, 95.0, 90.0, 85.0, 80.0, *[80.0] * 10)
        assert [s.mode for s in states[4:]] == ["flat"] * 10 + ["reduced"]
        assert states[-1].base == 80.0
        assert states[-1].peak == 100.0
        more = course(*[80.0] * 10, state=replace(states[-1], day=None))
        assert more[-1].mode == "reduced"

    def test_normal_again_only_after_recovery_and_a_while(self):
        reduced = course(100.0, 95.0, 90.0)
        recovered = course(*[100.0, 95.0, 90.0, 96.0] + [96.0] * 8)
        assert reduced[-1].mode == "reduced"
        assert [s.mode for s in recovered[2:]] == ["reduced"] * 10
        assert course(*[100.0, 95.0, 90.0] + [96.0] * 10)[-1].mode == "normal"
        assert course(*[100.0, 95.0, 90.0] + [94.0] * 20)[-1].mode == "reduced", "5 % not reached"


class TestDailyLoss:
    def test_closes_the_day_and_no_longer(self):
        states = course(100.0, 93.9)
        assert states[-1].halted_on == "2024-03-02"
        assert review({"A": 0.3}, states[-1], 93.9, day="2024-03-02").allowed["A"] == 0.0
        later = review({"A": 0.3}, states[-1], 93.9, day="2024-03-03")
        assert later.allowed["A"] == pytest.approx(0.3)

    def test_counts_from_the_day_before_through_the_day(self):
        state = course(100.0, 99.0)[-1]
        for equity in (97.0, 95.0):
            state = advance(state, LIMITS, equity, "2024-03-02")
            assert state.halted_on is None
        state = advance(state, LIMITS, 93.9, "2024-03-02")
        assert state.halted_on == "2024-03-02"
        assert advance(state, LIMITS, 99.0, "2024-03-02").halted_on == "2024-03-02", "latched for the day"


class TestKillSwitch:
    def test_stays_on_until_a_person_lifts_it(self):
        state = course(100.0)[-1].kill("ana", "exchange halted withdrawals", "2024-03-01")
        for i in range(40):
            found = review({"A": 0.3}, state, 100.0, day=(START + timedelta(days=i)).isoformat())
            assert found.allowed["A"] == 0.0
            state = RiskState.from_dict(json.loads(json.dumps(found.state.to_dict())))
        assert found.cuts[-1].reason == "thrown by ana on 2024-03-01: exchange halted withdrawals"
        lifted = state.lift("bo", "withdrawals work again", "2024-04-10")
        assert [e.actor for e in lifted.switch] == ["ana", "bo"]
        again = review({"A": 0.3}, lifted, 100.0, day="2024-04-10")
        assert again.allowed["A"] == pytest.approx(0.15), "resumes at reduced exposure"

    def test_is_thrown_by_a_deep_drawdown_from_the_highest_equity_in_spite_of_reentries(self):
        path = [100.0, 95.0, 90.0, 85.0, 80.0, *[80.0] * 10, 76.0, 72.0, 68.0, 66.0, 64.9]
        states = course(*path)
        assert states[-2].killed is None
        event = states[-1].killed
        assert event is not None
        assert event.actor == AUTOMATIC
        assert event.reason == "drawdown 0.3510, bound 0.3500"

    def test_is_thrown_by_a_loss_of_everything(self):
        assert course(100.0, 0.0)[-1].killed is not None
        assert course(-5.0)[-1].killed is not None

    def test_does_not_fall_again_at_once_after_it_was_lifted(self):
        killed = course(100.0, 60.0)[-1]
        lifted = killed.lift("ana", "loss understood", "2024-03-02")
        assert advance(lifted, LIMITS, 60.0, "2024-03-03").killed is None

    @pytest.mark.parametrize(("actor", "reason"), [("", "why"), ("ana", " "), (AUTOMATIC, "looks fine")])
    def test_lifting_needs_a_person_and_a_reason(self, actor, reason):
        state = RiskState().kill("ana", "test", "2024-03-01")
        with pytest.raises(ValueError, match="actor="):
            state.lift(actor, reason, "2024-03-02")

    def test_throwing_needs_both_too_and_keeps_the_first_reason(self):
        with pytest.raises(ValueError, match="needs both"):
            RiskState().kill("ana", "", "2024-03-01")
        state = RiskState().kill("ana", "first", "2024-03-01")
        assert state.kill("bo", "second", "2024-03-02") is state
        with pytest.raises(ValueError, match="not on"):
            RiskState().lift("ana", "nothing to lift", "2024-03-01")


def test_a_review_is_a_function_of_proposal_and_state():
    state = course(100.0, 95.0, 90.0)[-1]
    one, two = (review({"A": 0.3, "B": 0.5}, state, 91.0, day="2024-03-04") for _ in range(2))
    assert one == two
    stored = json.loads(json.dumps(one.to_dict(), allow_nan=False))
    assert Review.from_dict(stored) == one


def test_time_does_not_run_backwards():
    state = course(100.0, 100.0)[-1]
    with pytest.raises(ValueError, match="lies before"):
        advance(state, LIMITS, 100.0, "2024-03-01")
    with pytest.raises(ValueError, match="isoformat"):
        advance(state, LIMITS, 100.0, "yesterday")


@pytest.mark.parametrize(
    "wrong",
    [{"max_gross": 0.0}, {"max_concentration": math.inf}, {"panic_caution": 0.0}, {"reduce_at": 0.95},
     {"flat_drawdown": 0.05}, {"kill_drawdown": 0.1}, {"daily_loss": 0.0}, {"cooldown_days": 0}],
)  # fmt: skip
def test_bad_limits_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RiskLimits(**wrong)
    with pytest.raises(ValueError, match="mode="):
        RiskState(mode="asleep")  # type: ignore[arg-type]
