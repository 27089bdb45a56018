import numpy as np
import pytest
import torch

from engine.synthetic.ctgan_latent import LatentCTGAN
from engine.synthetic.ctgan_threads import one_thread

ROOT = np.linalg.cholesky(np.array([[1.0, 0.6], [0.6, 1.0]])).T
CATEGORIES = np.repeat([0, 1], [70, 30])


def gan(updates: int = 1, head_start: int = 1, **parameters: float) -> LatentCTGAN:
    return LatentCTGAN(
        ROOT, updates, head_start, batch_size=50, generator_dim=(8, 8), discriminator_dim=(8, 8), **parameters
    )


def latents(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((100, 2)) @ ROOT


def test_it_starts_as_the_gaussian_law():
    model = gan(generator_lr=0.0, head_start=0).learn(latents(), CATEGORIES, 0)
    drawn = model.draw(np.resize([0, 1], 4000), 1)
    np.testing.assert_allclose(np.cov(drawn.T), ROOT.T @ ROOT, atol=0.08)
    np.testing.assert_allclose(drawn.mean(axis=0), 0.0, atol=0.05)


def test_the_generator_stays_where_it_is_during_the_head_start():
    model = gan(updates=1, head_start=30, generator_lr=0.1)
    still = gan(generator_lr=0.0).learn(latents(), CATEGORIES, 0).draw(CATEGORIES, 1)
    model._updates = 0
    np.testing.assert_allclose(model.learn(latents(), CATEGORIES, 0).draw(CATEGORIES, 1), still, atol=1e-5)
    moving = gan(updates=30, head_start=0, generator_lr=0.1).learn(latents(), CATEGORIES, 0)
    assert np.abs(moving.draw(CATEGORIES, 1) - still).max() > 0.1


def test_same_seed_same_bits_and_nothing_global_is_left_changed():
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    torch.set_num_threads(2)
    draws = [gan(5).learn(latents(), CATEGORIES, seed).draw(CATEGORIES, 9) for seed in (3, 3, 4)]
    assert torch.get_num_threads() == 2
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_a_row_does_not_depend_on_its_neighbours():
    model = gan(5).learn(latents(), CATEGORIES, 0)
    np.testing.assert_allclose(model.draw(CATEGORIES[:10], 1), model.draw(CATEGORIES, 1)[:10], atol=1e-5)


def test_training_by_sampling_draws_rows_of_the_category_asked_for():
    model = gan().learn(latents(), CATEGORIES, 0)
    rows = np.arange(100.0)
    asked = np.resize([1, 0], 40)
    drawn = model._data_sampler.sample_data(rows, 40, np.zeros(40, int), asked)
    np.testing.assert_array_equal(drawn >= 70, asked == 1)
    assert len(np.unique(drawn)) > 20


def test_more_columns_than_noise_are_refused():
    with pytest.raises(ValueError, match="embedding_dim = 1 must be at least the number of columns, 2"):
        gan(embedding_dim=1)


def test_one_thread_is_given_back_after_an_error():
    torch.set_num_threads(2)

    def fails() -> None:
        with one_thread():
            assert torch.get_num_threads() == 1
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert torch.get_num_threads() == 2
