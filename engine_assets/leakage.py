"""The lookahead check on everything that decides: cut the future off, change it, recompute, compare."""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from engine_assets.agent_decisions import DECISIONS as AGENT_DECISIONS
from engine_assets.agent_decisions import fold_agents
from engine_assets.agent_rows import agent_rows
from engine_assets.agents import AGENT_FULL, with_patterns
from engine_assets.calibration import CALIBRATED, predicted
from engine_assets.changepoints import CHANGEPOINTS
from engine_assets.patterns import PATTERN_MEMORY, read_pattern_model
from engine_assets.portfolio import TARGETS, decision_config, market, prices_and_funding
from engine_assets.regimes import MARKET_REGIMES, walk_regimes
from engine_assets.signals import SIGNAL_TABLES, closes, signals, views
from engine_assets.table_asset import asset_key
from engine_assets.transitions import TRANSITION_RISK, TRANSITION_WARMUP, transition_inputs, walk_risks
from engine_assets.windows import learning_folds, read_splits
from resources.settings import Settings
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from engine.features.lookahead import LookaheadReport

__all__ = ["CHECKS"]

NAME = "no_lookahead"
# Long enough for the longest window of a feature on both sides of a cut, short enough to run every night.
_FEATURE_SPAN = timedelta(days=60)
_ALTERNATIVE_SPAN = timedelta(days=20)
_PATTERN_SPAN = timedelta(days=15)
_DECISION_SPAN = timedelta(days=260)
_DESCRIPTION = "Recomputed without the future, and with another future, every past row stays the same."


def _result(report: "LookaheadReport") -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=report.passed,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={
            "finding": dg.MetadataValue.md(f"```\n{report.describe()}\n```"),
            "rows compared": report.rows_compared,
            "cuts": ", ".join(f"{cut:%Y-%m-%d %H:%M}" for cut in report.cuts),
        },
    )


def _recent(warehouse: Warehouse, span: timedelta) -> datetime:
    newest: datetime = warehouse.frame("SELECT max(ts) AS ts FROM staging.candles")["ts"][0]
    return newest - span


