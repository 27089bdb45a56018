"""Emissions of the regimes: the density against scipy's, and a fit that finds the law it was drawn from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_t

from engine.regimes.emission_fit import fitted_law
from engine.regimes.emissions import DRIFT_SIGN, MODE_REGIME, Definition, ReturnLaw, bar_sums, log_densities

LAW = ReturnLaw(
    drift=np.array([0.3, 0.0, -0.5]),
    memory=np.array([0.1, -0.3, 0.0]),
    variance=np.array([0.8, 0.3, 4.0]),
    correlation=np.array([0.4, 0.2, 0.8]),
    degrees=6.0,
)
LEVELS = np.array([-0.5, 0.0, 0.7])


def sums_of(z: np.ndarray, before: np.ndarray, excursion: np.ndarray | None = None) -> np.ndarray:
    """Sums of [bars, symbols]."""
    bars, symbols = z.shape
    swung = np.full(z.shape, np.nan) if excursion is None else excursion
    place = np.tile(np.arange(bars), symbols)
    return bar_sums(place, bars, z.T.ravel(), before.T.ravel(), swung.T.ravel())


def reference(z: np.ndarray, before: np.ndarray, law: ReturnLaw) -> np.ndarray:
    """Log density of one bar's known returns in each mode and level."""
    known = np.isfinite(z)
    z, before = z[known], np.where(np.isfinite(before[known]), before[known], 0.0)
    n = z.size
    rows = []
    for k, sign in zip(MODE_REGIME, DRIFT_SIGN, strict=True):
        location = sign * law.drift[k] + law.memory[k] * before
        shape = (1 - law.correlation[k]) * np.eye(n) + law.correlation[k]
        for level in LEVELS:
            scale = law.variance[k] * np.exp(2 * level) * shape
            rows.append(multivariate_t(location, scale, df=law.degrees).logpdf(z))
    return np.array(rows)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), symbols=st.integers(1, 6))
def test_the_density_is_that_of_the_multivariate_t_of_the_symbols_that_traded(
    seed: int, symbols: int
) -> None:
    rng = np.random.default_rng(seed)
    z, before = rng.standard_normal((2, 1, symbols)) * 2.0
    z[0, rng.random(symbols) < 0.3] = np.nan
    found = log_densities(sums_of(z, before), LAW, LEVELS)[0]
    if np.isnan(z).all():
        np.testing.assert_array_equal(found, 0.0)
    else:
        np.testing.assert_allclose(found, reference(z[0], before[0], LAW), rtol=1e-9, atol=1e-9)


def test_an_excursion_counts_as_four_squared_residuals() -> None:
    """The joint density up to a factor that all states share, by integrating over the common scale."""
    z, swing = 0.7, 9.0
    found = log_densities(sums_of(np.array([[z]]), np.array([[np.nan]]), np.array([[swing]])), LAW, LEVELS)[0]
    u = np.exp(np.linspace(-6.0, 6.0, 4_001))
    half = LAW.degrees / 2
    weight = u ** (half - 1) * np.exp(-half * u) * u
    expected = []
    for k, sign in zip(MODE_REGIME, DRIFT_SIGN, strict=True):
        for level in LEVELS:
            variance = LAW.variance[k] * np.exp(2 * level) / u
            squares = (z - sign * LAW.drift[k]) ** 2 + swing
            expected.append(np.log((weight * variance**-2.5 * np.exp(-squares / variance / 2)).sum()))
    np.testing.assert_allclose(np.diff(found), np.diff(expected), rtol=1e-6, atol=1e-7)


def test_a_symbol_that_does_not_trade_changes_no_bit() -> None:
    rng = np.random.default_rng(1)
    z, before = rng.standard_normal((2, 50, 3))
    wider = np.hstack([z, np.full((50, 1), np.nan)])
    np.testing.assert_array_equal(sums_of(z, before), sums_of(wider, np.hstack([before, np.zeros((50, 1))])))


