"""What a folder of market data holds: each file with its format, its zone and its series."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path

from engine.errors import DataError
from engine.market.finding import Finding, Reading
from resources.feeds.formats.format import Format, Held
from resources.feeds.formats.registry import UnknownFormatError, contents, read, recognise, stamp_of
from resources.feeds.formats.timestamps import UTC_ZONE, bar_of

__all__ = ["Catalogue", "Entry", "data_files", "fingerprint", "scan"]

_SUFFIXES = {".csv", ".parquet", ".feather", ".json", ".zip", ".txt"}


@dataclass(frozen=True)
class Entry:
    """One file of the folder.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        Its path below the folder.
    format : Format
        Its format.
    zone : str
        Zone of its stamps.
    held : tuple of Held
        Series of candles in it.
    bar : timedelta or None
        Size of their bars.
    """

    path: Path
    name: str
    format: Format
    zone: str
    held: tuple[Held, ...]
    bar: timedelta | None

    def read(self) -> Reading:
        """Read the file."""
        return read(self.path, self.zone)


@dataclass(frozen=True)
class Catalogue:
    """Files of a folder that can be read, and findings about those that cannot."""

    entries: tuple[Entry, ...]
    findings: tuple[Finding, ...]

    def of_table(self, table: str) -> list[Entry]:
        """Files of one table, the preferred format first."""
        return sorted(
            (e for e in self.entries if e.format.table == table), key=lambda e: (e.format.precedence, e.name)
        )


def data_files(root: Path) -> list[Path]:
    """Files below a folder that may hold data, in order of their names; hidden ones do not count.

    Raises
    ------
    DataError
        If the folder does not exist.
    """
    if not root.is_dir():
        raise DataError("is no folder; set files.root to the folder of your market data", source=str(root))
    found = (p for p in root.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(root).parts))


def fingerprint(root: Path) -> str:
    """Text that changes when a file of the folder comes, goes or changes."""
    stamps = "\n".join(f"{path} {size} {changed}" for path, size, changed in map(stamp_of, data_files(root)))
    return hashlib.sha256(stamps.encode()).hexdigest()


def scan(root: Path, zones: Mapping[str, str]) -> Catalogue:
    """Recognise every file of a folder by a first look at each.

    Parameters
    ----------
    root : Path
        The folder.
    zones : mapping
        Zone of the stamps in files whose path below the folder matches a pattern, as ``raw/*binance*``.

    Raises
    ------
    DataError
        If a file is damaged, or a pattern of ``zones`` matches no file.
    """
    files = {path: path.relative_to(root).as_posix() for path in data_files(root)}
    for pattern in zones:
        if not any(fnmatchcase(name, pattern) for name in files.values()):
            raise DataError(
                f"zone pattern {pattern!r} matches no file; its zone would be lost", source=str(root)
            )
    entries, findings = [], []
    for path, name in files.items():
        try:
            known = recognise(path)
        except UnknownFormatError as error:
            findings.append(
                Finding(
                    "raw.audit",
                    name,
                    "damage",
                    "info",
                    None,
                    None,
                    1,
                    f"not used: {error.reason.split('. Known: ')[0]}",
                )
            )
            continue
        held, bar = contents(path)
        zone = next((zone for pattern, zone in zones.items() if fnmatchcase(name, pattern)), UTC_ZONE)
        if held and bar is None:
            bar = bar_of(read(path, zone).frame["ts"], str(path))
        entries.append(Entry(path, name, known, zone, held, bar))
    return Catalogue(tuple(entries), tuple(findings))
