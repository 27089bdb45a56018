"""Answers as they go over the wire, made once for all who ask for the same."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor

from pydantic import BaseModel

from console.api.reads.kept import Kept
from resources.warehouse import WarehouseError

__all__ = ["Answers"]

_MOST = 512
_PATIENCE_S = 0.04
_THREADS, _SLOW_THREADS = 4, 2


class Answers:
    """Bytes of JSON by key.

    They are looked at again after half a second. While somebody does, the others get what there is: nobody
    waits for a step that holds the warehouse to write. Reads of the warehouse have threads of their own, so
    that such a step never keeps the parameter store from being read.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, Kept[bytes]] = OrderedDict()
        self._generation = 0
        self.pool = ThreadPoolExecutor(_THREADS, "reads")
        self.slow_pool = ThreadPoolExecutor(_SLOW_THREADS, "warehouse-reads")

    def moved(self) -> None:
        """Say that something was written: what was made before is not shown any more."""
        with self._lock:
            self._generation += 1

    async def get(
        self,
        key: Hashable,
        make: Callable[[], BaseModel],
        version: Callable[[], Hashable] | None = None,
        *,
        slow: bool = False,
    ) -> bytes:
        """Return the answer with this key.

        Parameters
        ----------
        key : hashable
            Whoever asks with the same one wants the same.
        make : callable
            Makes the answer, in a thread.
        version : callable, optional
            As of `Kept`.
        slow : bool
            Whether it is read from the warehouse.

        Raises
        ------
        WarehouseError
            If the warehouse cannot be read and nothing is known from before.
        """
        known, future = self._entry(key, make, version, slow=slow).look(self._generation)
        if future is None:
            assert known is not None  # noqa: S101  there is one or the other
            return known
        waited = asyncio.wrap_future(future)
        waited.add_done_callback(_noticed)
        if known is not None:
            done, _ = await asyncio.wait({waited}, timeout=_PATIENCE_S)
            if not done or isinstance(waited.exception(), WarehouseError):
                return known
        # Whoever goes away leaves the others what they wait for.
        return await asyncio.shield(waited)

    def close(self) -> None:
        """Let the threads end."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.slow_pool.shutdown(wait=False, cancel_futures=True)

    def _entry(
        self,
        key: Hashable,
        make: Callable[[], BaseModel],
        version: Callable[[], Hashable] | None,
        *,
        slow: bool,
    ) -> Kept[bytes]:
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                pool = self.slow_pool if slow else self.pool
                found = Kept(lambda: make().model_dump_json().encode(), pool, version=version)
                self._kept[key] = found
                if len(self._kept) > _MOST:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return found


def _noticed(future: asyncio.Future[bytes] | Future[bytes]) -> None:
    """Look at the error of what nobody waited for, so that nobody complains."""
    if not future.cancelled():
        future.exception()
