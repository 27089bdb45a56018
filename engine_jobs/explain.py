"""Explain a trade of the paper account: ``python -m engine_jobs.explain BTC/USDT 2025-03-01``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from engine.errors import EngineError
from engine_assets.journal import CURRENT_BOOK
from engine_assets.recompute import broken_line, recompute
from resources.settings import Settings, load_settings
from resources.warehouse import Warehouse

__all__ = ["explain", "main"]


def explain(console: Console, warehouse: Warehouse, settings: Settings, symbol: str, when: datetime) -> bool:
    """Print the newest order of a symbol by a moment, why it was placed, and whether it can be reproduced.

    Returns
    -------
    bool
        True if every stage came out bit for bit as it was stored.

    Raises
    ------
    EngineError
        If there is no order of the symbol by then.
    """
    order = warehouse.frame(
        f"SELECT * FROM portfolio.target_positions WHERE ordered AND symbol = ? AND decided_at <= ? "  # noqa: S608
        f"AND book = {CURRENT_BOOK} ORDER BY decided_at DESC LIMIT 1",
        [symbol, when],
    )
    if order.is_empty():
        raise EngineError(
            f"no order of {symbol} was placed by {when:%Y-%m-%d %H:%M}; see portfolio.target_positions"
        )
    row = order.row(0, named=True)
    key = [row["book"], row["decided_at"]]
    line = warehouse.frame("SELECT * FROM trading.decisions WHERE book = ? AND decided_at = ?", key).row(
        0, named=True
    )
    side = {1: "up", -1: "down"}.get(row["direction"], "-")
    confidence = "unknown" if row["confidence"] is None else f"{row['confidence']:.4f}"
    console.print(
        Panel(
            f"decided at {row['decided_at']:%Y-%m-%d %H:%M} UTC, line {line['number']} of {row['book']}\n"
            f"predicted {side} with confidence {confidence} by model {line['model'][:12]}, "
            f"fold {line['fold']}\nheld {row['held']:+.4%} -> allocated {row['allocated']:+.4%} "
            f"-> to hold {row['weight']:+.4%} of equity, by {row['method']}\nrun {line['run_id']}",
            title=f"[bold]{symbol}[/]",
            title_align="left",
        )
    )
    told = warehouse.frame(
        "SELECT stage, name, value, reason FROM portfolio.decision_reasons "
        "WHERE book = ? AND decided_at = ? AND (symbol = ? OR symbol IS NULL) ORDER BY position",
        [*key, symbol],
    )
    _print(console, "Why", ("stage", "name", "value", "reason"), told.rows())
    events = warehouse.frame(
        "SELECT ts, kind, quantity, price, fee, slippage, position, note FROM trading.paper_ledger "
        "WHERE book = ? AND decided_at = ? AND symbol = ? ORDER BY number",
        [*key, symbol],
    )
    _print(console, "What came of it", events.columns, events.rows())
    versions = sorted(json.loads(line["data_versions"]).items())
    _print(console, "Data it was made from", ("table", "version"), versions)

    again = recompute(warehouse, settings, line)
    broken = broken_line(warehouse, row["book"])
    checks = {
        "prediction, from the stored features and model": again.prediction,
        "confidence, calibrated on what was known then": again.confidence,
        "weights, from the stored views, returns and thresholds": again.weights,
        "journal, unchanged since" + (f" up to line {broken - 1}" if broken else ""): broken is None,
    }
    for what, same in checks.items():
        console.print(f"  {'[green]✓[/]' if same else '[red]✗[/]'} {what}")
    console.print(
        "[bold]reproduced bit for bit[/]" if all(checks.values()) else "[bold red]not reproduced[/]"
    )
    return all(checks.values())


def _print(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*("-" if v is None else f"{v:.6g}" if isinstance(v, float) else str(v) for v in row))
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Explain one order; the exit status is 1 if it cannot be found or reproduced."""
    parser = argparse.ArgumentParser(prog="python -m engine_jobs.explain", description=__doc__)
    parser.add_argument("symbol", help="pair, such as BTC/USDT")
    parser.add_argument("when", type=datetime.fromisoformat, help="the newest order by this moment, UTC")
    options = parser.parse_args(arguments)
    console = Console()
    settings = load_settings()
    warehouse = Warehouse(address=settings.warehouse)
    try:
        return 0 if explain(console, warehouse, settings, options.symbol, options.when) else 1
    except EngineError as error:
        console.print(f"[red]{error}[/]")
        return 1


if __name__ == "__main__":
    sys.exit(main())
