from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl
import pytest
from scipy.signal import lfilter
from scipy.stats import t as student

from engine.errors import DataError
from engine.evaluation.attempts import Attempt, append, empty, next_alpha
from engine.evaluation.guardrails import Guardrails
from engine.evaluation.promotion_gate import PromotionGate

PERIODS, DEVIATION = 500, 0.005


def market(rng, shape=PERIODS):
    """Baseline returns: market noise with t(4) tails."""
    return 0.0005 + 0.01 * rng.standard_t(4, shape)


def differences(phi, rng, shape=(PERIODS, 1)):
    """AR(phi) with t(5) shocks, half as volatile as the market, along the first axis."""
    shocks = rng.standard_t(5, (shape[0] + 200, *shape[1:])) / np.sqrt(5 / 3) * np.sqrt(1 - phi**2)
    return DEVIATION * lfilter([1.0], [1.0, -phi], shocks, axis=0)[200:]


def standard_error(phi):
    return DEVIATION * np.sqrt((1 + phi) / (1 - phi) / PERIODS)


def decide(seed, phi, *, edge=0.0, candidates=1, planted=0, draws=399, **settings):
    rng = np.random.default_rng([seed, candidates])
    baseline = market(rng)
    change = differences(phi, rng, (PERIODS, candidates))
    change[:, planted] += edge * standard_error(phi)
    return PromotionGate(draws=draws, seed=seed).decide(baseline, baseline[:, None] + change, **settings)


@cache
def null_decisions(phi):
    return [decide(seed, phi) for seed in range(1000)]


@pytest.mark.slow
@pytest.mark.parametrize("phi", [0.0, 0.4])
def test_false_promotions_are_as_rare_as_promised(phi):
    """A correct gate misses 0.064 once in about 40 seeds; 4000 repetitions are run by the benchmark."""
    assert np.mean([decision.promote for decision in null_decisions(phi)]) <= 0.064


@pytest.mark.parametrize(("edge", "power"), [(3.0, 0.75), (4.0, 0.93)])
def test_planted_edges_are_found(edge, power):
    found = np.mean([decide(seed, 0.4, edge=edge).promote for seed in range(200)])
    assert found >= power - 2 * np.sqrt(power * (1 - power) / 200)


def test_iid_t_test_promotes_autocorrelated_nulls():
    x = differences(0.5, np.random.default_rng(0), (PERIODS, 2000))
    statistic = x.mean(axis=0) / x.std(axis=0, ddof=1) * np.sqrt(PERIODS)
    assert (statistic > student.isf(0.05, PERIODS - 1)).mean() > 0.12


@pytest.mark.slow
def test_point_estimate_alone_promotes_about_half_of_the_nulls():
    verdicts = [decision.verdict for decision in null_decisions(0.0)]
    assert np.mean([verdict.relative_improvement >= 0.02 for verdict in verdicts]) > 0.40


def test_unpaired_comparison_has_no_power():
    """The same edge of 4 standard errors that the gate finds nearly always."""
    rng = np.random.default_rng(1)
    baseline, other = market(rng, (PERIODS, 2000)), market(rng, (PERIODS, 2000))
    candidate = other + differences(0.4, rng, (PERIODS, 2000)) + 4 * standard_error(0.4)
    error = np.sqrt((baseline.var(axis=0, ddof=1) + candidate.var(axis=0, ddof=1)) / PERIODS)
    statistic = (candidate.mean(axis=0) - baseline.mean(axis=0)) / error
    assert (statistic > student.isf(0.05, 2 * PERIODS - 2)).mean() < 0.6
    assert np.mean([decide(seed, 0.4, edge=4.0).promote for seed in range(60)]) > 0.9


@pytest.mark.slow
def test_fifty_null_candidates_together():
    wrong = np.mean([decide(seed, 0.0, candidates=50).promote for seed in range(150)])
    assert wrong <= 0.086


def test_the_planted_one_of_fifty_is_promoted():
    chosen = [decide(seed, 0.4, edge=6.0, candidates=50, planted=17).chosen for seed in range(40)]
    assert np.mean([name == "17" for name in chosen]) >= 0.85


def test_the_best_of_fifty_tested_alone_is_mostly_luck_unless_all_are_counted():
    alone, counted = [], []
    for seed in range(80):
        rng = np.random.default_rng(seed)
        baseline = market(rng)
        change = differences(0.0, rng, (PERIODS, 50))
        finalist = {"best": baseline + change[:, change.mean(axis=0).argmax()]}
        gate = PromotionGate(draws=399, seed=seed)
        alone.append(gate.decide(baseline, finalist).promote)
        counted.append(gate.decide(baseline, finalist, searched=50).promote)
    assert np.mean(alone) > 0.75
    assert np.mean(counted) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 80)


