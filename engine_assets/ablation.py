"""Group ``ablation``: what each improvement is worth, beside what was claimed for it."""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from engine.errors import NotEnoughDataError
from engine_assets.agent_rows import ROW_TABLES, agent_rows
from engine_assets.table_asset import picture, shown_rows, stored, table_specs
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from engine.ablation.study import AblationStudy
    from engine.evaluation.ablation_cells import Cell, Failure

__all__ = ["ABLATION", "CLAIMS", "SCORES", "TABLES", "VARIANTS", "ablation", "study_of"]

_WORLD = Column(
    "world", "VARCHAR", "simulator: a market for each seed; recorded: one market, many trainings."
)
_IMPROVEMENT = Column("improvement", "VARCHAR", "Key of its switch.")


def _effect(name: str, what: str) -> tuple[Column, ...]:
    return (
        Column(name, "DOUBLE", f"Net return per bar, in sizes of a bar's return: {what}.", nullable=True),
        Column(f"{name}_low", "DOUBLE", "Lower end of its 95 % interval over seeds.", nullable=True),
        Column(f"{name}_high", "DOUBLE", "Upper end.", nullable=True),
        Column(f"{name}_seeds", "BIGINT", "Seeds with both runs."),
    )


ABLATION = Table(
    "evaluation",
    "ablation",
    "What each improvement is worth: paired differences over seeds, judged by Holm over all of a world.",
    (
        _WORLD,
        _IMPROVEMENT,
        Column("title", "VARCHAR", "Its name in words."),
        Column("claim", "VARCHAR", "What was stated of it before anything was measured."),
        *_effect("minus_one", "the full system less the full system without it"),
        *_effect("plus_one", "the base with it less the base"),
        Column("p_adjusted", "DOUBLE", "Of no effect, adjusted over the rows of the world."),
        Column("verdict", "VARCHAR", "helps, hurts, mixed, no effect shown or not measured."),
    ),
    ("world", "improvement"),
)
CLAIMS = Table(
    "evaluation",
    "ablation_claims",
    "Each claim beside what was measured of it, in the claim's own metric.",
    (
        _WORLD,
        _IMPROVEMENT,
        Column("claim", "VARCHAR", "As it was stated."),
        Column("metric", "VARCHAR", "Score that it is about."),
        Column("scope", "VARCHAR", "Regime that it is about, or all."),
        Column("claimed_low", "DOUBLE", "Relative change claimed, one end."),
        Column("claimed_high", "DOUBLE", "Other end."),
        Column("comparison", "VARCHAR", "minus_one: in the full system; plus_one: on top of the base."),
        Column("measured", "DOUBLE", "Relative change by the improvement.", nullable=True),
        Column("measured_low", "DOUBLE", "Lower end of its 95 % interval over seeds.", nullable=True),
        Column("measured_high", "DOUBLE", "Upper end.", nullable=True),
        Column("outcome", "VARCHAR", "reached, missed, undecided, or why it cannot be said."),
        Column("seeds", "BIGINT", "Seeds with both runs."),
    ),
    ("world", "improvement", "metric", "scope", "comparison"),
)
VARIANTS = Table(
    "evaluation",
    "ablation_variants",
    "Each variant of the system: interquartile mean over runs and regimes, and how often it beats the base.",
    (
        _WORLD,
        Column("variant", "VARCHAR", "full, base, full less an improvement, base plus one."),
        Column("iqm", "DOUBLE", "Interquartile mean of the net return per bar, in sizes of a bar's return."),
        Column("iqm_low", "DOUBLE", "Lower end of its 95 % interval."),
        Column("iqm_high", "DOUBLE", "Upper end."),
        Column("beats_base", "DOUBLE", "Probability of a higher score than the base.", nullable=True),
        Column("beats_base_low", "DOUBLE", "Lower end of its 95 % interval.", nullable=True),
        Column("beats_base_high", "DOUBLE", "Upper end.", nullable=True),
        Column("seeds", "BIGINT", "Runs."),
        Column("regimes", "BIGINT", "Regimes that each was scored in."),
    ),
    ("world", "variant"),
)
SCORES = Table(
    "evaluation",
    "ablation_scores",
    "Scores of all runs of the ablation on their test windows.",
    (
        Column("variant", "VARCHAR", "Which improvements were on."),
        _WORLD,
        Column("seed", "BIGINT", "Of paths and training."),
        Column("metric", "VARCHAR", "What was scored."),
        Column("scope", "VARCHAR", "Regime, or all."),
        Column("score", "DOUBLE", "Score."),
    ),
    ("variant", "world", "seed", "metric", "scope"),
)
TABLES = (ABLATION, CLAIMS, VARIANTS, SCORES)
_CODE_VERSION = "1"
_INPUTS = (*ROW_TABLES, "alternative.alternative_features")
_ALTERNATIVE_SQL = """
    SELECT * FROM alternative.alternative_features WHERE ts >= ? AND ts < ? ORDER BY symbol, ts
"""


