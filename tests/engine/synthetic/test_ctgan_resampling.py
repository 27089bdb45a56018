import numpy as np
import pytest
import torch

from engine.synthetic.ctgan_resampling import network_ratio, resample, tree_ratio


def samples(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Normal about 1, and about 0: the log ratio of densities is x - 1/2."""
    rng = np.random.default_rng(seed)
    return rng.normal(1.0, 1.0, (1500, 1)), rng.normal(0.0, 1.0, (6000, 1))


def test_resampling_follows_the_weights():
    rows = np.random.default_rng(0).standard_normal(200_000)
    kept = rows[resample(rows - 0.5, 5000, np.random.default_rng(1))]
    assert kept.mean() == pytest.approx(1.0, abs=0.08)
    assert kept.std() == pytest.approx(1.0, abs=0.06)


def test_resampling_draws_none_twice_and_in_no_order():
    weight = np.arange(50.0)
    kept = resample(weight, 50, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(kept), np.arange(50))
    assert abs(np.corrcoef(kept, np.arange(50))[0, 1]) < 0.5


def test_both_ratios_find_the_ratio_of_densities():
    real, candidates = samples(0)
    x = np.linspace(-1.0, 2.0, 40)[:, None]
    for ratio in (tree_ratio(real, candidates, 0), network_ratio(real, candidates, 150, 0)):
        assert np.corrcoef(ratio(x), x[:, 0])[0, 1] > 0.95
        kept = candidates[resample(ratio(candidates), 600, np.random.default_rng(2)), 0]
        assert kept.mean() == pytest.approx(1.0, abs=0.2)


def test_where_there_is_nothing_to_tell_rows_by_nearly_all_weigh_the_same():
    rng = np.random.default_rng(3)
    real, candidates = rng.standard_normal((400, 20)), rng.standard_normal((4000, 20))
    fresh = rng.standard_normal((1000, 20))
    assert tree_ratio(real, candidates, 0)(fresh).std() < 0.25
    assert network_ratio(real, candidates, 100, 0)(fresh).std() < 0.25


def test_same_seed_same_ratio_and_torch_is_left_as_it_was():
    real, candidates = samples(4)
    before = torch.get_rng_state()
    for learn in (tree_ratio, lambda a, b, seed: network_ratio(a, b, 50, seed)):
        first, second, other = (learn(real, candidates, seed)(candidates[:50]) for seed in (5, 5, 6))
        np.testing.assert_array_equal(first, second)
        assert not np.array_equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
