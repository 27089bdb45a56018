"""Prioritised experience replay (Schaul, Quan, Antonoglou & Silver 2016), with a factor per regime.

The law of the draws is that of `engine.agents.priorities`.

Items are whatever the learner replays, a transition or a stretch of H steps. What it replays was decided by
an older policy: keep the behaviour's log-probability in the item and correct by `engine.agents.vtrace`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.agents.priorities import Kind, PriorityLaw, importance_weights
from engine.agents.row_store import RowStore
from engine.agents.sum_tree import MaxTree, SumTree
from engine.errors import NotEnoughDataError

__all__ = ["PrioritizedReplayBuffer"]

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Items = dict[str, NDArray[Any]]

_FIELD = "item."


class PrioritizedReplayBuffer:
    """The last `capacity` items, drawn by priority.

    An index is the serial number of an item, the first ever added being 0. So an item that has been
    overwritten between drawing and updating is recognised, and its update does not fall to its successor.

    Parameters
    ----------
    capacity : int
        Items kept; the oldest go first. Limits the age of what is replayed.
    alpha : float
        How much priority counts, 0 (uniform) to 1.
    kind : "proportional" or "rank"
        With ranks, an item's rank is that in the last ordering of all items, which is renewed after as many
        changes as there are items; equal priorities share the mean of their ranks.
    eps : float
        Floor of the priority, in units of the TD error, > 0.
    clip : float
        |TD error| beyond which priority does not grow.
    seed : int

    Attributes
    ----------
    mean_weight : float
        Mean importance weight of the latest batch, to be logged: near 0, replay hardly moves the parameters.

    Raises
    ------
    ValueError
        A parameter is out of its bounds.
    """

    def __init__(
        self,
        capacity: int,
        *,
        alpha: float = 0.6,
        kind: Kind = "proportional",
        eps: float = 1e-3,
        clip: float = np.inf,
        seed: int = 0,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self.capacity, self.law = capacity, PriorityLaw(alpha, kind, eps, clip)
        self.mean_weight = np.nan
        self._random = np.random.default_rng(seed)
        self._store: RowStore | None = None
        self._masses, self._priorities = SumTree(capacity), MaxTree(capacity)
        self._factors = np.ones(capacity)
        self._added = 0
        self._ordered: Floats = np.empty(0)
        self._changed = 0

    def __len__(self) -> int:
        return min(self._added, self.capacity)

    def indices(self) -> Indices:
        """All items kept, oldest first."""
        return np.arange(self._added - len(self), self._added)

    def ages(self, indices: Indices) -> Indices:
        """How many items have been added after each of `indices`."""
        return self._added - 1 - np.asarray(indices)

    def priorities(self, indices: Indices) -> Floats:
        """Priority p of each of `indices`."""
        return self._priorities.leaves[self._slots(indices)]

    def probabilities(self, indices: Indices) -> Floats:
        """Probability P with which each of `indices` is drawn."""
        return self._masses.leaves[self._slots(indices)] / self._masses.total

    def items(self, indices: Indices) -> Items:
        """Copy of the items of `indices`."""
        slots = self._slots(indices)
        return {} if self._store is None else self._store.take(slots)

    def add(
        self,
        items: Mapping[str, NDArray[Any]],
        priorities: NDArray[np.floating] | None = None,
        factors: NDArray[np.floating] | None = None,
    ) -> Indices:
        """Keep n new items in place of the oldest.

        Parameters
        ----------
        items : mapping of str to array of shape (n, ...)
            The first call settles fields, types and shapes.
        priorities : array (n,), optional
            TD errors; without them the items enter at the largest priority that any item now has.
        factors : array (n,), optional
            Regime factors, > 0; 1 without.

        Returns
        -------
        array of int64, shape (n,)
            Their indices.

        Raises
        ------
        ValueError
            Fields, types or shapes differ, n exceeds the capacity, or a number is out of its bounds.
        """
        store = self._store or RowStore(self.capacity, items)
        n = store.check(items)
        if n > self.capacity:
            raise ValueError(f"items must be at most the capacity of {self.capacity}, got {n}")
        entering = (
            np.full(n, self._priorities.maximum or 1.0)
            if priorities is None
            else self.law.priorities(priorities, n)
        )
        factor = np.ones(n) if factors is None else _positive("factors", factors, n)
        mass = self.law.masses(entering, self._ordered) * factor
        self._store, start = store, self._added % self.capacity
        room = min(n, self.capacity - start)
        for at, part in ((start, slice(0, room)), (0, slice(room, n))):
            count = part.stop - part.start
            if count:
                for name, values in items.items():
                    store.fields[name][at : at + count] = values[part]
                self._factors[at : at + count] = factor[part]
                self._priorities.place_run(at, entering[part])
                self._masses.place_run(at, mass[part])
        self._added += n
        self._changed += n
        return np.arange(self._added - n, self._added)

    def sample(self, batch: int, beta: float) -> tuple[Items, Floats, Indices]:
        """Draw `batch` items with replacement, one from each of as many equal parts of the total probability.

        Parameters
        ----------
        batch : int
        beta : float
            Exponent of the importance weights, in [0, 1].

        Returns
        -------
        batch : dict of str to array (batch, ...)
        weights : array of float64, shape (batch,)
            Importance weights, the largest 1.
        indices : array of int64, shape (batch,)
            For `update_priorities`.

        Raises
        ------
        NotEnoughDataError
            The buffer is empty.
        """
        if self._store is None or not self._added:
            raise NotEnoughDataError("no item has been added to sample from")
        if self.law.kind == "rank" and self._changed >= len(self):
            self._order()
        slots, masses = self._masses.draw(self._random.random(batch))
        weights = importance_weights(masses / self._masses.total, len(self), beta)
        self.mean_weight = float(weights.sum()) / batch
        head = self._added % self.capacity
        indices = slots + (self._added - head)
        indices[np.searchsorted(slots, head) :] -= self.capacity
        return self._store.take(slots), weights, indices

    def update_priorities(self, indices: Indices, td: NDArray[np.floating]) -> None:
        """Give items the priority of their new TD errors; those overwritten meanwhile are passed over.

        Parameters
        ----------
        indices : array of int64, shape (B,)
        td : array (B,)
            Finite, of either sign. Of an index given twice the last counts.
        """
        indices = np.asarray(indices)
        priority = self.law.priorities(td, len(indices))
        if indices.size and indices.min() < self._added - len(self):
            kept = indices >= self._added - len(self)
            indices, priority = indices[kept], priority[kept]
        slots = self._slots(indices)
        self._priorities.place(slots, priority)
        self._masses.place(slots, self.law.masses(priority, self._ordered) * self._factors[slots])
        self._changed += len(slots)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Everything that later draws depend on, as arrays."""
        size = len(self)
        random: Any = self._random.bit_generator.state
        halves = [part >> shift & (2**64 - 1) for part in random["state"].values() for shift in (64, 0)]
        fields = {} if self._store is None else self._store.fields
        return {
            "settings": self._settings(),
            "counters": np.array([self._added, self._changed], np.int64),
            "random": np.array(halves, np.uint64),
            "priorities": self._priorities.leaves[:size].copy(),
            "factors": self._factors[:size].copy(),
            "masses": self._masses.leaves[:size].copy(),
            "ordered": self._ordered.copy(),
        } | {_FIELD + name: np.ascontiguousarray(values[:size]) for name, values in fields.items()}

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on exactly from where `state_dict` was taken, of a buffer made with the same parameters.

        Raises
        ------
        ValueError
            The state is of a buffer with other parameters.
        """
        if not np.array_equal(state["settings"], self._settings()):
            raise ValueError(
                "capacity, alpha, kind, eps and clip must be those of the state, "
                f"{state['settings'].tolist()}, got {self._settings().tolist()}"
            )
        self._added, self._changed = (int(count) for count in state["counters"])
        high, low, step_high, step_low = (int(half) for half in state["random"])
        words = {"state": high << 64 | low, "inc": step_high << 64 | step_low}
        self._random.bit_generator.state = {**self._random.bit_generator.state, "state": words}
        self._masses, self._priorities = SumTree(self.capacity), MaxTree(self.capacity)
        self._masses.place_run(0, state["masses"])
        self._priorities.place_run(0, state["priorities"])
        self._factors = np.ones(self.capacity)
        self._factors[: len(self)] = state["factors"]
        self._ordered = state["ordered"].copy()
        items = {name.removeprefix(_FIELD): v for name, v in state.items() if name.startswith(_FIELD)}
        self._store = RowStore(self.capacity, items) if items else None
        if self._store is not None:
            for name, values in items.items():
                self._store.fields[name][: len(self)] = values

    def _settings(self) -> Floats:
        law = self.law
        return np.array([self.capacity, law.alpha, law.kind == "rank", law.eps, law.clip], np.float64)

    def _slots(self, indices: Indices) -> Indices:
        indices = np.asarray(indices)
        oldest = self._added - len(self)
        if ((indices - oldest).view(np.uint64) >= len(self)).any():
            raise ValueError(
                f"indices must be of items kept, {oldest} to {self._added - 1}, "
                f"got {indices.min()} to {indices.max()}"
            )
        return indices % self.capacity

    def _order(self) -> None:
        """Rank all items anew."""
        size = len(self)
        priorities = self._priorities.leaves[:size]
        self._ordered, self._changed = np.sort(priorities), 0
        self._masses.place_run(0, self.law.masses(priorities, self._ordered) * self._factors[:size])


def _positive(name: str, values: NDArray[np.floating], n: int) -> Floats:
    checked = np.asarray(values, np.float64)
    if checked.shape != (n,) or not (np.isfinite(checked) & (checked > 0.0)).all():
        raise ValueError(f"{name} must be {n} finite numbers above 0, got {values!r}")
    return checked