@dg.asset_check(
    asset=asset_key("alternative.alternative_features"),
    additional_deps=[asset_key("staging.candles"), asset_key("staging.alternative")],
    name=NAME,
    blocking=True,
    description=_DESCRIPTION,
)
def alternative_check(warehouse: Warehouse, settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    """Every alternative feature, from the vintages: also those that no model reads."""
    import polars as pl

    from engine.alternative.features import LOOKBACK, alternative_features
    from engine.features.lookahead import check_lookahead

    bar, since = settings.bar_duration, _recent(warehouse, _ALTERNATIVE_SPAN)
    closes = pl.col("ts") + bar
    return _result(
        check_lookahead(
            lambda inputs: alternative_features(inputs["bars"], inputs["observations"], bar),
            {
                "bars": warehouse.frame("SELECT symbol, ts FROM staging.candles WHERE ts >= ?", [since]),
                "observations": warehouse.frame(
                    "SELECT * FROM staging.alternative WHERE ts > ?", [since - LOOKBACK]
                ),
            },
            known_at={"bars": closes, "observations": pl.col("available_at")},
            decided_at=closes,
            cuts=2,
            tolerance=1e-9,
        )
    )


@dg.asset_check(
    asset=asset_key(CHANGEPOINTS.full_name),
    additional_deps=[asset_key("staging.candles")],
    name=NAME,
    blocking=True,
    description=_DESCRIPTION,
)
def changepoints_check(warehouse: Warehouse, settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    """Change points and what they ask for, by a detector that begins with the stretch."""
    import polars as pl

    from engine.features.lookahead import check_lookahead
    from engine.regimes.bocd import detect_changepoints

    since = _recent(warehouse, _FEATURE_SPAN)
    closes = pl.col("ts") + settings.bar_duration
    returns = "SELECT symbol, ts, log_return FROM staging.candles WHERE ts >= ? ORDER BY symbol, ts"
    return _result(
        check_lookahead(
            lambda inputs: detect_changepoints(inputs["candles"]),
            {"candles": warehouse.frame(returns, [since])},
            known_at={"candles": closes},
            decided_at=closes,
        )
    )


@dg.asset_check(
    asset=asset_key("features.matrix"),
    additional_deps=[asset_key("staging.candles"), asset_key("staging.alternative")],
    name=NAME,
    blocking=True,
    description=_DESCRIPTION,
)
def features_check(warehouse: Warehouse, settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    """Alternative joins and the whole recipe, from candles and vintages to the matrix."""
    import polars as pl

    from engine.alternative.features import alternative_features
    from engine.features.catalogue import CATALOGUE
    from engine.features.lookahead import check_lookahead

    bar, since = settings.bar_duration, _recent(warehouse, _FEATURE_SPAN)

    def compute(inputs: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
        bars = inputs["candles"]
        known = alternative_features(bars.select("symbol", "ts"), inputs["observations"], bar)
        return CATALOGUE.compute(bars.join(known, on=["symbol", "ts"]).sort("symbol", "ts"))

    closes = pl.col("ts") + bar
    inputs = {
        "candles": warehouse.frame(
            "SELECT * FROM staging.candles WHERE ts >= ? ORDER BY symbol, ts", [since]
        ),
        "observations": warehouse.frame("SELECT * FROM staging.alternative WHERE available_at >= ?", [since]),
    }
    known_at = {"candles": closes, "observations": pl.col("available_at")}
    return _result(check_lookahead(compute, inputs, known_at=known_at, decided_at=closes, tolerance=1e-9))


@dg.asset_check(
    asset=asset_key(MARKET_REGIMES.full_name),
    additional_deps=[asset_key("staging.candles"), asset_key("alternative.alternative_features")],
    name=NAME,
    blocking=True,
    description=_DESCRIPTION,
)
def regimes_check(warehouse: Warehouse, settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    """Check the detector with its refits, over the first stretch of the history that holds two."""
    import polars as pl

    from engine.features.lookahead import check_lookahead

    bar = settings.bar_duration
    span = timedelta(days=60 + 2 * settings.work.regime_refit_days)
    first = "SELECT * FROM {} WHERE ts < (SELECT min(ts) FROM staging.candles) + ? ORDER BY symbol, ts"
    closes = pl.col("ts") + bar
    return _result(
        check_lookahead(
            lambda inputs: walk_regimes(inputs["candles"], inputs["alternative"], settings).rows,
            {
                "candles": warehouse.frame(first.format("staging.candles"), [span]),
                "alternative": warehouse.frame(first.format("alternative.alternative_features"), [span]),
            },
            known_at={"candles": closes, "alternative": closes},
            decided_at=closes,
            cuts=1,
        )
    )


@dg.asset_check(
    asset=asset_key(TRANSITION_RISK.full_name),
    additional_deps=[
        asset_key(MARKET_REGIMES.full_name),
        asset_key(CHANGEPOINTS.full_name),
        asset_key("staging.candles"),
        asset_key("alternative.alternative_features"),
    ],
    name=NAME,
    blocking=True,
    description=_DESCRIPTION,
)
def transitions_check(warehouse: Warehouse, settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    """Check the risks with their refits: no transition may be learned before it was known."""
    import polars as pl

    from engine.features.lookahead import check_lookahead

    span = TRANSITION_WARMUP + timedelta(days=30 + settings.work.regime_refit_days)
    inputs = transition_inputs(warehouse, span)
    closes = pl.col("ts") + settings.bar_duration
    return _result(
        check_lookahead(
            lambda given: walk_risks(**given, settings=settings).rows,
            inputs,
            known_at=dict.fromkeys(inputs, closes),
            decided_at=closes,
            cuts=1,
            tolerance=1e-9,
        )
    )


@dg.asset_check(
    asset=asset_key(CALIBRATED.full_name),
    additional_deps=[
        asset_key("predictions.out_of_sample"),
        asset_key("features.labels"),
        asset_key("regimes.changepoints"),
    ],
    name=NAME,
    blocking=True,
    description=_DESCRIPTION,
)
def calibrated_check(warehouse: Warehouse, settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    """Calibration of the newest fold: no outcome may count before the end of its label."""
    import polars as pl

    from engine.calibration.walk_forward import calibrate_fold
    from engine.features.lookahead import check_lookahead

    bar, horizon = settings.bar_duration, settings.horizon_bars
    split = read_splits(warehouse)[-1]
    rows = predicted(warehouse, split.number)

    def compute(inputs: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
        joined = inputs["predictions"].join(inputs["labels"], on=["symbol", "ts"], how="left")
        calibrated = calibrate_fold(joined, split, bar, horizon).rows
        return calibrated.drop("label", "correct", "covered")

    labels = rows.drop_nulls("label").select("symbol", "ts", "label", "label_end")
    middle = split.test.start + (split.test.end - split.test.start) / 2
    cuts = [split.test.start + bar, middle.replace(minute=0, second=0, microsecond=0)]
    return _result(
        check_lookahead(
            compute,
            {"predictions": rows.drop("label", "label_end"), "labels": labels},
            known_at={"predictions": pl.col("ts") + bar, "labels": pl.col("label_end")},
            decided_at=pl.col("ts") + bar,
            cuts=cuts,
        )
    )


@dg.asset_check(
    asset=asset_key(TARGETS.full_name),
    additional_deps=[asset_key(name) for name in (*SIGNAL_TABLES, "staging.candles")],
    name=NAME,
    blocking=True,
    description=_DESCRIPTION,
)
def decisions_check(warehouse: Warehouse, settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    """Trade the newest weeks once more from a new account: signals, closes and fills may not reach back."""
    import polars as pl

    from engine.evaluation.paper_broker import Account
    from engine.features.lookahead import check_lookahead
    from engine.portfolio.paper_trading import Book, trade_days

    config, bar = decision_config(settings), settings.bar_duration
    since = _recent(warehouse, _DECISION_SPAN)
    rows = views(signals(warehouse, settings, since))
    history = closes(warehouse, settings, since - timedelta(days=config.portfolio.window + 2))
    candles, funding = prices_and_funding(warehouse, since - timedelta(days=1))
    symbols = candles["symbol"].unique().sort().to_list()

    def decide(inputs: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
        days = trade_days(
            Book(Account(settings.costs.capital)),
            symbols,
            inputs["signals"],
            inputs["closes"].pivot(on="symbol", index="day", values="close", sort_columns=True).sort("day"),
            market(inputs["candles"], inputs["funding"], settings),
            config,
        )
        return pl.concat(day.decision.frame().with_columns(decided_at=pl.lit(day.decided_at)) for day in days)

    days = rows["decided_at"].unique().sort()
    return _result(
        check_lookahead(
            decide,
            {
                "signals": rows,
                "closes": history.unpivot(index="day", variable_name="symbol", value_name="close"),
                "candles": candles,
                "funding": funding,
            },
            known_at={
                "signals": pl.col("decided_at"),
                "closes": pl.col("day"),
                "candles": pl.col("ts") + bar,
                "funding": pl.col("available_at"),
            },
            decided_at="decided_at",
            key=("decided_at", "symbol"),
            cuts=[days[len(days) // 3], days[2 * len(days) // 3]],
        )
    )


@dg.asset_check(
    asset=asset_key(PATTERN_MEMORY.full_name),
    additional_deps=[asset_key("features.matrix"), asset_key("features.labels")],
    name=NAME,
    blocking=True,
    description=_DESCRIPTION,
)
def patterns_check(warehouse: Warehouse, settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    """Embeddings and neighbours of recent bars, by the newest encoder: no outcome before it was known."""
    import polars as pl

    from engine.features.lookahead import check_lookahead
    from engine.patterns.features import pattern_features, remember

    since = _recent(warehouse, _PATTERN_SPAN)
    model = read_pattern_model(warehouse, learning_folds(warehouse, settings)[-1].number)

    def compute(inputs: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
        windows = model.windows(inputs["matrix"], settings.bar_duration)
        return pattern_features(model, windows, remember(model, windows, inputs["labels"]))

    closes = pl.col("ts") + settings.bar_duration
    rows = "SELECT * FROM {} WHERE ts >= ? ORDER BY symbol, ts"
    inputs = {
        "matrix": warehouse.frame(rows.format("features.matrix"), [since]),
        "labels": warehouse.frame(rows.format("features.labels"), [since]),
    }
    known_at = {"matrix": closes, "labels": pl.col("label_end")}
    # Products of batches of another size differ in their last digits.
    return _result(
        check_lookahead(
            compute,
            inputs,
            known_at=known_at,
            decided_at=closes,
            cuts=[since + _PATTERN_SPAN / 2],
            tolerance=1e-4,
        )
    )


@dg.asset_check(
    asset=asset_key(AGENT_DECISIONS.full_name),
    additional_deps=[
        asset_key("features.matrix"),
        asset_key(PATTERN_MEMORY.full_name),
        asset_key(AGENT_FULL.full_name),
    ],
    name=NAME,
    blocking=True,
    description=_DESCRIPTION,
)
def agents_check(warehouse: Warehouse, settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    """Positions of the newest agents on recent bars, each in the state that its own decisions led to."""
    import polars as pl

    from engine.features.lookahead import check_lookahead

    since = _recent(warehouse, _PATTERN_SPAN)
    fold = learning_folds(warehouse, settings)[-1].number
    agents = fold_agents(warehouse, fold)
    rows = with_patterns(warehouse, fold, agent_rows(warehouse, settings, since, datetime.max))  # noqa: DTZ901  all there is
    closes = pl.col("ts") + settings.bar_duration

    def compute(inputs: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
        # Changed values are still to be probabilities.
        total = pl.sum_horizontal("p_trend", "p_range", "p_panic")
        given = inputs["rows"].with_columns(pl.col("p_trend", "p_range", "p_panic") / total)
        decided = pl.concat(one.frame() for one in agents.decide(given))
        return decided.select("symbol", "ts", "level", "confidence", "value")

    return _result(
        check_lookahead(
            compute,
            {"rows": rows},
            known_at={"rows": closes},
            decided_at=closes,
            cuts=[since + _PATTERN_SPAN / 2],
            tolerance=1e-3,
        )
    )


CHECKS = (
    alternative_check,
    changepoints_check,
    features_check,
    regimes_check,
    transitions_check,
    calibrated_check,
    patterns_check,
    agents_check,
    decisions_check,
)
