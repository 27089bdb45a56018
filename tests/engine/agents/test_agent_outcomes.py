"""Positions settled at once are settled as the environments do it step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.agents.environment import LEVELS, EnvironmentConfig, TradingEnvironment
from engine.agents.outcomes import Outcomes, daily_returns, outcomes
from engine.agents.reference_environment import ReferenceAccount
from engine.agents.tape import MarketTape

START = datetime(2024, 1, 1)


def tape_of(seed: int, lengths: Sequence[int]) -> MarketTape:
    """Runs of one symbol, an hour's hole between them, with funding every other bar."""
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    segment = np.repeat(np.arange(len(lengths)), lengths)
    opens = 100 * np.exp(np.cumsum(rng.standard_t(3, n) * 0.02))
    frame = pl.DataFrame(
        {
            "symbol": "AAA/USDT",
            "ts": [START + timedelta(hours=int(i + s)) for i, s in enumerate(segment)],
            "segment": segment,
            "open": opens,
            "close": opens * np.exp(rng.normal(0, 0.005, n)),
            "funding": np.where(rng.random(n) < 0.5, rng.normal(0, 1e-3, n), 0.0),
            "volatility": rng.uniform(0.005, 0.05, n),
            **dict.fromkeys(("p_trend", "p_range"), 0.25),
            "p_panic": 0.5,
            "f": rng.normal(size=n),
        }
    )
    return MarketTape.from_frame(frame, ["f"])


def by_reference(tape: MarketTape, level: np.ndarray, config: EnvironmentConfig) -> Outcomes:
    """One account per run, one step at a time."""
    net, reward, turnover = np.zeros((3, len(tape)))
    for run in np.unique(tape.run):
        row = int(np.flatnonzero(tape.run == run)[0])
        if tape.decisions_left[row] == 0:
            continue
        account, ended = ReferenceAccount(tape, config, row, len(tape)), False
        while not ended:
            held = account.position
            step = account.step(int(level[row]))
            net[row], reward[row], ended = step.net, step.reward, step.ended
            turnover[row] = abs(account.position - held)
            row += 1
    return Outcomes(net, reward, turnover)


def by_environment(tape: MarketTape, level: np.ndarray, config: EnvironmentConfig) -> Outcomes:
    """Accounts of all runs side by side in the batched environment."""
    starts = np.flatnonzero(np.r_[True, tape.run[1:] != tape.run[:-1]] & (tape.decisions_left > 0))
    environment = TradingEnvironment(tape, config, starts=len(starts), paths=1, seed=0)
    environment.reset(starts)
    net, reward, turnover = np.zeros((3, len(tape)))
    walking = np.full(len(starts), True)
    while walking.any():
        rows = environment.rows.numpy()
        held = environment.own_state()[:, 0, 0].double().numpy()
        step = environment.step(torch.from_numpy(level[rows])[:, None])
        mine = rows[walking]
        net[mine] = step.net[:, 0].numpy()[walking]
        reward[mine] = step.reward[:, 0].numpy()[walking]
        turnover[mine] = np.abs(np.array(LEVELS)[level[mine]] - held[walking])
        walking &= ~step.ended.numpy()
    return Outcomes(net, reward, turnover)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    lengths=st.lists(st.integers(1, 25), max_size=4),
    cost=st.sampled_from([0.0, 6e-4, 0.01]),
    risk_aversion=st.sampled_from([0.0, 0.05, 1.0]),
    stay=st.floats(0.0, 0.9),
    episode=st.sampled_from([None, 3, 8]),
    cut=st.booleans(),
)
def test_settled_at_once_as_step_by_step(
    seed: int,
    lengths: list[int],
    cost: float,
    risk_aversion: float,
    stay: float,
    episode: int | None,
    cut: bool,
) -> None:
    tape = tape_of(seed, [*lengths, 20])
    if cut:
        last = tape.ts[-1].item()
        tape = tape.between(START + timedelta(hours=1), last - timedelta(hours=3))
    if episode is not None:
        tape = tape.episodes(episode)
    config = EnvironmentConfig(cost=cost, risk_aversion=risk_aversion, episode_bars=10_000, least_bars=1)
    rng = np.random.default_rng(seed)
    level = rng.integers(0, len(LEVELS), len(tape))
    for t in range(1, len(tape)):
        if rng.random() < stay:
            level[t] = level[t - 1]
    found = outcomes(tape, np.array(LEVELS)[level], config)
    slow, batched = by_reference(tape, level, config), by_environment(tape, level, config)
    for name in ("net", "reward", "turnover"):
        one = getattr(found, name)
        np.testing.assert_allclose(one, getattr(slow, name), rtol=1e-9, atol=1e-12, err_msg=name)
        np.testing.assert_allclose(one, getattr(batched, name), rtol=1e-5, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(found.net, batched.net, rtol=1e-9, atol=1e-12)
    assert not found.net[tape.decisions_left == 0].any()


def test_a_run_begins_flat_and_pays_to_enter() -> None:
    tape = tape_of(0, (5, 5))
    found = outcomes(tape, np.full(10, 0.6), EnvironmentConfig(cost=0.01))
    np.testing.assert_allclose(found.turnover, [0.6, 0, 0, 0, 0, 0.6, 0, 0, 0, 0])
    free = outcomes(tape, np.full(10, 0.6), EnvironmentConfig(cost=0.0))
    np.testing.assert_allclose(free.net - found.net, [0.006, 0, 0, 0, 0, 0.006, 0, 0, 0, 0], atol=1e-15)


def test_nothing_on_an_empty_tape() -> None:
    tape = tape_of(0, (5,)).between(START + timedelta(days=9), START + timedelta(days=10))
    found = outcomes(tape, np.empty(0), EnvironmentConfig())
    assert found.net.shape == found.reward.shape == found.turnover.shape == (0,)
    assert daily_returns(tape, np.empty(0)).is_empty()


def test_a_day_is_the_sum_over_bars_of_the_mean_over_symbols(
    leaning_tape: Callable[..., MarketTape],
) -> None:
    """Six hourly bars from 21:00; the second symbol lacks the first; the last two of a run never count."""
    late = np.datetime64("2024-03-01T21:00", "us")
    one = replace(leaning_tape((6,)), ts=late + np.arange(6) * np.timedelta64(1, "h"))
    two = replace(leaning_tape((5,)), symbols=("B/USDT",), ts=late + np.arange(1, 6) * np.timedelta64(1, "h"))
    values = np.array([1.0, 2.0, 3.0, 4.0, 50.0, 50.0, 10.0, 20.0, 30.0, 50.0, 50.0])
    frame = daily_returns(one.join(two), values)
    # 21:00 alone 1, 22:00 (2 + 10) / 2, 23:00 (3 + 20) / 2; past midnight (4 + 30) / 2.
    assert frame.rows() == [
        (datetime(2024, 3, 1), pytest.approx(18.5)),
        (datetime(2024, 3, 2), pytest.approx(17.0)),
    ]
