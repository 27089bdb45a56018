"""The blind cliffwalk of Schaul et al. 2016: one reward after n right actions among 2^n ways to act."""

from __future__ import annotations

import numba as nb
import numpy as np
import pytest

from engine.agents.replay import PrioritizedReplayBuffer

STEP, BATCH, ENOUGH = 0.25, 16, 1e-3
SEEDS = range(5)


def transitions(n: int) -> dict[str, np.ndarray]:
    """Every sequence of actions once, each up to its first wrong action; `next` is -1 where it ends."""
    state, action, reward, following = [], [], [], []
    for code in range(2**n):
        for i in range(n):
            chosen = code >> i & 1
            right = chosen == i % 2
            state.append(i)
            action.append(chosen)
            reward.append(float(right and i == n - 1))
            following.append(i + 1 if right and i < n - 1 else -1)
            if not right:
                break
    return {
        "state": np.array(state),
        "action": np.array(action),
        "reward": np.array(reward),
        "next": np.array(following),
    }


def truth(n: int) -> np.ndarray:
    q = np.zeros((n, 2))
    q[np.arange(n), np.arange(n) % 2] = (1 - 1 / n) ** np.arange(n - 1, -1, -1)
    return q


@nb.njit(cache=True)
def uniform_updates(state, action, reward, following, true, seed):  # type: ignore[no-untyped-def]
    """Updates that uniform replay takes."""
    np.random.seed(seed)  # noqa: NPY002
    n = len(true)
    q = np.zeros((n, 2))
    step = np.zeros((n, 2))
    updates = 0
    while ((q - true) ** 2).mean() >= ENOUGH:
        step[:] = 0.0
        for _ in range(BATCH):
            i = np.random.randint(len(state))  # noqa: NPY002
            ahead = q[following[i]].max() if following[i] >= 0 else 0.0
            step[state[i], action[i]] += reward[i] + (1 - 1 / n) * ahead - q[state[i], action[i]]
        q += STEP / BATCH * step
        updates += 1
    return updates


def prioritised_updates(
    n: int, seed: int, beta: float = 0.0, by_all: bool = False, eps: float = 1e-4, limit: int = 10**6
) -> int:
    """Updates that prioritised replay takes; `by_all` divides weights by the largest of all items."""
    items, true, q = transitions(n), truth(n), np.zeros((n, 2))
    size = len(items["state"])
    buffer = PrioritizedReplayBuffer(size, alpha=0.7, seed=seed, eps=eps)
    buffer.add(items)
    for updates in range(limit):
        if ((q - true) ** 2).mean() < ENOUGH:
            return updates
        batch, weights, indices = buffer.sample(BATCH, beta)
        if by_all:
            weights = (buffer.probabilities(indices) / buffer.probabilities(buffer.indices()).min()) ** -beta
        ahead = np.where(batch["next"] >= 0, q[batch["next"]].max(1), 0.0)
        td = batch["reward"] + (1 - 1 / n) * ahead - q[batch["state"], batch["action"]]
        np.add.at(q, (batch["state"], batch["action"]), STEP / BATCH * weights * td)
        buffer.update_priorities(indices, td)
    return limit


def uniform(n: int) -> float:
    t, true = transitions(n), truth(n)
    fields = t["state"], t["action"], t["reward"], t["next"], true
    return float(np.median([uniform_updates(*fields, seed) for seed in SEEDS]))


@pytest.mark.parametrize(("n", "share", "published"), [(7, 0.5, 3424), (9, 0.35, 13_328), (11, 0.25, 62_208)])
def test_priorities_find_the_reward_sooner(n: int, share: float, published: int) -> None:
    without = uniform(n)
    assert without == pytest.approx(published, rel=0.15)
    prioritised = np.median([prioritised_updates(n, seed) for seed in SEEDS])
    assert prioritised <= share * without


def test_weights_by_the_largest_of_all_items_are_slower_than_no_priorities() -> None:
    limit = int(1.5 * uniform(7))

    def updates(by_all: bool) -> int:
        return prioritised_updates(7, 0, beta=0.5, by_all=by_all, eps=1e-6, limit=limit)

    assert updates(by_all=False) < limit / 3
    assert updates(by_all=True) == limit
