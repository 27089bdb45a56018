from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from engine.calibration.binomial import clopper_pearson, clopper_pearson_lower


def test_known_bounds():
    assert clopper_pearson_lower(14, 15) == pytest.approx(0.721, abs=5e-4)
    assert clopper_pearson_lower(10, 10) == pytest.approx(0.05 ** (1 / 10), rel=1e-12)
    assert clopper_pearson_lower(0, 10) == 0.0
    low, high = clopper_pearson(0, 10)
    assert (low, high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 10)))
    assert clopper_pearson(0.0, 0.0) == (0.0, 1.0)


@given(st.integers(1, 200), st.data())
def test_bound_inverts_the_binomial_tail(n, data):
    """At the bound, seeing k or more has probability exactly 5 %."""
    k = data.draw(st.integers(1, n))
    bound = clopper_pearson_lower(k, n)
    assert binom.sf(k - 1, n, bound) == pytest.approx(0.05, abs=1e-8)


def test_fewer_effective_counts_lower_the_bound():
    bounds = [float(clopper_pearson_lower(900 / o, 1000 / o)) for o in (1, 3, 12.5, 100)]
    assert all(np.diff(bounds) < 0)


@pytest.mark.parametrize("counts", [(11, 10), (-1, 10), (1, np.inf), (np.nan, 10)])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(ValueError, match="counts"):
        clopper_pearson_lower(*counts)
