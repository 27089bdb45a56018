from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.calibration.config import ConformalConfig
from engine.calibration.conformal import ConformalPredictor
from engine.calibration.drift import FALSE_ALARMS, TOLERANCE, coverage_drift

HOUR = timedelta(hours=1)
START = datetime.fromisoformat("2024-01-01")


def history(covered: np.ndarray, regime: np.ndarray | str = "RANGE") -> pl.DataFrame:
    """Hourly rows, one column of `covered` per symbol."""
    hours, symbols = covered.shape
    ts = pl.datetime_range(START, START + (hours - 1) * HOUR, "1h", eager=True, time_unit="us")
    names = np.broadcast_to(regime, hours)
    return pl.DataFrame(
        {
            "ts": ts.gather(np.repeat(np.arange(hours), symbols)),
            "regime": np.repeat(names, symbols).tolist(),
            "covered": covered.ravel(),
        }
    )


def overlapping(seed: int, days: int, symbols: int = 3) -> np.ndarray:
    """Labels of 24 hours of symbols that share the market: standard normal, far from independent."""
    rng = np.random.default_rng(seed)
    hours = days * 24
    moves = np.sqrt(0.5) * (rng.standard_normal((hours + 24, symbols)) + rng.standard_normal((hours + 24, 1)))
    sums = np.cumsum(np.vstack([np.zeros((1, symbols)), moves]), axis=0)
    return (sums[24:-1] - sums[:-25]) / np.sqrt(24)


NORMAL_90 = 1.6448536


def any_alarm(rows: pl.DataFrame, span: timedelta = 25 * HOUR, **options: float) -> bool:
    return any(drift.alarm for drift in coverage_drift(rows, 0.9, span, **options))


def test_false_alarms_are_as_rare_as_stated_for_dependent_outcomes():
    """At 10 % instead of 1 %, so that a rate can be seen; three regimes that last for days."""
    alarms = []
    for seed in range(80):
        regime = np.repeat(np.random.default_rng(seed).choice(["PANIC", "RANGE", "TREND"], 100), 72)
        rows = history(np.abs(overlapping(seed, 300)) <= NORMAL_90, regime)
        alarms.append(any_alarm(rows, false_alarms=0.10))
    assert np.mean(alarms) <= 0.10


def test_false_alarms_of_fixed_and_of_walked_intervals_on_exchangeable_data():
    alarms = []
    for seed in range(60):
        y = np.random.default_rng(seed).standard_normal(2500)
        point, regime, clock = np.zeros(2500), ["RANGE"] * 2500, np.arange(2000)
        fit, later = slice(0, 500), slice(500, None)
        for steps in ((), (0.02,)):
            predictor = ConformalPredictor(config=ConformalConfig(steps=steps))
            predictor.fit_intervals(point[fit], point[fit], y[fit], regime[fit])
            given = predictor.walk_intervals(
                point[later], point[later], y[later], regime[later], clock, clock + 1
            )
            covered = np.abs(y[later]) <= given.upper
            alarms.append(any_alarm(history(covered[:, None]), HOUR))
    assert np.mean(alarms) <= FALSE_ALARMS


def test_rows_taken_as_independent_would_alarm_all_the_time():
    """The wrong version: bets on every hour, blind to labels that overlap."""
    wrong = [any_alarm(history(np.abs(overlapping(seed, 300)) <= NORMAL_90), HOUR) for seed in range(10)]
    right = [any_alarm(history(np.abs(overlapping(seed, 300)) <= NORMAL_90)) for seed in range(10)]
    assert np.mean(wrong) > 0.5
    assert not any(right)


@pytest.mark.parametrize(("scale", "lowest"), [(2.0, 0.9), (1.3, 0.8)])
def test_a_drift_is_found_with_its_stretch(scale, lowest):
    found = []
    for seed in range(10):
        y = overlapping(seed, 500)
        y[300 * 24 :] *= scale
        drift = coverage_drift(history(np.abs(y) <= NORMAL_90), 0.9, 25 * HOUR)[-1]
        assert drift.regime == "ALL"
        found.append(drift.alarm and drift.lasts)
        if found[-1]:
            assert abs((drift.start - START).days - 300) < 120
            assert drift.coverage < drift.bound < 0.9 - TOLERANCE
    assert np.mean(found) >= lowest


def test_a_drift_of_one_regime_is_laid_to_it():
    rng = np.random.default_rng(1)
    regime = np.repeat(rng.choice(["PANIC", "RANGE"], 200), 72)
    y = overlapping(1, 600)
    y[regime == "PANIC"] *= 2.0
    panic, calm, _ = coverage_drift(history(np.abs(y) <= NORMAL_90, regime), 0.9, 25 * HOUR)
    assert (panic.regime, panic.alarm, calm.regime, calm.alarm) == ("PANIC", True, "RANGE", False)
    assert calm.bound == pytest.approx(0.9 - TOLERANCE)
    assert calm.evidence < calm.limit == 2 * 3 / FALSE_ALARMS


def test_a_drift_that_is_over_does_not_last():
    lasting = []
    for seed in range(10):
        y = overlapping(seed, 600)
        y[100 * 24 : 160 * 24] *= 2.5
        drift = coverage_drift(history(np.abs(y) <= NORMAL_90), 0.9, 25 * HOUR)[-1]
        assert drift.alarm
        assert abs((drift.end - START).days - 160) < 40 or drift.lasts
        lasting.append(drift.lasts)
    assert np.mean(lasting) <= 0.2


def test_the_bound_is_the_largest_promise_that_is_not_refuted():
    y = overlapping(3, 300)
    rows = history(np.abs(y) <= 1.0)
    bound = coverage_drift(rows, 0.9, 25 * HOUR)[-1].bound
    assert not coverage_drift(rows, bound + TOLERANCE - 1e-6, 25 * HOUR)[-1].alarm
    assert coverage_drift(rows, bound + TOLERANCE + 1e-6, 25 * HOUR)[-1].alarm


def test_evidence_by_hand():
    """Two blocks of the same parity, one row each, the first missed: bets from both starts, averaged."""
    covered = np.array([[False], [True], [True]])
    drift = coverage_drift(history(covered), 0.9, HOUR)[-1]
    # even blocks 0 and 2: after the first, half has been bet on it and half has not begun
    stakes = np.array([0.05, 0.1, 0.2, 0.4, 0.8]) / 0.12
    assert drift.evidence == pytest.approx((1 + stakes * 0.88).mean() / 2 + 0.5)
    assert drift.coverage == 0.0
    assert drift.count == 1


def test_it_says_which_regime_when_how_much_and_what_bound():
    y = overlapping(3, 400)
    y[200 * 24 :] *= 2.5
    drift = coverage_drift(history(np.abs(y) <= NORMAL_90, "PANIC"), 0.9, 25 * HOUR)[0]
    line = drift.describe(0.9)
    for part in ("PANIC", f"{drift.coverage:.1%}", f"{drift.bound:.1%}", f"{drift.start:%Y-%m-%d}", "lasts"):
        assert part in line
    calm = coverage_drift(history(np.abs(overlapping(3, 50)) <= NORMAL_90), 0.9, 25 * HOUR)[0]
    assert "chance explains it" in calm.describe(0.9)


def test_nothing_known_nothing_judged():
    rows = history(np.ones((5, 1), bool)).with_columns(covered=pl.lit(None, pl.Boolean))
    assert coverage_drift(rows, 0.9, HOUR) == []
