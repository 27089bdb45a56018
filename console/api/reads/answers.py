"""Answers as they go over the wire, made once for all who ask for the same."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor

from pydantic import BaseModel

from console.api.reads.kept import Kept
from resources.warehouse import WarehouseError

__all__ = ["Answers"]

_MOST = 512
_OLD_S, _PATIENCE_S, _PATIENCE_WITH_STEPS_S = 2.0, 1.0, 0.04
_ASKED_FOR_S, _RENEWED_WITHIN_S = 2.0, 0.25
_THREADS, _SLOW_THREADS = 4, 2


class Answers:
    """Bytes of JSON by key.

    They are looked at again after half a second. Meanwhile all get what there is, unless it is older than
    two seconds; and nobody waits for a step that holds the warehouse to write. Reads of the warehouse have
    threads of their own, so that such a step never keeps the parameter store from being read.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, Kept[bytes]] = OrderedDict()
        self._generation = self._newest = 0
        self.pool = ThreadPoolExecutor(_THREADS, "reads")
        self.slow_pool = ThreadPoolExecutor(_SLOW_THREADS, "warehouse-reads")

    def moved(self) -> None:
        """Say that something was written: what was made before is not shown any more."""
        with self._lock:
            self._newest += 1
            self._generation = self._newest

    async def renew(self) -> None:
        """Make what is asked for anew, as somebody else has written, and only then show nothing older.

        Until then all get what there is: hundreds of reads wait for none of it.
        """
        asked_since = time.monotonic() - _ASKED_FOR_S
        with self._lock:
            self._newest += 1
            generation = self._newest
            looked = [kept.look(generation) for kept in self._kept.values() if kept.asked_at >= asked_since]
        making = [asyncio.wrap_future(future) for _, future in looked if future is not None]
        for one in making:
            one.add_done_callback(_noticed)
        if making:
            await asyncio.wait(making, timeout=_RENEWED_WITHIN_S)
        with self._lock:
            # Who has written here meanwhile is not shown what was begun before.
            self._generation = max(self._generation, generation)

    def kept(
        self,
        key: Hashable,
        make: Callable[[], BaseModel],
        version: Callable[[], Hashable] | None = None,
        *,
        slow: bool = False,
    ) -> Kept[bytes]:
        """Return what keeps the answer with this key.

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
        """
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

    async def now(self, kept: Kept[bytes]) -> bytes:
        """Return an answer as it is now.

        Raises
        ------
        WarehouseError
            If the warehouse cannot be read and nothing is known from before.
        """
        kept.asked_at = time.monotonic()
        known, future = kept.look(self._generation)
        if known is not None and (future is None or kept.age_s <= _OLD_S):
            return known
        assert future is not None  # noqa: S101  there is one or the other
        waited = asyncio.wrap_future(future)
        waited.add_done_callback(_noticed)
        if known is not None:
            # What nobody asked for in a while is waited for, unless a step may hold what it is read from.
            patience = _PATIENCE_WITH_STEPS_S if kept.pool is self.slow_pool else _PATIENCE_S
            done, _ = await asyncio.wait({waited}, timeout=patience)
            if not done or isinstance(waited.exception(), WarehouseError):
                return known
        # Whoever goes away leaves the others what they wait for.
        return await asyncio.shield(waited)

    def close(self) -> None:
        """Let the threads end."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.slow_pool.shutdown(wait=False, cancel_futures=True)


def _noticed(future: asyncio.Future[bytes] | Future[bytes]) -> None:
    """Look at the error of what nobody waited for, so that nobody complains."""
    if not future.cancelled():
        future.exception()
