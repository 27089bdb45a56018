"""ConformalPredictor: intervals that cover, and confidences that hold, in each regime and over time.

Intervals adapt (see `engine.calibration.adaptive`), because a calibration that is frozen keeps its average
while whole years go wrong. Confidences are lower bounds of accuracy (see `engine.calibration.confidence`).
What is not known is answered with care: a regime never calibrated, a NaN or a None has the status
``unknown``, a confidence of None, and an interval at least as wide as that of every regime. A market that has
just changed is not known either: from a probability of `ConformalConfig.alarm` on, intervals widen at once,
and confidences are unknown until enough outcomes of decisions after the change are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.calibration.adaptive import AdaptiveThresholds
from engine.calibration.categories import Regimes
from engine.calibration.changepoints import doubt
from engine.calibration.confidence import CalibratedRows, ConfidenceCalibration, ConfidenceMap
from engine.calibration.config import ConformalConfig
from engine.calibration.intervals import IntervalCalibration, Intervals
from engine.calibration.venn_abers import VennAbers
from engine.errors import NotEnoughDataError

__all__ = ["Calibrated", "ConformalPredictor"]

Status = Literal["ok", "unknown"]


@dataclass(frozen=True)
class Calibrated:
    """One calibrated prediction.

    Parameters
    ----------
    calibrated_confidence : float or None
        Lower bound of the probability that the prediction is right; None if nothing can be said.
    probabilities : tuple of float or None
        Venn-Abers probabilities p0 and p1 that the prediction is right; None likewise.
    prediction_set : tuple of int
        Labels that cannot be ruled out at the coverage level, the prediction among them.
    interval : tuple of float or None
        Conformal interval, where quantiles were given.
    status : str
        ``ok``, or ``unknown`` for missing input, for a regime with too few outcomes for the coverage level
        and after a change point.
    """

    calibrated_confidence: float | None
    probabilities: tuple[float, float] | None
    prediction_set: tuple[int, ...]
    interval: tuple[float, float] | None
    status: Status


class ConformalPredictor:
    """Calibrates intervals and confidences per regime to a stated coverage.

    Parameters
    ----------
    coverage_level : float
        Share of outcomes that intervals and sets must cover, between 0 and 1.
    config : ConformalConfig, optional
    labels : sequence of int
        All labels a prediction can take.
    """

    def __init__(
        self,
        coverage_level: float = 0.90,
        config: ConformalConfig | None = None,
        labels: Sequence[int] = (-1, 1),
    ) -> None:
        if not 0.0 < coverage_level < 1.0:
            raise ValueError(f"coverage_level={coverage_level} must lie in (0, 1)")
        self.coverage_level = coverage_level
        self.config = config or ConformalConfig()
        self.labels = tuple(labels)
        self._intervals: IntervalCalibration | None = None
        self._confidence: ConfidenceCalibration | None = None

    def fit_intervals(
        self,
        lower: ArrayLike,
        upper: ArrayLike,
        outcome: ArrayLike,
        regime: Regimes,
        scale: ArrayLike = 1.0,
        decided_at: ArrayLike | None = None,
    ) -> ConformalPredictor:
        """Calibrate intervals on rows, oldest first, that the model was not trained on.

        Parameters
        ----------
        lower, upper : array_like, shape (n,)
            The model's quantiles, or twice its point forecast.
        outcome : array_like, shape (n,)
            What happened, in the unit of the quantiles; rows with NaN anywhere are left out.
        regime : sequence of str or None, shape (n,)
            Category known at the decision; rows without one are left out.
        scale : array_like
            Expected size of an error at each row, such as the forecast volatility, so that rows of
            different volatility share one threshold.
        decided_at : array_like of int, optional
            Clock of the decisions, which tells the outcomes before a change point from those after it.
            Without it all are older than any change.

        Raises
        ------
        NotEnoughDataError
            If no row is complete.
        """
        self._intervals = IntervalCalibration.fit(
            lower,
            upper,
            outcome,
            regime,
            scale,
            level=self.coverage_level,
            config=self.config,
            decided_at=decided_at,
        )
        if not self._intervals.categories:
            raise NotEnoughDataError("no row has quantiles, an outcome and a regime")
        return self

    def intervals(
        self,
        lower: ArrayLike,
        upper: ArrayLike,
        regime: Regimes,
        scale: ArrayLike = 1.0,
        p_changepoint: ArrayLike = 0.0,
        changed_at: ArrayLike | None = None,
    ) -> Intervals:
        """Conformal intervals of new rows with the thresholds in force now.

        Parameters
        ----------
        p_changepoint : array_like
            Probability that the market changed after the outcomes that were learned; NaN counts as the alarm.
        changed_at : array_like of int, optional
            Clock of that change: outcomes of later decisions count in full. By default there are none.
        lower, upper, regime, scale :
            As in `fit_intervals`.
        """
        rows = np.size(lower)
        since = None if changed_at is None else np.broadcast_to(np.asarray(changed_at, np.int64), (rows,))
        return self._fitted_intervals()(lower, upper, regime, scale, self._doubt(p_changepoint, rows), since)

    def walk_intervals(
        self,
        lower: ArrayLike,
        upper: ArrayLike,
        outcome: ArrayLike,
        regime: Regimes,
        decided_at: ArrayLike,
        known_at: ArrayLike,
        scale: ArrayLike = 1.0,
        p_changepoint: ArrayLike = 0.0,
        changed_at: ArrayLike | None = None,
    ) -> Intervals:
        """Intervals of a stretch of time, each from what was known at its decision, adapting on the way.

        Afterwards every outcome given has been learned, and the predictor is ready for the next stretch.
        Without `ConformalConfig.steps` nothing is learned.

        Parameters
        ----------
        decided_at, known_at : array_like of int, shape (n,)
            Clock of each decision, ascending, and of its outcome, which serves decisions from `known_at`
            on. A label of horizon h decided at bar t is known to the decision at bar t + h.
        changed_at : array_like of int, shape (n,), optional
            Clock of the change that `p_changepoint` speaks of, by default the decision's own; see
            `engine.calibration.changepoints.remember_changes`.
        lower, upper, outcome, regime, scale, p_changepoint :
            As in `intervals`; an outcome of NaN is not known yet and teaches nothing.
        """
        fitted = self._fitted_intervals()
        doubted = self._doubt(p_changepoint, np.size(lower))
        since = np.asarray(decided_at if changed_at is None else changed_at, np.int64)
        if not self.config.steps:
            return fitted(lower, upper, regime, scale, doubted, since)
        return fitted.walk(lower, upper, outcome, regime, scale, decided_at, known_at, doubted, since)

    def learn_outcomes(
        self,
        lower: ArrayLike,
        upper: ArrayLike,
        outcome: ArrayLike,
        regime: Regimes,
        scale: ArrayLike = 1.0,
        *,
        decided_at: ArrayLike,
    ) -> None:
        """Adapt to outcomes, oldest first, of decisions whose intervals `intervals` gave out.

        `lower` and `upper` are the model's quantiles again. Where outcomes come later than the next decision,
        use `walk_intervals`, which judges each step by what was in force at the decision.
        """
        if self.config.steps:
            clock = np.asarray(decided_at, np.int64)
            self._fitted_intervals().learn(lower, upper, outcome, regime, scale, clock)

    def _doubt(self, p_changepoint: ArrayLike, rows: int) -> NDArray[np.float64]:
        return doubt(p_changepoint, self.config.alarm, rows)

    def _fitted_intervals(self) -> IntervalCalibration:
        if self._intervals is None:
            raise ValueError("intervals are not calibrated; call fit_intervals first")
        return self._intervals

    def calibrate(
        self,
        raw_confidence: ArrayLike,
        correct: ArrayLike,
        regime: Regimes,
        *,
        weight: ArrayLike = 1.0,
        decided_at: ArrayLike | None = None,
    ) -> ConformalPredictor:
        """Calibrate confidences on predictions that the model was not trained on.

        Parameters
        ----------
        raw_confidence : array_like, shape (n,)
            In [0, 1]; rows with NaN are left out.
        correct : array_like of bool, shape (n,)
            Whether the prediction was right.
        regime : sequence of str or None, shape (n,)
            Category known at the decision; rows without one are left out.
        weight : array_like
            What each outcome counts, between 0 and 1.
        decided_at : array_like of int, optional
            As in `fit_intervals`.

        Raises
        ------
        NotEnoughDataError
            If no row is complete.
        """
        raw = np.asarray(raw_confidence, dtype=np.float64)
        if ((raw < 0.0) | (raw > 1.0)).any():
            raise ValueError("raw_confidence must lie in [0, 1]")
        self._confidence = ConfidenceCalibration.fit(
            raw,
            np.asarray(correct, dtype=bool),
            regime,
            level=self.coverage_level,
            config=self.config,
            weight=weight,
            decided_at=None if decided_at is None else np.asarray(decided_at, np.int64),
        )
        if not self._confidence.categories:
            raise NotEnoughDataError("no row has a raw confidence and a regime")
        return self

    def calibrate_rows(
        self,
        raw_confidence: ArrayLike,
        regime: Regimes,
        p_changepoint: ArrayLike = 0.0,
        changed_at: ArrayLike | None = None,
    ) -> CalibratedRows:
        """Calibrate many predictions; the vectorised form of `calibrate_confidence`."""
        if self._confidence is None:
            raise ValueError("confidences are not calibrated; call calibrate first")
        raw = np.asarray(raw_confidence, dtype=np.float64)
        since = None if changed_at is None else np.broadcast_to(np.asarray(changed_at, np.int64), raw.shape)
        return self._confidence(raw, regime, self._doubt(p_changepoint, raw.size), since)

    def calibrate_confidence(
        self,
        raw_confidence: float | None,
        prediction: int,
        regime: str | None,
        quantiles: tuple[float, float] | None = None,
        scale: float = 1.0,
        p_changepoint: float | None = 0.0,
        changed_at: int | None = None,
    ) -> Calibrated:
        """Calibrate one prediction.

        Parameters
        ----------
        raw_confidence : float or None
            What the model states for `prediction`.
        prediction : int
            The label predicted.
        regime : str or None
            Regime known now.
        quantiles : tuple of float, optional
            The model's lower and upper quantile, where an interval is wanted too.
        scale : float
            As in `fit_intervals`.
        p_changepoint : float or None
            Probability that the market changed after what was calibrated on; None, not known, is an alarm.
        changed_at : int, optional
            As in `intervals`.
        """
        p_change = np.nan if p_changepoint is None else p_changepoint
        raw = [np.nan if raw_confidence is None else raw_confidence]
        rows = self.calibrate_rows(raw, [regime], p_change, changed_at)
        interval = None
        if quantiles is not None:
            wide = self.intervals([quantiles[0]], [quantiles[1]], [regime], scale, p_change, changed_at)
            interval = (float(wide.lower[0]), float(wide.upper[0]))
        known = bool(rows.known[0])
        return Calibrated(
            calibrated_confidence=float(rows.confidence[0]) if known else None,
            probabilities=(float(rows.p0[0]), float(rows.p1[0])) if known else None,
            prediction_set=(prediction,) if rows.single[0] else tuple(sorted({prediction, *self.labels})),
            interval=interval,
            status="ok" if known else "unknown",
        )

    def to_arrays(self) -> tuple[dict[str, NDArray], dict[str, Any]]:
        """Everything learned, as arrays and a JSON-able description; `from_arrays` restores it exactly."""
        arrays: dict[str, NDArray] = {}
        meta: dict[str, Any] = {
            "coverage_level": self.coverage_level,
            "config": asdict(self.config),
            "labels": list(self.labels),
        }
        if self._intervals is not None:
            meta["interval_regimes"] = list(self._intervals.categories)
            arrays |= _prefixed("intervals", self._intervals.thresholds.to_arrays())
        if self._confidence is not None:
            meta["confidence_regimes"] = list(self._confidence.categories)
            arrays |= _prefixed("sets", self._confidence.sets.to_arrays())
            for g, name in enumerate(self._confidence.categories):
                arrays |= _prefixed(f"confidence.{name}", self._confidence.maps[g].to_arrays())
                arrays |= _prefixed(f"venn_abers.{name}", self._confidence.venn_abers[g].to_arrays())
        return arrays, meta

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray], meta: Mapping[str, Any]) -> ConformalPredictor:
        """Restore a predictor from what `to_arrays` gave."""
        config = ConformalConfig(**meta["config"])
        restored = cls(meta["coverage_level"], config, meta["labels"])
        if "interval_regimes" in meta:
            thresholds = AdaptiveThresholds.from_arrays(_under("intervals", arrays))
            restored._intervals = IntervalCalibration(tuple(meta["interval_regimes"]), thresholds)
        if "confidence_regimes" in meta:
            names = tuple(meta["confidence_regimes"])
            maps = tuple(ConfidenceMap.from_arrays(_under(f"confidence.{name}", arrays)) for name in names)
            pairs = tuple(VennAbers.from_arrays(_under(f"venn_abers.{name}", arrays)) for name in names)
            sets = AdaptiveThresholds.from_arrays(_under("sets", arrays))
            restored._confidence = ConfidenceCalibration(names, maps, pairs, sets, config.least)
        return restored


def _prefixed(prefix: str, arrays: Mapping[str, NDArray]) -> dict[str, NDArray]:
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def _under(prefix: str, arrays: Mapping[str, NDArray]) -> dict[str, NDArray]:
    return {
        name.removeprefix(f"{prefix}."): array
        for name, array in arrays.items()
        if name.startswith(f"{prefix}.")
    }
