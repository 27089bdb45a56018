"""Forecasts along a walk forward: fitted on the training window, stated for the windows after it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.alpha.boosting import BoostingConfig, BoostingPredictor
from engine.evaluation.skill import log_loss
from engine.evaluation.splits import Split, Window, select
from engine.features.catalogue import CATALOGUE
from engine.features.pruning import Pruning, prune
from engine.features.shap_analyzer import SHAPAnalyzer, ShapConfig
from engine.regimes.names import REGIME_COLUMNS

__all__ = ["FEATURES", "SCHEMA_HASH", "FoldForecast", "forecast_fold", "prune_fold", "with_scale"]

FEATURES: tuple[str, ...] = (*CATALOGUE.columns, *REGIME_COLUMNS)
"""What models may learn from: the recipe, and the filtered probabilities of the regimes."""

SCHEMA_HASH = hashlib.sha256("|".join((CATALOGUE.schema_hash(), *FEATURES)).encode()).hexdigest()
"""Identifies the features and how they are made; a model refuses rows of another."""

_VOLATILITY = "volatility_168"


@dataclass(frozen=True)
class FoldForecast:
    """A fitted model, the base rate of its training window, and its forecasts for the windows after it.

    ``forecasts`` has ``symbol, ts, part`` (calibrate or test)``, regime, base, p_up, q10, q50, q90, scale``.
    """

    model: BoostingPredictor
    base_rate: float
    forecasts: pl.DataFrame


def with_scale(rows: pl.DataFrame, horizon: int) -> pl.DataFrame:
    """Add ``scale``, the expected size of a label: the volatility of the past week times sqrt(horizon)."""
    return rows.with_columns(scale=pl.col(_VOLATILITY) * math.sqrt(horizon))


def prune_fold(rows: pl.DataFrame, window: Window, config: BoostingConfig) -> Pruning:
    """Find the features worth having from a training window alone.

    Parameters
    ----------
    rows : DataFrame
        As `forecast_fold` takes them.
    window : Window
    config : BoostingConfig

    Raises
    ------
    NotEnoughDataError
        If the training window is too short to fit, explain and retest in turn.
    """

    def fit(part: pl.DataFrame, features: Sequence[str]) -> BoostingPredictor:
        return BoostingPredictor(config, quantiles=()).fit(part, features, SCHEMA_HASH)

    def losses(model: BoostingPredictor, part: pl.DataFrame) -> NDArray[np.float64]:
        p_up = model.predict(part, SCHEMA_HASH)["p_up"].to_numpy()
        return log_loss(p_up, (part["label"] > 0).cast(pl.Float64).to_numpy())

    # Many fits to rank features, so each on half the rows; labels overlap, and little is lost.
    config = replace(config, row_stride=2 * config.row_stride)
    train = select(rows, window, label_end="label_end")
    return prune(train, FEATURES, fit, losses, SHAPAnalyzer(ShapConfig(seed=config.seed)))


def forecast_fold(
    rows: pl.DataFrame, split: Split, features: tuple[str, ...], config: BoostingConfig
) -> FoldForecast:
    """Fit on the training window of a split and state the windows after it.

    Parameters
    ----------
    rows : DataFrame
        ``symbol, ts, regime, label, label_end, scale`` and `FEATURES`, over all three windows; ``label``
        is null where the future is not known yet.
    split : Split
        The windows.
    features : tuple of str
        Those of `FEATURES` to learn from.
    config : BoostingConfig

    Raises
    ------
    NotEnoughDataError
        If the training window holds too few labelled rows.
    """
    train = select(rows, split.train, label_end="label_end")
    model = BoostingPredictor(config).fit(train, features, SCHEMA_HASH)
    base = float((train["label"] > 0).to_numpy().mean())
    parts = []
    for name, window in (("calibrate", split.calibrate), ("test", split.test)):
        part = select(rows, window)
        forecasts = model.predict(part, SCHEMA_HASH)
        parts.append(forecasts.with_columns(part=pl.lit(name), regime=part["regime"], base=pl.lit(base)))
    return FoldForecast(model, base, pl.concat(parts))
