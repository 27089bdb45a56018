"""Funding and liquidations as tempered evidence, Fear & Greed as a bounded tilt."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.regimes.chain import FitSettings, RegimeChain, prior_chain
from engine.regimes.channels import ChannelLaw, channel_evidence, fear_greed_shift, fit_channels, tilted
from engine.regimes.emissions import DRIFT_SIGN, MODE_REGIME, bar_sums
from engine.regimes.names import REGIMES

PANIC = REGIMES.index("PANIC")
LIMIT = 0.25


def drawn(seed: int, bars: int = 5_000) -> tuple[np.ndarray, np.ndarray, RegimeChain]:
    """Sums and regime of one symbol drawn from the chain of the definition, and that chain."""
    chain = prior_chain(FitSettings(), spread=0.0)
    rng = np.random.default_rng(seed)
    mode, z = np.empty(bars, dtype=int), np.zeros(bars)
    state, moves = 2, np.cumsum(chain.modes, axis=1)
    for t, u in enumerate(rng.random(bars)):
        state = mode[t] = int(np.searchsorted(moves[state], u))
        k = MODE_REGIME[state]
        scale = np.sqrt(chain.law.variance[k] * 5.0 / rng.chisquare(5.0))
        z[t] = DRIFT_SIGN[state] * chain.law.drift[k] + scale * rng.standard_normal()
    unknown = np.full(bars, np.nan)
    return bar_sums(np.arange(bars), bars, z, unknown, unknown), MODE_REGIME[mode], chain


def test_an_informative_channel_is_believed_and_a_copy_of_the_past_or_noise_is_not() -> None:
    sums, regime, chain = drawn(1)
    rng = np.random.default_rng(2)
    telling = np.where(regime == PANIC, 1.5, -0.3) + 0.8 * rng.standard_normal(len(regime))
    noise = rng.standard_normal(len(regime))
    size = np.abs(sums[:, 1])
    copy = np.convolve(size, np.full(24, 1 / 24))[: len(size)]
    copy = (copy - copy.mean()) / copy.std()
    laws = fit_channels(np.stack([telling, noise, copy], axis=1), sums, chain)
    assert laws[0].weight >= 0.25
    assert laws[0].mean[PANIC] == pytest.approx(1.5, abs=0.3)
    assert laws[1].weight == 0.0
    # what repeats the returns must not be counted in full once more
    assert laws[2].weight <= 0.1


def test_an_unknown_channel_is_no_evidence() -> None:
    law = ChannelLaw(np.array([-1.0, 0.0, 2.0]), np.array([0.5, 1.0, 2.0]), 0.5)
    evidence = channel_evidence(np.array([[np.nan, 1.0], [np.nan, np.nan]]), [law, law])
    np.testing.assert_array_equal(evidence[1], 0.0)
    np.testing.assert_array_equal(evidence[0], channel_evidence(np.array([[1.0]]), [law])[0])
    sums, _, chain = drawn(3, 600)
    (never,) = fit_channels(np.full((600, 1), np.nan), sums, chain)
    assert never.weight == 0.0


@given(index=st.floats(allow_nan=True, allow_infinity=True), p=st.floats(0.001, 0.998))
def test_the_index_shifts_log_odds_within_its_bound(index: float, p: float) -> None:
    shift = fear_greed_shift(np.array([index]), LIMIT)
    before = np.array([[0.6 * (1 - p), 0.4 * (1 - p), p]])
    after = tilted(before, shift)
    odds = np.log(after[0, PANIC] / (1 - after[0, PANIC])) - np.log(p / (1 - p))
    assert abs(odds) <= LIMIT + 1e-9
    assert after.sum() == pytest.approx(1.0)
    assert after[0, 0] / after[0, 1] == pytest.approx(1.5)
    if not 0.0 <= index <= 100.0:
        np.testing.assert_allclose(after, before, rtol=1e-12)


def test_the_index_alone_flips_no_clear_state() -> None:
    edge = 1.0 / (1.0 + np.exp(-LIMIT))
    index = np.linspace(0.0, 100.0, 101)
    shift = fear_greed_shift(index, LIMIT)
    clear = np.tile([edge + 1e-6, 1.0 - edge - 1e-6, 0.0], (101, 1))
    assert (tilted(clear[:, [2, 1, 0]], shift).argmax(axis=1) == PANIC).all()
    assert (tilted(clear[:, [0, 2, 1]], shift).argmax(axis=1) != PANIC).all()


def test_the_shift_is_monotone_and_without_cliffs() -> None:
    shift = fear_greed_shift(np.linspace(0.0, 100.0, 101), LIMIT)
    assert shift[0] == LIMIT
    assert shift[50] == 0.0
    assert shift[100] == -LIMIT
    assert (np.diff(shift) < 0.0).all()
    assert np.abs(np.diff(shift)).max() <= 0.01


def test_missing_is_neutral_and_not_extreme_fear() -> None:
    """`value or 0` would turn an unknown index into the most alarming one."""
    assert fear_greed_shift(np.array([np.nan]), LIMIT)[0] == 0.0
    assert fear_greed_shift(np.array([0.0]), LIMIT)[0] == LIMIT
