"""A value that is made by one thread for all who ask, and again only once what it rests on has changed."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Kept"]

Value = TypeVar("Value")


@dataclass(frozen=True)
class _Made(Generic[Value]):
    value: Value
    version: Hashable
    at: float
    generation: int


class Kept(Generic[Value]):
    """One value.

    Parameters
    ----------
    make : callable
        Makes it; called in a thread of the pool, by one at a time.
    pool : Executor
    version : callable, optional
        Returns what changes with everything that the value rests on; it is not made anew while that is the
        same. By default it is always made anew.
    fresh_s : float
        For so long nobody looks again.

    Attributes
    ----------
    pool : Executor
    asked_at : float
        When somebody asked for it last, by the monotonic clock; for those who ask to say.
    """

    def __init__(
        self,
        make: Callable[[], Value],
        pool: Executor,
        *,
        version: Callable[[], Hashable] | None = None,
        fresh_s: float = 0.5,
    ) -> None:
        self._make, self.pool, self._version, self._fresh_s = make, pool, version, fresh_s
        self.asked_at = -math.inf
        self._lock = threading.Lock()
        self._made: _Made[Value] | None = None
        self._running: tuple[int, Future[Value]] | None = None

    @property
    def age_s(self) -> float:
        """Seconds since it was known to be as it is; infinite where it never was."""
        made = self._made
        return math.inf if made is None else time.monotonic() - made.at

    def look(self, generation: int = 0) -> tuple[Value | None, Future[Value] | None]:
        """Return what may be shown at once, and what will be made where that is missing or no longer fresh.

        Parameters
        ----------
        generation : int
            What was made for an earlier one is not shown: somebody has written since and wants to see it.
        """
        with self._lock:
            made = self._made
            if made is not None and made.generation < generation:
                made = None
            if made is not None and time.monotonic() - made.at <= self._fresh_s:
                return made.value, None
            if self._running is None or self._running[0] < generation:
                self._running = generation, self.pool.submit(self._again, generation)
            return None if made is None else made.value, self._running[1]

    def soon(self, within_s: float) -> Value | None:
        """Return it as it is after so many seconds at most; None where nothing is known by then."""
        value, future = self.look()
        if future is None or (value is not None and not within_s):
            return value
        try:
            return future.result(within_s)
        except TimeoutError:
            return value

    def _again(self, generation: int) -> Value:
        try:
            looked = time.monotonic()
            version = object() if self._version is None else self._version()
            before = self._made
            same = before is not None and before.version == version
            value = before.value if same and before is not None else self._make()
            with self._lock:
                if self._made is None or self._made.at <= looked:
                    self._made = _Made(value, version, looked, generation)
            return value
        finally:
            with self._lock:
                if self._running is not None and self._running[0] == generation:
                    self._running = None
