"""What each of the fifteen improvements is worth, measured: the whole ablation.

``python -m benchmarks.ablation --seeds 10 --workers 2 --out FOLDER``

Thirty-two variants of the system (full, base, full less each, base plus each) are trained and traded on the
same simulated markets, one for each seed; with ``--recorded`` on the newest days of BTC and ETH as recorded
(candles, funding, Fear & Greed), where a seed is a training alone. Finished cells are kept in FOLDER: whoever
interrupts the run starts the same command again. At the end the tables are printed as markdown: effects with
verdicts, and what was claimed beside what was measured. ``--only KEY KEY`` compares some of the improvements
alone.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl

from benchmarks.agents import MARKET, recorded_rows
from engine.ablation.setup import BAR, AblationSetup
from engine.ablation.study import AblationStudy
from engine.ablation.world_files import RECORDED, SIMULATOR
from engine.evaluation.ablation import ablation_table, variant_table
from engine.evaluation.ablation_cells import Cell, scores_frame
from engine.evaluation.ablation_claims import claims_table
from engine.evaluation.ablation_plots import forest
from engine.evaluation.improvements import IMPROVEMENTS, METRICS


def study_of(arguments: argparse.Namespace) -> AblationStudy:
    """Lay out what the command line asks for."""
    setup = replace(
        AblationSetup(),
        symbols=tuple(arguments.symbols),
        train_days=arguments.days,
        starts=arguments.starts,
        paths=arguments.paths,
        updates_per_evaluation=arguments.updates,
        final_evaluations=arguments.evaluations,
        learning_rate=arguments.learning_rate,
        minibatch=arguments.minibatch,
    )
    seeds = tuple(range(arguments.first_seed, arguments.first_seed + arguments.seeds))
    worlds = (RECORDED,) if arguments.recorded else (SIMULATOR,)
    return AblationStudy(seeds, tuple(arguments.only), worlds, setup)


def hand_in(place: Path, days: int) -> None:
    """Write the newest days as recorded to where the study looks for them."""
    rows = recorded_rows()
    last = rows["ts"].max()
    place.parent.mkdir(parents=True, exist_ok=True)
    rows.filter(pl.col("ts") >= last + BAR - timedelta(days=days)).write_parquet(place)  # type: ignore[operator]


def markdown(table: pl.DataFrame) -> str:
    """Draw a table for a page; figures with three digits."""

    def cell(value: object) -> str:
        return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)

    lines = [table.columns, ["---"] * table.width, *([*map(cell, row)] for row in table.iter_rows())]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Run what is missing, then print both tables and write them beside the cells."""
    defaults = AblationSetup()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--days", type=int, default=defaults.train_days, help="of the training window")
    parser.add_argument("--symbols", nargs="+", default=list(defaults.symbols))
    parser.add_argument("--starts", type=int, default=defaults.starts)
    parser.add_argument("--paths", type=int, default=defaults.paths, help="accounts on each start")
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    parser.add_argument("--minibatch", type=int, default=defaults.minibatch)
    parser.add_argument("--updates", type=int, default=defaults.updates_per_evaluation)
    parser.add_argument("--evaluations", type=int, default=defaults.final_evaluations)
    parser.add_argument("--only", nargs="+", default=list(IMPROVEMENTS), choices=list(IMPROVEMENTS))
    parser.add_argument("--recorded", action="store_true", help="on the market as recorded")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.recorded and not MARKET.is_dir():
        parser.error(f"recorded market data is not at {MARKET}")
    study, began = study_of(arguments), time.monotonic()
    recorded = arguments.out / "worlds" / f"{RECORDED}.parquet"
    if arguments.recorded and not recorded.is_file():
        hand_in(recorded, study.setup.days)

    def progress(done: int, of: int, cell: Cell) -> None:
        spent = time.monotonic() - began
        print(f"{spent:8.0f} s  {done}/{of}  {cell.name}  load {os.getloadavg()[0]:.1f}", flush=True)

    found = study.run(arguments.out, workers=arguments.workers, progress=progress)
    for failure in found.failures:
        print(f"failed: {failure.reason}\n{failure.trace}")
    scores = scores_frame(found.scores)
    scores.write_csv(arguments.out / "scores.csv")
    effects, claims = ablation_table(scores, study.table), claims_table(scores, study.table)
    tables = {
        f"Effects, {METRICS['net_return']}": effects,
        "Claimed and measured": claims,
        "Variants": variant_table(scores),
    }
    text = "\n\n".join(f"## {title}\n\n{markdown(table)}" for title, table in tables.items())
    (arguments.out / "ablation.md").write_text(text + "\n")
    for (world,), rows in effects.partition_by("world", as_dict=True).items():
        (arguments.out / f"{world}.png").write_bytes(forest(rows))
    print(text)


if __name__ == "__main__":
    main()
