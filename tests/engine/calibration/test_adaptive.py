from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.calibration.adaptive import AdaptiveThresholds, conformal_quantile


def start(scores, groups=None, categories=1, **options):
    scores = np.asarray(scores, dtype=float)
    groups = np.zeros(scores.size, np.int64) if groups is None else np.asarray(groups, np.int64)
    settings_ = {"level": 0.9, "gamma": 0.02, "window": 250, "overlap": 1.0, "least": 30} | options
    return AdaptiveThresholds.start(scores, groups, categories, **settings_)


def test_rank_is_exact():
    assert conformal_quantile(np.arange(1, 40), 0.9) == 36
    assert conformal_quantile(np.arange(1, 9), 0.9) == np.inf
    assert conformal_quantile(np.arange(1, 10), 0.9) == 9
    assert conformal_quantile([], 0.9) == np.inf
    # 75 * 0.68 is 51.00000000000001 in floating point
    assert conformal_quantile(np.arange(1, 75), 0.68) == 51


@given(st.integers(1, 3000), st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99]))
@settings(max_examples=200)
def test_rank_is_exact_for_every_size(n, level):
    """Integer arithmetic in hundredths leaves no room for rounding."""
    rank = -((n + 1) * round(level * 100) // -100)
    assert conformal_quantile(np.arange(1, n + 1), level) == (rank if rank <= n else np.inf)


def test_mean_coverage_is_the_rank_over_n_plus_one():
    rng = np.random.default_rng(0)
    scores = rng.random((8000, 39))
    covered = [
        conformal_quantile(row, 0.9) for row in scores
    ]  # uniform scores: the threshold is the coverage
    assert np.mean(covered) == pytest.approx(0.9, abs=0.003)


def test_nan_scores_are_refused_by_the_static_threshold_and_skipped_by_the_running_one():
    with pytest.raises(ValueError, match="NaN"):
        conformal_quantile([1.0, np.nan], 0.9)
    running = start(np.r_[np.arange(1.0, 40.0), np.nan])
    assert running.thresholds(np.array([0]))[0] == 36
    running.absorb(np.array([np.nan]), np.array([0]), np.array([True]))
    assert running.alpha[0] == pytest.approx(0.1)


def test_each_regime_keeps_its_coverage_and_pooling_does_not():
    rng = np.random.default_rng(11)
    scale, share = np.array([1.0, 0.7, 3.0]), [0.60, 0.35, 0.05]
    own, pooled = np.zeros((60, 3)), np.zeros((60, 3))
    for trial in range(60):
        groups = rng.choice(3, 6000, p=share)
        scores = np.abs(rng.standard_normal(6000)) * scale[groups]
        fit, test = slice(0, 3000), slice(3000, None)
        running = start(scores[fit], groups[fit], 3, gamma=0.0, window=None)
        hit = scores[test] <= running.thresholds(groups[test])
        hit_pooled = scores[test] <= conformal_quantile(scores[fit], 0.9)
        own[trial] = [hit[groups[test] == g].mean() for g in range(3)]
        pooled[trial] = [hit_pooled[groups[test] == g].mean() for g in range(3)]
    assert ((own.mean(axis=0) >= 0.89) & (own.mean(axis=0) <= 0.915)).all()
    assert pooled.mean(axis=0)[2] < 0.5


def shifted_scores(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.abs(rng.standard_normal(6250)) * np.where(np.arange(6250) < 3250, 1.0, 2.5)


def walk(scores, delay=1, **options):
    running = start(scores[:250], **options)
    later = scores[250:]
    clock = np.arange(later.size)
    thresholds = running.walk(later, np.zeros(later.size, np.int64), clock, clock + delay)
    return later <= thresholds, thresholds, running


@pytest.mark.parametrize("seed", range(5))
def test_coverage_returns_after_a_shift_of_scale(seed):
    covered, _, _ = walk(shifted_scores(seed))
    after = covered[3000:]
    worst = np.convolve(covered, np.ones(250) / 250, "valid").min()
    assert after.mean() == pytest.approx(0.90, abs=0.015)
    assert worst >= 0.82
    fixed = shifted_scores(seed)[3250:] <= conformal_quantile(shifted_scores(seed)[:250], 0.9)
    assert fixed.mean() < 0.6


@given(st.integers(0, 10_000), st.floats(0.005, 0.2))
@settings(max_examples=40, deadline=None)
def test_miss_rate_obeys_the_bound_for_any_data(seed, gamma):
    """Gibbs and Candes 2021, proposition 4.1, on adversarial scores: jumps, trends and ties."""
    rng = np.random.default_rng(seed)
    scores = np.cumsum(rng.standard_normal(1250)) * rng.choice([0.0, 1.0, 100.0], 1250)
    covered, _, _ = walk(scores, gamma=gamma)
    bound = (0.9 + gamma) / (gamma * covered.size)
    assert abs((1 - covered.mean()) - 0.1) <= bound + 1e-12


def reference_walk(scores, groups, decided_at, known_at, seed_scores, window, gamma, least):
    """Sorted lists and dictionaries, one decision at a time."""
    held = {g: list(seed_scores[g])[-window:] for g in seed_scores}
    alpha = dict.fromkeys(held, 0.1)

    def own(g):
        rank = int(np.ceil((len(held[g]) + 1) * (1 - alpha[g]) - 1e-9))
        return np.inf if rank > len(held[g]) else (sorted(held[g])[rank - 1] if rank >= 1 else -np.inf)

    out = np.empty(len(scores))
    arrivals = sorted(range(len(scores)), key=lambda j: known_at[j])
    for i in range(len(scores)):
        while arrivals and known_at[arrivals[0]] <= decided_at[i]:
            j = arrivals.pop(0)
            if not np.isnan(scores[j]) and groups[j] >= 0:
                alpha[groups[j]] += gamma * (0.1 - (scores[j] > out[j]))
                held[groups[j]] = [*held[groups[j]], scores[j]][-window:]
        if groups[i] < 0:
            out[i] = max(own(g) for g in held)
        elif len(held[groups[i]]) >= least:
            out[i] = own(groups[i])
        else:
            out[i] = max([own(groups[i]), *(own(g) for g in held if len(held[g]) >= least)])
    return out


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(5, 60))
@settings(max_examples=40, deadline=None)
def test_compiled_walk_equals_the_plain_one(seed, horizon, window):
    rng = np.random.default_rng(seed)
    n = 300
    groups = rng.choice([-1, 0, 1, 2], n, p=[0.05, 0.6, 0.3, 0.05])
    scores = np.round(rng.standard_normal(n), 1)
    scores[rng.random(n) < 0.05] = np.nan
    decided = np.sort(rng.integers(0, 150, n))
    known = decided + horizon
    seeds = {g: rng.standard_normal(size) for g, size in enumerate((50, 12, 3))}
    running = start(
        np.concatenate(list(seeds.values())), np.repeat([0, 1, 2], [50, 12, 3]), 3,
        window=window, gamma=0.05, least=10,
    )  # fmt: skip
    np.testing.assert_array_equal(
        running.walk(scores, groups, decided, known),
        reference_walk(scores, groups, decided, known, seeds, window, 0.05, 10),
    )


def test_walking_in_two_parts_or_learning_row_by_row_is_the_same():
    scores = shifted_scores(3)[:1500]
    covered, whole, at_end = walk(scores)
    _, first, running = walk(scores[:700])
    rest = scores[700:]
    clock = np.arange(rest.size)
    second = running.walk(rest, np.zeros(rest.size, np.int64), clock, clock + 1)
    np.testing.assert_array_equal(np.r_[first, second], whole)
    online = start(scores[:250])
    for score, missed in zip(scores[250:], ~covered, strict=True):
        online.absorb(np.array([score]), np.array([0]), np.array([missed]))
    np.testing.assert_array_equal(online.ordered, at_end.ordered)
    np.testing.assert_array_equal(online.alpha, at_end.alpha)


@pytest.mark.parametrize("delay", [1, 7, 48])
def test_outcomes_not_yet_known_change_nothing(delay):
    """Truncation: a changed outcome shows from the decisions at its `known_at` on, never before."""
    scores = shifted_scores(1)[:900]
    changed = scores.copy()
    changed[250 + 300] = 1e6
    _, before, _ = walk(scores, delay)
    _, after, _ = walk(changed, delay)
    np.testing.assert_array_equal(before[: 300 + delay], after[: 300 + delay])
    assert (before[300 + delay :] != after[300 + delay :]).any()


def test_small_regimes_take_the_largest_threshold_and_empty_ones_infinity():
    rng = np.random.default_rng(0)
    calm, wild, few = rng.random(200), 5 * rng.random(200), 0.1 * rng.random(20)
    scores = np.r_[calm, wild, few]
    groups = np.repeat([0, 1, 2], [200, 200, 20])
    running = start(scores, groups, 4)
    own, largest, small, empty, unknown = running.thresholds(np.array([0, 1, 2, 3, -1]))
    assert own == conformal_quantile(calm, 0.9)
    assert small == largest == conformal_quantile(wild, 0.9)
    assert empty == unknown == np.inf
    assert start(scores, groups, 3).thresholds(np.array([-1]))[0] == largest


def test_overlapping_labels_raise_the_rank_and_ask_for_more_rows():
    scores = np.arange(1.0, 241.0)
    assert start(scores, overlap=1.0).thresholds(np.array([0]))[0] == 217
    assert start(scores, overlap=12.0).thresholds(np.array([0]))[0] == 227
    assert start(scores, overlap=30.0).thresholds(np.array([0]))[0] == np.inf


def test_state_survives_storage():
    _, _, running = walk(shifted_scores(2)[:800])
    again = AdaptiveThresholds.from_arrays(running.to_arrays())
    for state in (running, again):
        state.absorb(np.array([0.3, 9.0]), np.array([0, 0]), np.array([False, True]))
    np.testing.assert_array_equal(again.ordered, running.ordered)
    np.testing.assert_array_equal(again.alpha, running.alpha)


def test_clock_is_checked():
    running = start(np.arange(50.0))
    scores, groups = np.zeros(2), np.zeros(2, np.int64)
    with pytest.raises(ValueError, match="ascend"):
        running.walk(scores, groups, np.array([1, 0]), np.array([2, 2]))
    with pytest.raises(ValueError, match="row 1"):
        running.walk(scores, groups, np.array([0, 1]), np.array([1, 1]))
