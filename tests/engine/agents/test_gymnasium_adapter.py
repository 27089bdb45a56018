from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import gymnasium
import numpy as np
import polars as pl
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from engine.agents.environment import EnvironmentConfig, TradingEnvironment
from engine.agents.gymnasium_adapter import TradingGymnasium
from engine.agents.tape import MarketTape
from engine.errors import NotEnoughDataError

FEATURES = ["a", "b"]


@pytest.fixture(scope="module")
def tape() -> MarketTape:
    r, n = np.random.default_rng(0), 240
    price = 100.0 * np.exp(np.cumsum(r.normal(0, 0.01, n + 1)))
    p = r.dirichlet([1, 1, 1], n)
    frame = pl.DataFrame(
        {
            "symbol": ["BTC/USDT"] * n,
            "ts": [datetime(2024, 1, 1) + timedelta(hours=i) for i in range(n)],
            "segment": [0] * 140 + [1] * 100,
            "open": price[:-1],
            "close": price[1:],
            "volatility": r.uniform(0.005, 0.02, n),
            "p_trend": p[:, 0],
            "p_range": p[:, 1],
            "p_panic": p[:, 2],
            "a": r.normal(size=n),
            "b": r.normal(size=n),
        }
    )
    return MarketTape.from_frame(frame, FEATURES)


@pytest.mark.filterwarnings("ignore:.*(Box observation space|render modes):UserWarning")
@pytest.mark.parametrize("window", [1, 5])
def test_passes_the_checker_of_gymnasium(tape: MarketTape, window: int) -> None:
    check_env(TradingGymnasium(tape, EnvironmentConfig(episode_bars=20), window=window))


def test_same_rewards_and_states_as_the_batched_environment(tape: MarketTape) -> None:
    config = EnvironmentConfig(episode_bars=40)
    single = TradingGymnasium(tape, config, window=3)
    batch = TradingEnvironment(tape, config, starts=1, paths=1, seed=0)
    observation, _ = single.reset(options={"row": 60})
    batch.reset(np.array([60]))
    for action in np.random.default_rng(1).integers(0, 10, 40):
        np.testing.assert_array_equal(observation[:6], tape.x[batch.rows[0] - 2 : batch.rows[0] + 1].ravel())
        np.testing.assert_allclose(observation[6:], batch.own_state()[0, 0], rtol=1e-6, atol=1e-7)
        observation, reward, terminated, truncated, info = single.step(action)
        step = batch.step(torch.tensor([[action]]))
        assert reward == pytest.approx(step.reward.item(), rel=1e-6, abs=1e-7)
        assert info == {"row": int(step.final_rows[0]), "net": pytest.approx(step.net.item(), abs=1e-12)}
        assert (terminated, truncated) == (False, bool(step.ended[0]))
    assert truncated
    with pytest.raises(RuntimeError, match="reset"):
        single.step(np.int64(0))


def test_episodes_stay_in_their_run_with_whole_windows(tape: MarketTape) -> None:
    config = EnvironmentConfig(episode_bars=50, least_bars=2)
    environment = TradingGymnasium(tape, config, window=8)
    rows = []
    for seed in range(300):
        _, info = environment.reset(seed=seed)
        rows.append(info["row"])
    begin = np.searchsorted(tape.run, tape.run[rows])
    assert (np.array(rows) - begin >= 7).all()
    assert (tape.decisions_left[rows] >= 2).all()
    _, info = environment.reset(options={"row": 130})
    truncated = False
    while not truncated:
        _, _, _, truncated, info = environment.step(np.int64(3))
    assert info["row"] == 138


def test_start_weights_and_window_both_hold(tape: MarketTape) -> None:
    weights = np.zeros(len(tape))
    weights[[3, 20, 141]] = 1.0
    environment = TradingGymnasium(tape, window=5, start_weights=weights)
    assert {environment.reset(seed=seed)[1]["row"] for seed in range(30)} == {20}
    weights[20] = 0.0
    with pytest.raises(NotEnoughDataError):
        TradingGymnasium(tape, window=5, start_weights=weights)


def test_vectorised_and_wrapped_by_gymnasium(tape: MarketTape) -> None:
    """What Stable-Baselines3 asks for: spaces, seeded resets, steps of a vector, statistics of episodes."""
    config = EnvironmentConfig(episode_bars=16)

    def play(seed: int) -> tuple[np.ndarray, np.ndarray, list[float]]:
        vector = gymnasium.wrappers.vector.RecordEpisodeStatistics(
            gymnasium.vector.SyncVectorEnv([lambda: TradingGymnasium(tape, config, window=4)] * 3)
        )
        observation, _ = vector.reset(seed=seed)
        vector.action_space.seed(seed)
        returns: list[float] = []
        rewards = []
        for _ in range(60):
            observation, reward, _, truncated, info = vector.step(vector.action_space.sample())
            assert vector.observation_space.contains(observation)
            rewards.append(reward)
            returns += info["episode"]["r"][truncated].tolist() if truncated.any() else []
        return observation, np.array(rewards), returns

    observation, rewards, returns = play(7)
    again = play(7)
    assert observation.shape == (3, 4 * len(FEATURES) + 3)
    assert np.array_equal(rewards, again[1])
    assert np.array_equal(observation, again[0])
    assert not np.array_equal(rewards, play(8)[1])
    assert len(returns) == 9
    assert returns[0] == pytest.approx(rewards[:16].sum(axis=0)[0], rel=1e-5)


def test_refusals(tape: MarketTape) -> None:
    with pytest.raises(ValueError, match="window=0"):
        TradingGymnasium(tape, window=0)
    with pytest.raises(ValueError, match="expected one per row"):
        TradingGymnasium(tape, start_weights=np.ones(3))
    with pytest.raises(NotEnoughDataError):
        TradingGymnasium(replace(tape, decisions_left=np.minimum(tape.decisions_left, 3)))
    environment = TradingGymnasium(tape, window=5)
    for row in (2, 142):
        with pytest.raises(ValueError, match=f"row {row} has fewer than 5 bars"):
            environment.reset(options={"row": row})
    environment.reset(seed=0)
    with pytest.raises(ValueError, match="level is 10"):
        environment.step(np.int64(10))
