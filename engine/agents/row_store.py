"""Items of several fields, one row of memory each: an item drawn at random costs one place in memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from engine.agents.prefetch import prefetch
from engine.agents.sum_tree import aligned

__all__ = ["RowStore"]

_WORD, _WORDS_PER_LINE, _AHEAD = 8, 8, 8


@nb.njit(cache=True, error_model="numpy")
def _gather(store, width, slots, starts, widths, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Copy the rows of `slots` into one block of `out` per field."""
    rows = slots.size
    for k in range(rows):
        ahead = slots[min(k + _AHEAD, rows - 1)] * width
        for word in range(0, width, _WORDS_PER_LINE):
            prefetch(store, ahead + word)
        row = slots[k] * width
        for f in range(starts.size):
            source = row + starts[f]
            target = starts[f] * rows + k * widths[f]
            for word in range(widths[f]):
                out[np.uintp(target + word)] = store[np.uintp(source + word)]


class RowStore:
    """`capacity` rows with the fields of `items`, by name, each field beginning on a word of eight bytes.

    Parameters
    ----------
    capacity : int
        Number of rows.
    items : mapping of str to array of shape (n, ...)
        Arrays of the fields' types and shapes; their values are not read.

    Raises
    ------
    ValueError
        There is no field, or one holds objects.
    """

    def __init__(self, capacity: int, items: Mapping[str, NDArray[Any]]) -> None:
        if not items:
            raise ValueError("items must have at least one field, got none")
        for name, values in items.items():
            if values.dtype.hasobject:
                raise ValueError(f"field {name!r} must hold numbers, got {values.dtype}")
        self.kinds = {name: (v.dtype, v.shape[1:]) for name, v in sorted(items.items())}
        bytes_of = [dtype.itemsize * math.prod(shape) for dtype, shape in self.kinds.values()]
        self._widths = np.array([-(-size // _WORD) for size in bytes_of], np.int64)
        self._starts = np.concatenate(([0], np.cumsum(self._widths)[:-1])).astype(np.int64)
        self._width = int(self._widths.sum())
        self._words: NDArray[np.uint64] = aligned(capacity * self._width, np.dtype(np.uint64))
        self._inner = [np.empty((1, *shape), dtype).strides[1:] for dtype, shape in self.kinds.values()]
        self._places = [(int(a), int(w)) for a, w in zip(self._starts, self._widths, strict=True)]
        self.fields = self._views(self._words, capacity, [(start, self._width) for start, _ in self._places])
        """Each field of all rows, as a view (capacity, ...)."""

    def _views(
        self, words: NDArray[np.uint64], rows: int, places: list[tuple[int, int]]
    ) -> dict[str, NDArray[Any]]:
        """Each field as an array over `words`, from its first word and the words from row to row."""
        views = {}
        for (name, (dtype, shape)), inner, (start, step) in zip(
            self.kinds.items(), self._inner, places, strict=True
        ):
            strides = (step * _WORD, *inner)
            views[name] = np.ndarray((rows, *shape), dtype, words, start * _WORD, strides)
        return views

    def check(self, items: Mapping[str, NDArray[Any]]) -> int:
        """Refuse items whose fields, types or shapes are others; the number of items."""
        if items.keys() != self.kinds.keys():
            raise ValueError(f"items must have the fields {sorted(self.kinds)}, got {sorted(items)}")
        lengths = set()
        for name, values in items.items():
            if (values.dtype, values.shape[1:]) != self.kinds[name]:
                dtype, shape = self.kinds[name]
                expected = f"{dtype} of shape (n, *{shape})"
                raise ValueError(f"field {name!r} must be {expected}, got {values.dtype} {values.shape}")
            lengths.add(len(values))
        if len(lengths) != 1:
            raise ValueError(f"all fields must have as many items, got {sorted(lengths)}")
        return lengths.pop()

    def take(self, slots: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Copy the rows of `slots`, every field an array of its own."""
        out = np.empty(len(slots) * self._width, np.uint64)
        _gather(self._words, self._width, slots, self._starts, self._widths, out)
        return self._views(out, len(slots), [(start * len(slots), width) for start, width in self._places])
