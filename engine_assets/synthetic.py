"""Group ``synthetic``: PANIC windows that pass for real ones, for training and for nothing else."""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from engine_assets.regimes import MARKET_REGIMES
from engine_assets.table_asset import asset_key, picture, shown_rows, stored, table_specs
from engine_assets.windows import read_splits
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from engine.evaluation.splits import Split
    from engine.synthetic.generator import SyntheticDataGenerator
    from engine.synthetic.windows import PanicWindows

__all__ = ["SYNTHETIC_PANIC", "SYNTHETIC_VALIDATION", "TABLES", "synthetic_panic", "training_only"]

SYNTHETIC_PANIC = Table(
    "synthetic",
    "synthetic_panic",
    "Synthetic PANIC windows that passed every test, for training after their cut date alone.",
    (
        Column("fold", "BIGINT", "Walk-forward fold in whose training they may be used."),
        Column("window", "BIGINT", "Window of the fold."),
        Column("step", "BIGINT", "Bar of the window, from 0."),
        Column("open", "DOUBLE", "First price, in units of the close before the window."),
        Column("high", "DOUBLE", "Highest price, likewise."),
        Column("low", "DOUBLE", "Lowest price, likewise."),
        Column("close", "DOUBLE", "Last price, likewise."),
        Column("volume", "DOUBLE", "Traded amount, in units of what was usual before the window."),
        Column("synthetic", "BOOLEAN", "True: no market ever showed this."),
        Column("generator", "VARCHAR", "What drew it."),
        Column("cut", "TIMESTAMP", "Nothing from this moment on was looked at, UTC."),
        Column("seed", "BIGINT", "Seed of the sample."),
        Column("content_hash", "VARCHAR", "SHA-256 of the sample."),
    ),
    ("fold", "window", "step"),
)
SYNTHETIC_VALIDATION = Table(
    "synthetic",
    "synthetic_validation",
    "Every test of every generator tried: how far from real, and how far real windows are from each other.",
    (
        Column("fold", "BIGINT", "Walk-forward fold."),
        Column("position", "BIGINT", "Order of the tests."),
        Column("cut", "TIMESTAMP", "Nothing from this moment on was looked at, UTC."),
        Column("generator", "VARCHAR", "What drew the sample."),
        Column("used", "BOOLEAN", "Whether its windows are used; one that fails a test is refused."),
        Column("test", "VARCHAR", "What is compared."),
        Column("distance", "DOUBLE", "From real windows that no generator saw.", nullable=True),
        Column("threshold", "DOUBLE", "1.25 times the largest distance between real ones.", nullable=True),
        Column("passed", "BOOLEAN", "Whether the test holds."),
        Column("detail", "VARCHAR", "What it means, in words."),
    ),
    ("fold", "position"),
)
TABLES = (SYNTHETIC_PANIC, SYNTHETIC_VALIDATION)
_CODE_VERSION = "1"
_INPUTS = ("staging.candles", MARKET_REGIMES.full_name, "models.splits")
# Windows of 30 bars begin ten bars apart: panics are rare, and a longer history has enough of them apart.
_STRIDE, _MOST_WINDOWS = 10, 1_500
_CANDLES_SQL = """
SELECT symbol, ts, open, high, low, close, volume, segment, log_return FROM staging.candles
WHERE ts < ? ORDER BY symbol, ts
"""
_REGIMES_SQL = "SELECT symbol, ts, regime FROM regimes.market_regimes WHERE ts < ? ORDER BY symbol, ts"


@dg.multi_asset(
    name="synthetic_windows",
    specs=table_specs(
        TABLES,
        deps=_INPUTS,
        group="synthetic",
        code_version=_CODE_VERSION,
        kinds={"pytorch", "scikitlearn"},
    ),
    pool="train",
)
def synthetic_panic(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult]:
    """Fit CTGAN on the PANIC windows before each cut; where it fails a test, a copula, a vine, a bootstrap.

    A generator is judged by episodes that it never saw, at thresholds that real windows set for themselves.
    Where none passes there is nothing synthetic, and training goes on with what really happened.
    """
    import polars as pl

    from engine.errors import NotEnoughDataError

    inputs = warehouse.versions(_INPUTS)
    windows, tests = [SYNTHETIC_PANIC.empty()], [SYNTHETIC_VALIDATION.empty()]
    said: dict[str, str] = {}
    pictures: dict[str, Any] = {}
    for split in read_splits(warehouse)[-settings.work.synthetic_folds :]:
        name = f"fold {split.number}, before {split.train.end:%Y-%m-%d}"
        try:
            real = _real_windows(warehouse, settings, split)
            fitted = _fitted(real, split, settings)
        except NotEnoughDataError as error:
            said[name] = f"nothing synthetic: {error}"
            continue
        said[name] = fitted.words
        context.log.info("%s: %s", name, fitted.words)
        tests.append(_tests(fitted, split))
        if fitted.chosen is not None:
            windows.append(_sample(fitted, split))
            pictures = _drawn(real, fitted)
    made = {
        SYNTHETIC_PANIC: pl.concat(windows),
        SYNTHETIC_VALIDATION: pl.concat(tests),
    }
    words = "\n".join(f"- **{name}**: {text}" for name, text in said.items())
    facts: dict[Table, dict[str, Any]] = {
        SYNTHETIC_PANIC: {"which generator, and why": dg.MetadataValue.md(words), **pictures},
        SYNTHETIC_VALIDATION: shown_rows("tests", _newest(made[SYNTHETIC_VALIDATION])),
    }
    yield from stored(context, warehouse, settings, made, inputs, _CODE_VERSION, facts)


