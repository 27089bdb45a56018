"""The regime chain and its fit: planted models, names that do not swap, fallbacks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.regimes.chain import FitSettings, RegimeChain, prior_chain, regime_probabilities
from engine.regimes.chain_fit import fit_chain
from engine.regimes.emissions import DRIFT_SIGN, MODE_REGIME, Definition, ReturnLaw, bar_sums, log_densities
from engine.regimes.hmm import forward
from engine.regimes.names import REGIMES

LAW = ReturnLaw(
    drift=np.array([0.3, 0.0, -0.4]),
    memory=np.array([0.0, -0.2, 0.0]),
    variance=np.array([0.7, 0.25, 5.0]),
    correlation=np.array([0.4, 0.3, 0.8]),
    degrees=6.0,
)
SETTINGS = FitSettings()


def planted(
    seed: int, bars: int = 6_000, symbols: int = 2, spread: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of bars and their true regime."""
    rng = np.random.default_rng(seed)
    stays, follow = (120, 120, 150, 50), ((2, 3), (2, 3), (0, 1), (0, 2))
    mode = np.empty(bars, dtype=int)
    t, current = 0, 2
    while t < bars:
        end = t + 1 + int(rng.exponential(stays[current]))
        mode[t:end] = current
        t, current = end, follow[current][int(rng.random() < 0.5)]
    level = np.zeros(bars)
    z = np.zeros((bars, symbols))
    for t in range(1, bars):
        level[t] = 0.98 * level[t - 1] + spread * np.sqrt(1 - 0.98**2) * rng.standard_normal()
        k = MODE_REGIME[mode[t]]
        shock = np.sqrt(1 - LAW.correlation[k]) * rng.standard_normal(symbols)
        shock += np.sqrt(LAW.correlation[k]) * rng.standard_normal()
        scale = np.exp(level[t]) * np.sqrt(LAW.variance[k] * LAW.degrees / rng.chisquare(LAW.degrees))
        z[t] = DRIFT_SIGN[mode[t]] * LAW.drift[k] + LAW.memory[k] * z[t - 1] + scale * shock
    before = np.vstack([np.full((1, symbols), np.nan), z[:-1]])
    place = np.tile(np.arange(bars), symbols)
    sums = bar_sums(place, bars, z.T.ravel(), before.T.ravel(), np.full(z.size, np.nan))
    return sums, MODE_REGIME[mode]


def found(chain: RegimeChain, sums: np.ndarray) -> np.ndarray:
    density, silent = log_densities(sums, chain.law, chain.levels), np.zeros((len(sums), 4))
    states, _ = forward(density, silent, chain.state_shares, chain.modes, chain.level_moves)
    return regime_probabilities(states).argmax(axis=1)


@pytest.fixture(scope="module")
def steady() -> tuple[np.ndarray, np.ndarray, RegimeChain]:
    sums, truth = planted(1)
    return sums, truth, fit_chain(sums, SETTINGS)


def test_the_fit_finds_a_planted_model(steady: tuple[np.ndarray, np.ndarray, RegimeChain]) -> None:
    sums, truth, chain = steady
    np.testing.assert_allclose(chain.law.drift, LAW.drift, atol=0.15)
    np.testing.assert_allclose(chain.law.memory, LAW.memory, atol=0.08)
    np.testing.assert_allclose(np.sqrt(chain.law.variance), np.sqrt(LAW.variance), rtol=0.15)
    assert not chain.fallback
    right = found(chain, sums) == truth
    assert min(right[truth == k].mean() for k in range(3)) > 0.85


def test_volatility_clusters_are_taken_for_regimes_only_where_there_are_none(
    steady: tuple[np.ndarray, np.ndarray, RegimeChain],
) -> None:
    assert steady[2].spread == 0.0
    sums, truth = planted(2, 4_000, spread=0.5)
    chain = fit_chain(sums, SETTINGS)
    assert chain.spread == SETTINGS.spreads[-1]
    without = fit_chain(sums, replace(SETTINGS, spreads=(0.0,)))
    recall = [
        np.mean([(found(model, sums)[truth == k] == k).mean() for k in range(3)])
        for model in (chain, without)
    ]
    assert recall[0] > recall[1] + 0.05


