"""PrioritizedReplayBuffer: laws of drawing, weights, overwriting, heavy tails, exact restoration."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from engine.agents.priorities import importance_weights
from engine.agents.replay import PrioritizedReplayBuffer
from engine.errors import NotEnoughDataError

EPS = 1e-3


def numbered(n: int, start: int = 0) -> dict[str, np.ndarray]:
    """Items that know their own number in every field."""
    number = np.arange(start, start + n)
    return {
        "wide": np.repeat(number, 6).reshape(n, 2, 3).astype(np.float32),
        "flag": number % 2 == 0,
        "small": (number % 100).astype(np.int8),
        "odd": np.repeat(number % 100, 3).reshape(n, 3).astype(np.int8),
        "number": number,
    }


def filled(td: np.ndarray, factors: np.ndarray | None = None, **config: Any) -> PrioritizedReplayBuffer:
    buffer = PrioritizedReplayBuffer(len(td), eps=EPS, **config)
    buffer.add(numbered(len(td)), td - EPS, factors)
    return buffer


def assert_numbered(batch: dict[str, np.ndarray], indices: np.ndarray) -> None:
    expected = {name: numbered(int(indices.max()) + 1)[name][indices] for name in batch}
    for name, values in expected.items():
        assert batch[name].dtype == values.dtype
        np.testing.assert_array_equal(batch[name], values)


@pytest.mark.parametrize(
    ("factor", "beta", "probabilities", "weights"),
    [
        (1, 0.4, (0.207766, 0.314914, 0.477320), (1, 0.846745, 0.716978)),
        (4, 1.0, (0.085431, 0.129490, 0.785079), (1, 0.659754, 0.108819)),
    ],
)
def test_worked_numbers(
    factor: float, beta: float, probabilities: tuple[float, ...], weights: tuple[float, ...]
) -> None:
    buffer = filled(np.array([1.0, 2.0, 4.0]), np.array([1.0, 1.0, factor]), alpha=0.6)
    np.testing.assert_allclose(buffer.probabilities(np.arange(3)), probabilities, atol=1e-6)
    _, found, indices = buffer.sample(100, beta)
    assert set(indices) == {0, 1, 2}
    np.testing.assert_allclose(found, np.array(weights)[indices], atol=1e-6)
    assert buffer.mean_weight == pytest.approx(found.mean())


def chi_square(counts: np.ndarray, probabilities: np.ndarray) -> float:
    expected = probabilities * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum() / (len(counts) - 1))


def test_draws_follow_the_law_and_weights_undo_it() -> None:
    random = np.random.default_rng(0)
    td, factors, x = random.exponential(size=64), random.choice([1.0, 3.0], 64), random.normal(size=64)
    buffer = filled(td, factors)
    drawn, weighted = np.zeros(64), []
    for _ in range(250):
        _, weights, indices = buffer.sample(256, 1.0)
        drawn += np.bincount(indices, minlength=64)
        weighted.append((weights @ x[indices]) / weights.sum())
    law = td**0.6 * factors / (td**0.6 * factors).sum()
    assert drawn.sum() == 64_000
    assert chi_square(drawn, law) <= 1.6
    assert chi_square(drawn, td**0.6 / (td**0.6).sum()) > 10, "the factor belongs to the law"
    error = np.std(weighted) / np.sqrt(len(weighted))
    assert np.mean(weighted) == pytest.approx(x.mean(), abs=4 * error)
    without = td**-0.6 * drawn
    assert abs(without @ x / without.sum() - x.mean()) > 4 * error, "a weight without the factor is biased"


def test_weights_by_the_largest_of_all_items_vanish() -> None:
    td = np.append(np.full(999, 1.0), 1e-6)
    buffer = PrioritizedReplayBuffer(1000, eps=1e-6)
    buffer.add(numbered(1000), td)
    _, _, indices = buffer.sample(64, 1.0)
    assert buffer.mean_weight == pytest.approx(1.0)
    probabilities = buffer.probabilities(buffer.indices())
    by_all = probabilities.min() / buffer.probabilities(indices)
    assert by_all.mean() < 1e-3


def test_the_floor_keeps_every_item_in_play() -> None:
    buffer = PrioritizedReplayBuffer(2, eps=0.1)
    buffer.add(numbered(2), np.array([0.0, 1.0]))
    assert buffer.priorities(np.arange(2)) == pytest.approx([0.1, 1.1])
    assert buffer.probabilities(np.arange(2))[0] > 0.15


@settings(deadline=None, max_examples=40)
@given(capacity=st.integers(1, 40), blocks=st.lists(st.integers(0, 40), min_size=1, max_size=8))
def test_the_last_items_are_kept_whole(capacity: int, blocks: list[int]) -> None:
    buffer, added = PrioritizedReplayBuffer(capacity), 0
    for n in blocks:
        n = min(n, capacity)
        np.testing.assert_array_equal(buffer.add(numbered(n, added)), np.arange(added, added + n))
        added += n
    kept = np.arange(max(0, added - capacity), added)
    assert len(buffer) == len(kept)
    np.testing.assert_array_equal(buffer.indices(), kept)
    if added:
        assert_numbered(buffer.items(kept), kept)
        np.testing.assert_array_equal(buffer.ages(kept), kept[::-1] - kept[0])
        batch, weights, indices = buffer.sample(64, 0.4)
        assert set(indices) <= set(kept)
        assert_numbered(batch, indices)
        np.testing.assert_array_equal(weights, 1.0)


def test_fields_are_arrays_of_their_own() -> None:
    buffer = filled(np.ones(8))
    batch, _, indices = buffer.sample(8, 0.0)
    for values in batch.values():
        values[...] = 0
    assert_numbered(buffer.items(indices), indices)


def test_new_items_enter_at_the_present_maximum() -> None:
    buffer = PrioritizedReplayBuffer(4, eps=EPS)
    buffer.add(numbered(2), np.array([1.0, 50.0]))
    buffer.add(numbered(1, 2))
    assert buffer.priorities(np.array([2])) == pytest.approx(50.0 + EPS)
    buffer.update_priorities(np.array([1, 2]), np.array([-3.0, 2.0]))
    buffer.add(numbered(1, 3))
    assert buffer.priorities(np.array([3])) == pytest.approx(3.0 + EPS), "not at the largest there ever was"


def test_an_update_after_overwriting_is_passed_over() -> None:
    buffer = filled(np.ones(4))
    buffer.add(numbered(2, 4))
    before = buffer.priorities(np.array([4, 5]))
    buffer.update_priorities(np.array([0, 1, 2]), np.array([9.0, 9.0, 5.0]))
    np.testing.assert_array_equal(buffer.priorities(np.array([4, 5])), before)
    assert buffer.priorities(np.array([2])) == pytest.approx(5.0 + EPS)


def test_of_an_index_given_twice_the_last_counts() -> None:
    buffer = filled(np.ones(2))
    buffer.update_priorities(np.array([1, 1]), np.array([7.0, 3.0]))
    assert buffer.priorities(np.array([1])) == pytest.approx(3.0 + EPS)
    law = np.array([1.0, 3.0 + EPS]) ** 0.6
    np.testing.assert_allclose(buffer.probabilities(np.arange(2)), law / law.sum())


def test_factors_of_the_regime_outlast_new_priorities() -> None:
    buffer = filled(np.full(4, 2.0), factors=np.array([1.0, 3.0, 1.0, 3.0]))
    np.testing.assert_allclose(buffer.probabilities(np.arange(4)), np.array([1, 3, 1, 3]) / 8)
    buffer.update_priorities(np.arange(4), np.full(4, 5.0))
    np.testing.assert_allclose(buffer.probabilities(np.arange(4)), np.array([1, 3, 1, 3]) / 8)


def test_ranks() -> None:
    td = np.array([5.0, 1e9, 0.1, 5.0, 2.0])
    buffer = filled(td, alpha=0.7, kind="rank")
    buffer.sample(1, 0.0)
    law = np.array([2.5, 1.0, 5.0, 2.5, 4.0]) ** -0.7
    np.testing.assert_allclose(buffer.probabilities(np.arange(5)), law / law.sum())
    buffer.update_priorities(np.array([0]), np.array([1.0]))
    law[0] = 5.0**-0.7
    np.testing.assert_allclose(buffer.probabilities(np.arange(5)), law / law.sum())
    buffer.update_priorities(np.arange(1, 5), np.array([7.0, 9.0, 8.0, 6.0]))
    buffer.sample(1, 0.0)
    law = np.array([5.0, 3.0, 1.0, 2.0, 4.0]) ** -0.7
    np.testing.assert_allclose(buffer.probabilities(np.arange(5)), law / law.sum())


def share_of_noise(**config: Any) -> float:
    """Share of draws on 2 % of items that stay noise of very different size; the others are learnt."""
    random, items, noisy = np.random.default_rng(0), 2000, 40
    buffer = PrioritizedReplayBuffer(items, **config)
    buffer.add(numbered(items))
    size, shrink = np.ones(items), np.full(items, 0.9)
    size[:noisy], shrink[:noisy] = (np.arange(1, noisy + 1) / noisy) ** -4.0, 1.0
    shares = []
    for _ in range(400):
        indices = buffer.sample(64, 0.0)[2]
        shares.append(np.mean(indices < noisy))
        size[indices] *= shrink[indices]
        buffer.update_priorities(indices, size[indices] * random.normal(size=64))
    return float(np.mean(shares[200:]))


def test_heavy_tails_are_replayed_for_ever_without_clip_or_ranks() -> None:
    raw = share_of_noise()
    assert raw > 0.5
    assert share_of_noise(clip=2.0) < 0.15
    assert share_of_noise(kind="rank") < 0.5 * raw


@pytest.mark.parametrize("kind", ["proportional", "rank"])
@pytest.mark.parametrize("added", [30, 75])
def test_restored_it_goes_on_identically(kind: Literal["proportional", "rank"], added: int) -> None:
    def make(seed: int) -> PrioritizedReplayBuffer:
        return PrioritizedReplayBuffer(50, kind=kind, clip=3.0, seed=seed)

    def go_on(buffer: PrioritizedReplayBuffer) -> list[np.ndarray]:
        random, seen = np.random.default_rng(5), []
        for k in range(30):
            batch, weights, indices = buffer.sample(16, 0.5)
            seen += [*batch.values(), weights, indices]
            buffer.update_priorities(indices, random.normal(size=16))
            buffer.add(numbered(3, added + 3 * k), None, random.random(3) + 0.5)
        return seen

    buffer, random = make(0), np.random.default_rng(1)
    for start in range(0, added, 15):
        buffer.add(numbered(15, start), random.normal(size=15), random.random(15) + 0.5)
    indices = buffer.sample(20, 0.5)[2]
    buffer.update_priorities(indices, random.normal(size=20))
    saved = save(buffer.state_dict())
    expected = go_on(buffer)
    restored = make(9)
    restored.load_state_dict(load(saved))
    for ours, theirs in zip(expected, go_on(restored), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    lost = make(9)
    state = load(saved)
    size = min(added, 50)
    lost.load_state_dict(state | {"priorities": np.ones(size), "masses": np.ones(size)})
    ours = np.concatenate([x.ravel() for x in expected])
    assert (ours != np.concatenate([x.ravel() for x in go_on(lost)])).any()


def test_an_empty_buffer_is_restored() -> None:
    buffer = PrioritizedReplayBuffer(5)
    buffer.load_state_dict(PrioritizedReplayBuffer(5).state_dict())
    assert len(buffer) == 0
    assert buffer.items(np.arange(0)) == {}


def test_state_of_another_buffer_is_refused() -> None:
    state = PrioritizedReplayBuffer(5).state_dict()
    for other in (PrioritizedReplayBuffer(6), PrioritizedReplayBuffer(5, kind="rank")):
        with pytest.raises(ValueError, match="must be those of the state"):
            other.load_state_dict(state)


def test_same_seed_same_draws() -> None:
    first, second, third = (filled(np.arange(1.0, 101.0), seed=seed).sample(32, 0.4)[2] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert (first != third).any()


def test_importance_weights() -> None:
    probabilities = np.array([0.1, 0.2, 0.4])
    np.testing.assert_allclose(importance_weights(probabilities, 10, 1.0), [1.0, 0.5, 0.25])
    np.testing.assert_allclose(importance_weights(probabilities, 10, 0.0), 1.0)
    with pytest.raises(ValueError, match="beta"):
        importance_weights(probabilities, 10, 1.5)


@pytest.mark.parametrize(
    "config",
    [{"capacity": 0}, {"alpha": -0.1}, {"alpha": 1.1}, {"kind": "sum"}, {"eps": 0.0}, {"clip": 0.0}],
)
def test_parameters_out_of_bounds_are_refused(config: dict) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(config))} must"):
        PrioritizedReplayBuffer(**{"capacity": 5} | config)


def test_bad_items_are_refused_and_leave_the_buffer_as_it_was() -> None:
    buffer = filled(np.ones(3))
    items = numbered(2)
    cases: list[tuple[tuple[Any, ...], str]] = [
        (({**items, "more": items["flag"]}, None, None), "fields"),
        (({**items, "small": items["small"].astype(float)}, None, None), "'small'"),
        (({**items, "wide": items["wide"][:, :1]}, None, None), "'wide'"),
        (({**items, "flag": items["flag"][:1]}, None, None), "as many"),
        ((numbered(4), None, None), "capacity"),
        ((items, np.array([1.0, np.nan]), None), "finite"),
        ((items, np.ones(3), None), "2 finite"),
        ((items, None, np.array([1.0, 0.0])), "above 0"),
    ]
    before = save(buffer.state_dict())
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            buffer.add(*arguments)
    for td in ([np.nan, 1.0], [np.inf, 1.0]):
        with pytest.raises(ValueError, match="finite"):
            buffer.update_priorities(np.arange(2), np.array(td))
    for indices in ([3], [0, 7]):
        with pytest.raises(ValueError, match="items kept, 0 to 2"):
            buffer.update_priorities(np.array(indices), np.ones(len(indices)))
    with pytest.raises(ValueError, match="items kept"):
        buffer.items(np.array([-1]))
    assert save(buffer.state_dict()) == before
    with pytest.raises(ValueError, match="at least one field"):
        PrioritizedReplayBuffer(3).add({})
    with pytest.raises(ValueError, match="numbers"):
        PrioritizedReplayBuffer(3).add({"x": np.array([None])})


def test_nothing_is_drawn_from_an_empty_buffer() -> None:
    with pytest.raises(NotEnoughDataError):
        PrioritizedReplayBuffer(3).sample(1, 0.4)


def test_fields_of_several_axes_come_back_as_they_went_in() -> None:
    rng = np.random.default_rng(5)
    items = {
        "one": rng.integers(0, 9, 6),
        "two": rng.standard_normal((6, 3, 5)).astype(np.float32),
        "three": rng.integers(0, 9, (6, 2, 3, 4)),
        "flags": rng.random((6, 7)) < 0.5,
        "none": np.empty((6, 2, 0), np.int64),
    }
    buffer = PrioritizedReplayBuffer(8, seed=1)
    buffer.add(items)
    found, _, indices = buffer.sample(20, 0.5)
    for name, values in items.items():
        np.testing.assert_array_equal(found[name], values[indices])
