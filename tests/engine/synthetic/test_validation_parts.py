from collections.abc import Callable

import numpy as np
import pytest

from engine.synthetic.validation_c2st import classifier_accuracy, window_features
from engine.synthetic.validation_copies import copied_excess, distances, repeated_excess
from engine.synthetic.validation_splits import split_groups
from engine.synthetic.validation_tstr import forecast_skill, volatility_task

RNG = np.random.default_rng(0)


def test_splits_deal_whole_groups_in_the_shares_asked_for() -> None:
    groups = np.repeat(np.arange(100), RNG.integers(1, 9, 100))
    parts = split_groups(groups, (0.5, 0.3, 0.2), np.random.default_rng(1))
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(groups)))
    members = [set(groups[part].tolist()) for part in parts]
    assert sum(len(part) for part in members) == len(set.union(*members)) == 100
    np.testing.assert_allclose([len(part) / len(groups) for part in parts], [0.5, 0.3, 0.2], atol=0.03)
    other = split_groups(groups, (0.5, 0.3, 0.2), np.random.default_rng(2))
    assert set(other[0].tolist()) != set(parts[0].tolist())


def test_splits_that_cannot_be_made_are_refused() -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        split_groups(np.arange(4), (0.5, 0.6), RNG)
    with pytest.raises(ValueError, match="1 groups"):
        split_groups(np.zeros(4, np.int64), (0.5, 0.5), RNG)


def test_the_classifier_finds_a_difference_and_no_other() -> None:
    a, b = RNG.standard_normal((2, 300, 8))
    own = np.arange(300)
    assert classifier_accuracy(a, b, own, own, 0) == pytest.approx(0.5, abs=0.06)
    assert classifier_accuracy(a, b + 1.0, own, own, 0) > 0.8


def test_folds_that_cut_through_episodes_find_a_difference_where_there_is_none() -> None:
    centres = 3.0 * RNG.standard_normal((30, 8))
    episode = np.repeat(np.arange(30), 20)
    rows = centres[episode] + 0.3 * RNG.standard_normal((600, 8))
    a, b = slice(0, 300), slice(300, 600)
    own = np.arange(300)
    assert classifier_accuracy(rows[a], rows[b], own, own, 0) > 0.85
    assert classifier_accuracy(rows[a], rows[b], episode[a], episode[b], 0) < 0.7


def test_features_see_the_order_of_bars(window_law: Callable[..., np.ndarray]) -> None:
    windows = window_law(50, 1)
    features = window_features(windows)
    assert features.shape[0] == 50
    assert np.isfinite(features).all()
    reversed_bars = window_features(windows[:, ::-1])
    assert not np.allclose(features[:, 90:], reversed_bars[:, 90:])


def test_copies_are_found_and_fresh_draws_are_not(window_law: Callable[..., np.ndarray]) -> None:
    train, holdout, fresh = (window_law(200, seed) for seed in (1, 2, 3))
    honest = distances(holdout, train, train)
    assert abs(copied_excess(distances(fresh, train, train), honest)) < 0.1
    half = np.concatenate([train[:100], fresh[:100]])
    assert copied_excess(distances(half, train, train), honest) == pytest.approx(0.5, abs=0.1)


def test_repetition_counts_windows_that_have_a_twin(window_law: Callable[..., np.ndarray]) -> None:
    def inside(windows: np.ndarray) -> np.ndarray:
        found = distances(windows, windows, real)
        np.fill_diagonal(found, np.inf)
        return found

    real, fresh = window_law(200, 1), window_law(200, 2)
    assert abs(repeated_excess(inside(fresh), inside(real))) < 0.1
    twins = np.concatenate([fresh[:150], fresh[:50]])
    assert repeated_excess(inside(twins), inside(real)) == pytest.approx(0.5, abs=0.1)


def test_distances_are_those_of_scaled_windows() -> None:
    a = RNG.standard_normal((5, 4, 2)) * np.array([1.0, 100.0])
    low, centre, high = np.quantile(a.reshape(-1, 2), [0.25, 0.5, 0.75], axis=0)
    points = np.clip((a - centre) / ((high - low) / 1.349), -5, 5).reshape(5, -1)
    expected = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.testing.assert_allclose(distances(a, a, a), expected, atol=1e-6)


def test_the_task_looks_at_nothing_it_is_to_forecast(window_law: Callable[..., np.ndarray]) -> None:
    windows = window_law(50, 1)
    changed = windows.copy()
    changed[:, -5:] *= 3.0
    before, target = volatility_task(windows, 1.0)
    after, other = volatility_task(changed, 1.0)
    np.testing.assert_array_equal(before, after)
    assert (other > target).all()


def test_a_forecaster_learns_from_the_same_law_and_not_from_shuffled_bars(
    window_law: Callable[..., np.ndarray],
) -> None:
    train, other, test = (window_law(400, seed) for seed in (1, 2, 3))
    skill = forecast_skill(train, test)
    assert skill > 0.07
    assert abs(forecast_skill(other, test) - skill) < 0.05
    shuffled = np.stack([window[RNG.permutation(30)] for window in train])
    assert forecast_skill(shuffled, test) < skill - 0.03
