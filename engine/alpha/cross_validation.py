"""Combinatorial purged cross-validation of the direction model: many histories that it did not see."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
from sklearn.metrics import roc_auc_score

from engine.alpha.boosting import BoostingConfig, BoostingPredictor
from engine.alpha.walk_forward import FEATURES, SCHEMA_HASH
from engine.evaluation.combinatorial import combinatorial_splits, paths
from engine.evaluation.skill import log_loss

__all__ = ["cross_validate"]


def cross_validate(
    rows: pl.DataFrame, config: BoostingConfig, bar: timedelta, *, embargo: timedelta, most_rows: int = 40_000
) -> pl.DataFrame:
    """Skill along every path that the test groups recombine into.

    A walk forward shows one history. Here each group of time is forecast several times, by models that were
    fitted on other groups, later ones too: no evidence that it could have been traded, but of how much the
    skill depends on the history that happened to come.

    Parameters
    ----------
    rows : DataFrame
        ``symbol, ts, label, label_end, scale`` and the features.
    config : BoostingConfig
    bar : timedelta
    embargo : timedelta
        After each test span; how far features look back.
    most_rows : int
        Moments are thinned evenly to about so many rows.

    Returns
    -------
    DataFrame
        ``path, gain`` (in log loss over the base rate of all rows) and ``auc``.

    Raises
    ------
    NotEnoughDataError
        If the history is too short for the groups.

    References
    ----------
    Lopez de Prado (2018), chapter 12.
    """
    labelled = rows.drop_nulls(["label", "scale"]).sort("ts", "symbol")
    moments = labelled["ts"].unique().sort()
    stride = max(1, -(-labelled.height // most_rows))
    kept = labelled.filter(pl.col("ts").is_in(moments.gather_every(stride).implode()))
    splits = combinatorial_splits(
        (kept["ts"] + bar).to_numpy(), kept["label_end"].to_numpy(), embargo=embargo
    )
    forecasts = []
    for split in splits:
        model = BoostingPredictor(config, quantiles=()).fit(kept[split.train], FEATURES, SCHEMA_HASH)
        stated = np.full(kept.height, np.nan)
        for test in split.tests:
            stated[test] = model.predict(kept[test], SCHEMA_HASH)["p_up"].to_numpy()
        forecasts.append(stated)
    up = (kept["label"] > 0).to_numpy()
    outcome = up.astype(np.float64)
    base = log_loss(np.full(up.size, up.mean()), outcome).mean()
    lines = [
        {
            "path": number,
            "gain": float(base - log_loss(path, outcome).mean()),
            "auc": float(roc_auc_score(up, path)),
        }
        for number, path in enumerate(paths(splits, forecasts))
    ]
    return pl.DataFrame(lines, schema={"path": pl.Int64, "gain": pl.Float64, "auc": pl.Float64})
