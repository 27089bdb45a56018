import numba as nb
import numpy as np

from engine.regimes.run_length_powers import exp2, log2


@nb.njit
def powers(base, exponent):  # type: ignore[no-untyped-def]
    out = np.empty(base.size)
    for i in range(base.size):
        out[i] = exp2(exponent[i] * log2(base[i]))
    return out


def test_agrees_with_the_library() -> None:
    rng = np.random.default_rng(0)
    base = np.r_[1.0, 1.0 + 10.0 ** rng.uniform(-16, 0, 4000), 10.0 ** rng.uniform(0, 300, 4000)]
    exponent = -(10.0 ** rng.uniform(-2, 5, base.size))
    expected = base**exponent
    normal = expected > 2.0**-999
    assert np.abs(powers(base, exponent)[normal] / expected[normal] - 1.0).max() < 1e-12


def test_what_is_too_small_is_small_and_finite() -> None:
    found = powers(np.array([1e300, 2.0, np.finfo(float).max]), np.array([-1e5, -1e9, -2.0]))
    assert (found > 0.0).all()
    assert (found <= 2.0**-999).all()


def test_one_stays_one() -> None:
    assert powers(np.ones(3), np.array([-1.0, -100.0, -0.0])).tolist() == [1.0, 1.0, 1.0]
