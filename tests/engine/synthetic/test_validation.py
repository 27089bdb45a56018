from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from engine.errors import DataError, NotEnoughDataError
from engine.synthetic.validation import TESTS, RealWindows, TestResult, ValidationReport, validate
from engine.synthetic.validation_distances import margin_distance

COUNT = 400
CHANNELS = ("a", "b", "c")


@pytest.fixture(scope="module")
def train(window_law: Callable[..., np.ndarray]) -> np.ndarray:
    return window_law(COUNT, 1)


@pytest.fixture(scope="module")
def fresh(window_law: Callable[..., np.ndarray]) -> np.ndarray:
    return window_law(COUNT, 99)


@pytest.fixture(scope="module")
def real(train: np.ndarray, window_law: Callable[..., np.ndarray]) -> RealWindows:
    return RealWindows(train, window_law(COUNT, 2), np.arange(2 * COUNT), 0, CHANNELS)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def columns_shuffled(windows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.stack([windows[rng.permutation(len(windows)), :, k] for k in range(3)], axis=2)


def bars_shuffled(windows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.stack([window[rng.permutation(len(window))] for window in windows])


def gaussian(windows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    rows = windows.reshape(len(windows), -1)
    drawn = rng.multivariate_normal(rows.mean(axis=0), np.cov(rows, rowvar=False), len(rows))
    return drawn.reshape(windows.shape)


def failures(real: RealWindows, windows: np.ndarray) -> set[str]:
    return set(real.judge(windows).failures)


def test_shuffled_columns_pass_every_margin_and_are_rejected(
    real: RealWindows, fresh: np.ndarray, rng: np.random.Generator
) -> None:
    shuffled = columns_shuffled(fresh, rng)
    found = failures(real, shuffled)
    assert not any(name.startswith(("margin", "clustering", "leverage")) for name in found)
    assert "correlation" in found


def test_shuffled_bars_pass_margins_and_correlation_and_are_rejected(
    real: RealWindows, fresh: np.ndarray, rng: np.random.Generator
) -> None:
    found = failures(real, bars_shuffled(fresh, rng))
    assert not any(name.startswith(("margin", "correlation", "window")) for name in found)
    assert {"clustering, lag 1", "clustering, lag 3", "leverage"} <= found


def test_noisy_training_rows_fail_by_their_distance_alone(
    real: RealWindows, train: np.ndarray, rng: np.random.Generator
) -> None:
    noise = 0.01 * train.std(axis=(0, 1)) * rng.standard_normal(train.shape)
    assert failures(real, train + noise) == {"copies"}


def test_a_larger_scale_is_rejected(real: RealWindows, fresh: np.ndarray) -> None:
    assert {"margin, a", "margin, b", "window volatility"} <= failures(real, 1.5 * fresh)


def test_a_gaussian_of_equal_covariance_is_rejected(
    real: RealWindows, train: np.ndarray, rng: np.random.Generator
) -> None:
    found = failures(real, gaussian(train, rng))
    assert {"tail ratio", "clustering, lag 1", "leverage", "window volatility"} <= found
    assert "correlation" not in found


def test_few_windows_repeated_are_rejected(real: RealWindows, fresh: np.ndarray) -> None:
    assert "repetition" in failures(real, np.tile(fresh[:40], (10, 1, 1)))


def test_fresh_draws_of_the_same_law_are_accepted(
    real: RealWindows, window_law: Callable[..., np.ndarray]
) -> None:
    accepted = sum(real.judge(window_law(COUNT, 1_000 + k)).passed for k in range(10))
    assert accepted >= 8


def small(window_law: Callable[..., np.ndarray], seed: int) -> np.ndarray:
    return window_law(60, seed, length=14)


@pytest.fixture
def few_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.synthetic.validation.SPLITS", 12)


@pytest.mark.usefixtures("few_splits")
def test_same_seed_same_report(window_law: Callable[..., np.ndarray]) -> None:
    samples = small(window_law, 1), small(window_law, 2), small(window_law, 3)
    first, again = (validate(*samples, np.arange(120), 4, CHANNELS) for _ in range(2))
    assert first == again


@pytest.mark.usefixtures("few_splits")
def test_thresholds_grow_where_episodes_differ(window_law: Callable[..., np.ndarray]) -> None:
    windows = np.concatenate([small(window_law, 1), small(window_law, 2)])
    episode = np.repeat(np.arange(12), 10)
    windows *= np.exp(0.8 * np.random.default_rng(0).standard_normal(12))[episode, None, None]
    grouped = RealWindows(windows[:60], windows[60:], episode, 0, CHANNELS)
    ignored = RealWindows(windows[:60], windows[60:], np.arange(120), 0, CHANNELS)
    for name in ("margin, a", "window volatility"):
        assert grouped.thresholds[name] > 1.3 * ignored.thresholds[name]


def test_thresholds_are_those_of_the_largest_split(real: RealWindows) -> None:
    for name, found in real.split_distances.items():
        assert len(found) == 40
        assert real.thresholds[name] == pytest.approx(1.25 * max(found.max(), 0.0))
    assert real.split_distances["margin, a"].min() > 0.0
    assert real.thresholds["margin, a"] < margin_distance(real.train, 1.5 * real.train, 0)


def test_a_report_says_what_failed() -> None:
    results = (
        TestResult("margin, a", 0.01, 0.02),
        TestResult("copies", 0.9, 0.05),
        TestResult("leverage", float("nan"), 1),
    )
    report = ValidationReport(results, 10)
    assert not report.passed
    assert report.failures == ("copies", "leverage")
    assert TESTS["copies"] in str(report)
    frame = report.to_frame()
    assert frame.columns == ["test", "distance", "threshold", "passed", "detail"]
    assert frame["passed"].to_list() == [True, False, False]
    assert ValidationReport(results[:1], 10).passed
    assert frame.schema["passed"] == pl.Boolean


def test_what_cannot_be_judged_is_refused(window_law: Callable[..., np.ndarray], real: RealWindows) -> None:
    a, b = small(window_law, 1), small(window_law, 2)
    own = np.arange(120)
    with pytest.raises(ValueError, match="episode 7 is in training and held-out"):
        RealWindows(a, b, np.r_[own[:60], 7, own[61:]], 0, CHANNELS)
    with pytest.raises(NotEnoughDataError, match="6 episodes"):
        RealWindows(a, b, np.repeat(np.arange(6), 20), 0, CHANNELS)
    with pytest.raises(ValueError, match="4 are named"):
        RealWindows(a, b, own, 0)
    with pytest.raises(ValueError, match="too short"):
        RealWindows(a[:, :10], b[:, :10], own, 0, CHANNELS)
    with pytest.raises(DataError, match="NaN"):
        RealWindows(a * np.nan, b, own, 0, CHANNELS)
    with pytest.raises(ValueError, match="need that of the training windows"):
        real.judge(a)
    with pytest.raises(DataError, match="NaN"):
        real.judge(np.full_like(real.train, np.nan))
