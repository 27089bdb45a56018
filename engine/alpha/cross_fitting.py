"""Forecasts of every bar from boosted trees that were not fitted on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

import polars as pl

from engine.alpha.boosting import BoostingConfig, BoostingPredictor
from engine.alpha.walk_forward import SCHEMA_HASH
from engine.evaluation.splits import Window, select

__all__ = ["EMBARGO", "STRETCHES", "Forecaster", "cross_fitted"]

STRETCHES, EMBARGO = 4, timedelta(days=7)
"""Parts into which a window is cut, and how far from a stretch the bars lie on which its model is fitted."""


@dataclass(frozen=True)
class Forecaster:
    """Boosted trees for the direction of the forward return, and how often it rose where they were fitted.

    Parameters
    ----------
    model : BoostingPredictor
    base_rate : float
        Share of rises.
    """

    model: BoostingPredictor
    base_rate: float

    @classmethod
    def fit(cls, rows: pl.DataFrame, features: Sequence[str], config: BoostingConfig) -> Forecaster:
        """Fit on labelled rows, as `BoostingPredictor.fit` takes them.

        Raises
        ------
        NotEnoughDataError
            As `BoostingPredictor.fit`.
        """
        model = BoostingPredictor(config, quantiles=()).fit(rows, features, SCHEMA_HASH)
        return cls(model, float((rows["label"] > 0).mean()))  # type: ignore[arg-type]

    def forecast(self, rows: pl.DataFrame) -> pl.DataFrame:
        """State ``symbol, ts, forecast``: probability of a rise less that of a fall, beyond what is usual.

        Where a stretch rose, the others rose less than usual: left in, base rates would foretell the contrary
        of what comes.
        """
        stated = self.model.predict(rows, SCHEMA_HASH)
        return stated.select("symbol", "ts", forecast=2.0 * (pl.col("p_up") - self.base_rate))


def cross_fitted(
    rows: pl.DataFrame, learned: Window, features: Sequence[str], config: BoostingConfig
) -> tuple[pl.DataFrame, Forecaster]:
    """Forecast a window that is learned from, and all that comes after it.

    A stretch of the window is forecast by a model of the other stretches, a week apart from it; what comes
    after, by a model of the whole window.

    Parameters
    ----------
    rows : DataFrame
        ``symbol, ts, label, label_end, scale`` and the features; ``label`` is null where it is not known yet.
    learned : Window
        Of the rows after its start, no label beyond its end is looked at.
    features : sequence of str
    config : BoostingConfig

    Returns
    -------
    forecasts : DataFrame
        ``symbol, ts, forecast`` as `Forecaster.forecast` states it, of every row from the window's start.
    forecaster : Forecaster
        Fitted on the whole window.

    Raises
    ------
    NotEnoughDataError
        If too few labelled rows remain beside a stretch.

    References
    ----------
    Lopez de Prado (2018), chapter 7: purging and embargo; Chernozhukov et al. (2018): cross-fitting.
    """
    labelled = select(rows, learned, label_end="label_end").sort("ts", "symbol")
    borders = [learned.start + (learned.end - learned.start) * k / STRETCHES for k in range(STRETCHES + 1)]
    stated = []
    for start, end in pairwise(borders):
        stretch = Window(start, end)
        before = pl.col("label_end") < stretch.start - EMBARGO
        others = labelled.filter(before | (pl.col("ts") >= stretch.end + EMBARGO))
        stated.append(Forecaster.fit(others, features, config).forecast(rows.filter(stretch.mask())))
    whole = Forecaster.fit(labelled, features, config)
    stated.append(whole.forecast(rows.filter(pl.col("ts") >= learned.end)))
    return pl.concat(stated), whole
