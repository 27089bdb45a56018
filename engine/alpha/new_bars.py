"""Predictions for bars that came after the last training, by the code that made the history.

Features, regimes, forecast and confidence of a new bar come from a tail of the history and the models in use.
They equal what the whole pipeline will state for the same bar when it next runs with the same calibration.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from engine.alpha.boosting import BoostingPredictor
from engine.alpha.walk_forward import FEATURES, SCHEMA_HASH, with_scale
from engine.alternative.features import alternative_features
from engine.calibration.changepoints import changes_of_bars
from engine.calibration.conformal import ConformalPredictor
from engine.calibration.walk_forward import with_side
from engine.features.catalogue import CATALOGUE
from engine.regimes.detector import RegimeDetector
from engine.regimes.names import REGIME_COLUMNS
from engine.regimes.observations import observations as regime_observations

__all__ = ["TAIL", "ModelsInUse", "predict_new_bars"]

TAIL = 8_192
"""Bars of history that a new bar is computed from.

Features need their longest window. The slowest average of the regime detector has a half-life of 200 bars:
what lies before the tail weighs 2**-41 in it.
"""

_SENTIMENT = ("fear_greed", "fear_greed_age_hours")


@dataclass(frozen=True)
class ModelsInUse:
    """What predicts until the next training.

    Parameters
    ----------
    detector : RegimeDetector
    beliefs : DataFrame
        Last filtered row of each symbol: ``symbol, ts, p_trend, p_range, p_panic, regime``.
    forecaster : BoostingPredictor
    calibrator : ConformalPredictor
    """

    detector: RegimeDetector
    beliefs: pl.DataFrame
    forecaster: BoostingPredictor
    calibrator: ConformalPredictor


def predict_new_bars(
    candles: pl.DataFrame,
    observations: pl.DataFrame,
    changepoints: pl.DataFrame,
    models: ModelsInUse,
    after: datetime,
    bar: timedelta,
    horizon: int,
) -> pl.DataFrame:
    """Predict every bar that opened after a moment.

    Parameters
    ----------
    candles : DataFrame
        ``symbol, ts, open, high, low, close, volume, segment, log_return``: the new bars and `TAIL` before.
    observations : DataFrame
        Alternative observations with vintages that were known by the close of the newest bar.
    changepoints : DataFrame
        ``symbol, ts, p_changepoint`` of the new bars and of those that they remember,
        `engine.calibration.changepoints.CHANGE_MEMORY`.
    models : ModelsInUse
    after : datetime
        Open of the last bar that is predicted already.
    bar : timedelta
    horizon : int
        Bars that the forecast spans.

    Returns
    -------
    DataFrame
        ``symbol, ts, regime, p_trend, p_range, p_panic, direction, raw_confidence, confidence, status,
        fear_greed, fear_greed_age_hours`` and ``features``, a list in the order of
        `engine.alpha.walk_forward.FEATURES`; sorted by ts and symbol.
    """
    new = pl.col("ts") > after
    bars = candles.sort("symbol", "ts")
    known = alternative_features(bars.select("symbol", "ts"), observations, bar)
    features = CATALOGUE.compute(bars.join(known, on=["symbol", "ts"], maintain_order="left")).filter(new)
    seen = regime_observations(bars, models.detector.config.spans, known)
    regimes = models.detector.filter(seen.filter(new), models.beliefs)
    rows = features.join(regimes, on=["symbol", "ts"], how="left").join(
        known.select("symbol", "ts", *_SENTIMENT), on=["symbol", "ts"], how="left"
    )
    rows = with_scale(rows.sort("ts", "symbol"), horizon)
    p_up = models.forecaster.predict(rows, SCHEMA_HASH)["p_up"]
    stated = with_side(rows.with_columns(p_up, features=pl.concat_list(pl.col(FEATURES))))
    changed = changes_of_bars(changepoints, bar, models.calibrator.config.alarm)
    stated = stated.join(changed, on=["symbol", "ts"], how="left", maintain_order="left")
    calibrated = models.calibrator.calibrate_rows(
        stated["raw_confidence"].to_numpy(),
        stated["regime"],
        stated["p_changepoint"].fill_null(np.nan).to_numpy(),
        stated.select(pl.col("changed_at").fill_null((pl.col("ts") + bar).dt.epoch("us"))).to_series(),
    )
    return stated.with_columns(
        confidence=pl.Series(calibrated.confidence).fill_nan(None),
        status=pl.Series(np.where(calibrated.known, "ok", "unknown")),
    ).select(
        "symbol",
        "ts",
        "regime",
        *REGIME_COLUMNS,
        "direction",
        "raw_confidence",
        "confidence",
        "status",
        *_SENTIMENT,
        "features",
    )
