"""The journal's small parts: when a late order is filled, and what persons ask of the kill switch."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from engine.evaluation.paper_broker import Account
from engine.portfolio.paper_trading import Book
from engine_assets.journal import DECISIONS, line_hash, next_open, switched
from engine_jobs.kill_switch import turn
from resources.warehouse import Warehouse

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("now", "filled"),
    [
        (datetime(2024, 5, 1, 0, 0), datetime(2024, 5, 1, 0, 0)),
        (datetime(2024, 5, 1, 0, 0, 1), datetime(2024, 5, 1, 1, 0)),
        (datetime(2024, 5, 1, 23, 30), datetime(2024, 5, 2, 0, 0)),
    ],
)
def test_a_late_order_is_filled_at_the_first_open_to_come(now: datetime, filled: datetime) -> None:
    assert next_open(now, HOUR) == filled
    assert next_open(datetime(2024, 5, 1, 5), timedelta(hours=4)) == datetime(2024, 5, 1, 8)


def test_every_column_of_a_line_is_in_its_hash() -> None:
    line = {name: f"value of {name}" for name in DECISIONS.column_names}
    line |= {"features": b"\x00", "returns": b"\x01"}
    digest = line_hash(line)
    for name in DECISIONS.column_names:
        changed = line_hash({**line, name: b"x" if isinstance(line[name], bytes) else "x"})
        assert (changed == digest) == (name == "hash"), name


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    made = Warehouse(address=str(tmp_path / "w.duckdb"))
    with made.write() as connection:
        connection.execute("CREATE SCHEMA trading")
        connection.execute(
            "CREATE TABLE trading.books AS SELECT 'b' AS book, TIMESTAMP '2024-01-01' AS used_at"
        )
    return made


def test_orders_to_the_kill_switch_take_effect_once(warehouse: Warehouse) -> None:
    book, day = Book(Account(1.0)), datetime(2024, 5, 1)
    assert switched(warehouse, "b", book, 0, day) == (book, 0)
    turn(warehouse, stop=True, actor="ann", reason="down")
    stopped, applied = switched(warehouse, "b", book, 0, day)
    killed = stopped.state.risk.killed
    assert killed is not None
    assert (killed.actor, killed.reason, applied) == ("ann", "down", 1)
    assert switched(warehouse, "b", stopped, applied, day) == (stopped, 1)
    turn(warehouse, stop=False, actor="bob", reason="back")
    resumed, applied = switched(warehouse, "b", stopped, applied, day)
    assert resumed.state.risk.killed is None
    assert applied == 2
    assert switched(warehouse, "another", book, 0, day) == (book, 0)


def test_an_order_without_a_person_a_reason_or_a_need_is_refused(warehouse: Warehouse) -> None:
    with pytest.raises(ValueError, match="name the person"):
        turn(warehouse, stop=True, actor=" ", reason="down")
    with pytest.raises(ValueError, match="name the person"):
        turn(warehouse, stop=True, actor="risk manager", reason="down")
    with pytest.raises(ValueError, match="trading already"):
        turn(warehouse, stop=False, actor="ann", reason="back")
    turn(warehouse, stop=True, actor="ann", reason="down")
    with pytest.raises(ValueError, match="stopped already"):
        turn(warehouse, stop=True, actor="bob", reason="again")


def test_nothing_to_stop_before_the_first_decision(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run daily_rebalance first"):
        turn(Warehouse(address=str(tmp_path / "none.duckdb")), stop=True, actor="ann", reason="x")
