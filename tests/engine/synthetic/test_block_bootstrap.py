from collections.abc import Callable

import numpy as np
import pytest

from engine.errors import NotEnoughDataError
from engine.synthetic.block_bootstrap import BlockBootstrap
from engine.synthetic.validation_copies import copied_excess, distances
from engine.synthetic.validation_distances import volatility_distance


@pytest.fixture(scope="module")
def train(window_law: Callable[..., np.ndarray]) -> np.ndarray:
    return window_law(400, 1)


def test_every_bar_is_a_training_bar_in_its_place(train: np.ndarray) -> None:
    sample = BlockBootstrap().fit(train, 0).sample(50, 1)
    assert sample.shape == (50, 30, 3)
    for step in (0, 7, 29):
        known = {tuple(bar) for bar in train[:, step].tolist()}
        assert all(tuple(bar) in known for bar in sample[:, step].tolist())


def test_blocks_have_the_mean_length_asked_for(train: np.ndarray) -> None:
    place = np.broadcast_to(np.arange(400)[:, None, None], (400, 30, 1)).astype(float)
    numbered = np.concatenate([train, place], axis=2)
    for block in (2.0, 6.0):
        donor = BlockBootstrap(block).fit(numbered, 0).sample(2_000, 1)[:, :, 3]
        changes = (np.diff(donor, axis=1) != 0).mean()
        assert changes == pytest.approx(1 / block, rel=0.05)


def memory(windows: np.ndarray) -> float:
    """Correlation of log volume in bars that follow each other."""
    return float(np.corrcoef(windows[:, 1:, 2].ravel(), windows[:, :-1, 2].ravel())[0, 1])


def test_donors_alike_keep_the_volatility_of_windows(train: np.ndarray) -> None:
    sample = BlockBootstrap().fit(train, 0).sample(400, 1)
    arbitrary = train[np.random.default_rng(0).integers(0, 400, (400, 15)).repeat(2, axis=1), np.arange(30)]
    assert volatility_distance(sample, train) < 0.13 < volatility_distance(arbitrary, train)


def test_matched_joints_keep_memory(train: np.ndarray) -> None:
    matched, unmatched = (BlockBootstrap(matches=k).fit(train, 0).sample(2_000, 1) for k in (4, 63))
    lost = [memory(train) - memory(sample) for sample in (matched, unmatched)]
    assert lost[0] < 0.6 * lost[1]


def test_long_blocks_are_copies(train: np.ndarray, window_law: Callable[..., np.ndarray]) -> None:
    honest = distances(window_law(400, 2), train, train)
    excess = [
        copied_excess(distances(BlockBootstrap(block).fit(train, 0).sample(400, 1), train, train), honest)
        for block in (2.5, 20.0)
    ]
    assert excess[0] < 0.15
    assert excess[1] > 0.5


def test_same_seed_same_sample(train: np.ndarray) -> None:
    fitted = BlockBootstrap().fit(train, 0)
    np.testing.assert_array_equal(fitted.sample(9, 3), BlockBootstrap().fit(train, 5).sample(9, 3))
    assert not np.array_equal(fitted.sample(9, 3), fitted.sample(9, 4))


def test_refusals(train: np.ndarray) -> None:
    with pytest.raises(NotEnoughDataError, match="needs 30"):
        BlockBootstrap().fit(train[:24], 0)
    with pytest.raises(ValueError, match="not fitted"):
        BlockBootstrap().sample(1, 0)
    with pytest.raises(ValueError, match=r"block 0\.5"):
        BlockBootstrap(0.5)
    with pytest.raises(ValueError, match="matches 64"):
        BlockBootstrap(matches=64)
