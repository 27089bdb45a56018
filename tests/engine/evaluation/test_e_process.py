from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from engine.evaluation.e_process import EProcess, disjoint_sums


def play(differences, bound=2.0, worst=None):
    """Play every column to the end; the process holds one game per column."""
    process = EProcess(bound, worst=worst)
    for row in differences:
        process.update(row)
    return process


def heavy(rng, shape, sd=0.5):
    return sd * rng.standard_t(5, shape) / np.sqrt(5 / 3)


def test_looking_after_every_observation_keeps_the_level():
    """1000 observations, 1500 games without an edge."""
    games = play(heavy(np.random.default_rng(0), (1000, 1500)))
    assert games.promote.mean() <= 0.05
    assert games.p_value.min() > 0


def test_a_t_test_after_every_observation_does_not():
    """The wrong version: 36 % of candidates without an edge look significant at some time."""
    x = heavy(np.random.default_rng(1), (1000, 1500))
    n = np.arange(1, 1001)[:, None]
    mean = x.cumsum(axis=0) / n
    variance = np.maximum((x**2).cumsum(axis=0) / n - mean**2, 1e-12)
    statistic = mean * np.sqrt((n - 1) / variance)
    crossed = (statistic[9:] > student.isf(0.05, n[9:] - 1)).any(axis=0)
    assert crossed.mean() > 0.25


def test_an_edge_of_a_quarter_deviation_is_found():
    games = play(0.125 + heavy(np.random.default_rng(2), (1000, 600)))
    assert games.promote.mean() >= 0.85


def test_capital_is_expected_to_stay_at_one():
    games = play(np.random.default_rng(3).choice([-1.0, 1.0], (40, 200_000)), bound=1.0)
    assert np.exp(games.log_capital).mean() == pytest.approx(1.0, abs=0.05)


def test_the_bet_does_not_know_the_observation_it_is_placed_on():
    rng = np.random.default_rng(4)
    first, second = EProcess(2.0), EProcess(2.0)
    for x in 0.3 + rng.standard_normal(50):
        first.update(x)
        second.update(x)
    before = second.bet
    assert before > 0
    first.update(5.0)
    second.update(-5.0)
    assert first.log_capital - second.log_capital == pytest.approx(
        np.log1p(before * 2.0) - np.log1p(-before * 5.0)
    )


def test_one_game_and_many_are_the_same():
    x = heavy(np.random.default_rng(5), (80, 3))
    together = play(x)
    for k in range(3):
        assert play(x[:, k]).log_capital == pytest.approx(together.log_capital[k])


def test_losses_count_in_full():
    """A gain most days and a rare disaster, mean zero: clipping both sides would promote it."""
    rng = np.random.default_rng(6)
    x = np.where(rng.random((1000, 1500)) < 0.02, -9.8, 0.2) + 0.3 * rng.standard_normal((1000, 1500))
    assert abs(x.mean()) < 0.02
    assert play(x, worst=12.0).promote.mean() <= 0.05
    assert play(np.clip(x, -1.0, 1.0), bound=1.0).promote.mean() > 0.5
    # a bet that a disaster cannot cover does not see all of it
    assert play(x, worst=3.0).promote.mean() > 0.05


def test_one_lucky_day_cannot_win():
    x = np.full(200, -0.01)
    x[100] = 1e6
    assert not play(x).promote


def test_overlapping_observations_break_it_and_disjoint_sums_mend_it():
    """The wrong version: twelve-period labels every period."""
    rng = np.random.default_rng(7)
    x = rng.standard_normal((1200, 800))
    sums = np.cumsum(x, axis=0)
    overlapping = (sums[12:] - sums[:-12]) / np.sqrt(12)
    assert play(overlapping, bound=4.0).promote.mean() > 0.15
    assert play(disjoint_sums(x, 12) / np.sqrt(12), bound=4.0).promote.mean() <= 0.05


def test_disjoint_sums_use_every_period_once():
    x = np.arange(20.0).reshape(10, 2)
    np.testing.assert_array_equal(disjoint_sums(x, 3), [[6, 9], [24, 27], [42, 45]])
    with pytest.raises(ValueError, match="span"):
        disjoint_sums(x, 0)


def test_a_ruined_game_stays_ruined_and_a_long_one_does_not_overflow():
    ruined = EProcess(1.0)
    for x in [0.5] * 30 + [-100.0] + [0.9] * 50:
        ruined.update(x)
    assert ruined.log_capital == -np.inf
    assert np.isfinite(ruined.log_peak)
    assert np.isfinite(play(np.full(4000, 1.5)).log_capital)


@pytest.mark.parametrize(
    ("bound", "worst", "alpha"),
    [(0.0, 1.0, 0.05), (np.inf, None, 0.05), (1.0, 0.0, 0.05), (1.0, None, 0.0), (1.0, 2.0, 1.0)],
)
def test_impossible_settings_are_refused(bound, worst, alpha):
    with pytest.raises(ValueError, match="must"):
        EProcess(bound, worst=worst, alpha=alpha)


def test_unknown_observations_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        EProcess(1.0).update(float("nan"))
