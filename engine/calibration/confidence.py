"""From a model's raw confidence to a lower bound of the probability that it is right.

Coverage of a prediction *set* says little about the accuracy of the predicted *label*, so a confidence is
calibrated on its own: within a regime, outcomes are put in bins of ascending raw confidence, neighbours
that violate monotonicity are pooled (isotonic regression, Ayer et al. 1955; Barlow et al. 1972), and each
pool states the one-sided Clopper-Pearson lower bound of its accuracy. A stated 0.90 therefore errs on the
low side, and the less evidence there is, the lower it is.

Labels that overlap in time, or that share a market move across symbols, are not independent. With `overlap`
rows carrying one independent outcome, counts enter the bound divided by it, ``n_eff = n / overlap``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from engine.calibration.adaptive import AdaptiveThresholds
from engine.calibration.binomial import clopper_pearson_lower
from engine.calibration.categories import Regimes, category_codes, regime_series
from engine.errors import NotEnoughDataError

__all__ = ["CalibratedRows", "ConfidenceCalibration", "ConfidenceMap", "fit_confidence_map"]

Floats = NDArray[np.float64]

_EFFECTIVE_PER_BIN = 30


@dataclass(frozen=True)
class ConfidenceMap:
    """Non-decreasing step function from raw confidence to a lower bound of the accuracy, in one regime.

    Parameters
    ----------
    edges : ndarray, shape (steps,)
        Lowest raw confidence of each step, ascending.
    bound : ndarray, shape (steps,)
        Lower bound of P(correct) on the step.
    base : float
        Lower bound of the accuracy over all raw confidences.
    effective : float
        Effective number of outcomes behind the map.
    """

    edges: Floats
    bound: Floats
    base: float
    effective: float

    def __call__(self, raw: Floats) -> Floats:
        """Bound at each raw confidence; NaN at NaN.

        Below everything seen in calibration monotonicity gives no lower bound: there the answer is at most
        `raw` itself.
        """
        step = np.searchsorted(self.edges, raw, side="right") - 1
        bound = self.bound[np.maximum(step, 0)]
        bound = np.where(step < 0, np.minimum(bound, raw), bound)
        return np.where(np.isnan(raw), np.nan, bound)

    def to_arrays(self) -> dict[str, NDArray]:
        """Return the map as arrays; `from_arrays` restores it exactly."""
        return {name: np.asarray(value) for name, value in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> ConfidenceMap:
        """Restore what `to_arrays` gave."""
        return cls(arrays["edges"], arrays["bound"], arrays["base"].item(), arrays["effective"].item())


def fit_confidence_map(
    raw: Floats, correct: NDArray[np.bool_], *, overlap: float = 1.0, confidence: float = 0.95
) -> ConfidenceMap:
    """Fit the map of one regime on outcomes the model was not trained on.

    Parameters
    ----------
    raw : ndarray, shape (n,)
        Raw confidences, finite.
    correct : ndarray of bool, shape (n,)
        Whether the prediction was right.
    overlap : float
        Rows per independent outcome, at least 1.
    confidence : float
        One-sided confidence of each bound.

    Raises
    ------
    NotEnoughDataError
        Without a single row.
    """
    n = raw.size
    if n == 0:
        raise NotEnoughDataError("no outcomes to calibrate on")
    order = np.argsort(raw, kind="stable")
    raw, right = raw[order], correct[order].astype(np.float64)
    first = _bin_starts(raw, n / overlap)
    size = np.diff(np.append(first, n)).astype(np.float64)
    won = np.add.reduceat(right, first)
    accuracy = isotonic_regression(won / size, weights=size).x
    pool = np.flatnonzero(np.append(True, np.diff(accuracy) > 0))
    lower = clopper_pearson_lower(
        np.add.reduceat(won, pool) / overlap, np.add.reduceat(size, pool) / overlap, confidence
    )
    return ConfidenceMap(
        edges=raw[first[pool]],
        # accuracy ascends from pool to pool, so a bound below holds above as well
        bound=np.maximum.accumulate(lower),
        base=float(clopper_pearson_lower(right.sum() / overlap, n / overlap, confidence)),
        effective=n / overlap,
    )


def _bin_starts(ascending: Floats, effective: float) -> NDArray[np.int64]:
    """First row of each bin: about equally many rows, equal raw confidences never parted.

    The number of bins grows with the cube root of the evidence, which balances the width of a bin against
    the width of its bound.
    """
    bins = int(max(min(effective / _EFFECTIVE_PER_BIN, 2.0 / 3.0 * np.cbrt(effective)), 1.0))
    cut = (np.arange(bins) * ascending.size) // bins
    return np.unique(np.searchsorted(ascending, ascending[cut], side="left"))


@dataclass(frozen=True)
class CalibratedRows:
    """Calibrated confidences of many rows.

    Parameters
    ----------
    confidence : ndarray, shape (n,)
        Lower bound of the probability of being right; NaN where nothing can be said.
    single : ndarray of bool, shape (n,)
        Whether the prediction set at the coverage level holds the prediction alone.
    known : ndarray of bool, shape (n,)
        False where input was missing, or the regime has too few outcomes for the coverage level.
    """

    confidence: Floats
    single: NDArray[np.bool_]
    known: NDArray[np.bool_]


@dataclass(frozen=True)
class ConfidenceCalibration:
    """A map of confidences and a threshold of prediction sets for each regime in `categories`.

    `least` is the effective number of outcomes below which a regime states the least of all regimes.
    """

    categories: tuple[str, ...]
    maps: tuple[ConfidenceMap, ...]
    sets: AdaptiveThresholds
    least: float

    @classmethod
    def fit(
        cls,
        raw: Floats,
        correct: NDArray[np.bool_],
        regime: Regimes,
        *,
        level: float,
        confidence: float,
        overlap: float,
        least: float,
    ) -> ConfidenceCalibration:
        """Calibrate on outcomes; rows with NaN or without a regime are left out."""
        regimes = regime_series(regime)
        usable = ~np.isnan(raw) & regimes.is_not_null().to_numpy()
        raw, correct, regimes = raw[usable], correct[usable], regimes.filter(usable)
        categories = tuple(sorted(regimes.unique()))
        groups = category_codes(regimes, categories)
        maps = tuple(
            fit_confidence_map(raw[groups == g], correct[groups == g], overlap=overlap, confidence=confidence)
            for g in range(len(categories))
        )
        sets = AdaptiveThresholds.start(
            # nonconformity of the true label: one minus the probability that the model gave it
            np.where(correct, 1.0 - raw, raw),
            groups,
            len(categories),
            level=level,
            gamma=0.0,
            window=None,
            overlap=overlap,
            least=round(least * overlap),
        )
        return cls(categories, maps, sets, least)

    def __call__(self, raw: Floats, regime: Regimes) -> CalibratedRows:
        """Calibrate predictions; raw confidences outside [0, 1] count as missing."""
        raw = np.where((raw >= 0.0) & (raw <= 1.0), raw, np.nan)
        groups = category_codes(regime, self.categories)
        threshold = self.sets.thresholds(groups)
        known = (groups >= 0) & np.isfinite(threshold) & ~np.isnan(raw)
        return CalibratedRows(self._confidence(raw, groups), known & (raw > threshold), known)

    def _confidence(self, raw: Floats, groups: NDArray[np.int64]) -> Floats:
        """Own bound of a regime; where evidence is thin the least of all; elsewhere at most the base."""
        if not self.maps:
            return np.full(raw.size, np.nan)
        bounds = np.stack([accuracy(raw) for accuracy in self.maps])
        least = bounds.min(axis=0)
        confidence = np.minimum(least, min(accuracy.base for accuracy in self.maps))
        for g, accuracy in enumerate(self.maps):
            here = groups == g
            confidence[here] = (bounds[g] if accuracy.effective >= self.least else least)[here]
        return confidence
