"""The warehouse on DuckLake: tables as Parquet files in a folder, listed in a catalogue."""

from __future__ import annotations

import importlib.util
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from resources.warehouse_session import (
    Limits,
    NoWarehouseError,
    WarehouseError,
    is_about_space,
    set_up,
    snapshot,
    stamp,
    transaction,
)

if TYPE_CHECKING:
    import duckdb

    Writer: TypeAlias = tuple[duckdb.DuckDBPyConnection, Callable[[], None]]

__all__ = ["NAME", "Lake", "quoted"]

NAME = "engine_lake"
"""Name under which the warehouse is attached."""

_ABSENT = "creating a new DuckLake is explicitly disabled"
_UNREACHABLE = "Unable to connect to Postgres"
_BROKEN = ("server closed the connection", "Failed to execute query", "Failed to probe DuckLake metadata")


@dataclass(frozen=True)
class Lake(ABC):
    """Tables as files in a folder, listed in a catalogue.

    DuckLake by itself lets two writers insert the same new key, and fails where two change different rows
    of one table. So here a writer waits for other writers of the same table.

    Parameters
    ----------
    catalogue : str
        Connection string without a password, or path of a file.
    data : Path
        Folder of the Parquet files, under the same path on every machine.
    """

    catalogue: str
    data: Path

    kind: ClassVar[str]

    @property
    def place(self) -> str:
        """The address."""
        return f"{self._source};data={self.data}"

    @property
    def shell(self) -> str:
        """Command that opens it in DuckDB's own shell."""
        return f'duckdb -cmd "ATTACH {quoted(self._source)} AS engine (READ_ONLY); USE engine"'

    @property
    def _source(self) -> str:
        return f"ducklake:{self.kind}:{self.catalogue}"

    @contextmanager
    def opened(
        self, limits: Limits, *, read_only: bool, tables: Collection[str] | None = None
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Connect as `Store` says; a writer that names no ``tables`` has all of them."""
        with self._explained():
            if read_only:
                with self._to_read(limits) as connection, snapshot(connection):
                    stamp(connection, self.place, write=False)
                    yield connection
            else:
                with (
                    self._to_write(limits, tables) as (connection, before_commit),
                    transaction(connection),
                ):
                    stamp(connection, self.place, write=True)
                    yield connection
                    before_commit()

    @abstractmethod
    def _to_read(self, limits: Limits) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """Attach for reading."""

    @abstractmethod
    def _to_write(self, limits: Limits, tables: Collection[str] | None) -> AbstractContextManager[Writer]:
        """Attach and hold the locks; what comes with the connection is called last before the commit."""

    @contextmanager
    def _connected(self, limits: Limits) -> Iterator[duckdb.DuckDBPyConnection]:
        """Connect to a DuckDB without a file, and load what it needs; nothing comes from a network."""
        import duckdb

        files = [_extension(name, duckdb.__version__) for name in ("ducklake", f"{self.kind}_scanner")]
        # These files are installed beside DuckDB itself and as trusted as it is; checking their signatures
        # takes longer than everything else together.
        with (
            tempfile.TemporaryDirectory(prefix="engine-", ignore_cleanup_errors=True) as temporary,
            duckdb.connect(config={"allow_unsigned_extensions": "true"}) as connection,
        ):
            set_up(connection, Path(temporary), limits)
            connection.execute("SET enable_external_file_cache = false")
            for file in files:
                connection.execute(f"LOAD {quoted(str(file))}")
            yield connection

    def _attach(self, connection: duckdb.DuckDBPyConnection, *, read_only: bool, create: bool) -> None:
        import duckdb

        options = [f"DATA_PATH {quoted(f'{self.data}/')}"]
        options += ["READ_ONLY"] if read_only else [f"CREATE_IF_NOT_EXISTS {str(create).lower()}"]
        try:
            connection.execute(f"ATTACH {quoted(self._source)} AS {NAME} ({', '.join(options)})")
        except duckdb.Error as error:
            if _ABSENT in str(error):
                raise NoWarehouseError(self.place) from error
            raise
        connection.execute(f"USE {NAME}")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn an error of catalogue or files, not of a statement, into one that says what to do."""
        import duckdb

        try:
            yield
        except duckdb.Error as error:
            text = str(error)
            if is_about_space(error):
                advice = "no space left to write. Nothing was changed; free space there and run again"
            elif _UNREACHABLE in text:
                advice = (
                    "PostgreSQL does not let us in. See that it runs, and that host, user, database and "
                    "password (PGPASSWORD or ~/.pgpass) are right"
                )
            elif "DATA_PATH" in text:
                advice = "this warehouse keeps its files in another folder; give that one as data="
            elif isinstance(error, duckdb.FatalException) or any(
                sign in text for sign in (*_BROKEN, self.catalogue, str(self.data))
            ):
                advice = "catalogue or files could not be used. A write changed nothing; run again"
            else:
                raise
            raise WarehouseError(f"{self.place}: {advice} ({text.strip()})") from error


def quoted(text: str) -> str:
    """Write ``text`` as SQL does."""
    return "'" + text.replace("'", "''") + "'"


def _extension(name: str, version: str) -> Path:
    package = importlib.util.find_spec(f"duckdb_extension_{name}")
    for folder in (package and package.submodule_search_locations) or ():
        file = Path(folder) / "extensions" / f"v{version}" / f"{name}.duckdb_extension"
        if file.exists():
            return file
    raise WarehouseError(
        f"a warehouse on DuckLake needs the package duckdb-extension-{name.replace('_', '-')} of DuckDB's "
        f"own version, {version}; install the extra: pip install -c constraints.txt -e '.[lake]'"
    )
