"""A world: everything about a market that is dear to compute and the same for all variants of a seed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from engine.ablation.setup import BAR, AblationSetup
from engine.agents.market_rows import MarketRows
from engine.agents.synthetic_rows import synthetic_rows
from engine.alpha.boosting import BoostingConfig, BoostingPredictor
from engine.alpha.walk_forward import SCHEMA_HASH
from engine.errors import NotEnoughDataError
from engine.evaluation.skill import log_loss
from engine.evaluation.splits import Split, select
from engine.features.catalogue import CATALOGUE
from engine.features.labels import labels
from engine.features.pruning import prune
from engine.features.shap_analyzer import SHAPAnalyzer, ShapConfig
from engine.patterns.contrastive import ContrastiveConfig
from engine.patterns.features import pattern_features, remember, with_coordinates
from engine.patterns.model import PatternModel, train_pattern_model
from engine.patterns.outcomes import OUTCOME_COLUMNS
from engine.patterns.windows import LENGTH
from engine.regimes.bocd import detect_changepoints
from engine.synthetic.generator import SyntheticDataGenerator, default_generators
from engine.synthetic.windows import panic_windows

__all__ = ["ALTERNATIVE", "FEAR_GREED", "PATTERNS", "World", "prepare_world"]

_LOG = logging.getLogger(__name__)
_PUBLISHED = CATALOGUE.columns[CATALOGUE.columns.index("funding_rate_8h") :]
FEAR_GREED = tuple(name for name in _PUBLISHED if name.startswith("fear_greed"))
"""Features made from the Fear & Greed index."""
ALTERNATIVE = tuple(name for name in _PUBLISHED if name not in FEAR_GREED)
"""Features made from other published series."""
_COORDINATES = tuple(f"pattern_{k}" for k in range(16))
PATTERNS = (*OUTCOME_COLUMNS, *_COORDINATES)
"""What is known of the windows like that of the last thirty candles."""
# Panics are rare: their windows begin five bars apart, so that a year or two have enough to judge by.
_STRIDE = 5
_KEPT = (
    "symbol", "ts", "segment", "open", "close", "funding", "volatility",
    "p_trend", "p_range", "p_panic", "regime", "true_regime", "action", "label", "label_end",
)  # fmt: skip


@dataclass(frozen=True)
class World:
    """A market ready for every variant.

    Parameters
    ----------
    split : Split
        Training, calibration and test, in this order of time.
    rows : DataFrame
        Bars from the start of the training window on, sorted by symbol and ts: ``symbol, ts, segment, open,
        close, funding, volatility``, the filtered regimes, the features, `PATTERNS`, ``action`` (of the
        change-point detector), ``label, label_end``, and ``true_regime`` of a simulated market, which only
        scores may read.
    synthetic : DataFrame or None
        Synthetic PANIC bars with the same features; None where no generator passed its tests.
    kept : tuple of str
        Features that pruning left of all.
    kept_of_market : tuple of str
        Features that it left of those that need no published series.
    note : str
        What became of the synthetic windows.
    """

    split: Split
    rows: pl.DataFrame
    synthetic: pl.DataFrame | None
    kept: tuple[str, ...]
    kept_of_market: tuple[str, ...]
    note: str


def prepare_world(market: MarketRows, setup: AblationSetup, seed: int) -> World:
    """Prepare a market; whatever is fitted sees the training window alone.

    Parameters
    ----------
    market : MarketRows
        With what the features are computed from.
    setup : AblationSetup
    seed : int
        Of everything that is fitted.

    Raises
    ------
    NotEnoughDataError
        If the market is too short.
    """
    bars = market.rows
    first, last = bars["ts"].min(), bars["ts"].max()
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        raise NotEnoughDataError("a market without bars")
    split = setup.split(first, last + BAR)
    rows = _with_changes_and_truth(bars, market.truth).filter(pl.col("ts") >= split.train.start)
    followed = labels(rows, setup.horizon)
    rows = rows.join(
        followed.select("symbol", "ts", "label", "label_end"), on=["symbol", "ts"], how="left",
        maintain_order="left",
    )  # fmt: skip
    config = ContrastiveConfig(steps=setup.encoder_steps, horizon=setup.horizon)
    model, _ = train_pattern_model(rows, split.train, BAR, config, compact=len(_COORDINATES), seed=seed)
    windows = model.windows(rows, BAR)
    found = pattern_features(model, windows, remember(model, windows, followed))
    rows = rows.join(found, on=["symbol", "ts"], how="left", maintain_order="left")
    synthetic, note = _synthetic(rows, split, model, setup, seed)
    _LOG.info("synthetic windows: %s", note)
    train = select(rows, split.train, label_end="label_end")
    of_market = tuple(name for name in CATALOGUE.columns if name not in _PUBLISHED)
    return World(
        split,
        rows.select(*_KEPT, *CATALOGUE.columns, *PATTERNS),
        synthetic,
        _kept(train, CATALOGUE.columns, setup, seed),
        _kept(train, of_market, setup, seed),
        note,
    )


def _with_changes_and_truth(bars: pl.DataFrame, truth: pl.DataFrame | None) -> pl.DataFrame:
    actions = detect_changepoints(bars).select("symbol", "ts", "action")
    rows = bars.join(actions, on=["symbol", "ts"], how="left", maintain_order="left")
    if truth is None:
        return rows.with_columns(true_regime=pl.lit(None, pl.String))
    known = truth.select("ts", true_regime="regime")
    return rows.join(known, on="ts", how="left", maintain_order="left")


def _synthetic(
    rows: pl.DataFrame, split: Split, model: PatternModel, setup: AblationSetup, seed: int
) -> tuple[pl.DataFrame | None, str]:
    """Synthetic PANIC bars from the training window, and how they came about."""
    past = rows.filter(split.train.mask())
    try:
        real = panic_windows(
            past, past.select("symbol", "ts", "regime"), split.train.end,
            bar=BAR, embargo=split.purge, stride=_STRIDE,
        )  # fmt: skip
        generator = SyntheticDataGenerator(default_generators(setup.ctgan_updates))
        generator.fit(real, split.train.end, seed)
        if generator.chosen is None:
            return None, generator.words
        invented = synthetic_rows(generator.pool, past, before=LENGTH, seed=seed)
    except NotEnoughDataError as error:
        return None, f"none: {error}"
    seen = with_coordinates(model, invented, BAR).filter("synthetic")
    # What followed windows that never were is unknown.
    unknown = [pl.lit(None, pl.Float64).alias(name) for name in OUTCOME_COLUMNS]
    return seen.with_columns(unknown), generator.words


def _kept(train: pl.DataFrame, features: Sequence[str], setup: AblationSetup, seed: int) -> tuple[str, ...]:
    """Features worth having, measured on the training window."""
    config = BoostingConfig(rounds=setup.boosting_rounds, row_stride=8, workers=1, seed=seed)

    def fit(part: pl.DataFrame, columns: Sequence[str]) -> BoostingPredictor:
        return BoostingPredictor(config, quantiles=()).fit(part, columns, SCHEMA_HASH)

    def losses(fitted: BoostingPredictor, part: pl.DataFrame) -> np.ndarray:
        p_up = fitted.predict(part, SCHEMA_HASH)["p_up"].to_numpy()
        return log_loss(p_up, (part["label"] > 0).cast(pl.Float64).to_numpy())

    rows = train.with_columns(scale=pl.col("volatility") * setup.horizon**0.5).sort("ts", "symbol")
    return prune(rows, features, fit, losses, SHAPAnalyzer(ShapConfig(seed=seed))).kept
