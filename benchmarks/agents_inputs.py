"""What agents look at in the contest: boosted trees' forecasts, and how the whole market moves."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import polars as pl

from engine.agents.pipeline_config import PipelineConfig
from engine.agents.training_data import learning_part
from engine.alpha.boosting import BoostingConfig, BoostingPredictor
from engine.alpha.walk_forward import FEATURES, SCHEMA_HASH, with_scale
from engine.evaluation.splits import Window, select
from engine.features.labels import labels

__all__ = ["BAR", "HORIZON", "INPUTS", "with_inputs"]

BAR, HORIZON = timedelta(hours=1), 24
HALF_LIVES = (6, 16, 40, 100)
"""Bars over which past moves of the market lose half of their weight."""
INPUTS = (
    "market_forecast",
    "market_forecast_slow",
    *(f"market_move_{bars}" for bars in HALF_LIVES),
    "market_size",
    "market_comovement",
    "market_volatility_3d",
    "market_volatility_30d",
)
STRETCHES, EMBARGO = 4, timedelta(days=7)
_LARGEST_MOVE, _DAY = 6.0, 24


def with_inputs(rows: pl.DataFrame, train: Window, config: PipelineConfig) -> pl.DataFrame:
    """Add the forecasts of each symbol, and `INPUTS`, which are the same for all symbols.

    One hidden state drives the drift of all symbols, so what tells of it is what they have in common.
    """
    rows = with_forecasts(rows, train, config)
    return rows.join(market_state(rows), on="ts", how="left", maintain_order="left")


def market_state(rows: pl.DataFrame) -> pl.DataFrame:
    """Make of all symbols on each bar what `INPUTS` names, from this bar and those before it.

    Parameters
    ----------
    rows : DataFrame
        With ``forecast`` and ``forecast_slow``; ``volatility`` scales each symbol's return.

    Returns
    -------
    DataFrame
        One row per ``ts``. ``market_move_h`` is an exponential mean of the symbols' mean scaled return, times
        the root of its half-life h; ``market_size`` one of its size; ``market_comovement`` one of its square,
        over that of the variance between symbols; ``market_volatility`` its logarithm less its past mean.
    """
    step = pl.col("close").log().diff().over("symbol") / pl.col("volatility")
    scaled = rows.with_columns(move=step.clip(-_LARGEST_MOVE, _LARGEST_MOVE))
    market = scaled.group_by("ts").agg(
        market_forecast=pl.col("forecast").mean(),
        market_forecast_slow=pl.col("forecast_slow").mean(),
        move=pl.col("move").mean(),
        between=pl.col("move").std(ddof=0),
        volatility=pl.col("volatility").log().mean(),
    )
    move, volatility = pl.col("move"), pl.col("volatility")
    common, apart = (x.pow(2).ewm_mean(half_life=_DAY) for x in (move, pl.col("between")))
    return market.sort("ts").select(
        "ts",
        "market_forecast",
        "market_forecast_slow",
        *((move.ewm_mean(half_life=bars) * bars**0.5).alias(f"market_move_{bars}") for bars in HALF_LIVES),
        market_size=move.abs().ewm_mean(half_life=_DAY / 2),
        market_comovement=common / (apart + 1e-3),
        market_volatility_3d=volatility - volatility.ewm_mean(half_life=3 * _DAY),
        market_volatility_30d=volatility - volatility.ewm_mean(half_life=30 * _DAY),
    )


def with_forecasts(rows: pl.DataFrame, train: Window, config: PipelineConfig) -> pl.DataFrame:
    """Add what boosted trees expect of the next day, of every bar from models that were not fitted on it.

    In the part of the training window that is learned from, a stretch is forecast by a model of the other
    stretches, a week apart; what follows, by a model of the whole part.

    Returns
    -------
    DataFrame
        ``forecast``, probability of a rise less that of a fall beyond what is usual, and ``forecast_slow``,
        its exponential mean.
    """
    known = rows.join(labels(rows, HORIZON), on=["symbol", "ts"], how="left", maintain_order="left")
    known = with_scale(known, HORIZON)
    learned = learning_part(train, config.validation_share)
    fitted_on = select(known, learned, label_end="label_end").sort("ts", "symbol")
    borders = [learned.start + (learned.end - learned.start) * k / STRETCHES for k in range(STRETCHES + 1)]
    stretches = [Window(*pair) for pair in pairwise(borders)]
    around = [
        (pl.col("label_end") < stretch.start - EMBARGO) | (pl.col("ts") >= stretch.end + EMBARGO)
        for stretch in stretches
    ]
    later = Window(learned.end, known["ts"].max() + BAR)  # type: ignore[operator, arg-type]
    stated = []
    for others, window in zip([*around, pl.lit(value=True)], [*stretches, later], strict=True):
        boosting = BoostingConfig(workers=1, seed=config.agent.seed)
        part = fitted_on.filter(others)
        model = BoostingPredictor(boosting, quantiles=()).fit(part, FEATURES, SCHEMA_HASH)
        p_up = model.predict(known.filter(window.mask()), SCHEMA_HASH)
        # Where a stretch rose, the others rose less than usual: base rates would foretell the contrary.
        usual = float((part["label"] > 0).mean())  # type: ignore[arg-type]
        stated.append(p_up.select("symbol", "ts", forecast=2.0 * (pl.col("p_up") - usual)))
    slow = pl.col("forecast").ewm_mean(half_life=HORIZON / 2).over("symbol", "segment")
    found = rows.join(pl.concat(stated), on=["symbol", "ts"], how="left", maintain_order="left")
    return found.with_columns(forecast_slow=slow)
