from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from engine.evaluation.step_down import MaximumTail, step_down


def test_critical_values_are_ranks_of_the_draws():
    """B = 399 at 95 %: the 380th; an interpolated quantile of few draws is another number."""
    tail = MaximumTail(np.arange(1.0, 400.0), 30.0)
    assert tail.critical_value(0.05) == 380.0
    assert MaximumTail(np.arange(1.0, 1000.0), 30.0).critical_value(0.05) == 950.0


@pytest.mark.parametrize("draws", [200, 399, 999])
def test_critical_values_keep_the_level_on_average_over_draws(draws):
    null = np.random.default_rng(0).standard_normal((1500, draws))
    critical = [MaximumTail(row, 1e6).critical_value(0.05) for row in null]
    assert norm.sf(critical).mean() == pytest.approx(0.05, abs=0.002)


def test_interpolated_quantiles_of_few_draws_do_not_keep_the_level():
    null = np.random.default_rng(0).standard_normal((3000, 200))
    assert norm.sf(np.quantile(null, 0.95, axis=1)).mean() > 0.053


@pytest.mark.parametrize("unseen", [0, 7, 500])
@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.003, 1e-6])
def test_critical_value_and_p_value_agree(unseen, alpha):
    rng = np.random.default_rng(3)
    tail = MaximumTail(rng.standard_normal((999, 4)).max(axis=1), 60.0, unseen)
    critical = tail.critical_value(alpha)
    assert tail.p_value(critical * (1 + 1e-9)) <= alpha * (1 + 1e-6)
    assert tail.p_value(critical * (1 - 1e-9)) >= alpha * (1 - 1e-4)


def test_tail_beyond_the_draws_continues_the_maximum_of_normals():
    """999 draws of the largest of 50 find probabilities that 999 ranks cannot hold."""
    rng = np.random.default_rng(4)
    for alpha in (1e-3, 1e-5):
        exact = norm.isf(-np.expm1(np.log1p(-alpha) / 50))
        found = [
            MaximumTail(rng.standard_normal((999, 50)).max(axis=1), 1e6).critical_value(alpha)
            for _ in range(20)
        ]
        assert np.mean(found) == pytest.approx(exact, abs=0.03)
        assert np.std(found) < 0.1


@pytest.mark.parametrize("draws", [399, 999, 1999])
def test_p_value_just_above_a_critical_rank_is_the_level_itself(draws):
    """Not the next number above it, which the gate would refuse."""
    tail = MaximumTail(np.arange(float(draws)), 40.0)
    for alpha in (0.05, 0.1, 0.25):
        assert tail.p_value(np.nextafter(tail.critical_value(alpha), np.inf)) == pytest.approx(
            alpha, abs=1e-12
        )
        assert tail.p_value(tail.critical_value(alpha) + 1e-9) <= alpha


def test_p_values_never_rise_with_the_statistic_and_never_reach_zero():
    tail = MaximumTail(np.random.default_rng(5).standard_normal(399), 20.0, 3)
    p_value = tail.p_value(np.linspace(-5, 30, 2000))
    assert (np.diff(p_value) <= 1e-12).all()
    assert p_value[0] == 1.0
    assert p_value[-1] > 0.0


def test_candidates_that_were_searched_but_not_handed_in_count():
    """One finalist of 50 is judged like the best of 50 independent ones."""
    rng = np.random.default_rng(6)
    alone = MaximumTail(rng.standard_normal(4999), 1e6)
    of_fifty = MaximumTail(rng.standard_normal(4999), 1e6, 49)
    assert alone.critical_value(0.05) == pytest.approx(norm.isf(0.05), abs=0.08)
    assert of_fifty.critical_value(0.05) == pytest.approx(norm.isf(-np.expm1(np.log1p(-0.05) / 50)), abs=0.08)


def brute_force(statistic, draws, alpha):
    """Romano and Wolf as they write it: reject above the critical value, drop the rejected, again."""
    remaining, rejected = set(range(statistic.size)), set()
    while remaining:
        maxima = np.sort(draws[:, sorted(remaining)].max(axis=1))
        critical = maxima[int(np.ceil((1 - alpha) * (maxima.size + 1))) - 1]
        found = {k for k in remaining if statistic[k] > critical}
        if not found:
            return rejected
        rejected |= found
        remaining -= found
    return rejected


@pytest.mark.parametrize("seed", range(12))
def test_rejections_are_those_of_the_written_procedure(seed):
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((999, 1))
    draws = 0.6 * common + 0.8 * rng.standard_normal((999, 8))
    statistic = rng.standard_normal(8) + np.array([4.0, 3.0, 2.4, 2.2, 2.0, 0, 0, 0])
    p_value, critical = step_down(statistic, draws, 0.1, 100.0)
    assert set(np.flatnonzero(p_value <= 0.1)) == brute_force(statistic, draws, 0.1)
    np.testing.assert_array_equal(p_value <= 0.1, statistic > critical)


def test_near_copies_cost_little_and_independent_candidates_much():
    rng = np.random.default_rng(8)
    one = rng.standard_normal((1999, 1))
    copies = one + 0.01 * rng.standard_normal((1999, 50))
    independent = rng.standard_normal((1999, 50))
    statistic = np.append(2.6, np.zeros(49))
    assert step_down(statistic, copies, 0.05, 1e6)[0][0] < 0.01
    assert step_down(statistic, independent, 0.05, 1e6)[0][0] > 0.15


def test_stepping_down_finds_more_than_one_step():
    rng = np.random.default_rng(9)
    draws = rng.standard_normal((1999, 20))
    single = float(MaximumTail(draws.max(axis=1), 1e6).critical_value(0.05))
    statistic = np.append(np.full(19, 6.0), single - 0.3)
    p_value, _ = step_down(statistic, draws, 0.05, 1e6)
    assert p_value[-1] <= 0.05


def test_too_few_draws_are_refused():
    with pytest.raises(ValueError, match="draws"):
        MaximumTail(np.zeros(19), 5.0)