@pytest.mark.slow
def test_sixty_nights_of_null_candidates():
    """Nights share nothing here, so the chance that none promotes is the product over nights."""
    p_values = np.array([decision.p_value for decision in null_decisions(0.0)])
    attempts, quiet = empty(), 1.0
    for night in range(60):
        alpha = next_alpha(attempts, "algorithm")
        quiet *= 1 - (p_values <= alpha).mean()
        attempts = append(
            attempts,
            Attempt(
                moment=np.datetime64("2025-01-01", "us")
                .item()
                .replace(month=1 + night // 28, day=1 + night % 28),
                subject="algorithm",
                kind="search",
                searched=1,
                promoted=False,
                reason="a null night",
                alpha=alpha,
            ),
        )
    assert 1 - quiet <= 0.09
    assert 1 - (1 - (p_values <= 0.05).mean()) ** 60 > 0.85


@pytest.mark.parametrize("alpha", [0.03, 1e-3, 1e-5])
def test_the_level_of_the_call_is_the_level_tested_at(alpha):
    """Between the critical values of 5 % and of a late night lies what one promotes and the other not."""
    decision = decide(3, 0.0, edge=3.2, alpha=alpha)
    assert decision.alpha == alpha
    assert decision.promote == (decision.p_value <= alpha)
    assert (decision.interval[0] > 0) == (decision.p_value <= alpha)
    assert decide(3, 0.0, edge=12.0, alpha=alpha).promote


def around(level, deviation, seed, periods=PERIODS):
    """A series with exactly this mean."""
    noise = np.random.default_rng(seed).standard_normal(periods)
    return level + deviation * (noise - noise.mean())


def test_losing_more_is_refused_and_losing_less_promoted():
    """The ratio of means would call -0.10 to -0.15 an improvement by 50 %."""
    baseline = around(-0.10, 0.02, 1)
    worse = PromotionGate(guardrails=None).decide(baseline, {"c": baseline + around(-0.05, 0.02, 2)})
    assert not worse.promote
    assert worse.verdict.relative_improvement == pytest.approx(-0.5)
    assert (baseline.mean() - 0.05) / baseline.mean() - 1 == pytest.approx(0.5)
    better = PromotionGate(guardrails=None).decide(baseline, {"c": baseline + around(0.05, 0.02, 2)})
    assert better.chosen == "c"
    assert better.verdict.relative_improvement == pytest.approx(0.5)


def test_a_sure_but_small_improvement_is_refused():
    """One per cent at twenty standard errors."""
    baseline = around(0.10, 0.02, 3)
    decision = PromotionGate().decide(baseline, {"c": baseline + around(0.001, 0.001 * np.sqrt(500) / 20, 4)})
    assert decision.verdict.statistic > 15
    assert decision.p_value < 1e-3
    assert decision.probability_of_improvement < 0.01
    assert not decision.promote
    assert any("2.00% is the least" in reason for reason in decision.reasons)


@pytest.mark.parametrize("statistic", ["mean", "sharpe"])
def test_an_identical_candidate_is_refused_without_error(statistic):
    baseline = market(np.random.default_rng(5))
    decision = PromotionGate(statistic=statistic).decide(baseline, {"same": baseline.copy()})
    assert not decision.promote
    assert any("identical" in reason for reason in decision.reasons)
    beside = PromotionGate(statistic=statistic).decide(
        baseline, {"same": baseline, "other": baseline + around(0.004, 0.005, 6)}
    )
    assert beside.chosen == "other"
    assert beside.candidates["p_value"].null_count() == 1


def test_a_constant_difference_cannot_be_tested():
    baseline = market(np.random.default_rng(7))
    decision = PromotionGate().decide(baseline, {"c": baseline + 0.001})
    assert not decision.promote
    assert any("nothing varies" in reason for reason in decision.reasons)


def test_a_flat_baseline_has_no_sharpe_ratio_but_a_mean():
    candidate = {"c": around(0.002, 0.005, 8)}
    assert not PromotionGate(statistic="sharpe").decide(np.zeros(500), candidate).promote
    decision = PromotionGate(guardrails=None).decide(np.zeros(500), candidate)
    assert decision.promote
    assert np.isfinite(decision.verdict.relative_improvement)


def test_sharpe_ratio_is_its_own_question():
    """Half the risk at the same mean: a better ratio, not a better mean."""
    rng = np.random.default_rng(9)
    baseline = 0.001 + 0.01 * rng.standard_normal(1500)
    calmer = 0.001 + 0.5 * (baseline - 0.001) + 0.001 * rng.standard_normal(1500)
    assert PromotionGate(statistic="sharpe").decide(baseline, {"c": calmer}).promote
    assert not PromotionGate().decide(baseline, {"c": calmer}).promote


def test_false_promotions_by_the_sharpe_ratio_are_rare():
    wrong = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        baseline = market(rng)
        # another stream with the same law and half of the noise in common
        other = market(rng)
        gate = PromotionGate(statistic="sharpe", draws=199, seed=seed, guardrails=None)
        wrong.append(gate.decide(0.5 * (baseline + market(rng)), {"c": 0.5 * (baseline + other)}).promote)
    assert np.mean(wrong) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)


