"""SHAPAnalyzer: which features a model lives on in each regime, and which are noise or copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from engine.errors import DataError, NotEnoughDataError
from engine.features.attribution import Attribution, Semantics, attribute
from engine.features.shares import copies, regime_shares, verdict
from engine.regimes.names import REGIMES

__all__ = ["SHAPAnalyzer", "ShapConfig", "ShapReport"]

Floats = NDArray[np.float64]
_KEYS = ("symbol", "ts")


@dataclass(frozen=True)
class ShapConfig:
    """Settings of the analysis.

    Parameters
    ----------
    least_share : float
        A group of features is kept if it reaches this share in any regime.
    copy_correlation : float
        Features correlated beyond this, in absolute value, are one group.
    most_rows : int
        Rows explained per regime, drawn at random beyond it.
    least_rows : int
        A regime with fewer rows is not judged.
    seed : int
        Of the draw.
    """

    least_share: float = 0.01
    copy_correlation: float = 0.95
    most_rows: int = 2_000
    least_rows: int = 50
    seed: int = 7


@dataclass(frozen=True)
class ShapReport:
    """What a model lives on.

    Attributes
    ----------
    features : tuple of str
        In the model's order.
    top_features : tuple of str
        What to keep, the largest share first: of each group that matters in some regime the strongest member.
    noise_features : tuple of str
        Members of groups below the least share in every regime that was judged.
    copies : tuple of str
        The other members of the groups that matter.
    groups : tuple of tuple of str
        Features that move together, strongest member first.
    shares : DataFrame
        ``regime, feature, share, group, group_share, kept, worth, rows``. ``share`` is mean |phi| over the
        sum of all features'; ``group_share`` that of the groups' summed phi; ``worth`` the correlation of phi
        with the outcome, null without variation: a feature with a share but no worth was overfitted.
    values : DataFrame
        ``symbol, ts`` (where given), ``row`` (position in X), ``regime, base_value`` and phi per feature.
    base_value : float
        Mean output that phi is counted from.
    unjudged : tuple of str
        Regimes with too few rows.
    semantics : str
        See `engine.features.attribution.Attribution`.
    """

    features: tuple[str, ...]
    top_features: tuple[str, ...]
    noise_features: tuple[str, ...]
    copies: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    shares: pl.DataFrame
    values: pl.DataFrame
    base_value: float
    unjudged: tuple[str, ...]
    semantics: Semantics


class SHAPAnalyzer:
    """Judge features by their share of the Shapley values, regime by regime.

    A share does not depend on the output's unit, and a feature that works in PANIC alone is not drowned by
    the other regimes: one regime is enough to be kept. Copies of one signal are judged by their sum, since
    each on its own can be small.

    Parameters
    ----------
    config : ShapConfig, optional
        Settings.
    background : DataFrame or ndarray, optional
        Rows of the training window, needed for models that are not made of trees.
    background_regime : sequence of str, optional
        Regime of each: rows are then explained against the background of their own regime.
    """

    def __init__(
        self,
        config: ShapConfig | None = None,
        background: pl.DataFrame | ArrayLike | None = None,
        background_regime: Sequence[str | None] | None = None,
    ) -> None:
        self.config = config or ShapConfig()
        self._background = background
        self._background_regime = None if background_regime is None else _names(background_regime)

    def analyze_features(
        self,
        model: Any,
        X: pl.DataFrame | ArrayLike,
        y: ArrayLike,
        regime: Sequence[str | None],
    ) -> ShapReport:
        """Explain rows and judge the features.

        Parameters
        ----------
        model
            As `engine.features.attribution.attribute` takes it. If it names its ``features``, those are
            explained; otherwise all columns of `X` except ``symbol`` and ``ts``.
        X : DataFrame or ndarray [n, d]
            Rows the model was not fitted on: in-sample values reward overfitting.
        y : array_like [n]
            Outcome of each row, NaN where unknown; a number or 0 and 1.
        regime : sequence of str [n]
            Filtered regime of each row; None where unknown.

        Returns
        -------
        ShapReport

        Raises
        ------
        DataError
            If a feature is missing or the lengths differ.
        NotEnoughDataError
            If no regime has enough rows.
        """
        frame = X if isinstance(X, pl.DataFrame) else pl.from_numpy(np.asarray(X, dtype=np.float64))
        features = tuple(getattr(model, "features", None) or (c for c in frame.columns if c not in _KEYS))
        names = _names(regime)
        outcome = np.asarray(y, dtype=np.float64)
        if not len(frame) == len(outcome) == len(names):
            raise DataError(f"{len(frame)} rows, {len(outcome)} outcomes and {len(names)} regimes must agree")
        rows = self._sample(names)
        names, outcome, frame = names[rows], outcome[rows], frame[rows]
        judged = [name for name in REGIMES if (names == name).sum() >= self.config.least_rows]
        if not judged:
            raise NotEnoughDataError(
                f"no regime has {self.config.least_rows} rows among {len(rows)}; give more out-of-sample rows"
            )
        x = _matrix(frame, features)
        explained = self._attribute(model, x, names, features)
        groups = copies(x, explained.values, self.config.copy_correlation)
        shares = pl.concat(
            regime_shares(name, explained.values[names == name], outcome[names == name], features, groups)
            for name in judged
        )
        judgement = verdict(shares, features, groups, self.config.least_share)
        return ShapReport(
            features=features,
            **judgement,
            groups=tuple(tuple(features[i] for i in group) for group in groups),
            shares=shares.with_columns(kept=pl.col("feature").is_in(judgement["top_features"])),
            values=pl.DataFrame(
                [
                    *(frame[name] for name in _KEYS if name in frame.columns),
                    pl.Series("row", rows),
                    pl.Series("regime", [name or None for name in names.tolist()], dtype=pl.String),
                    pl.Series("base_value", explained.base),
                    *(pl.Series(name, explained.values[:, i]) for i, name in enumerate(features)),
                ]
            ),
            base_value=float(explained.base.mean()),
            unjudged=tuple(name for name in REGIMES if name not in judged),
            semantics=explained.semantics,
        )

    def _sample(self, names: NDArray[np.str_]) -> NDArray[np.int64]:
        """Rows to explain, in order: at most `most_rows` of each regime."""
        rng = np.random.default_rng(self.config.seed)
        chosen = []
        for name in np.unique(names):
            rows = np.flatnonzero(names == name)
            if len(rows) > self.config.most_rows:
                rows = rng.choice(rows, self.config.most_rows, replace=False)
            chosen.append(rows)
        return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)

    def _attribute(
        self, model: Any, x: Floats, names: NDArray[np.str_], features: tuple[str, ...]
    ) -> Attribution:
        if self._background is None:
            return attribute(model, x, seed=self.config.seed)
        frame = self._background
        background = _matrix(
            frame if isinstance(frame, pl.DataFrame) else pl.from_numpy(np.asarray(frame, dtype=np.float64)),
            features,
        )
        if self._background_regime is None:
            return attribute(model, x, background, self.config.seed)
        values, base = np.empty_like(x), np.empty(len(x))
        for name in np.unique(names):
            own, here = background[self._background_regime == name], names == name
            enough = len(own) >= self.config.least_rows
            part = attribute(model, x[here], own if enough else background, self.config.seed)
            values[here], base[here] = part.values, part.base
        return Attribution(values, base, part.semantics)


def _names(regime: Sequence[str | None]) -> NDArray[np.str_]:
    """Regimes as an array of text, empty where unknown."""
    return np.array([name or "" for name in regime], dtype=np.str_)


def _matrix(frame: pl.DataFrame, features: tuple[str, ...]) -> Floats:
    missing = [name for name in features if name not in frame.columns]
    if missing:
        raise DataError(f"missing; the model needs it, the frame has {frame.columns}", column=missing[0])
    return frame.select(pl.col(features).cast(pl.Float64)).to_numpy()
