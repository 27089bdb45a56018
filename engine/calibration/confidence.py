"""From a model's raw confidence to a lower bound of the probability that it is right.

Coverage of a prediction *set* says little about the accuracy of the predicted *label*, so a confidence is
calibrated on its own: within a regime, outcomes are put in bins of ascending raw confidence, neighbours
that violate monotonicity are pooled (isotonic regression, Ayer et al. 1955; Barlow et al. 1972), and each
pool states the one-sided Clopper-Pearson lower bound of its accuracy. A stated 0.90 therefore errs on the
low side, and the less evidence there is, the lower it is. Beside the bound stands the pair of Venn-Abers
probabilities, which errs on neither side.

Labels that overlap in time, or that share a market move across symbols, are not independent. With `overlap`
rows carrying one independent outcome, counts enter the bound divided by it, ``n_eff = n / overlap``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

from engine.calibration.adaptive import AdaptiveThresholds
from engine.calibration.binomial import clopper_pearson_lower
from engine.calibration.categories import Regimes, category_codes, regime_series
from engine.calibration.config import ConformalConfig
from engine.calibration.venn_abers import VennAbers, fit_venn_abers, merged
from engine.errors import NotEnoughDataError

__all__ = ["CalibratedRows", "ConfidenceCalibration", "ConfidenceMap", "fit_confidence_map"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

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
    effective : float
        Effective number of outcomes behind the map.
    """

    edges: Floats
    bound: Floats
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
        return cls(arrays["edges"], arrays["bound"], arrays["effective"].item())


def fit_confidence_map(
    raw: Floats,
    correct: NDArray[np.bool_],
    *,
    weight: ArrayLike = 1.0,
    overlap: float = 1.0,
    confidence: float = 0.95,
) -> ConfidenceMap:
    """Fit the map of one regime on outcomes the model was not trained on.

    Parameters
    ----------
    raw : ndarray, shape (n,)
        Raw confidences, finite.
    correct : ndarray of bool, shape (n,)
        Whether the prediction was right.
    weight : array_like
        What each outcome counts, above 0 and at most 1.
    overlap : float
        Rows per independent outcome, at least 1.
    confidence : float
        One-sided confidence of each bound.

    Raises
    ------
    NotEnoughDataError
        Without a single row.
    """
    if raw.size == 0:
        raise NotEnoughDataError("no outcomes to calibrate on")
    order = np.argsort(raw, kind="stable")
    counts = np.broadcast_to(np.asarray(weight, np.float64), raw.shape)[order] / overlap
    raw, right = raw[order], correct[order]
    effective = float(counts.sum())
    first = _bin_starts(raw, effective)
    size = np.add.reduceat(counts, first)
    won = np.add.reduceat(counts * right, first)
    accuracy = isotonic_regression(won / size, weights=size).x
    pool = np.flatnonzero(np.append(True, np.diff(accuracy) > 0))
    pooled = np.add.reduceat(size, pool)
    lower = clopper_pearson_lower(np.minimum(np.add.reduceat(won, pool), pooled), pooled, confidence)
    # accuracy ascends from pool to pool, so a bound below holds above as well
    return ConfidenceMap(raw[first[pool]], np.maximum.accumulate(lower), effective)


