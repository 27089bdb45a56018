from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.calibration.adaptive import AdaptiveThresholds
from engine.calibration.experts import DTACI_STEPS
from engine.calibration.scores import conformal_quantile


def start(scores, groups=None, categories=1, **options):
    scores = np.asarray(scores, dtype=float)
    groups = np.zeros(scores.size, np.int64) if groups is None else np.asarray(groups, np.int64)
    settings_ = {
        "level": 0.9, "steps": (0.02,), "interval": 250.0, "window": 250, "overlap": 1.0, "least": 30,
    } | options  # fmt: skip
    return AdaptiveThresholds.start(scores, groups, categories, **settings_)


def test_nan_scores_are_skipped():
    running = start(np.r_[np.arange(1.0, 40.0), np.nan])
    assert running.thresholds(np.array([0]))[0] == 36
    running.absorb(np.array([np.nan]), np.array([0]), np.array([1]))
    assert running.alpha[0, 0] == pytest.approx(0.1)


def test_each_regime_keeps_its_coverage_and_pooling_does_not():
    rng = np.random.default_rng(11)
    scale, share = np.array([1.0, 0.7, 3.0]), [0.60, 0.35, 0.05]
    own, pooled = np.zeros((60, 3)), np.zeros((60, 3))
    for trial in range(60):
        groups = rng.choice(3, 6000, p=share)
        scores = np.abs(rng.standard_normal(6000)) * scale[groups]
        fit, test = slice(0, 3000), slice(3000, None)
        running = start(scores[fit], groups[fit], 3, steps=(0.0,), window=None)
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


def reference_walk(scores, groups, decided_at, known_at, seed_scores, window, gamma, least):
    """Sorted lists and dictionaries, one decision at a time; a category learns from its own threshold."""
    held = {g: list(seed_scores[g])[-window:] for g in seed_scores}
    alpha = dict.fromkeys(held, 0.1)

    def own(g):
        rank = int(np.ceil((len(held[g]) + 1) * (1 - alpha[g]) - 1e-9))
        return np.inf if rank > len(held[g]) else (sorted(held[g])[rank - 1] if rank >= 1 else -np.inf)

    out, owned = np.empty(len(scores)), np.full(len(scores), np.nan)
    arrivals = sorted(range(len(scores)), key=lambda j: known_at[j])
    for i in range(len(scores)):
        while arrivals and known_at[arrivals[0]] <= decided_at[i]:
            j = arrivals.pop(0)
            if not np.isnan(scores[j]) and groups[j] >= 0:
                alpha[groups[j]] += gamma * (0.1 - (scores[j] > owned[j]))
                held[groups[j]] = [*held[groups[j]], scores[j]][-window:]
        if groups[i] < 0:
            out[i] = max(own(g) for g in held)
            continue
        owned[i] = own(groups[i])
        if len(held[groups[i]]) >= least:
            out[i] = owned[i]
        else:
            out[i] = max([owned[i], *(own(g) for g in held if len(held[g]) >= least)])
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
        window=window, steps=(0.05,), least=10,
    )  # fmt: skip
    np.testing.assert_array_equal(
        running.walk(scores, groups, decided, known),
        reference_walk(scores, groups, decided, known, seeds, window, 0.05, 10),
    )


@pytest.mark.parametrize("steps", [(0.02,), DTACI_STEPS])
def test_walking_in_two_parts_or_learning_row_by_row_is_the_same(steps):
    scores = shifted_scores(3)[:1500]
    _, whole, at_end = walk(scores, steps=steps)
    _, first, running = walk(scores[:700], steps=steps)
    rest = scores[700:]
    clock = np.arange(rest.size)
    second = running.walk(rest, np.zeros(rest.size, np.int64), clock, clock + 1)
    np.testing.assert_array_equal(np.r_[first, second], whole)
    online = start(scores[:250], steps=steps)
    for clock, score in enumerate(scores[250:]):
        online.absorb(np.array([score]), np.array([0]), np.array([clock]))
    np.testing.assert_array_equal(online.ordered, at_end.ordered)
    np.testing.assert_array_equal(online.alpha, at_end.alpha)
    np.testing.assert_array_equal(online.weight, at_end.weight)


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
    _, _, running = walk(shifted_scores(2)[:800], steps=DTACI_STEPS)
    again = AdaptiveThresholds.from_arrays(running.to_arrays())
    for state in (running, again):
        state.absorb(np.array([0.3, 9.0]), np.array([0, 0]), np.array([1000, 1001]))
    np.testing.assert_array_equal(again.ordered, running.ordered)
    np.testing.assert_array_equal(again.alpha, running.alpha)
    assert vars(again).keys() == vars(running).keys()