def _real_windows(warehouse: Warehouse, settings: Settings, split: "Split") -> "PanicWindows":
    """Windows that open in PANIC and end before the training does, overlapping, over all of the history."""
    import numpy as np

    from engine.synthetic.windows import panic_windows

    windows = panic_windows(
        warehouse.frame(_CANDLES_SQL, [split.train.end]),
        warehouse.frame(_REGIMES_SQL, [split.train.end]),
        split.train.end,
        bar=settings.bar_duration,
        embargo=split.purge,
        stride=_STRIDE,
    )
    spread = np.linspace(0, len(windows) - 1, min(len(windows), _MOST_WINDOWS)).astype(np.int64)
    return windows.take(spread)


def _fitted(real: "PanicWindows", split: "Split", settings: Settings) -> "SyntheticDataGenerator":
    from engine.synthetic.generator import SyntheticDataGenerator, default_generators

    generators = default_generators(settings.work.ctgan_updates)
    fitted = SyntheticDataGenerator(generators).fit(real, split.train.end, settings.seed)
    fitted.require_known_before(split.calibrate.start)
    return fitted


def _sample(fitted: "SyntheticDataGenerator", split: "Split") -> "pl.DataFrame":
    import polars as pl

    return fitted.pool.with_columns(
        fold=pl.lit(split.number, pl.Int64),
        generator=pl.lit(fitted.chosen),
        cut=pl.lit(fitted.cut, pl.Datetime("us")),
        seed=pl.lit(fitted.seed, pl.Int64),
        content_hash=pl.lit(fitted.content_hash),
    ).select(SYNTHETIC_PANIC.column_names)


def _tests(fitted: "SyntheticDataGenerator", split: "Split") -> "pl.DataFrame":
    import polars as pl

    return (
        fitted.attempts_frame()
        .with_row_index("position")
        .with_columns(
            pl.col("position").cast(pl.Int64),
            fold=pl.lit(split.number, pl.Int64),
            cut=pl.lit(fitted.cut, pl.Datetime("us")),
        )
        .select(SYNTHETIC_VALIDATION.column_names)
    )


def _newest(tests: "pl.DataFrame") -> "pl.DataFrame":
    import polars as pl

    newest = tests.sort("fold", "position").filter(pl.col("fold") == pl.col("fold").max())
    return newest.select("generator", "test", "distance", "threshold", "passed", "detail")


def _drawn(real: "PanicWindows", fitted: "SyntheticDataGenerator") -> dict[str, Any]:
    from engine.synthetic.synthetic_plots import window_distributions, window_paths

    title = f"PANIC before {fitted.cut:%Y-%m-%d}, real and by {fitted.chosen}"
    return {
        "paths": picture(window_paths(real.values, fitted.values, title)),
        "distributions": picture(window_distributions(real.values, fitted.values, title)),
    }


# Tables that calibrate or judge: each row belongs to a bar of the market.
_JUDGES = (
    "features.matrix",
    "features.labels",
    "predictions.out_of_sample",
    "predictions.calibrated",
    "predictions.live",
)
_TRAINING_SCHEMAS = ("synthetic", "models")
_MADE_FROM_SQL = """
WITH newest AS (
    SELECT asset, inputs FROM meta.materializations
    QUALIFY row_number() OVER (PARTITION BY asset ORDER BY written_at DESC) = 1
)
SELECT DISTINCT asset FROM newest, unnest(json_keys(inputs)) AS input(name)
WHERE starts_with(name, 'synthetic.') ORDER BY asset
"""


@dg.asset_check(
    asset=asset_key(SYNTHETIC_PANIC.full_name),
    additional_deps=[asset_key("models.splits"), asset_key("staging.candles"), asset_key("features.labels")],
    name="training_only",
    blocking=True,
    description="Nothing synthetic is in what calibrates or judges, and none knew what is judged.",
)
def training_only(warehouse: Warehouse, settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    """Look at the rows, at the cut dates, and at what every stored table was made from."""
    findings: list[str] = []
    unmarked = warehouse.frame("SELECT count(*) FROM synthetic.synthetic_panic WHERE NOT synthetic").item()
    if unmarked:
        findings.append(f"{unmarked} rows of {SYNTHETIC_PANIC.full_name} are not marked as synthetic")
    late = warehouse.frame(
        "SELECT fold, cut, calibrate_start FROM synthetic.synthetic_panic JOIN models.splits USING (fold) "
        "WHERE cut > calibrate_start GROUP BY ALL ORDER BY fold"
    )
    findings += [
        f"fold {fold}: windows are cut at {cut}, after its calibration begins at {start}"
        for fold, cut, start in late.iter_rows()
    ]
    for table in _JUDGES:
        if warehouse.exists(table):
            strange = warehouse.frame(
                f"SELECT count(*) FROM {table} ANTI JOIN staging.candles USING (symbol, ts)"  # noqa: S608
            ).item()
            if strange:
                findings.append(f"{strange} rows of {table} belong to no candle that was delivered")
    made_from = warehouse.frame(_MADE_FROM_SQL)
    findings += [
        f"{asset} is made from synthetic data, and does not train"
        for asset in made_from["asset"]
        if asset.split(".")[0] not in _TRAINING_SCHEMAS
    ]
    return dg.AssetCheckResult(
        passed=not findings,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"findings": dg.MetadataValue.md("\n".join(f"- {f}" for f in findings) or "none")},
    )