def test_a_guardrail_vetoes_and_none_promotes():
    rng = np.random.default_rng(10)
    baseline = market(rng)
    candidate = baseline + around(0.004, 0.005, 11)
    assert PromotionGate().decide(baseline, {"c": candidate}).promote
    crashing = candidate.copy()
    crashing[100] -= 0.30
    vetoed = PromotionGate().decide(baseline, {"c": crashing})
    assert vetoed.p_value < 0.05
    assert not vetoed.promote
    assert any("guardrail" in reason for reason in vetoed.reasons)
    assert PromotionGate(guardrails=None).decide(baseline, {"c": crashing}).promote
    # all guardrails better, no improvement of the mean
    calmer = 0.5 * (baseline - baseline.mean()) + baseline.mean() + around(0.0, 0.001, 12)
    calm = PromotionGate().decide(baseline, {"c": calmer})
    assert all(rail.passed for rail in calm.guardrails)
    assert not calm.promote


def test_the_next_best_is_promoted_where_the_best_is_vetoed():
    baseline = market(np.random.default_rng(13))
    good = baseline + around(0.003, 0.005, 14)
    wild = baseline + around(0.006, 0.005, 15)
    wild[50:54] -= 0.10
    wild += 0.4 / 500
    decision = PromotionGate().decide(baseline, {"wild": wild, "good": good})
    assert decision.chosen == "good"


def test_of_two_that_pass_the_one_with_the_higher_lower_bound_is_chosen():
    """Not the larger statistic (steady), nor the larger improvement (noisy)."""
    baseline = market(np.random.default_rng(31))
    candidates = {
        "steady": baseline + around(0.001, 0.001, 32),
        "both": baseline + around(0.003, 0.005, 33),
        "noisy": baseline + around(0.0032, 0.012, 34),
    }
    decision = PromotionGate(guardrails=None).decide(baseline, candidates)
    table = decision.candidates
    assert (table["refused_because"] == "").all()
    assert table["statistic"].arg_max() == 0
    assert table["improvement"].arg_max() == 2
    assert decision.chosen == "both"


def test_worst_trade_can_veto():
    baseline = market(np.random.default_rng(16))
    candidate = baseline + around(0.004, 0.005, 17)
    pnls = {"baseline": np.r_[np.ones(60), -10.0], "c": np.r_[np.ones(60), -30.0]}
    assert not PromotionGate().decide(baseline, {"c": candidate}, trade_pnls=pnls).promote
    pnls["c"] = np.r_[np.ones(60), -11.0]
    assert PromotionGate().decide(baseline, {"c": candidate}, trade_pnls=pnls).promote


@pytest.mark.parametrize("periods", [0, 1, 5, 60, 249])
def test_too_few_periods_keep_the_baseline(periods):
    rng = np.random.default_rng(18)
    baseline = market(rng, periods)
    decision = PromotionGate().decide(baseline, {"c": baseline + 0.01 + 0.001 * rng.standard_normal(periods)})
    assert not decision.promote
    assert any(f"{periods} periods; at least 250" in reason for reason in decision.reasons)
    assert decision.candidates.height == 1


def test_too_few_trades_keep_the_baseline():
    baseline = market(np.random.default_rng(19))
    candidate = {"c": baseline + around(0.004, 0.005, 20)}
    gate = PromotionGate()
    assert gate.decide(baseline, candidate, trades={"c": 30}).promote
    few = gate.decide(baseline, candidate, trades={"c": 29})
    assert not few.promote
    assert any("29 trades" in reason for reason in few.reasons)
    unknown = gate.decide(baseline, candidate, trades={})
    assert not unknown.promote
    assert any("unknown" in reason for reason in unknown.reasons)
    assert few.candidates["trades"].to_list() == [29]


def test_a_handful_of_differing_periods_is_no_evidence():
    baseline = market(np.random.default_rng(21))
    lucky = baseline.copy()
    lucky[::25] += 0.05
    decision = PromotionGate().decide(baseline, {"c": lucky})
    assert not decision.promote
    assert any("20 periods" in reason for reason in decision.reasons)


def test_minimum_detectable_effect_is_detected_four_times_in_five():
    edge = 1.645 + 0.842
    decisions = [decide(seed, 0.0, edge=edge, draws=99) for seed in range(400)]
    assert np.mean([decision.p_value <= 0.05 for decision in decisions]) == pytest.approx(0.80, abs=0.05)
    effects = [decision.minimum_detectable_effect for decision in decisions]
    assert np.mean(effects) == pytest.approx(edge * standard_error(0.0), rel=0.06)


