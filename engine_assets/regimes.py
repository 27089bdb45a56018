"""Group ``regimes``: the state of each market as it could be known at the time."""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from engine.regimes.names import REGIME_COLUMNS
from engine_assets.table_asset import asset_key, picture, stored, table_specs
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from engine.regimes.history import RegimeHistory

__all__ = [
    "ALTERNATIVE_SQL",
    "CANDLES_SQL",
    "DETECTORS",
    "MARKET_REGIMES",
    "TABLES",
    "regime_history",
    "scored_on_truth",
    "walk_regimes",
]

MARKET_REGIMES = Table(
    "regimes",
    "market_regimes",
    "Filtered probabilities of the regimes; missing until a first model could be fitted.",
    (
        Column("symbol", "VARCHAR", "Pair."),
        Column("ts", "TIMESTAMP", "Open of the bar, UTC."),
        Column("p_trend", "DOUBLE", "P(TREND) given everything up to the close of the bar.", nullable=True),
        Column("p_range", "DOUBLE", "P(RANGE), likewise.", nullable=True),
        Column("p_panic", "DOUBLE", "P(PANIC), likewise.", nullable=True),
        Column("regime", "VARCHAR", "The most probable of them.", nullable=True),
    ),
    ("symbol", "ts"),
)
DETECTORS = Table(
    "regimes",
    "detectors",
    "The detector in use at the end of the history; it filters the bars that come until the next fit.",
    (
        Column("fitted_until", "TIMESTAMP", "Open of the newest bar in the history, UTC."),
        Column("content", "VARCHAR", "JSON: settings and the fitted chain."),
    ),
    ("fitted_until",),
)
TABLES = (MARKET_REGIMES, DETECTORS)
_CODE_VERSION = "3"

CANDLES_SQL = "SELECT * FROM staging.candles ORDER BY symbol, ts"
ALTERNATIVE_SQL = "SELECT * FROM alternative.alternative_features ORDER BY symbol, ts"
_INPUTS = ("staging.candles", "alternative.alternative_features", "regimes.changepoint_alerts")
_ALERTS_SQL = "SELECT ts FROM regimes.changepoint_alerts WHERE symbol = ? AND action = ? ORDER BY ts"
_WARMUP = timedelta(days=45)


def walk_regimes(candles: "pl.DataFrame", alternative: "pl.DataFrame", settings: Settings) -> "RegimeHistory":
    """Filter the history with models that are refitted as often as the profile says."""
    from engine.regimes.history import walk_forward_regimes

    return walk_forward_regimes(
        candles,
        settings.bar_duration,
        refit=timedelta(days=settings.work.regime_refit_days),
        warmup=_WARMUP,
        lookback=timedelta(days=settings.work.train_days),
        alternative=alternative,
    )


@dg.multi_asset(
    name="regime_history",
    specs=table_specs(
        TABLES,
        deps=_INPUTS,
        group="regimes",
        code_version=_CODE_VERSION,
        kinds={"numba", "polars"},
    ),
)
def regime_history(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult]:
    """P(TREND), P(RANGE) and P(PANIC) of each bar by a hidden Markov model, filtered forward only.

    Models are refitted on schedule on what was known by then and used from then on, so every row is what a
    person could have seen at the time.
    """
    import json

    import polars as pl

    from engine.plots import price_with_regimes

    inputs = warehouse.versions(_INPUTS)
    candles = warehouse.frame(CANDLES_SQL)
    history = walk_regimes(candles, warehouse.frame(ALTERNATIVE_SQL), settings)
    frame, detectors = history.rows, DETECTORS.empty()
    if history.detector.chain is not None:
        content = json.dumps(history.detector.to_dict())
        detectors = pl.DataFrame([(candles["ts"].max(), content)], DETECTORS.polars_schema, orient="row")
    first = candles["symbol"][0]
    shown = candles.filter(pl.col("symbol") == first).join(frame, on=["symbol", "ts"], how="left").sort("ts")
    drawn = price_with_regimes(
        shown["ts"].to_list(),
        shown["close"].to_numpy(),
        shown.select(REGIME_COLUMNS).to_numpy(),
        f"{first}: price, and the regimes as they could be known",
        {
            action: warehouse.frame(_ALERTS_SQL, [first, action])["ts"].to_list()
            for action in ("reduce", "exit")
        },
    )
    shares = frame["regime"].value_counts(normalize=True).drop_nulls().sort("regime")
    facts = {
        MARKET_REGIMES: {
            "price and regimes": picture(drawn),
            **{f"share {name}": share for name, share in shares.iter_rows()},
        }
    }
    made = {MARKET_REGIMES: frame, DETECTORS: detectors}
    yield from stored(context, warehouse, settings, made, inputs, _CODE_VERSION, facts)


@dg.asset_check(
    asset=asset_key(MARKET_REGIMES.full_name),
    additional_deps=[asset_key("raw.truth")],
    name="scored_on_truth",
    description="Where the market is simulated: accuracy against the regimes that it really had.",
)
def scored_on_truth(warehouse: Warehouse) -> dg.AssetCheckResult:
    """Balanced accuracy must beat that of a guess, 1/3; recorded markets have no truth to score on.

    A false alarm is a bar that is called PANIC and is none; a delay counts from the first bar of a stay.
    """
    import numpy as np

    from engine.regimes.names import REGIMES
    from engine.regimes.regime_scores import false_alarm_rate, regime_scores

    rows = warehouse.frame(
        """
        SELECT p.symbol, t.regime AS truth, p.regime
        FROM regimes.market_regimes AS p JOIN raw.truth AS t USING (ts)
        WHERE p.regime IS NOT NULL ORDER BY p.symbol, ts
        """
    )
    if rows.is_empty():
        return dg.AssetCheckResult(
            passed=True, metadata={"note": "a recorded market does not know its regimes"}
        )
    scores, false = [], []
    for _, part in rows.group_by("symbol", maintain_order=True):
        truth, found = part["truth"].to_list(), part["regime"].to_list()
        scores.append(regime_scores(truth, found))
        false.append(false_alarm_rate(truth, np.array(found) == "PANIC"))
    balanced = float(np.mean([score.balanced_accuracy for score in scores]))
    figures = {
        "balanced accuracy": balanced,
        "accuracy": float(np.mean([score.accuracy for score in scores])),
        "false alarms of PANIC, share of other bars": float(np.mean(false)),
        "switches per true switch": float(np.mean([score.switches_per_true_switch for score in scores])),
        **{
            f"recall {name}": float(np.mean([score.recall.get(name, np.nan) for score in scores]))
            for name in REGIMES
        },
        **{
            f"median delay of {name}, bars": float(
                np.median([score.median_delay.get(name, np.nan) for score in scores])
            )
            for name in REGIMES
        },
    }
    return dg.AssetCheckResult(passed=balanced > 1 / 3, severity=dg.AssetCheckSeverity.WARN, metadata=figures)