def test_clock_is_checked():
    running = start(np.arange(50.0))
    scores, groups = np.zeros(2), np.zeros(2, np.int64)
    with pytest.raises(ValueError, match="ascend"):
        running.walk(scores, groups, np.array([1, 0]), np.array([2, 2]))
    with pytest.raises(ValueError, match="row 1"):
        running.walk(scores, groups, np.array([0, 1]), np.array([1, 1]))


def change(n: int, at: int, p: float, alarmed: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Doubt of n decisions about a change at `at` that a detector sees for a while, and remembers."""
    clock = np.arange(n)
    return np.where(clock >= at, p, 0.0), np.where(clock < at, clock, np.minimum(clock, at + alarmed - 1))


def changed_walk(scores, doubt, since, **options):
    running = start(scores[:250], **options)
    later = scores[250:]
    clock = np.arange(later.size)
    return running.walk(later, np.zeros(later.size, np.int64), clock, clock + 1, doubt, since)


@pytest.mark.parametrize("steps", [(0.005,), (0.02,), DTACI_STEPS])
def test_the_worst_window_after_a_shift_is_better_when_the_change_is_told(steps):
    worst = {}
    for told in (False, True):
        lowest = []
        for seed in range(10):
            scores = shifted_scores(seed)
            doubt, since = change(6000, 3002, 0.95 if told else 0.0)
            covered = scores[250:] <= changed_walk(scores, doubt, since, steps=steps)
            lowest.append(np.convolve(covered[2980:3200], np.ones(25) / 25, "valid").min())
        worst[told] = np.mean(lowest)
    assert worst[False] < 0.72
    assert worst[True] > worst[False] + 0.07
    assert worst[True] > 0.75


def test_a_sure_change_makes_intervals_unbounded_until_nine_new_outcomes_are_known():
    scores = shifted_scores(0)[:1000]
    doubt, since = change(750, 300, 1.0, alarmed=1)
    limits = changed_walk(scores, doubt, since, steps=(0.0,))
    assert np.isinf(limits[300:310]).all()
    assert np.isfinite(limits[349:]).all()
    # then the new outcomes alone decide
    assert limits[500] == conformal_quantile(scores[250 + 301 : 250 + 500], 0.9)


def test_discounts_end_when_the_old_scores_leave_the_window():
    scores = shifted_scores(4)[:1000]
    told = changed_walk(scores, *change(750, 300, 0.9, alarmed=1), steps=(0.0,))
    untold = changed_walk(scores, *change(750, 300, 0.0), steps=(0.0,))
    np.testing.assert_array_equal(told[:300], untold[:300])
    assert (told[300:340] >= untold[300:340]).all()
    assert told[300] > untold[300]
    np.testing.assert_array_equal(told[551:], untold[551:])


def test_doubt_never_narrows_an_interval_at_once():
    rng = np.random.default_rng(2)
    running = start(rng.standard_normal(250))
    limits = [running.thresholds(np.array([0]), np.array([p]))[0] for p in np.linspace(0, 1, 21)]
    assert all(narrow <= wide for narrow, wide in itertools.pairwise(limits))
    assert limits[0] < limits[10] < limits[-1] == np.inf


def test_outcomes_are_counted_from_their_decisions():
    running = start(np.arange(10.0), decided_at=np.arange(10))
    np.testing.assert_array_equal(
        running.outcomes_since(np.array([0, 0, -1]), np.array([6, 100, 0])), [3, 0, 0]
    )
