"""Which content the warehouse has, without opening it while its file is untouched."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from engine_assets.tuning_inputs import stored_versions
from resources.warehouse import Warehouse
from resources.warehouse_file import DatabaseFile

__all__ = ["ContentVersions"]

Stamp = tuple[tuple[int, int], ...]


class ContentVersions:
    """Fingerprints of tables; None of one that is not stored.

    Parameters
    ----------
    warehouse : Warehouse
    """

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._lock = threading.Lock()
        self._stamp: Stamp | None = None
        self._known: dict[str, str | None] = {}

    def of(self, names: Iterable[str]) -> tuple[str | None, ...]:
        """Return the content versions of tables.

        Raises
        ------
        WarehouseError
            If the warehouse cannot be read, such as while a step holds it to write.
        """
        wanted = tuple(names)
        # Taken before reading: what is written meanwhile is found out the next time.
        stamp = self._touched()
        with self._lock:
            if stamp is None or stamp != self._stamp:
                self._stamp, self._known = stamp, {}
            known = dict(self._known)
        if not known.keys() >= set(wanted):
            found = stored_versions(self._warehouse, wanted)
            known |= {name: found.get(name) for name in wanted}
            with self._lock:
                if stamp == self._stamp:
                    self._known |= known
        return tuple(known[name] for name in wanted)

    def _touched(self) -> Stamp | None:
        """Return what changes whenever the file is written; None where there is no file to look at."""
        store = self._warehouse.store
        if not isinstance(store, DatabaseFile):
            return None
        path, found = store.path, []
        for each in (path, path.with_name(f"{path.name}.wal")):
            try:
                status = each.stat()
            except FileNotFoundError:
                found.append((0, 0))
            else:
                found.append((status.st_mtime_ns, status.st_size))
        return tuple(found)
