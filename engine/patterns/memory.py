"""Windows of the past with what followed, never searched ahead of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.errors import DataError
from engine.patterns.nearest import Neighbours, nearest_apart
from engine.patterns.windows import LENGTH, PatternWindows
from engine.tensors import pack, unpack

__all__ = ["Match", "MemoryStore"]

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

_KIND = "pattern memory"


class Match(NamedTuple):
    """A window of the past.

    ``ts`` is the open of its last bar, ``distance`` is Euclidean, ``outcome`` the log return that followed
    over the horizon, and ``known_at`` when that was known.
    """

    symbol: str
    ts: datetime
    distance: float
    outcome: float
    known_at: datetime


@dataclass(frozen=True, eq=False)
class MemoryStore:
    """Embeddings with their time, their outcome, and when each may be used.

    For a query whose last bar opens at t, an entry that ends at s is in the past if
    ``t - s >= (30 + horizon + embargo) * bar``, whichever symbol it is of, because the symbols share the
    market, and if its outcome was known by t. Entries are held in the order in which they come into use.

    Make one with `MemoryStore.of`.

    Parameters
    ----------
    symbols : tuple[str, ...]
    symbol : ndarray of int16, shape (M,)
    ts : ndarray of datetime64[us], shape (M,)
        Open of the last bar of each window.
    embedding : ndarray of float32, shape (M, D)
    outcome : ndarray of float64, shape (M,)
    known_at : ndarray of datetime64[us], shape (M,)
    bar : timedelta
    horizon, embargo : int
        Bars.
    """

    symbols: tuple[str, ...]
    symbol: NDArray[np.int16]
    ts: NDArray[np.datetime64]
    embedding: Floats
    outcome: NDArray[np.float64]
    known_at: NDArray[np.datetime64]
    bar: timedelta
    horizon: int
    embargo: int

    def __post_init__(self) -> None:
        if self.horizon < 1 or self.embargo < 0 or self.bar <= timedelta(0):
            raise ValueError(
                f"horizon = {self.horizon} must be at least 1 bar, embargo = {self.embargo} at least 0, "
                f"bar = {self.bar} positive"
            )
        for name in ("embedding", "outcome"):
            finite = np.isfinite(getattr(self, name))
            if not finite.all():
                row = int(np.flatnonzero(~finite.reshape(len(self), -1).all(axis=1))[0]) + 1
                raise DataError("is not finite", source=_KIND, row=row, column=name)
        if not np.array_equal(self._order, np.arange(len(self))):
            raise DataError("entries are not in the order in which they come into use", source=_KIND)

    @classmethod
    def of(
        cls,
        windows: PatternWindows,
        ends: Integers,
        embedding: Floats,
        labels: pl.DataFrame,
        *,
        embargo: int = 0,
    ) -> MemoryStore:
        """Remember windows that have an outcome.

        Parameters
        ----------
        windows : PatternWindows
        ends : ndarray of int64, shape (M,)
            Rows at which they end; `PatternWindows.every` thins them.
        embedding : ndarray of float32, shape (M, D)
        labels : pl.DataFrame
            ``symbol, ts, horizon, label, label_end`` from `engine.features.labels.labels`. A window without a
            label is left out.
        embargo : int
            Bars kept beyond window and outcome.

        Raises
        ------
        DataError
            If the labels have several horizons, or none of the windows has a label.
        """
        keys = pl.DataFrame(
            {
                "symbol": pl.Series(windows.symbols, dtype=pl.String).gather(windows.symbol[ends]),
                "ts": pl.Series(windows.ts[ends]).cast(pl.Datetime("us")),
                "row": np.arange(len(ends)),
            }
        )
        found = keys.join(labels, on=["symbol", "ts"], how="inner", maintain_order="left")
        horizons = found["horizon"].unique()
        if len(horizons) != 1:
            raise DataError(
                f"the windows have labels of horizons {horizons.to_list()}; give those of one",
                source="labels",
                column="horizon",
            )
        row = found["row"].to_numpy()
        made = {
            "symbol": windows.symbol[ends][row].astype(np.int16),
            "ts": windows.ts[ends][row],
            "embedding": np.asarray(embedding, np.float32)[row],
            "outcome": found["label"].to_numpy(),
            "known_at": found["label_end"].cast(pl.Datetime("us")).to_numpy().astype("datetime64[us]"),
        }
        horizon = int(horizons[0])
        order = _usable_order(made, _distance(windows.bar, horizon, embargo))
        taken = {name: np.ascontiguousarray(values[order]) for name, values in made.items()}
        return cls(windows.symbols, **taken, bar=windows.bar, horizon=horizon, embargo=embargo)

    def __len__(self) -> int:
        return len(self.ts)

    @cached_property
    def usable_from(self) -> NDArray[np.datetime64]:
        """First open t of a query's last bar that may see each entry, never decreasing."""
        return np.maximum(self.ts + _distance(self.bar, self.horizon, self.embargo), self.known_at)

    @property
    def _order(self) -> Integers:
        made = {"symbol": self.symbol, "ts": self.ts, "known_at": self.known_at}
        return _usable_order(made, _distance(self.bar, self.horizon, self.embargo))

    def usable(self, ts: NDArray[np.datetime64]) -> Integers:
        """Count the entries that queries at `ts` may see: the first so many."""
        return np.searchsorted(self.usable_from, ts, side="right").astype(np.int64)

    def search(
        self, queries: Floats, ts: NDArray[np.datetime64], top_k: int = 10, apart: int = LENGTH
    ) -> Neighbours:
        """Find the nearest entries of each query's past, exactly.

        Nearest first; of equal ones the earlier, then the first symbol. An entry is passed over if a nearer
        one that was taken ends less than `apart` bars from it, on whichever symbol: windows of the same
        stretch of market tell of one event, and ten of them are one observation.

        Parameters
        ----------
        queries : ndarray of float32, shape (Q, D)
        ts : ndarray of datetime64[us], shape (Q,)
            Open of the last bar of each query.
        top_k : int
            At least 1.
        apart : int
            Bars between neighbours, not negative; 0 takes all.

        Raises
        ------
        ValueError
            If a size is out of range, or queries have another width than the memory.
        """
        if top_k < 1 or apart < 0:
            raise ValueError(f"top_k = {top_k} must be at least 1 and apart = {apart} not negative")
        points = np.ascontiguousarray(queries, np.float32)
        if points.ndim != 2 or points.shape[1] != self.embedding.shape[1] or len(points) != len(ts):
            raise ValueError(
                f"queries are {points.shape} at {len(ts)} moments; expected one row of "
                f"{self.embedding.shape[1]} for each moment"
            )
        past = self.usable(ts.astype("datetime64[us]"))
        step = (self.ts - self.ts.min()) // np.timedelta64(self.bar) if len(self) else np.empty(0, np.int64)
        return nearest_apart(points, self.embedding, past, step.astype(np.int64), top_k, apart)

    def matches(self, query: Floats, at: np.datetime64, top_k: int = 10, apart: int = LENGTH) -> list[Match]:
        """Return the nearest entries to one query (D,) whose last bar opens at `at`."""
        found = self.search(query[None], np.array([at], "datetime64[us]"), top_k, apart)
        return [
            Match(
                self.symbols[int(self.symbol[k])],
                self.ts[k].item(),
                float(d),
                float(self.outcome[k]),
                self.known_at[k].item(),
            )
            for k, d in zip(found.index[0].tolist(), found.distance[0], strict=True)
            if k >= 0
        ]

    def to_bytes(self) -> bytes:
        """Write as safetensors."""
        header = {
            "symbols": list(self.symbols),
            "bar_us": self.bar // timedelta(microseconds=1),
            "horizon": self.horizon,
            "embargo": self.embargo,
        }
        arrays: dict[str, NDArray[Any]] = {
            "symbol": self.symbol,
            "ts": self.ts.astype(np.int64),
            "embedding": self.embedding,
            "outcome": self.outcome,
            "known_at": self.known_at.astype(np.int64),
        }
        return pack(_KIND, header, arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> MemoryStore:
        """Read what `to_bytes` wrote.

        Raises
        ------
        DataError
            If the bytes are something else.
        """
        header, arrays = unpack(_KIND, data)
        moments = {name: arrays[name].astype("datetime64[us]") for name in ("ts", "known_at")}
        return cls(
            symbols=tuple(header["symbols"]),
            symbol=arrays["symbol"],
            embedding=arrays["embedding"],
            outcome=arrays["outcome"],
            **moments,
            bar=timedelta(microseconds=header["bar_us"]),
            horizon=header["horizon"],
            embargo=header["embargo"],
        )


def _distance(bar: timedelta, horizon: int, embargo: int) -> np.timedelta64:
    """Time from the last bar of an entry to the last bar of the first query that may see it."""
    return (LENGTH + horizon + embargo) * np.timedelta64(bar)


def _usable_order(made: dict[str, NDArray[Any]], distance: np.timedelta64) -> Integers:
    usable_from = np.maximum(made["ts"] + distance, made["known_at"])
    return np.lexsort((made["symbol"], made["ts"], usable_from))
