"""What is known beside the price: ``python -m engine_jobs.alternative BTC/USDT 2025-03-01T12:00``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from engine.alternative.collector import AlternativeDataCollector, AlternativeSnapshot
from engine.alternative.declared import LOOKBACK
from engine.alternative.series import TABLES
from engine.errors import EngineError
from resources.settings import load_settings
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

__all__ = ["collector", "main", "print_snapshot"]

_COLOURS = {"ok": "green", "stale": "yellow", "implausible": "red", "missing": "dim"}
_KNOWN_SQL = "SELECT DISTINCT symbol FROM staging.candles ORDER BY symbol"
# The raw tables: staging has made what is implausible missing, and a person wants to know which it is.
_OBSERVED = " UNION ALL ".join(
    f"SELECT series, symbol, ts, available_at, value FROM raw.{table}"  # noqa: S608  names are declared
    for table in TABLES
)
_NEWEST_SQL = f"SELECT max(available_at) FROM ({_OBSERVED}) WHERE symbol IN (?, '*')"  # noqa: S608
_OBSERVED_SQL = f"SELECT * FROM ({_OBSERVED}) WHERE symbol IN (?, '*') AND available_at <= ? AND ts > ?"  # noqa: S608


def collector(warehouse: Warehouse) -> AlternativeDataCollector:
    """Make a collector that reads what it needs from the warehouse."""

    def read(symbol: str, at: datetime | None) -> pl.DataFrame:
        asset = symbol.split(":")[0]
        known = warehouse.frame(_KNOWN_SQL)["symbol"].to_list()
        if asset not in known:
            raise EngineError(f"{symbol} is not in the warehouse; it has {', '.join(known)}")
        moment = at or warehouse.frame(_NEWEST_SQL, [asset]).item()
        if moment is None:
            raise EngineError(f"nothing was ever observed of {symbol}; see the tables of schema raw")
        return warehouse.frame(_OBSERVED_SQL, [asset, moment, moment - LOOKBACK])

    return AlternativeDataCollector(read)


def print_snapshot(console: Console, snapshot: AlternativeSnapshot) -> None:
    """Print every feature with its age and whether it can be relied on."""
    table = Table(
        "feature", "value", "unit", "age", "status", "what it is",
        title=f"{snapshot.symbol}, as known at {snapshot.at:%Y-%m-%d %H:%M} UTC", title_justify="left",
    )  # fmt: skip
    for row in snapshot.to_frame().iter_rows(named=True):
        table.add_row(
            row["feature"],
            "-" if row["value"] is None else f"{row['value']:.6g}",
            row["unit"],
            "-" if row["age_hours"] is None else f"{row['age_hours']:.1f} h",
            f"[{_COLOURS[row['status']]}]{row['status']}[/]",
            row["description"],
        )
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the alternative features of a symbol; the exit status is 1 if nothing is known of it."""
    parser = argparse.ArgumentParser(prog="python -m engine_jobs.alternative", description=__doc__)
    parser.add_argument("symbol", help="pair, such as BTC/USDT")
    parser.add_argument(
        "at", nargs="?", type=datetime.fromisoformat, help="moment, UTC; by default the newest"
    )
    options = parser.parse_args(arguments)
    console = Console()
    try:
        found = collector(Warehouse(address=load_settings().warehouse)).get_all_alternative_features(
            options.symbol, options.at
        )
    except EngineError as error:
        console.print(f"[red]{error}[/]")
        return 1
    print_snapshot(console, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