def study_of(settings: Settings) -> "AblationStudy":
    """Lay out the ablation of a run's profile."""
    from engine.ablation.setup import AblationSetup
    from engine.ablation.study import AblationStudy
    from engine.evaluation.improvements import IMPROVEMENTS

    work = settings.work.ablation
    setup = AblationSetup(
        **work.model_dump(exclude={"improvements", "worlds", "seeds"}),
        horizon=settings.horizon_bars,
        cost=settings.costs.fill_bps / 1e4,
        gates=settings.gates,
        device=settings.device,
    )
    seeds = tuple(range(settings.seed, settings.seed + work.seeds))
    return AblationStudy(seeds, work.improvements or tuple(IMPROVEMENTS), work.worlds, setup)


@dg.multi_asset(
    name="ablation_of_improvements",
    specs=table_specs(
        TABLES, deps=_INPUTS, group="ablation", code_version=_CODE_VERSION, kinds={"pytorch", "lightgbm"}
    ),
)
def ablation(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult]:
    """Run the system with and without each improvement, on the same paths, and judge the differences.

    Every run is kept on disk as soon as it is finished; a run that is interrupted goes on where it stopped.
    Runs that failed are shown, left out, and tried again next time.
    """
    from engine.ablation.world_files import RECORDED
    from engine.evaluation.ablation import ablation_table, variant_table
    from engine.evaluation.ablation_cells import scores_frame
    from engine.evaluation.ablation_claims import claims_table
    from engine.evaluation.ablation_plots import forest

    study, folder = study_of(settings), settings.reports / "ablation"
    inputs = warehouse.versions(_INPUTS)
    if RECORDED in study.worlds:
        _hand_in(_recorded(warehouse, settings, study.setup.days), folder / "worlds" / f"{RECORDED}.parquet")

    def progress(done: int, of: int, cell: "Cell") -> None:
        context.log.info("%s of %s runs: %s", done, of, cell.name)

    found = study.run(folder, workers=settings.workers, progress=progress)
    for failure in found.failures:
        context.log.warning("%s\n%s", failure.reason, failure.trace)
    if not found.scores:
        raise dg.Failure(f"all {len(found.failures)} runs failed; the first: {found.failures[0].reason}")
    scores = scores_frame(found.scores)
    frames = {
        ABLATION: ablation_table(scores, study.table),
        CLAIMS: claims_table(scores, study.table),
        VARIANTS: variant_table(scores, seed=settings.seed),
        SCORES: scores,
    }
    made = {
        table: frame.select(table.column_names).cast(dict(table.polars_schema))  # type: ignore[arg-type]
        for table, frame in frames.items()
    }
    by_world = made[ABLATION].partition_by("world", as_dict=True)
    facts: dict[Table, dict[str, Any]] = {
        ABLATION: {
            **{f"effects, {world}": picture(forest(rows)) for (world,), rows in by_world.items()},
            **shown_rows("verdicts", made[ABLATION].select("world", "title", "claim", "verdict")),
        },
        CLAIMS: shown_rows("claimed and measured", made[CLAIMS]),
        SCORES: {
            "runs": len(found.scores),
            "failed": len(found.failures),
            **shown_rows("failures", _failures(found.failures)),
        },
    }
    yield from stored(context, warehouse, settings, made, inputs, _CODE_VERSION, facts)


def _failures(failures: "tuple[Failure, ...]") -> "pl.DataFrame":
    import polars as pl

    return pl.DataFrame({"reason": [failure.reason for failure in failures]}, {"reason": pl.String})


def _recorded(warehouse: Warehouse, settings: Settings, days: int) -> "pl.DataFrame":
    """Newest bars of the warehouse with their features and what these are computed from."""
    import polars as pl

    from engine.ablation.setup import BAR

    if settings.bar_duration != BAR:
        raise ValueError(f"bar={settings.bar!r}: the recorded world of an ablation needs bars of {BAR}")
    rows = agent_rows(warehouse, settings, settings.first_moment, datetime.max)  # noqa: DTZ901  all there is
    last = rows["ts"].max()
    if not isinstance(last, datetime):
        raise NotEnoughDataError("no bar in staging.candles; run ingest first")
    rows = rows.filter(pl.col("ts") >= last + BAR - timedelta(days=days))
    inputs = warehouse.frame(_ALTERNATIVE_SQL, [rows["ts"].min(), last + BAR])
    new = [name for name in inputs.columns if name in ("symbol", "ts") or name not in rows.columns]
    return rows.join(inputs.select(new), on=["symbol", "ts"], how="left", maintain_order="left")


def _hand_in(rows: "pl.DataFrame", place: Path) -> None:
    """Write the recorded market in one step."""
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_suffix(".part")
    rows.write_parquet(part)
    part.replace(place)
