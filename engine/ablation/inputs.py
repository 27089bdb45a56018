"""What a variant may look at: columns follow from what is switched on."""

from __future__ import annotations

import polars as pl

from engine.ablation.setup import VALIDATION_SHARE
from engine.ablation.world import ALTERNATIVE, FEAR_GREED, PATTERNS, World
from engine.agents.training_data import learning_part, published_features
from engine.evaluation.improvements import Improvements
from engine.features.catalogue import CATALOGUE

__all__ = ["agent_features", "hidden", "visible"]


def hidden(on: Improvements) -> tuple[str, ...]:
    """Columns that neither agent nor rules see."""
    return (
        *(() if on.alternative_data else ALTERNATIVE),
        *(() if on.fear_greed else FEAR_GREED),
        *(() if on.pattern_matcher else PATTERNS),
    )


def visible(rows: pl.DataFrame, on: Improvements) -> pl.DataFrame:
    """Rows without what is hidden; an engine whose input is missing has no signal."""
    return rows.drop(hidden(on))


def agent_features(world: World, on: Improvements) -> tuple[str, ...]:
    """Name what the agent looks at besides the probabilities of the regimes.

    Pruning chose among all features, and apart from that among those that need no published series; a variant
    that sees any of these takes the first choice. What was not published while the agent learns is left out.
    """
    published = on.alternative_data or on.fear_greed
    chosen = world.kept if published else world.kept_of_market
    names = chosen if on.shap_pruning else CATALOGUE.columns
    seen = [name for name in (*names, *PATTERNS) if name not in hidden(on)]
    return published_features(world.rows, seen, learning_part(world.split.train, VALIDATION_SHARE))
