"""Probability of one kind of transition: a linear score of the features, calibrated on later rows.

Few transitions are independent: labels overlap in time, and symbols change their state together. Both fits
therefore count each row as what it adds, the inverse of the rows per independent outcome, and shrink.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from engine.regimes.names import REGIMES
from engine.regimes.transition_features import TRANSITION_FEATURES

__all__ = ["LinearScore", "Recalibration", "Sources", "fit_recalibration", "fit_score", "usable_sources"]

Floats = NDArray[np.float64]

_OWN = "regime"
_FROM_CANDLES = (_OWN, "change points", "volatility", "correlation")
# Known more rarely than this in training, a source has taught nothing; missing more rarely, it has not taught
# what it means that it is missing.
_RARE = 0.01
_LARGEST = 4.0


@dataclass(frozen=True)
class Sources:
    """What a model reads.

    Parameters
    ----------
    required : tuple of str
        Sources without which the risk is unknown: those made of candles, if they were practically always
        known. A bar without them is unlike any that was learned from.
    optional : tuple of str
        All others, which come from outside and may fail any day. Where one is missing, its features are taken
        to be at their usual values, and an indicator adds what it meant in training that it was missing.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...]

    @property
    def features(self) -> tuple[str, ...]:
        """All features, those of the regime's own course first."""
        return tuple(name for source in self.required + self.optional for name in TRANSITION_FEATURES[source])


def usable_sources(rows: pl.DataFrame) -> Sources:
    """Sort the sources by how often they are known in the rows to be learned from."""
    known = {
        source: float(rows.select(pl.col(names[0]).is_not_null().mean()).item() or 0.0)
        for source, names in TRANSITION_FEATURES.items()
    }
    required = tuple(source for source in _FROM_CANDLES if source == _OWN or known[source] >= 1.0 - _RARE)
    return Sources(required, tuple(s for s, share in known.items() if s not in required and share >= _RARE))


@dataclass(frozen=True)
class LinearScore:
    """Log-odds of a transition before calibration.

    Parameters
    ----------
    sources : Sources
        What is read.
    centre, spread : ndarray, shape (features,)
        Median and robust standard deviation of each feature.
    coefficients : ndarray
        Of the present regime's indicators, the features and the indicators of what is missing.
    intercept : float
    """

    sources: Sources
    centre: Floats
    spread: Floats
    coefficients: Floats
    intercept: float

    def __call__(self, rows: pl.DataFrame) -> Floats:
        """Score of each row; NaN where a required source is missing."""
        score = _design(rows, self.sources, self.centre, self.spread) @ self.coefficients + self.intercept
        required = [TRANSITION_FEATURES[source][0] for source in self.sources.required]
        known = rows.select(pl.all_horizontal(pl.col("regime", *required).is_not_null())).to_series()
        return np.where(known.to_numpy(), score, np.nan)

    def to_arrays(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Numbers, and a JSON-able description; `from_arrays` restores the score exactly."""
        arrays = {
            "centre": self.centre,
            "spread": self.spread,
            "coefficients": self.coefficients,
            "intercept": np.array(self.intercept),
        }
        return arrays, {name: list(sources) for name, sources in asdict(self.sources).items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> LinearScore:
        """Restore what `to_arrays` gave."""
        sources = Sources(tuple(meta["required"]), tuple(meta["optional"]))
        return cls(
            sources,
            np.array(arrays["centre"]),
            np.array(arrays["spread"]),
            np.array(arrays["coefficients"]),
            float(arrays["intercept"]),
        )


def fit_score(
    rows: pl.DataFrame, outcome: str, sources: Sources, weight: float, warning_prior: float
) -> LinearScore:
    """Fit a penalised logistic regression on robustly scaled features.

    Parameters
    ----------
    rows : DataFrame
        Features, ``regime`` and the outcome, without nulls in the outcome.
    outcome : str
        Boolean column.
    sources : Sources
        What to read.
    weight : float
        What each row counts.
    warning_prior : float
        Prior standard deviation of the coefficients beyond the regime's own course, which have 1: what is
        only believed to warn has to prove it over many transitions.

    Returns
    -------
    LinearScore
        Constant where all outcomes are alike.
    """
    values = rows.select(sources.features).to_numpy().astype(np.float64)
    centre, spread = _robust_scale(values)
    prior = np.full(len(REGIMES) + len(sources.features) + len(sources.optional), warning_prior)
    prior[: len(REGIMES) + len(TRANSITION_FEATURES[_OWN])] = 1.0
    happened = rows[outcome].to_numpy().astype(bool)
    if happened.all() or not happened.any():
        return LinearScore(sources, centre, spread, np.zeros_like(prior), 0.0)
    design = _design(rows, sources, centre, spread) * prior
    fitted = LogisticRegression(max_iter=500).fit(
        design, happened, sample_weight=np.full(happened.size, weight)
    )
    return LinearScore(sources, centre, spread, fitted.coef_[0] * prior, float(fitted.intercept_[0]))


def _robust_scale(values: Floats) -> tuple[Floats, Floats]:
    """Median and interquartile range as a standard deviation, of what is known."""
    low, centre, high = np.nanquantile(values, [0.25, 0.5, 0.75], axis=0)
    spread = (high - low) / 1.349
    return centre, np.where(spread > 0.0, spread, np.maximum(np.nanstd(values, axis=0), 1e-9))


def _design(rows: pl.DataFrame, sources: Sources, centre: Floats, spread: Floats) -> Floats:
    """One row each: indicators of the present regime, scaled features, indicators of what is missing."""
    regime, absent = pl.col("regime"), [pl.col(TRANSITION_FEATURES[name][0]) for name in sources.optional]
    present = rows.select((regime == name).fill_null(value=False).alias(name) for name in REGIMES)
    scaled = (rows.select(sources.features).to_numpy().astype(np.float64) - centre) / spread
    missing = [rows.select(feature.is_null()).to_series().to_numpy() for feature in absent]
    return np.column_stack(
        [present.to_numpy(), np.nan_to_num(np.clip(scaled, -_LARGEST, _LARGEST), nan=0.0), *missing]
    )


@dataclass(frozen=True)
class Recalibration:
    """Probability from a score: ``expit(slope * score + level)``, the slope not negative.

    Cox (1958), Platt (1999). Two numbers are all that the independent transitions of a calibration window can
    teach: `benchmarks.transitions` compares with isotonic regression and Venn-Abers probabilities.
    """

    slope: float
    level: float

    def __call__(self, score: Floats) -> Floats:
        """Probability of each score; NaN at NaN."""
        return expit(self.slope * score + self.level)


def fit_recalibration(score: Floats, happened: NDArray[np.bool_], weight: float) -> Recalibration:
    """Fit on rows that the score was not fitted on.

    A score that orders them the wrong way round, or says the same of all, is not believed: every probability
    is then the base rate.

    Parameters
    ----------
    score : ndarray, shape (n,)
        Finite.
    happened : ndarray of bool, shape (n,)
    weight : float
        What each row counts.
    """
    hits, trials = weight * float(happened.sum()), weight * happened.size
    constant = Recalibration(0.0, float(logit((hits + 0.5) / (trials + 1.0))))
    if happened.all() or not happened.any() or np.ptp(score) == 0.0:
        return constant
    fitted = LogisticRegression().fit(score[:, None], happened, sample_weight=np.full(happened.size, weight))
    slope = float(fitted.coef_[0, 0])
    return Recalibration(slope, float(fitted.intercept_[0])) if slope > 0.0 else constant
