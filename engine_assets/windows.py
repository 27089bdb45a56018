"""The walk forward of a run: cut once, stored, and handed to every stage that fits, calibrates or judges."""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from engine_assets.table_asset import Made, table_asset
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from engine.evaluation.splits import Split

__all__ = ["SPLITS", "learning_folds", "read_splits", "splits"]

_WINDOWS = ("train", "calibrate", "test")
SPLITS = Table(
    "models",
    "splits",
    "Windows of the walk forward: train, purge, calibrate, purge, test.",
    (
        Column("fold", "BIGINT", "Position in the walk, from 0."),
        *(
            Column(f"{window}_{edge}", "TIMESTAMP", f"{edge.capitalize()} of the {window} window, UTC.")
            for window in _WINDOWS
            for edge in ("start", "end")
        ),
        Column("purge_seconds", "BIGINT", "Span of a label: distance between the windows."),
    ),
    ("fold",),
)


@table_asset(
    SPLITS.full_name,
    SPLITS,
    deps=["staging.candles"],
    group="training",
    code_version="1",
    kinds={"polars"},
)
def splits(context: dg.AssetExecutionContext, warehouse: Warehouse, settings: Settings) -> Made:
    """Cut the history into windows that follow each other, a label's span apart.

    The last test window reaches to the newest bar, so that its model also decides for tomorrow.
    """
    import polars as pl

    from engine.evaluation.splits import walk_forward

    work, bar = settings.work, settings.bar_duration
    span = warehouse.frame("SELECT min(ts) AS first, max(ts) AS last FROM staging.candles")
    walk = walk_forward(
        span["first"][0],
        span["last"][0] + bar,
        train=timedelta(days=work.train_days),
        calibrate=timedelta(days=work.calibrate_days),
        test=timedelta(days=work.test_days),
        horizon=(settings.horizon_bars + 1) * bar,
    )
    rows = [
        {
            "fold": split.number,
            **{
                f"{window}_{edge}": getattr(getattr(split, window), edge)
                for window in _WINDOWS
                for edge in ("start", "end")
            },
            "purge_seconds": int(split.purge.total_seconds()),
        }
        for split in walk
    ]
    rows[-1]["test_end"] = span["last"][0] + bar
    return Made(pl.DataFrame(rows, schema=SPLITS.polars_schema), figures={"folds": len(rows)})


def read_splits(warehouse: Warehouse) -> "tuple[Split, ...]":
    """Read the walk forward of this run."""
    from engine.evaluation.splits import Split, Window

    rows = warehouse.frame("SELECT * FROM models.splits ORDER BY fold")
    return tuple(
        Split(
            number=row["fold"],
            **{name: Window(row[f"{name}_start"], row[f"{name}_end"]) for name in _WINDOWS},
            purge=timedelta(seconds=row["purge_seconds"]),
            embargo=timedelta(0),
        )
        for row in rows.iter_rows(named=True)
    )


def learning_folds(warehouse: Warehouse, settings: Settings) -> "tuple[Split, ...]":
    """Read the folds for which encoders and agents are trained: the newest ones."""
    return read_splits(warehouse)[-settings.work.agent_folds :]
