"""Scores of detected regimes: known answers, and that a louder detector gains nothing by crying."""

from __future__ import annotations

import numpy as np
import pytest

from engine.regimes.names import REGIMES
from engine.regimes.regime_scores import (
    balanced_accuracy_interval,
    detection_delays,
    false_alarm_rate,
    recall_at_false_alarms,
    regime_scores,
)

T, R, P = REGIMES


def test_known_scores() -> None:
    truth = [T, T, R, R, R, R, P, P, R, R]
    found = [T, R, R, R, T, R, R, P, R, R]
    scores = regime_scores(truth, found)
    assert scores.accuracy == pytest.approx(0.7)
    assert scores.recall == {T: 0.5, R: pytest.approx(5 / 6), P: 0.5}
    assert scores.balanced_accuracy == pytest.approx((0.5 + 5 / 6 + 0.5) / 3)
    assert scores.switches_per_true_switch == pytest.approx(5 / 3)
    assert scores.median_delay == {R: 0.0, P: 1.0}
    assert scores.bars == 10


def test_delays_are_counted_from_the_switch_and_missed_stays_are_infinite() -> None:
    truth = [R] * 4 + [P] * 4 + [R] * 4 + [P] * 3
    found = [R] * 6 + [P] * 3 + [R] * 6
    delays = detection_delays(truth, found)
    assert delays[P].tolist() == [2.0, np.inf]
    assert delays[R].tolist() == [1.0]
    assert delays[T].size == 0


def test_recall_at_false_alarms_is_read_off_the_curve() -> None:
    truth = [P, P, R, R, R, R]
    score = [0.9, 0.4, 0.8, 0.3, 0.2, 0.1]
    assert recall_at_false_alarms(truth, score, 0.0) == pytest.approx(0.5)
    assert recall_at_false_alarms(truth, score, 0.25) == pytest.approx(1.0)
    assert recall_at_false_alarms(truth, score, 1.0) == pytest.approx(1.0)
    # ties are split by lot, so a score that says nothing has the recall of chance
    assert recall_at_false_alarms(truth, np.zeros(6), 0.3) == pytest.approx(0.3)


def test_crying_more_does_not_raise_the_recall_at_equal_false_alarms() -> None:
    rng = np.random.default_rng(0)
    truth = np.where(rng.random(4_000) < 0.1, P, R)
    score = (truth == P) + rng.standard_normal(4_000)
    quiet, loud = score > 1.5, score > 0.0
    assert (loud[truth == P]).mean() > (quiet[truth == P]).mean() + 0.3
    for alarm in (quiet, loud):
        rate = false_alarm_rate(truth, alarm)
        at_equal = recall_at_false_alarms(truth, score, rate)
        assert at_equal == pytest.approx(alarm[truth == P].mean(), abs=1e-12)
        assert recall_at_false_alarms(truth, alarm.astype(float), rate) == pytest.approx(at_equal, abs=1e-12)
    # a monotone transform of a score is the same detector
    assert recall_at_false_alarms(truth, np.exp(score), 0.05) == recall_at_false_alarms(truth, score, 0.05)


def test_interval_covers_the_score_and_is_wider_where_errors_cluster() -> None:
    rng = np.random.default_rng(1)
    truth = np.repeat(np.array(REGIMES)[rng.integers(0, 3, 120)], 25)
    wrong = np.roll(np.array(REGIMES), 1)[[REGIMES.index(name) for name in truth]]
    alone = np.where(rng.random(3_000) < 0.2, wrong, truth)
    together = np.where(np.repeat(rng.random(60) < 0.2, 50), wrong, truth)
    widths = []
    for found in (alone, together):
        low, high = balanced_accuracy_interval(truth, found, seed=3)
        assert low < regime_scores(truth, found).balanced_accuracy < high
        widths.append(high - low)
    assert widths[1] > 2.0 * widths[0]


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="BULL"):
        regime_scores([R], ["BULL"])
    with pytest.raises(ValueError, match="2 bars"):
        regime_scores([R, R], [R])
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        recall_at_false_alarms([R, P], [0.0, 1.0], 1.5)
    with pytest.raises(ValueError, match="NaN"):
        recall_at_false_alarms([R, P], [0.0, np.nan], 0.5)
    with pytest.raises(ValueError, match="inside and outside"):
        recall_at_false_alarms([R, R], [0.0, 1.0], 0.5)
    with pytest.raises(ValueError, match="every bar"):
        false_alarm_rate([P], [1])
