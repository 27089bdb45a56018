"""How much one client may ask for: a rate with a burst, and so many requests at a time."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

from console.api.problems import Problem

__all__ = ["Allowance", "OpenRequests", "client_address", "too_many"]

_CLIENTS = 10_000


class Allowance:
    """So many a second on average, and so many at once (generic cell rate algorithm).

    Parameters
    ----------
    per_second : float
    at_once : float
    clock : callable, optional
        Returns seconds.
    """

    def __init__(
        self, per_second: float, at_once: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = 1.0 / per_second
        self._tolerance = (max(at_once, 1.0) - 1.0) * self._interval
        self._clock = clock
        self._due: OrderedDict[str, float] = OrderedDict()

    def wait(self, client: str) -> float:
        """Return the seconds until the client may ask again."""
        due = self._due.get(client)
        return 0.0 if due is None else max(0.0, due - self._tolerance - self._clock())

    def take(self, client: str) -> float:
        """Count one request, and return 0; or return the seconds to wait, and count nothing."""
        now = self._clock()
        due = max(self._due.get(client, now), now)
        if due - self._tolerance > now:
            return due - self._tolerance - now
        self._due[client] = due + self._interval
        self._due.move_to_end(client)
        if len(self._due) > _CLIENTS:
            self._due.popitem(last=False)
        return 0.0


class OpenRequests:
    """So many requests of one client at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    @contextmanager
    def one_of(self, client: str) -> Iterator[None]:
        """Keep a place while a request is served.

        Raises
        ------
        Problem
            429 if all are taken.
        """
        if self._open[client] >= self._most:
            raise too_many(1.0, f"{self._most} requests of yours are open; close some")
        self._open[client] += 1
        try:
            yield
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]


def too_many(wait: float, detail: str) -> Problem:
    """Return the problem of a client that asks for too much."""
    seconds = max(1, math.ceil(wait))
    return Problem(
        429, "too-many-requests", detail, headers={"Retry-After": str(seconds)}, retry_after=seconds
    )


@lru_cache(maxsize=4_096)
def client_address(address: str) -> str:
    """Return what stands for one client: its address, or its network where it has as many as it likes."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 6 and not found.is_loopback:
        return str(ipaddress.ip_network(f"{found}/64", strict=False))
    return str(found)
