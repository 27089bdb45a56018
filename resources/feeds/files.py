"""Market data from files on disk, in the formats that vendors ship."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.market.finding import Reading
    from resources.feeds.formats.catalogue import Catalogue

__all__ = ["FilesFeed", "spot_symbols"]

_HOUR = timedelta(hours=1)


def spot_symbols(root: Path, bar: timedelta) -> tuple[str, ...]:
    """Spot symbols with volume that the preferred format in a folder holds natively at a bar.

    Raises
    ------
    DataError
        If there is none.
    """
    from engine.errors import DataError
    from resources.feeds.formats.candle_sources import default_universe
    from resources.feeds.formats.catalogue import scan

    found = default_universe(scan(Path(root), {}), bar)
    if not found:
        raise DataError(f"no file holds spot candles with volume at {bar}", source=str(root))
    return found


class FilesFeed:
    """A folder of candles and alternative data; see `resources.feeds.formats` for the formats.

    Every file is recognised by its content. A file in no known format is reported and not used; a damaged one
    is refused, so that nothing goes missing unnoticed.

    Parameters
    ----------
    root : Path
        The folder, searched with all its subfolders.
    symbols : sequence of str, optional
        The universe; without it `spot_symbols` of the folder.
    bar : timedelta
        Size of the candles.
    zones : mapping, optional
        Zone of the stamps of files that are not in UTC: a pattern of the path below the folder, and an offset
        (``+03:00``) or a name (``America/New_York``).
    """

    name = "files"

    def __init__(
        self,
        root: Path,
        symbols: Sequence[str] = (),
        bar: timedelta = _HOUR,
        zones: Mapping[str, str] | None = None,
    ) -> None:
        self.root = Path(root)
        self.bar = bar
        self.zones = dict(zones or {})
        self._symbols = tuple(symbols)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The universe: what was asked for, or `spot_symbols` of the folder."""
        return self._symbols or spot_symbols(self.root, self.bar)

    def candles(self, symbols: Sequence[str], start: datetime, end: datetime) -> Reading:
        """Read finished bars with ``start <= ts < end``, sorted by symbol and ts.

        Raises
        ------
        DataError
            If a symbol is unknown (those that are there are listed), or a file holds what cannot be right;
            its row is named.
        """
        import polars as pl

        from engine.market.candles import CANDLE_SCHEMA
        from engine.market.finding import Reading
        from resources.feeds.formats.candle_sources import candles_of

        catalogue = self._catalogue()
        readings = [candles_of(catalogue, symbol, self.bar) for symbol in sorted(set(symbols))]
        frames = [r.frame.filter(pl.col("ts").is_between(start, end, closed="left")) for r in readings]
        findings = catalogue.findings + tuple(f for r in readings for f in r.findings)
        return Reading(pl.concat(frames) if frames else pl.DataFrame(schema=CANDLE_SCHEMA), findings)

    def observations(self, table: str, symbols: Sequence[str], start: datetime, end: datetime) -> Reading:
        """Read observations of one raw table with ``start <= ts < end``, with every vintage in the files.

        Raises
        ------
        ValueError
            If the table is unknown.
        DataError
            If a file holds what cannot be right; its row is named.
        """
        import polars as pl

        from engine.market.finding import Reading
        from resources.feeds.formats.observation_sources import observations_of

        reading = observations_of(self._catalogue(), table, symbols)
        return Reading(
            reading.frame.filter(pl.col("ts").is_between(start, end, closed="left")), reading.findings
        )

    def last_bar(self, symbols: Sequence[str]) -> datetime | None:
        """Open of the newest finished bar over all symbols, ``None`` without symbols."""
        from resources.feeds.formats.candle_sources import candles_of

        catalogue = self._catalogue()
        newest = [candles_of(catalogue, symbol, self.bar).frame["ts"].max() for symbol in set(symbols)]
        return max(newest, default=None)  # type: ignore[type-var,return-value]  # stamps

    def fingerprint(self) -> str:
        """Text that changes when a file comes, goes or changes, or the feed is set up differently."""
        from resources.feeds.formats.catalogue import fingerprint

        setup = repr((fingerprint(self.root), self._symbols, self.bar, sorted(self.zones.items())))
        return hashlib.sha256(setup.encode()).hexdigest()[:16]

    def _catalogue(self) -> Catalogue:
        """Files of the folder as they are now; a file that did not change is not looked at again."""
        from resources.feeds.formats.catalogue import scan

        return scan(self.root, self.zones)