def test_periods_needed_reveal_the_least_improvement():
    verdict = decide(22, 0.0).verdict
    asked = 0.02 * max(abs(verdict.baseline), 0.01 * 0.0141)
    expected = PERIODS * (verdict.minimum_detectable_effect / asked) ** 2
    assert verdict.periods_needed == pytest.approx(expected, rel=0.6)


def test_probability_of_improvement_lies_on_the_right_side():
    assert decide(23, 0.0, edge=6.0).probability_of_improvement > 0.95
    assert decide(23, 0.0, edge=-6.0).probability_of_improvement < 0.05
    spread = [decide(seed, 0.0, draws=99).probability_of_improvement for seed in range(200)]
    assert np.mean(spread) == pytest.approx(0.48, abs=0.06)


def test_lower_bound_covers_and_agrees_with_the_p_value():
    decisions = [decide(seed, 0.4, edge=2.0, draws=99) for seed in range(300)]
    true = 2.0 * standard_error(0.4)
    assert np.mean([decision.interval[0] > true for decision in decisions]) <= 0.05 + 0.03
    assert np.mean([decision.interval[1] < true for decision in decisions]) <= 0.05 + 0.03
    assert all((d.interval[0] > 0) == (d.p_value <= 0.05) for d in decisions)


def test_same_seed_same_decision():
    first, again = decide(24, 0.4, candidates=5), decide(24, 0.4, candidates=5)
    assert first.candidates.equals(again.candidates)
    assert first.reasons == again.reasons


def test_scale_does_not_matter_to_the_test():
    rng = np.random.default_rng(25)
    baseline = market(rng)
    candidate = baseline + around(0.0008, 0.005, 26)
    gate = PromotionGate(guardrails=None)
    one = gate.decide(baseline, {"c": candidate}).verdict
    other = gate.decide(1e-4 * baseline, {"c": 1e-4 * candidate}).verdict
    assert other.p_value == pytest.approx(one.p_value)
    assert other.relative_improvement == pytest.approx(one.relative_improvement)
    assert other.low == pytest.approx(1e-4 * one.low)


def test_candidates_table():
    decision = decide(27, 0.0, edge=6.0, candidates=3, planted=1)
    table = decision.candidates
    assert table["candidate"].to_list() == ["0", "1", "2"]
    assert table.filter(pl.col("refused_because") == "")["candidate"].to_list() == ["1"]
    assert {"p_value", "low", "high", "trades", "max_drawdown", "cvar_95"} <= set(table.columns)
    assert table.schema["trades"] == pl.Int64


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_unknown_returns_are_refused_with_their_place(value):
    baseline = market(np.random.default_rng(28))
    broken = baseline.copy()
    broken[41] = value
    with pytest.raises(DataError, match=r"row 42, column 'c'"):
        PromotionGate().decide(baseline, {"a": baseline + 1, "c": broken})
    with pytest.raises(DataError, match=r"column 'baseline'"):
        PromotionGate().decide(broken, {"c": baseline})


@pytest.mark.parametrize(
    ("baseline", "candidates", "settings", "match"),
    [
        (np.zeros(300), {}, {}, "at least one candidate"),
        (np.zeros(300), {"c": np.zeros(299)}, {}, "shape"),
        (np.zeros((300, 1)), {"c": np.zeros(300)}, {}, "shape"),
        (np.zeros(300), np.zeros(300), {}, "shape"),
        (np.zeros(300), {"baseline": np.zeros(300)}, {}, "baseline"),
        (np.zeros(300), np.zeros((300, 3)), {"searched": 2}, "searched=2"),
        (np.zeros(300), np.zeros((300, 3)), {"alpha": 0.0}, "alpha"),
        (np.zeros(300), np.zeros((300, 3)), {"alpha": 0.6}, "alpha"),
    ],
)
def test_wrong_calls_are_refused(baseline, candidates, settings, match):
    with pytest.raises(ValueError, match=match):
        PromotionGate().decide(baseline, candidates, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"confidence": 0.5},
        {"confidence": 1.0},
        {"min_improvement": -0.1},
        {"statistic": "median"},
        {"floor": 0.0},
        {"draws": 50},
        {"min_periods": 5},
        {"min_trades": 0},
    ],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match="must"):
        PromotionGate(**settings)


def test_guardrails_are_set_per_gate():
    baseline = market(np.random.default_rng(29))
    riskier = {"c": 1.5 * baseline + around(0.004, 0.005, 30)}
    assert not PromotionGate().decide(baseline, riskier).promote
    loose = PromotionGate(guardrails=Guardrails(max_drawdown=None, cvar_95=None))
    assert loose.decide(baseline, riskier).promote