def _bin_starts(ascending: Floats, effective: float) -> Ints:
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
        Lower bound of the probability of being right; NaN where unknown.
    p0, p1 : ndarray, shape (n,)
        Venn-Abers probabilities of being right; NaN where unknown.
    single : ndarray of bool, shape (n,)
        Whether the prediction set at the coverage level holds the prediction alone.
    known : ndarray of bool, shape (n,)
        False where input was missing, where the regime has too few outcomes for the coverage level, and
        after a change point until enough new outcomes are known.
    """

    confidence: Floats
    p0: Floats
    p1: Floats
    single: NDArray[np.bool_]
    known: NDArray[np.bool_]

    @property
    def probability(self) -> Floats:
        """One Venn-Abers probability per row, see `engine.calibration.venn_abers.merged`."""
        return merged(self.p0, self.p1)


@dataclass(frozen=True)
class ConfidenceCalibration:
    """Maps of confidences and a threshold of prediction sets for each regime in `categories`.

    `least` is the effective number of outcomes below which a regime states the least of all regimes.
    """

    categories: tuple[str, ...]
    maps: tuple[ConfidenceMap, ...]
    venn_abers: tuple[VennAbers, ...]
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
        config: ConformalConfig,
        weight: ArrayLike = 1.0,
        decided_at: Ints | None = None,
    ) -> ConfidenceCalibration:
        """Calibrate on outcomes; rows with NaN, of no weight or without a regime are left out."""
        regimes = regime_series(regime)
        counts = np.broadcast_to(np.asarray(weight, np.float64), raw.shape)
        usable = ~np.isnan(raw) & (counts > 0.0) & regimes.is_not_null().to_numpy()
        raw, correct, counts, regimes = raw[usable], correct[usable], counts[usable], regimes.filter(usable)
        categories = tuple(sorted(regimes.unique()))
        groups = category_codes(regimes, categories)
        own = [groups == g for g in range(len(categories))]
        maps = tuple(
            fit_confidence_map(
                raw[rows],
                correct[rows],
                weight=counts[rows],
                overlap=config.overlap,
                confidence=config.bound_confidence,
            )
            for rows in own
        )
        venn_abers = tuple(
            fit_venn_abers(raw[rows], correct[rows], weight=counts[rows], overlap=config.overlap)
            for rows in own
        )
        sets = AdaptiveThresholds.start(
            # nonconformity of the true label: one minus the probability that the model gave it
            np.where(correct, 1.0 - raw, raw),
            groups,
            len(categories),
            level=level,
            steps=(0.0,),
            interval=config.interval,
            window=None,
            overlap=config.overlap,
            least=round(config.least * config.overlap),
            decided_at=None if decided_at is None else decided_at[usable],
        )
        return cls(categories, maps, venn_abers, sets, config.least)

    def __call__(
        self, raw: Floats, regime: Regimes, doubt: Floats | None = None, since: Ints | None = None
    ) -> CalibratedRows:
        """Calibrate predictions; raw confidences outside [0, 1] count as missing.

        `doubt` and `since` as in `AdaptiveThresholds.thresholds`: a row in doubt is unknown until `least`
        independent outcomes of later decisions in its regime have been calibrated on.
        """
        raw = np.where((raw >= 0.0) & (raw <= 1.0), raw, np.nan)
        groups = category_codes(regime, self.categories)
        threshold = self.sets.thresholds(groups, doubt, since)
        known = (groups >= 0) & np.isfinite(threshold) & ~np.isnan(raw)
        if doubt is not None:
            doubted = np.flatnonzero(doubt > 0.0)
            if since is None:
                known[doubted] = False
            else:
                known[doubted] &= self.sets.outcomes_since(groups[doubted], since[doubted]) >= self.sets.least
        confidence, p0, p1 = (np.where(known, figure, np.nan) for figure in self._figures(raw, groups))
        return CalibratedRows(confidence, p0, p1, known & (raw > threshold), known)

    def _figures(self, raw: Floats, groups: Ints) -> tuple[Floats, Floats, Floats]:
        """Bound, p0 and p1 of each row's regime; where evidence is thin the widest over all regimes."""
        if not self.maps:
            nothing = np.full(raw.size, np.nan)
            return nothing, nothing, nothing
        bounds = np.stack([accuracy(raw) for accuracy in self.maps])
        pairs = np.stack([probability(raw) for probability in self.venn_abers])
        bound, p0, p1 = bounds.min(axis=0), pairs[:, 0].min(axis=0), pairs[:, 1].max(axis=0)
        for g, accuracy in enumerate(self.maps):
            if accuracy.effective >= self.least:
                here = groups == g
                bound[here], p0[here], p1[here] = bounds[g][here], pairs[g, 0][here], pairs[g, 1][here]
        return bound, p0, p1
