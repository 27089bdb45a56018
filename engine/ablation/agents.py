"""What agents decided, as files: systems that differ only in what follows a decision share one training."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import polars as pl

from engine.ablation.inputs import agent_features
from engine.ablation.setup import CODE_VERSION, AblationSetup
from engine.ablation.training import AgentDecisions, decide, learnt_with, train_agent
from engine.ablation.world import World
from engine.ablation.world_files import content_of, in_one_step
from engine.errors import DataError
from engine.evaluation.ablation_cells import Cell
from engine.evaluation.improvements import Improvements

__all__ = ["agent_decisions", "load_decisions", "save_decisions", "tradable"]


def tradable(world: World) -> pl.DataFrame:
    """Bars from the start of the calibration window to the end of the test, sorted by symbol and ts."""
    return world.rows.filter(
        pl.col("ts").is_between(world.split.calibrate.start, world.split.test.end, closed="left")
        & pl.col("volatility").is_not_null()
    )


def agent_decisions(folder: Path, cell: Cell, world: World, setup: AblationSetup) -> AgentDecisions:
    """Read what the agent of a cell decided on the tradable bars, or train it and keep that.

    Parameters
    ----------
    folder : Path
        Of the worlds.
    cell : Cell
    world : World
        That of the cell.
    setup : AblationSetup
    """
    on = Improvements.only(*cell.variant.enabled)
    made_from = json.dumps(
        [
            CODE_VERSION,
            setup.fingerprint,
            content_of(folder, cell.world),
            learnt_with(on).enabled,
            agent_features(world, on),
        ]
    )
    name = hashlib.sha256(made_from.encode()).hexdigest()[:16]
    place = folder / f"agent-{cell.world}-{cell.seed}-{name}"
    if not place.is_dir():
        save_decisions(decide(train_agent(world, on, setup, cell.seed), tradable(world)), place)
    return load_decisions(place)


def save_decisions(made: AgentDecisions, place: Path) -> None:
    """Write decisions in one step; where another process was faster, its files stay."""
    with in_one_step(place) as new:
        frame = pl.DataFrame({"position": made.position, "confidence": made.confidence})
        frame.write_parquet(new / "decisions.parquet")
        made.report.write_parquet(new / "report.parquet")
        (new / "speed.json").write_text(json.dumps(made.decisions_per_second))


def load_decisions(place: Path) -> AgentDecisions:
    """Read what `save_decisions` wrote.

    Raises
    ------
    DataError
        If a file is missing or not whole.
    """
    try:
        frame = pl.read_parquet(place / "decisions.parquet")
        report = pl.read_parquet(place / "report.parquet")
        speed = float(json.loads((place / "speed.json").read_text()))
    except (OSError, ValueError, TypeError, pl.exceptions.PolarsError) as problem:
        raise DataError(
            f"is not what an agent decided ({problem}); delete it to train the agent again", source=str(place)
        ) from problem
    return AgentDecisions(frame["position"].to_numpy(), frame["confidence"].to_numpy(), report, speed)
