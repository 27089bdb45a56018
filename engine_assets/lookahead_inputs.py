"""The lookahead check on what models learn from: features, regimes, change points and transition risk."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from engine_assets.changepoints import CHANGEPOINTS
from engine_assets.lookahead import lookahead_check, recent
from engine_assets.regimes import MARKET_REGIMES, walk_regimes
from engine_assets.transitions import TRANSITION_RISK, TRANSITION_WARMUP, transition_inputs, walk_risks
from resources.settings import Settings
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from engine.features.lookahead import LookaheadReport

__all__ = ["CHECKS"]

# Long enough for the longest window of a feature on both sides of a cut, short enough to run every night.
_FEATURE_SPAN = timedelta(days=60)
_ALTERNATIVE_SPAN = timedelta(days=20)


@lookahead_check("alternative.alternative_features", reads=("staging.candles", "staging.alternative"))
def alternative(warehouse: Warehouse, settings: Settings) -> LookaheadReport:
    """Every alternative feature, from the vintages: also those that no model reads."""
    import polars as pl

    from engine.alternative.features import LOOKBACK, alternative_features
    from engine.features.lookahead import check_lookahead

    bar, since = settings.bar_duration, recent(warehouse, _ALTERNATIVE_SPAN)
    closes = pl.col("ts") + bar
    return check_lookahead(
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


@lookahead_check(CHANGEPOINTS.full_name, reads=("staging.candles",))
def changepoints(warehouse: Warehouse, settings: Settings) -> LookaheadReport:
    """Change points and what they ask for, by a detector that begins with the stretch."""
    import polars as pl

    from engine.features.lookahead import check_lookahead
    from engine.regimes.bocd import detect_changepoints

    since = recent(warehouse, _FEATURE_SPAN)
    closes = pl.col("ts") + settings.bar_duration
    returns = "SELECT symbol, ts, log_return FROM staging.candles WHERE ts >= ? ORDER BY symbol, ts"
    return check_lookahead(
        lambda inputs: detect_changepoints(inputs["candles"]),
        {"candles": warehouse.frame(returns, [since])},
        known_at={"candles": closes},
        decided_at=closes,
    )


@lookahead_check("features.matrix", reads=("staging.candles", "staging.alternative"))
def features(warehouse: Warehouse, settings: Settings) -> LookaheadReport:
    """Alternative joins and the whole recipe, from candles and vintages to the matrix."""
    import polars as pl

    from engine.alternative.features import alternative_features
    from engine.features.catalogue import CATALOGUE
    from engine.features.lookahead import check_lookahead

    bar, since = settings.bar_duration, recent(warehouse, _FEATURE_SPAN)

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
    return check_lookahead(compute, inputs, known_at=known_at, decided_at=closes, tolerance=1e-9)


@lookahead_check(MARKET_REGIMES.full_name, reads=("staging.candles", "alternative.alternative_features"))
def regimes(warehouse: Warehouse, settings: Settings) -> LookaheadReport:
    """Check the detector with its refits, over the first stretch of the history that holds two."""
    import polars as pl

    from engine.features.lookahead import check_lookahead

    bar = settings.bar_duration
    span = timedelta(days=60 + 2 * settings.work.regime_refit_days)
    first = "SELECT * FROM {} WHERE ts < (SELECT min(ts) FROM staging.candles) + ? ORDER BY symbol, ts"
    closes = pl.col("ts") + bar
    return check_lookahead(
        lambda inputs: walk_regimes(inputs["candles"], inputs["alternative"], settings).rows,
        {
            "candles": warehouse.frame(first.format("staging.candles"), [span]),
            "alternative": warehouse.frame(first.format("alternative.alternative_features"), [span]),
        },
        known_at={"candles": closes, "alternative": closes},
        decided_at=closes,
        cuts=1,
    )


@lookahead_check(
    TRANSITION_RISK.full_name,
    reads=(
        MARKET_REGIMES.full_name,
        CHANGEPOINTS.full_name,
        "staging.candles",
        "alternative.alternative_features",
    ),
)
def transitions(warehouse: Warehouse, settings: Settings) -> LookaheadReport:
    """Check the risks with their refits: no transition may be learned before it was known."""
    import polars as pl

    from engine.features.lookahead import check_lookahead

    span = TRANSITION_WARMUP + timedelta(days=30 + settings.work.regime_refit_days)
    inputs = transition_inputs(warehouse, span)
    closes = pl.col("ts") + settings.bar_duration
    return check_lookahead(
        lambda given: walk_risks(**given, settings=settings).rows,
        inputs,
        known_at=dict.fromkeys(inputs, closes),
        decided_at=closes,
        cuts=1,
        tolerance=1e-9,
    )


CHECKS = (alternative, changepoints, features, regimes, transitions)
