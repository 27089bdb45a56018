from datetime import datetime, timedelta

import polars as pl

from engine.market.audit_rows import MANY_RUNS, lives, report, trading_share

HOUR = timedelta(hours=1)
START = datetime.fromisoformat("2024-01-01")


def rows(causes: str, symbol: str = "A") -> pl.DataFrame:
    """One row per letter; a dot is a row without a defect."""
    return pl.DataFrame(
        {
            "symbol": symbol,
            "ts": [START + i * HOUR for i in range(len(causes))],
            "row": range(len(causes)),
            "letter": list(causes),
        },
        schema_overrides={"ts": pl.Datetime("us"), "row": pl.Int64},
    )


def found(frame: pl.DataFrame) -> list[tuple[str, int, int]]:
    """Cause, first row and number of rows of each finding."""
    hits = report(
        frame,
        pl.col("letter") != ".",
        "price",
        "error",
        lambda run: "".join(run["seen"]),
        cause=pl.col("letter"),
        seen=pl.col("letter"),
    )
    assert all(f.detail.startswith(f.cause * f.count) for f in hits)
    return [(f.cause, (f.first - START) // HOUR, f.count) for f in hits if f.first]


def test_neighbours_with_one_cause_are_one_finding() -> None:
    assert found(rows("..aa.a")) == [("a", 2, 2), ("a", 5, 1)]
    assert found(rows("aba")) == [("a", 0, 1), ("b", 1, 1), ("a", 2, 1)]
    assert found(rows("...")) == []


def test_a_run_ends_with_its_symbol() -> None:
    second = rows("a", "B").with_columns(pl.col("row") + 2)
    assert found(pl.concat([rows(".a"), second])) == [("a", 1, 1), ("a", 0, 1)]


def test_a_flood_is_one_finding() -> None:
    assert len(found(rows("a." * MANY_RUNS))) == MANY_RUNS
    assert found(rows("a." * (MANY_RUNS + 1))) == [("a", 0, MANY_RUNS + 1)]


def test_share_counts_the_symbols_between_first_and_last_bar() -> None:
    frame = pl.concat([rows("....", "A"), rows("..", "B"), rows("....", "C:C")]).filter(
        (pl.col("symbol") != "A") | (pl.col("ts") > START)
    )
    hits = pl.DataFrame(
        {"symbol": ["B", "A", "B", "A", "C:C"], "ts": [START + i * HOUR for i in (0, 1, 1, 2, 2)]},
        schema_overrides={"ts": pl.Datetime("us")},
    )
    shares = trading_share(hits, lives(frame)).sort("perpetual", "ts")
    assert shares.select("perpetual", "hit", "trading").rows() == [
        (False, 1, 1),
        (False, 2, 2),
        (False, 1, 1),
        (True, 1, 1),
    ]
