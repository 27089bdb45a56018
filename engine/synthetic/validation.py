"""Validation of synthetic windows: every test must hold, at thresholds that real data set for themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.errors import DataError, NotEnoughDataError
from engine.synthetic.validation_c2st import classifier_accuracy, window_features
from engine.synthetic.validation_copies import copied_excess, distances, repeated_excess
from engine.synthetic.validation_distances import DISTANCES, margin_distance
from engine.synthetic.validation_splits import split_groups
from engine.synthetic.validation_tstr import forecast_skill
from engine.synthetic.window_generator import Floats
from engine.synthetic.windows import CHANNELS

__all__ = ["TESTS", "RealWindows", "TestResult", "ValidationReport", "validate"]

Integers = NDArray[np.int64]

SPLITS = 40
MARGIN = 1.25
LEAST_GROUPS, LEAST_WINDOWS = 12, 40

# What a failure of each test means, in words. There is a test of the margin for each channel.
TESTS: dict[str, str] = {
    "margin": "this channel has another distribution (Kolmogorov-Smirnov distance)",
    "correlation": "channels move together otherwise (largest difference of a rank correlation)",
    "clustering, lag 1": "large moves follow large moves otherwise (autocorrelation of |r| inside windows)",
    "clustering, lag 3": "large moves follow large moves otherwise (autocorrelation of |r| inside windows)",
    "leverage": "volatility answers to falls otherwise (correlation of r and later |r|)",
    "tail ratio": "extreme moves are of another size (log of 99.5 % quantile over median of |r|)",
    "window volatility": "windows differ in volatility otherwise (Kolmogorov-Smirnov distance)",
    "classifier": "trees can tell them from real ones (balanced accuracy above 0.5, grouped folds)",
    "copies": "windows lie too near to training windows (share beyond the 5 % of held-out ones)",
    "repetition": "windows lie too near to each other (share beyond the 5 % of real ones)",
    "train on synthetic": "a forecaster trained on them does worse on real windows (explained variance lost)",
}


@dataclass(frozen=True)
class TestResult:
    """One test: how far apart, and how far apart two parts of real data are at most."""

    __test__ = False  # tells pytest that this is no class of tests

    test: str
    distance: float
    threshold: float

    @property
    def passed(self) -> bool:
        """Whether the distance is within the threshold; an undefined one is not."""
        return self.distance <= self.threshold

    @property
    def detail(self) -> str:
        """What was found, in words."""
        if self.passed:
            return "no further from held-out real windows than real ones are from each other"
        return TESTS["margin" if self.test.startswith("margin") else self.test]


@dataclass(frozen=True)
class ValidationReport:
    """Results of all tests of one sample.

    Parameters
    ----------
    results : tuple of TestResult
    windows : int
        Synthetic windows judged.
    """

    results: tuple[TestResult, ...]
    windows: int

    @property
    def passed(self) -> bool:
        """Whether every test holds."""
        return all(result.passed for result in self.results)

    @property
    def failures(self) -> tuple[str, ...]:
        """Names of the tests that failed."""
        return tuple(result.test for result in self.results if not result.passed)

    def to_frame(self) -> pl.DataFrame:
        """``test, distance, threshold, passed, detail``, a row for each test."""
        return pl.DataFrame(
            [
                {
                    name: getattr(result, name)
                    for name in ("test", "distance", "threshold", "passed", "detail")
                }
                for result in self.results
            ]
        )

    def __str__(self) -> str:
        if self.passed:
            return f"all {len(self.results)} tests hold on {self.windows} windows"
        words = "; ".join(
            f"{r.test} {r.distance:.3f} > {r.threshold:.3f}: {r.detail}" for r in self.results if not r.passed
        )
        return f"{len(self.failures)} of {len(self.results)} tests fail on {self.windows} windows: {words}"


class RealWindows:
    """Real windows, and how far two samples of them are apart: what synthetic ones are held against.

    Real data are split 40 times, whole episodes at a time: into halves, one of which plays the synthetic
    sample, or into thirds where a test needs training windows too. A threshold is 1.25 times the largest
    distance found. No p-value is used: those suppose independent bars, so that they reject two samples of one
    clustered law, and every difference however small once samples are large.

    Parameters
    ----------
    train, holdout : ndarray, shape (n, length, channels), (m, length, channels)
        What generators are fitted on, and what they never see. Channel 0 is the log return.
    groups : ndarray of int, shape (n + m,)
        Episode of each window, training ones first; none may be in both.
    seed : int
    channels : tuple of str
        Names of the channels.

    Raises
    ------
    ValueError
        If shapes disagree, windows are shorter than 14 bars, or an episode is in both.
    NotEnoughDataError
        If there are fewer than 12 episodes or 40 windows on either side.
    DataError
        If a number is not finite.

    References
    ----------
    Lopez-Paz and Oquab (2017); Cont (2001); Alaa et al. (2022); Esteban et al. (2017).
    """

    def __init__(
        self,
        train: Floats,
        holdout: Floats,
        groups: Integers,
        seed: int,
        channels: tuple[str, ...] = CHANNELS,
    ) -> None:
        _check(train, holdout, groups, channels)
        self._distances: dict[str, Callable[[Floats, Floats], float]] = {
            **{f"margin, {name}": partial(margin_distance, channel=k) for k, name in enumerate(channels)},
            **DISTANCES,
        }
        self.train, self.holdout, self.seed = train, holdout, seed
        self._train_groups, self._holdout_groups = groups[: len(train)], groups[len(train) :]
        self._pool, self._groups = np.concatenate([train, holdout]), np.asarray(groups, np.int64)
        self._features = window_features(self._pool)
        self._near = distances(self._pool, self._pool, self._pool)
        rng = np.random.default_rng(seed)
        splits = [self._between_real(rng) for _ in range(SPLITS)]
        self.split_distances = {name: np.array([found[name] for found in splits]) for name in splits[0]}
        self.thresholds = {
            name: MARGIN * max(float(found.max()), 0.0) for name, found in self.split_distances.items()
        }

    def _between_real(self, rng: np.random.Generator) -> dict[str, float]:
        """Return the distances of one random split of the real windows."""
        half, other = split_groups(self._groups, (0.5, 0.5), rng)
        a, b = self._pool[half], self._pool[other]
        found = {name: distance(a, b) for name, distance in self._distances.items()}
        accuracy = classifier_accuracy(
            self._features[half],
            self._features[other],
            self._groups[half],
            self._groups[other],
            int(rng.integers(2**31)),
        )
        found["classifier"] = accuracy - 0.5
        found["repetition"] = repeated_excess(self._inside(half), self._inside(other))
        first, second, test = split_groups(self._groups, (1 / 3, 1 / 3, 1 / 3), rng)
        found["copies"] = copied_excess(self._near[np.ix_(first, second)], self._near[np.ix_(test, second)])
        skills = [forecast_skill(self._pool[part], self._pool[test]) for part in (first, second)]
        found["train on synthetic"] = abs(skills[0] - skills[1])
        return found

    def _inside(self, rows: Integers) -> Floats:
        groups = self._groups[rows]
        return np.where(groups[:, None] == groups[None, :], np.inf, self._near[np.ix_(rows, rows)])

    def judge(self, synthetic: Floats) -> ValidationReport:
        """Run every test on a synthetic sample, against the held-out windows.

        Parameters
        ----------
        synthetic : ndarray, shape (n, length, channels)
            As many windows as there are training ones: distances depend on the size of a sample.

        Raises
        ------
        ValueError
            If the shape is not that of the training windows.
        DataError
            If a number is not finite.
        """
        if synthetic.shape != self.train.shape:
            raise ValueError(
                f"synthetic windows have shape {synthetic.shape}; to be comparable they need that of the "
                f"training windows, {self.train.shape}"
            )
        if not np.isfinite(synthetic).all():
            raise DataError("a synthetic window holds NaN or infinity")
        n = len(self.train)
        found = {name: distance(synthetic, self.holdout) for name, distance in self._distances.items()}
        found["classifier"] = (
            classifier_accuracy(
                window_features(synthetic), self._features[n:], np.arange(n), self._holdout_groups, self.seed
            )
            - 0.5
        )
        found["copies"] = copied_excess(distances(synthetic, self.train, self._pool), self._near[n:, :n])
        inside = distances(synthetic, synthetic, self._pool)
        np.fill_diagonal(inside, np.inf)
        found["repetition"] = repeated_excess(inside, self._inside(np.arange(n)))
        found["train on synthetic"] = forecast_skill(self.train, self.holdout) - forecast_skill(
            synthetic, self.holdout
        )
        return ValidationReport(
            tuple(TestResult(name, distance, self.thresholds[name]) for name, distance in found.items()), n
        )


def _check(train: Floats, holdout: Floats, groups: Integers, channels: tuple[str, ...]) -> None:
    if train.ndim != 3 or holdout.ndim != 3 or train.shape[1:] != holdout.shape[1:]:
        raise ValueError(
            f"training windows {train.shape} and held-out windows {holdout.shape} must both be (count, "
            "length, channels) of the same length and channels"
        )
    if train.shape[2] != len(channels):
        raise ValueError(f"windows have {train.shape[2]} channels, but {len(channels)} are named: {channels}")
    if train.shape[1] < 14:
        raise ValueError(f"windows of {train.shape[1]} bars are too short to be judged; 14 are needed")
    if groups.shape != (len(train) + len(holdout),):
        raise ValueError(
            f"groups have shape {groups.shape}; one for each training and held-out window is needed"
        )
    shared = np.intersect1d(groups[: len(train)], groups[len(train) :])
    if shared.size:
        raise ValueError(f"episode {shared[0]} is in training and held-out windows; split by episode")
    episodes = len(np.unique(groups))
    if episodes < LEAST_GROUPS or min(len(train), len(holdout)) < LEAST_WINDOWS:
        raise NotEnoughDataError(
            f"{len(train)} training and {len(holdout)} held-out windows of {episodes} episodes; thresholds "
            f"need at least {LEAST_WINDOWS} of each and {LEAST_GROUPS} episodes"
        )
    if not (np.isfinite(train).all() and np.isfinite(holdout).all()):
        raise DataError("a real window holds NaN or infinity")


def validate(
    real_train: Floats,
    real_holdout: Floats,
    synthetic: Floats,
    groups: Integers,
    seed: int,
    channels: tuple[str, ...] = CHANNELS,
) -> ValidationReport:
    """Judge one synthetic sample; see `RealWindows`, which judges many at the price of one."""
    return RealWindows(real_train, real_holdout, groups, seed, channels).judge(synthetic)
