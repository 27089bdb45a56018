"""Group ``calibration``: predictions whose stated confidence and intervals can be believed."""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from engine_assets.table_asset import Made, asset_key, stored, table_asset, table_specs
from engine_assets.windows import read_splits
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "CALIBRATED",
    "CALIBRATORS",
    "COVERAGE",
    "TABLES",
    "calibrated",
    "coverage",
    "coverage_drift",
    "coverage_holds",
    "predicted",
]

ROLLING = timedelta(days=250)

CALIBRATED = Table(
    "predictions",
    "calibrated",
    "Predictions of the test windows with calibrated confidence and conformal intervals.",
    (
        Column("fold", "BIGINT", "Walk-forward fold."),
        Column("symbol", "VARCHAR", "Pair."),
        Column("ts", "TIMESTAMP", "Open of the decision bar, UTC."),
        Column("regime", "VARCHAR", "Filtered regime at the decision.", nullable=True),
        Column("direction", "BIGINT", "Side predicted: 1 up, -1 down."),
        Column("raw_confidence", "DOUBLE", "What the model states for that side."),
        Column("confidence", "DOUBLE", "Lower bound of P(side is right); missing if unknown.", nullable=True),
        Column("p0", "DOUBLE", "Venn-Abers probability of being right, lower.", nullable=True),
        Column("p1", "DOUBLE", "Venn-Abers probability of being right, upper.", nullable=True),
        Column("probability", "DOUBLE", "One probability of the pair, p1 / (1 - p0 + p1).", nullable=True),
        Column("status", "VARCHAR", "ok, or unknown: too few outcomes, or a market that has changed."),
        Column("lower", "DOUBLE", "Lower end of the interval of the label; may be infinite.", nullable=True),
        Column("upper", "DOUBLE", "Upper end, likewise.", nullable=True),
        Column("label", "DOUBLE", "What happened; missing if not known yet.", nullable=True),
        Column("correct", "BOOLEAN", "Whether the side was right.", nullable=True),
        Column("covered", "BOOLEAN", "Whether the interval held the label.", nullable=True),
    ),
    ("symbol", "ts"),
)
CALIBRATORS = Table(
    "models",
    "calibrators",
    "The calibration of each fold as it stands at the end of its test window.",
    (
        Column("fold", "BIGINT", "Walk-forward fold."),
        Column("format", "VARCHAR", "How content is written: safetensors."),
        Column("meta", "VARCHAR", "JSON: coverage level, configuration, regimes."),
        Column("content", "BLOB", "The arrays."),
    ),
    ("fold",),
)
COVERAGE = Table(
    "predictions",
    "coverage",
    "How often stated confidences and intervals came true, per regime, with 95 % intervals.",
    (
        Column("position", "BIGINT", "Order in which people look at them."),
        Column("regime", "VARCHAR", "Filtered regime, or ALL."),
        Column("measure", "VARCHAR", "What is measured."),
        Column("promised", "DOUBLE", "What was promised, where something was.", nullable=True),
        Column("value", "DOUBLE", "What was measured.", nullable=True),
        Column("low", "DOUBLE", "Lower end of its interval.", nullable=True),
        Column("high", "DOUBLE", "Upper end of its interval.", nullable=True),
        Column("count", "BIGINT", "Predictions."),
    ),
    ("regime", "measure"),
)
TABLES = (CALIBRATED, CALIBRATORS, COVERAGE)

PREDICTIONS_SQL = """
    SELECT p.*, c.p_changepoint, l.label, l.label_end
    FROM predictions.out_of_sample AS p LEFT JOIN features.labels AS l USING (symbol, ts)
    LEFT JOIN regimes.changepoints AS c USING (symbol, ts)
    WHERE p.fold = ? ORDER BY ts, symbol
"""
_CODE_VERSION = "3"
_INPUTS = ("predictions.out_of_sample", "features.labels", "models.splits", "regimes.changepoints")


def predicted(warehouse: Warehouse, fold: int) -> "pl.DataFrame":
    """Predictions of a fold, whether the market had just changed, and what happened where it is known."""
    return warehouse.frame(PREDICTIONS_SQL, [fold])


@dg.multi_asset(
    name="calibrated",
    specs=table_specs(
        (CALIBRATED, CALIBRATORS),
        deps=_INPUTS,
        group="calibration",
        code_version=_CODE_VERSION,
        kinds={"numba"},
    ),
)
def calibrated(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult]:
    """Calibrate each fold on its calibration window and apply it to its test window."""
    import json

    import polars as pl
    from safetensors.numpy import save

    from engine.calibration.walk_forward import calibrate_fold

    inputs = warehouse.versions(_INPUTS)
    rows, predictors = [], []
    for split in read_splits(warehouse):
        fold = calibrate_fold(
            predicted(warehouse, split.number), split, settings.bar_duration, settings.horizon_bars
        )
        rows.append(fold.rows.with_columns(fold=pl.lit(split.number, pl.Int64)))
        arrays, meta = fold.predictor.to_arrays()
        predictors.append((split.number, "safetensors", json.dumps(meta), save(arrays)))
    made = {
        CALIBRATED: pl.concat(rows).select(CALIBRATED.column_names),
        CALIBRATORS: pl.DataFrame(predictors, schema=CALIBRATORS.polars_schema, orient="row"),
    }
    yield from stored(context, warehouse, settings, made, inputs, _CODE_VERSION)