def test_a_violent_bar_alone_says_nothing_of_correlation_but_its_likeness_does() -> None:
    """Panic takes everything along: the same squares, together or apart."""
    law = ReturnLaw(np.zeros(3), np.zeros(3), np.ones(3), np.array([0.3, 0.3, 0.9]), 5.0)
    together, apart = np.array([[2.0, 2.1, 1.9, 2.0]]), np.array([[2.0, -2.1, 1.9, -2.0]])
    for z, likelier in ((together, True), (apart, False)):
        density = log_densities(sums_of(z, np.zeros((1, 4))), law, np.zeros(1))[0]
        assert (density[3] > density[2]) == likelier


def drawn(seed: int, bars: int, symbols: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums of bars drawn from the law, and the true mode of each bar."""
    rng = np.random.default_rng(seed)
    mode = rng.integers(0, 4, bars)
    z = np.zeros((bars, symbols))
    for t in range(1, bars):
        k = MODE_REGIME[mode[t]]
        own = np.sqrt(1 - LAW.correlation[k]) * rng.standard_normal(symbols)
        shock = own + np.sqrt(LAW.correlation[k]) * rng.standard_normal()
        scale = np.sqrt(LAW.variance[k] * LAW.degrees / rng.chisquare(LAW.degrees))
        z[t] = DRIFT_SIGN[mode[t]] * LAW.drift[k] + LAW.memory[k] * z[t - 1] + scale * shock
    before = np.vstack([np.full((1, symbols), np.nan), z[:-1]])
    return sums_of(z, before), mode


@pytest.mark.parametrize("symbols", [1, 4])
def test_the_fit_finds_the_law_where_the_modes_are_known(symbols: int) -> None:
    sums, mode = drawn(3, 12_000, symbols)
    posterior = np.zeros((len(sums), 4, 1))
    posterior[np.arange(len(sums)), mode, 0] = 1.0
    law = ReturnLaw.defined(Definition())
    for _ in range(25):
        law = fitted_law(sums, posterior, law, np.zeros(1), Definition(weight=1e-4, drift_weight=1e-4))
    np.testing.assert_allclose(law.drift, LAW.drift, atol=0.08)
    np.testing.assert_allclose(law.memory, LAW.memory, atol=0.04)
    np.testing.assert_allclose(law.variance, LAW.variance, rtol=0.08)
    assert law.degrees == pytest.approx(LAW.degrees, rel=0.2)
    if symbols > 1:
        np.testing.assert_allclose(law.correlation, LAW.correlation, atol=0.04)
    else:
        # one symbol has no correlation to show: the definition stands
        np.testing.assert_allclose(law.correlation, Definition().correlation, atol=1e-9)


def test_every_step_gains_likelihood() -> None:
    sums, mode = drawn(4, 3_000, 3)
    posterior = np.zeros((len(sums), 4, 1))
    posterior[np.arange(len(sums)), mode, 0] = 1.0
    law, before = ReturnLaw.defined(Definition()), -np.inf
    for _ in range(8):
        density = log_densities(sums, law, np.zeros(1))[np.arange(len(sums)), mode].sum()
        assert density > before - 1e-6
        before = density
        law = fitted_law(sums, posterior, law, np.zeros(1), Definition(weight=1e-9, drift_weight=1e-9))


def test_without_data_the_definition_stands() -> None:
    sums, _ = drawn(5, 200, 2)
    quiet = np.zeros((200, 4, 1))
    quiet[:, 2] = 1.0
    law, start = ReturnLaw.defined(Definition()), Definition()
    law = fitted_law(sums, quiet, law, np.zeros(1), start)
    assert law.variance[1] != pytest.approx(start.scale[1] ** 2)
    for k in (0, 2):
        assert law.variance[k] == pytest.approx(start.scale[k] ** 2)
        assert law.drift[k] == pytest.approx(start.drift[k])
        assert law.memory[k] == pytest.approx(0.0)
