"""What agents look at in the contest, as the nightly job makes it."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from engine.agents.market_columns import MARKET_COLUMNS
from engine.agents.market_state import market_state
from engine.agents.training_data import learning_part, published_features
from engine.alpha.boosting import BoostingConfig
from engine.alpha.cross_fitting import cross_fitted
from engine.alpha.walk_forward import FEATURES, prune_fold, with_scale
from engine.evaluation.splits import Window
from engine.features.labels import labels
from engine.patterns.contrastive import ContrastiveConfig
from engine.patterns.features import pattern_features, remember
from engine.patterns.model import train_pattern_model
from engine.patterns.outcomes import OUTCOME_COLUMNS
from engine.regimes.names import REGIME_COLUMNS
from engine_assets.agent_inputs import STRONGEST

__all__ = ["BAR", "HORIZON", "RECIPE", "with_inputs"]

BAR, HORIZON = timedelta(hours=1), 24
RECIPE = (STRONGEST, *OUTCOME_COLUMNS, *MARKET_COLUMNS)
"""How many of the features, and what agents look at beside them."""


def with_inputs(
    rows: pl.DataFrame, train: Window, validation_share: float, seed: int
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Add what is fitted on a training window, and name what agents look at.

    Parameters
    ----------
    rows : DataFrame
        As `engine.agents.market_rows` makes them, from the start of the window.
    train : Window
    validation_share : float
        Share of the window that agents do not learn from.
    seed : int

    Returns
    -------
    rows : DataFrame
        With the cross-fitted ``forecast`` of each symbol, what followed the windows of the past that look
        like each bar's, and how the market stands.
    inputs : tuple of str
        The two latter, after the features that are strongest by their Shapley values.
    """
    boosting = BoostingConfig(workers=1, seed=seed)
    followed = labels(rows, HORIZON)
    known = with_scale(rows.join(followed, on=["symbol", "ts"], how="left", maintain_order="left"), HORIZON)
    learned = learning_part(train, validation_share)
    pruning = prune_fold(known.sort("ts", "symbol"), train, boosting)
    share = pruning.report.shares.group_by("feature").agg(pl.col("share").mean())
    ranked = share.sort("share", "feature", descending=[True, False])["feature"]
    kept = [name for name in ranked if name in pruning.kept and name not in REGIME_COLUMNS][:STRONGEST]
    model, _ = train_pattern_model(rows, train, BAR, ContrastiveConfig(horizon=HORIZON), seed=seed)
    windows = model.windows(rows, BAR)
    alike = pattern_features(model, windows, remember(model, windows, followed), coordinates="none")
    forecasts = cross_fitted(known, learned, FEATURES, boosting)[0]
    for found in (forecasts, alike):
        rows = rows.join(found, on=["symbol", "ts"], how="left", maintain_order="left")
    rows = rows.join(market_state(rows, BAR), on="ts", how="left", maintain_order="left")
    return rows, published_features(rows, (*kept, *OUTCOME_COLUMNS, *MARKET_COLUMNS), learned)