@table_asset(
    COVERAGE.full_name,
    COVERAGE,
    deps=[CALIBRATED.full_name],
    group="calibration",
    code_version="1",
    kinds={"polars"},
)
def coverage(context: dg.AssetExecutionContext, warehouse: Warehouse, settings: Settings) -> Made:
    """Coverage of the intervals and truth of the confidences, per regime and over the worst 250 days."""
    import polars as pl

    from engine.calibration.coverage import reliability_table, rolling_coverage
    from engine.calibration.report import coverage_report
    from engine.calibration.walk_forward import COVERAGE_LEVEL
    from engine.plots import coverage_over_time, reliability_diagram

    rows = warehouse.frame("SELECT * FROM predictions.calibrated ORDER BY ts, symbol")
    overlap = float(settings.horizon_bars)
    report = coverage_report(rows, COVERAGE_LEVEL, ROLLING, overlap)
    table = reliability_table(rows.rename({"confidence": "stated"}), bins=20, overlap=overlap)
    pictures = {
        "reliability": reliability_diagram(
            table.rename({"n": "count"}), "Stated confidence against what came true"
        )
    }
    days = min(ROLLING, timedelta(days=max(1, (rows["ts"].max() - rows["ts"].min()).days // 3)))  # type: ignore[operator, union-attr]
    rolling = rolling_coverage(rows, days).drop_nulls()
    if rolling.height:
        title = f"Coverage of the {COVERAGE_LEVEL:.0%} intervals over {days.days} days"
        pictures["coverage over time"] = coverage_over_time(
            rolling["day"].to_list(), rolling["coverage"].to_numpy(), COVERAGE_LEVEL, title
        )
    unknown = float((rows["status"] == "unknown").to_numpy().mean())
    unbounded = float(rows.select((pl.col("upper") - pl.col("lower")).is_infinite().mean()).item() or 0.0)
    return Made(report, pictures, {"share unknown": unknown, "share of unbounded intervals": unbounded})


@dg.asset_check(
    asset=asset_key(CALIBRATED.full_name),
    name="coverage_drift",
    blocking=True,
    description="The intervals of each regime cover as promised, now and in every stretch of the past; at "
    "most one false alarm in a hundred histories.",
)
def coverage_drift(warehouse: Warehouse, settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    """Stop what decides while a drift lasts; warn of one that is over."""
    from engine.calibration.drift import FALSE_ALARMS, coverage_drift
    from engine.calibration.walk_forward import COVERAGE_LEVEL

    rows = warehouse.frame("SELECT ts, regime, covered FROM predictions.calibrated ORDER BY ts, symbol")
    span = (settings.horizon_bars + 1) * settings.bar_duration
    judged = coverage_drift(rows, COVERAGE_LEVEL, span)
    alarms = [drift for drift in judged if drift.alarm]
    lasting = any(drift.lasts for drift in alarms)
    return dg.AssetCheckResult(
        passed=not alarms,
        severity=dg.AssetCheckSeverity.ERROR if lasting else dg.AssetCheckSeverity.WARN,
        description="; ".join(drift.describe(COVERAGE_LEVEL) for drift in alarms) or None,
        metadata={
            "false alarm rate": FALSE_ALARMS,
            "stretch that speaks most against the promise": dg.MetadataValue.md(
                "\n".join(f"- {drift.describe(COVERAGE_LEVEL)}" for drift in judged) or "no outcome is known"
            ),
            "evidence": dg.MetadataValue.table(
                [
                    dg.TableRecord(
                        {
                            "regime": drift.regime,
                            "start": f"{drift.start:%Y-%m-%d %H:%M}",
                            "end": f"{drift.end:%Y-%m-%d %H:%M}",
                            "coverage": round(drift.coverage, 4),
                            "bound": round(drift.bound, 4),
                            "outcomes": drift.count,
                            "evidence": float(f"{drift.evidence:.3g}"),
                            "limit": drift.limit,
                        }
                    )
                    for drift in judged
                ],
                # named here, so that a table without rows has its columns too
                dg.TableSchema(
                    [
                        dg.TableColumn("regime", "string"),
                        dg.TableColumn("start", "string"),
                        dg.TableColumn("end", "string"),
                        dg.TableColumn("coverage", "float"),
                        dg.TableColumn("bound", "float"),
                        dg.TableColumn("outcomes", "int"),
                        dg.TableColumn("evidence", "float"),
                        dg.TableColumn("limit", "float"),
                    ]
                ),
            ),
        },
    )


@dg.asset_check(
    asset=asset_key(COVERAGE.full_name),
    name="coverage_holds",
    description="In each regime the promise lies within or below the interval of what was measured.",
)
def coverage_holds(warehouse: Warehouse) -> dg.AssetCheckResult:
    """Fail where even the upper end of the interval misses the promise."""
    broken = warehouse.frame(
        "SELECT regime, measure, promised, value, low, high, count FROM predictions.coverage "
        "WHERE promised IS NOT NULL AND high < promised ORDER BY position"
    )
    measured = warehouse.frame(
        "SELECT regime, measure, promised, round(value, 4) AS value, round(low, 4) AS low, "
        "round(high, 4) AS high, count FROM predictions.coverage ORDER BY position"
    )
    return dg.AssetCheckResult(
        passed=broken.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "broken promises": broken.height,
            "measured": dg.MetadataValue.table(
                [
                    dg.TableRecord({k: "" if v is None else str(v) for k, v in row.items()})
                    for row in measured.iter_rows(named=True)
                ]
            ),
        },
    )
