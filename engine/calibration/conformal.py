"""ConformalPredictor: intervals that cover, and confidences that hold, in each regime and over time.

Intervals adapt (see `engine.calibration.adaptive`), because a calibration that is frozen keeps its average
while whole years go wrong. Confidences are lower bounds of accuracy (see `engine.calibration.confidence`).
What is not known is answered with care: a regime never calibrated, a NaN or a None has the status
``unknown``, an interval at least as wide as that of every regime, and a confidence of None or at most the
base rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.calibration.adaptive import AdaptiveThresholds
from engine.calibration.categories import Regimes
from engine.calibration.confidence import CalibratedRows, ConfidenceCalibration, ConfidenceMap
from engine.calibration.config import ConformalConfig
from engine.calibration.intervals import IntervalCalibration, Intervals
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
    prediction_set : tuple of int
        Labels that cannot be ruled out at the coverage level, the prediction among them.
    interval : tuple of float or None
        Conformal interval, where quantiles were given.
    status : str
        ``ok``, or ``unknown`` for missing input or a regime with too few outcomes for the coverage level.
    """

    calibrated_confidence: float | None
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
        self, lower: ArrayLike, upper: ArrayLike, outcome: ArrayLike, regime: Regimes, scale: ArrayLike = 1.0
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

        Raises
        ------
        NotEnoughDataError
            If no row is complete.
        """
        config = self.config
        self._intervals = IntervalCalibration.fit(
            lower,
            upper,
            outcome,
            regime,
            scale,
            level=self.coverage_level,
            gamma=config.gamma,
            window=config.window,
            overlap=config.overlap,
            least=config.least,
        )
        if not self._intervals.categories:
            raise NotEnoughDataError("no row has quantiles, an outcome and a regime")
        return self

    def intervals(
        self, lower: ArrayLike, upper: ArrayLike, regime: Regimes, scale: ArrayLike = 1.0
    ) -> Intervals:
        """Conformal intervals of new rows with the thresholds in force now."""
        return self._fitted_intervals()(lower, upper, regime, scale)

    def walk_intervals(
        self,
        lower: ArrayLike,
        upper: ArrayLike,
        outcome: ArrayLike,
        regime: Regimes,
        decided_at: ArrayLike,
        known_at: ArrayLike,
        scale: ArrayLike = 1.0,
    ) -> Intervals:
        """Intervals of a stretch of time, each from what was known at its decision, adapting on the way.

        Afterwards every outcome given has been learned, and the predictor is ready for the next stretch.
        With ``gamma = 0`` nothing is learned.

        Parameters
        ----------
        decided_at, known_at : array_like of int, shape (n,)
            Clock of each decision, ascending, and of its outcome, which serves decisions from `known_at`
            on. A label of horizon h decided at bar t is known to the decision at bar t + h.
        lower, upper, outcome, regime, scale :
            As in `fit_intervals`; an outcome of NaN is not known yet and teaches nothing.
        """
        fitted = self._fitted_intervals()
        if self.config.gamma == 0.0:
            return fitted(lower, upper, regime, scale)
        return fitted.walk(lower, upper, outcome, regime, scale, decided_at, known_at)

    def learn_outcomes(
        self,
        lower: ArrayLike,
        upper: ArrayLike,
        outcome: ArrayLike,
        regime: Regimes,
        missed: ArrayLike,
        scale: ArrayLike = 1.0,
    ) -> None:
        """Adapt to outcomes, oldest first, whose intervals were given out earlier by `intervals`.

        `lower` and `upper` are the model's quantiles again; `missed` says whether the interval given out
        then missed the outcome.
        """
        if self.config.gamma > 0.0:
            self._fitted_intervals().learn(lower, upper, outcome, regime, scale, missed)

    def _fitted_intervals(self) -> IntervalCalibration:
        if self._intervals is None:
            raise ValueError("intervals are not calibrated; call fit_intervals first")
        return self._intervals

    def calibrate(self, raw_confidence: ArrayLike, correct: ArrayLike, regime: Regimes) -> ConformalPredictor:
        """Calibrate confidences on predictions that the model was not trained on.

        Parameters
        ----------
        raw_confidence : array_like, shape (n,)
            In [0, 1]; rows with NaN are left out.
        correct : array_like of bool, shape (n,)
            Whether the prediction was right.
        regime : sequence of str or None, shape (n,)
            Category known at the decision; rows without one are left out.

        Raises
        ------
        NotEnoughDataError
            If no row is complete.
        """
        raw = np.asarray(raw_confidence, dtype=np.float64)
        if ((raw < 0.0) | (raw > 1.0)).any():
            raise ValueError("raw_confidence must lie in [0, 1]")
        config = self.config
        self._confidence = ConfidenceCalibration.fit(
            raw,
            np.asarray(correct, dtype=bool),
            regime,
            level=self.coverage_level,
            confidence=config.bound_confidence,
            overlap=config.overlap,
            least=config.least,
        )
        if not self._confidence.categories:
            raise NotEnoughDataError("no row has a raw confidence and a regime")
        return self

    def calibrate_rows(self, raw_confidence: ArrayLike, regime: Regimes) -> CalibratedRows:
        """Calibrate many predictions; the vectorised form of `calibrate_confidence`."""
        if self._confidence is None:
            raise ValueError("confidences are not calibrated; call calibrate first")
        return self._confidence(np.asarray(raw_confidence, dtype=np.float64), regime)

    def calibrate_confidence(
        self,
        raw_confidence: float | None,
        prediction: int,
        regime: str | None,
        quantiles: tuple[float, float] | None = None,
        scale: float = 1.0,
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
        """
        rows = self.calibrate_rows([np.nan if raw_confidence is None else raw_confidence], [regime])
        confidence = float(rows.confidence[0])
        interval = None
        if quantiles is not None:
            wide = self.intervals([quantiles[0]], [quantiles[1]], [regime], scale)
            interval = (float(wide.lower[0]), float(wide.upper[0]))
        return Calibrated(
            calibrated_confidence=None if np.isnan(confidence) else confidence,
            prediction_set=(prediction,) if rows.single[0] else tuple(sorted({prediction, *self.labels})),
            interval=interval,
            status="ok" if rows.known[0] else "unknown",
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
            for name, accuracy in zip(self._confidence.categories, self._confidence.maps, strict=True):
                arrays |= _prefixed(f"confidence.{name}", accuracy.to_arrays())
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
            sets = AdaptiveThresholds.from_arrays(_under("sets", arrays))
            restored._confidence = ConfidenceCalibration(names, maps, sets, config.least)
        return restored


def _prefixed(prefix: str, arrays: Mapping[str, NDArray]) -> dict[str, NDArray]:
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def _under(prefix: str, arrays: Mapping[str, NDArray]) -> dict[str, NDArray]:
    return {
        name.removeprefix(f"{prefix}."): array
        for name, array in arrays.items()
        if name.startswith(f"{prefix}.")
    }
