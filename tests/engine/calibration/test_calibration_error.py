from __future__ import annotations

import numpy as np
import pytest

from engine.calibration.calibration_error import (
    adaptive_calibration_error,
    bins_of_equal_count,
    expected_calibration_error,
)


def test_by_hand():
    stated = np.array([0.55, 0.55, 0.95, 0.95])
    correct = np.array([True, False, True, False])
    assert expected_calibration_error(stated, correct) == pytest.approx(0.25)
    assert adaptive_calibration_error(stated, correct, bins=2) == pytest.approx(0.25)
    assert adaptive_calibration_error(stated, correct, bins=1) == pytest.approx(0.25)
    assert expected_calibration_error([1.0], [True]) == 0.0


def test_opposite_errors_in_two_bins_do_not_cancel_and_in_one_do():
    stated, correct = np.repeat([0.5, 0.7], 100), np.r_[np.arange(100) < 70, np.arange(100) < 50]
    assert expected_calibration_error(stated, correct) == pytest.approx(0.2)
    assert adaptive_calibration_error(stated, correct, bins=2) == pytest.approx(0.2)
    assert expected_calibration_error(stated, correct, bins=1) == pytest.approx(0.0)


def test_equal_values_share_a_bin():
    """Ten bins of fifty equal values: no bin may hold a part of them."""
    correct = np.arange(50) % 2 == 0
    assert np.unique(bins_of_equal_count(np.full(50, 0.5), 10)).size == 1
    assert adaptive_calibration_error(np.full(50, 0.5), correct) == 0.0


@pytest.mark.parametrize("stated", [[], [0.5, np.nan]])
def test_unknown_rows_are_refused(stated):
    with pytest.raises(ValueError, match="NaN"):
        expected_calibration_error(stated, [True] * len(stated))
