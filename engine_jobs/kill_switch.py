"""Stop trading by hand, or take it up again: ``python -m engine_jobs.kill_switch stop --actor A --reason R``.

What is held is sold at the next decision, and nothing is bought until a person lifts the switch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from engine_assets.journal import SWITCHES, last_decision
from resources.settings import load_settings
from resources.warehouse import Warehouse

__all__ = ["main", "turn"]


def turn(warehouse: Warehouse, *, stop: bool, actor: str, reason: str) -> int:
    """Enter an order for the book in use; returns its number.

    Raises
    ------
    ValueError
        If nobody or nothing is named, nothing was ever decided, or the switch is already so.
    """
    import polars as pl

    from engine.portfolio.risk_state import AUTOMATIC

    if not actor.strip() or actor.strip() == AUTOMATIC or not reason.strip():
        raise ValueError(f"actor={actor!r} and reason={reason!r}: name the person and the reason")
    if not warehouse.exists("trading.books"):
        raise ValueError("nothing was decided yet, so there is nothing to stop; run daily_rebalance first")
    book = warehouse.frame("SELECT arg_max(book, used_at) FROM trading.books").item()
    asked = (
        warehouse.frame("SELECT * FROM trading.kill_switch WHERE book = ? ORDER BY number", [book])
        if warehouse.exists(SWITCHES.full_name)
        else SWITCHES.empty()
    )
    decided = last_decision(warehouse, book)
    waiting = asked.slice(decided.switch_orders if decided else 0)
    killed = decided.book.state.risk.killed if decided else None
    stopped = bool(waiting["stop"][-1]) if waiting.height else killed is not None
    if stop == stopped:
        raise ValueError(f"{book} is {'stopped' if stopped else 'trading'} already")
    number = asked.height + 1
    row = (book, number, stop, actor.strip(), reason.strip(), datetime.now(UTC).replace(tzinfo=None))
    warehouse.append_new(SWITCHES, pl.DataFrame([row], SWITCHES.polars_schema, orient="row"))
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Turn the switch; the exit status is 1 if it was refused."""
    parser = argparse.ArgumentParser(prog="python -m engine_jobs.kill_switch", description=__doc__)
    parser.add_argument("order", choices=("stop", "resume"))
    parser.add_argument("--actor", required=True, help="who asks for it")
    parser.add_argument("--reason", required=True, help="why")
    options = parser.parse_args(arguments)
    warehouse = Warehouse(address=load_settings().warehouse)
    try:
        turn(warehouse, stop=options.order == "stop", actor=options.actor, reason=options.reason)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{options.order}: takes effect at the next decision\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