def test_names_do_not_swap_over_refits_from_any_start(
    steady: tuple[np.ndarray, np.ndarray, RegimeChain],
) -> None:
    """The worst start there is: every regime takes another's law."""
    sums, truth, chain = steady
    turned = ReturnLaw(
        *(np.roll(part, 1) for part in (LAW.drift, LAW.memory, LAW.variance, LAW.correlation)), degrees=6.0
    )
    refitted = replace(chain, law=turned)
    for _ in range(6):
        refitted = fit_chain(sums, SETTINGS, previous=refitted)
        assert refitted.law.drift[REGIMES.index("RANGE")] == 0.0
    assert refitted.law.variance.argmax() == REGIMES.index("PANIC")
    right = found(refitted, sums) == truth
    assert min(right[truth == k].mean() for k in range(3)) > 0.8


def test_a_refit_starts_from_the_previous_model(steady: tuple[np.ndarray, np.ndarray, RegimeChain]) -> None:
    sums, _, chain = steady
    again = fit_chain(sums, replace(SETTINGS, refit_iterations=1), previous=chain)
    np.testing.assert_allclose(again.law.variance, chain.law.variance, rtol=0.02)


def test_a_degenerate_fit_leaves_the_previous_model_or_the_definition_in_force(
    steady: tuple[np.ndarray, np.ndarray, RegimeChain],
) -> None:
    sums, _, chain = steady
    strict = replace(SETTINGS, panic_ratio=1e6, iterations=3)
    definition = fit_chain(sums, strict)
    assert definition.fallback
    np.testing.assert_array_equal(definition.law.variance, np.square(Definition().scale))
    assert fit_chain(sums, strict, previous=chain) is chain


def test_shares_are_left_unchanged_by_the_moves() -> None:
    chain = prior_chain(SETTINGS)
    np.testing.assert_allclose(chain.mode_shares @ chain.modes, chain.mode_shares, atol=1e-12)
    np.testing.assert_allclose(chain.level_shares @ chain.level_moves, chain.level_shares, atol=1e-12)
    np.testing.assert_allclose(chain.stationary @ chain.transition, chain.stationary, atol=1e-12)


def test_the_level_has_the_spread_and_the_memory_asked_for() -> None:
    chain = prior_chain(SETTINGS)
    levels, shares = chain.levels, chain.level_shares
    assert shares @ levels**2 == pytest.approx(SETTINGS.spreads[-1] ** 2)
    np.testing.assert_allclose(chain.level_moves @ levels, chain.persistence * levels, atol=1e-12)
    assert chain.persistence**SETTINGS.level_memory == pytest.approx(0.5)


def test_longer_bars_have_shorter_stays_and_larger_drifts() -> None:
    hourly, daily = prior_chain(SETTINGS), prior_chain(SETTINGS, 24.0)
    stays = 1.0 / (1.0 - np.diag(daily.modes))
    np.testing.assert_allclose(stays, np.array(SETTINGS.stays) / 24.0)
    np.testing.assert_allclose(daily.law.drift, np.sqrt(24.0) * hourly.law.drift)


def test_belief_of_another_number_of_levels_keeps_its_modes() -> None:
    wide = prior_chain(SETTINGS)
    narrow = prior_chain(SETTINGS, spread=0.0)
    belief = np.array([0.4, 0.1, 0.3, 0.2])
    carried = wide.carried(belief)
    np.testing.assert_allclose(carried.reshape(4, -1).sum(axis=1), belief)
    np.testing.assert_allclose(narrow.carried(carried), belief)
    assert wide.carried(carried) is carried
