"""The lookahead check on what models say and what is decided by it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from engine.regimes.names import REGIME_COLUMNS
from engine_assets.agent_decisions import DECISIONS as AGENT_DECISIONS
from engine_assets.agent_decisions import fold_agents
from engine_assets.agent_inputs import FOLD_TABLES, with_fold_inputs
from engine_assets.agent_rows import agent_rows
from engine_assets.agents import AGENT_FULL
from engine_assets.calibration import CALIBRATED, predicted
from engine_assets.lookahead import lookahead_check, recent
from engine_assets.market_state import MARKET_STATE, market_forecaster
from engine_assets.patterns import PATTERN_MEMORY, read_pattern_model
from engine_assets.portfolio import TARGETS, decision_config, market, prices_and_funding
from engine_assets.signals import SIGNAL_TABLES, closes, signals, views
from engine_assets.windows import learning_folds, read_splits
from resources.settings import Settings
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from engine.features.lookahead import LookaheadReport

__all__ = ["CHECKS"]

_PATTERN_SPAN = timedelta(days=15)
_DECISION_SPAN = timedelta(days=260)


@lookahead_check(
    CALIBRATED.full_name, reads=("predictions.out_of_sample", "features.labels", "regimes.changepoints")
)
def calibrated(warehouse: Warehouse, settings: Settings) -> LookaheadReport:
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
    return check_lookahead(
        compute,
        {"predictions": rows.drop("label", "label_end"), "labels": labels},
        known_at={"predictions": pl.col("ts") + bar, "labels": pl.col("label_end")},
        decided_at=pl.col("ts") + bar,
        cuts=cuts,
    )


@lookahead_check(PATTERN_MEMORY.full_name, reads=("features.matrix", "features.labels"))
def patterns(warehouse: Warehouse, settings: Settings) -> LookaheadReport:
    """Embeddings and neighbours of recent bars, by the newest encoder: no outcome before it was known."""
    import polars as pl

    from engine.features.lookahead import check_lookahead
    from engine.patterns.features import pattern_features, remember

    since = recent(warehouse, _PATTERN_SPAN)
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
    return check_lookahead(
        compute,
        inputs,
        known_at=known_at,
        decided_at=closes,
        cuts=[since + _PATTERN_SPAN / 2],
        tolerance=1e-4,
    )


@lookahead_check(
    MARKET_STATE.full_name, reads=("features.matrix", "regimes.market_regimes", "staging.candles")
)
def market_states(warehouse: Warehouse, settings: Settings) -> LookaheadReport:
    """State of the market on recent bars, by the newest forecaster: moves and forecasts of the past alone."""
    import polars as pl

    from engine.agents.market_state import market_state
    from engine.alpha.walk_forward import with_scale
    from engine.features.lookahead import check_lookahead

    since = recent(warehouse, _PATTERN_SPAN)
    forecaster = market_forecaster(warehouse, learning_folds(warehouse, settings)[-1].number)
    rows = agent_rows(warehouse, settings, since, datetime.max)  # noqa: DTZ901  all there is
    closes = pl.col("ts") + settings.bar_duration

    def compute(inputs: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
        given = with_scale(inputs["rows"], settings.horizon_bars)
        known = given.join(forecaster.forecast(given), on=["symbol", "ts"], maintain_order="left")
        return market_state(known, settings.bar_duration)

    return check_lookahead(
        compute,
        {"rows": rows},
        known_at={"rows": closes},
        decided_at=closes,
        key=("ts",),
        cuts=[since + _PATTERN_SPAN / 2],
    )


@lookahead_check(AGENT_DECISIONS.full_name, reads=("features.matrix", *FOLD_TABLES, AGENT_FULL.full_name))
def agents(warehouse: Warehouse, settings: Settings) -> LookaheadReport:
    """Positions of the newest agents on recent bars, each in the state that its own decisions led to."""
    import polars as pl

    from engine.features.lookahead import check_lookahead

    since = recent(warehouse, _PATTERN_SPAN)
    fold = learning_folds(warehouse, settings)[-1].number
    newest = fold_agents(warehouse, fold)
    rows = with_fold_inputs(warehouse, fold, agent_rows(warehouse, settings, since, datetime.max))  # noqa: DTZ901  all there is
    closes = pl.col("ts") + settings.bar_duration

    def compute(inputs: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
        # Changed values are still to be probabilities.
        total = pl.sum_horizontal(REGIME_COLUMNS)
        given = inputs["rows"].with_columns(pl.col(REGIME_COLUMNS) / total)
        decided = pl.concat(one.frame() for one in newest.decide(given))
        return decided.select("symbol", "ts", "level", "confidence", "value")

    return check_lookahead(
        compute,
        {"rows": rows},
        known_at={"rows": closes},
        decided_at=closes,
        cuts=[since + _PATTERN_SPAN / 2],
        tolerance=1e-3,
    )


@lookahead_check(TARGETS.full_name, reads=(*SIGNAL_TABLES, "staging.candles"))
def decisions(warehouse: Warehouse, settings: Settings) -> LookaheadReport:
    """Trade the newest weeks once more from a new account: signals, closes and fills may not reach back."""
    import polars as pl

    from engine.evaluation.paper_broker import Account
    from engine.features.lookahead import check_lookahead
    from engine.portfolio.paper_trading import Book, trade_days

    config, bar = decision_config(settings), settings.bar_duration
    since = recent(warehouse, _DECISION_SPAN)
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
    return check_lookahead(
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


CHECKS = (calibrated, patterns, market_states, agents, decisions)
