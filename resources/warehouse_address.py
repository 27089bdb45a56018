"""What the address of a warehouse says: where its tables are kept."""

from __future__ import annotations

import re
from pathlib import Path

from resources.warehouse_file import DatabaseFile
from resources.warehouse_lake_postgres import PostgresLake
from resources.warehouse_lake_sqlite import SqliteLake
from resources.warehouse_session import Store, WarehouseError

__all__ = ["store_at"]

_LAKE = re.compile(r"ducklake:(postgres|sqlite):(.+);data=(.+)", re.DOTALL)
_SECRET = re.compile(r"(password|secret)\s*=|://", re.IGNORECASE)


def store_at(address: str) -> Store:
    """Find out where the tables are kept; nothing is opened.

    Raises
    ------
    WarehouseError
        If an address of DuckLake is incomplete or has a password in it. The text does not show it.
    """
    if not address.startswith("ducklake:"):
        return DatabaseFile(Path(address).expanduser().absolute())
    if _SECRET.search(address):
        raise WarehouseError(
            "the warehouse's address is shown in messages and in the UI: write it as key=value, without a "
            "password; that belongs in PGPASSWORD or a password file (~/.pgpass)"
        )
    found = _LAKE.fullmatch(address)
    if found is None:
        raise WarehouseError(
            "a warehouse's address that begins with ducklake: must have the form "
            "'ducklake:postgres:dbname=engine host=db user=engine;data=/shared/engine' or "
            "'ducklake:sqlite:data/engine.sqlite;data=data/engine'"
        )
    kind, catalogue, data = found.groups()
    folder = Path(data).expanduser().absolute()
    if kind == "postgres":
        return PostgresLake(catalogue, folder)
    return SqliteLake(str(Path(catalogue).expanduser().absolute()), folder)
