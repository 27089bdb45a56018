from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.agents.actor_critic import ActorCritic
from engine.agents.agent import RLTradingAgent
from engine.agents.agent_config import AgentConfig, state_width
from engine.agents.checkpoint import Checkpoint
from engine.agents.environment import EnvironmentConfig
from engine.agents.ppo import PPOConfig
from engine.agents.reference_environment import ReferenceAccount
from engine.agents.replayed import ReplayConfig
from engine.agents.tape import MarketTape
from engine.agents.training_update import TrainingUpdate
from engine.errors import DataError

MakeTape = Callable[..., MarketTape]
pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = AgentConfig(
    environment=EnvironmentConfig(levels=(-1.0, 0.0, 1.0), episode_bars=20, cost=1e-4),
    ppo=PPOConfig(minibatch=64, learning_rate=1e-2, gamma=0.5, target_kl=None),
    starts=8,
    paths=4,
    horizon=10,
)


def agent_of(tape: MarketTape, config: AgentConfig = SMALL) -> RLTradingAgent:
    return RLTradingAgent(state_width(len(tape.features)), len(config.environment.levels), config)


def weights(agent: RLTradingAgent) -> torch.Tensor:
    return agent.learner.weights.vector.detach().clone()


@pytest.fixture(scope="module")
def tape(leaning_tape: MakeTape) -> MarketTape:
    return leaning_tape((150, 1, 90, 2, 3), lean=1.0)


@pytest.fixture(scope="module")
def trained(tape: MarketTape) -> RLTradingAgent:
    torch.set_num_threads(1)
    agent = agent_of(tape)
    agent.train(tape, updates=40)
    return agent


@pytest.mark.parametrize("replay", [None, ReplayConfig()])
def test_same_seed_same_weights_bit_for_bit(tape: MarketTape, replay: ReplayConfig | None) -> None:
    config = replace(SMALL, replay=replay)
    runs: list[tuple[torch.Tensor, list[TrainingUpdate]]] = []
    for seed in (3, 3, 4):
        agent = agent_of(tape, replace(config, seed=seed))
        torch.manual_seed(len(runs))  # the global generator has no part in it
        history = agent.train(tape, updates=3)
        runs.append((weights(agent), history))
    assert torch.equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert not torch.equal(runs[0][0], runs[2][0])


def test_training_learns_what_the_market_gives(trained: RLTradingAgent, leaning_tape: MakeTape) -> None:
    fresh = leaning_tape((400,), seed=9, lean=1.0)
    position = trained.positions(fresh)
    live = fresh.decisions_left > 0
    # The next return is one scale per unit of the first feature, and a round trip costs a hundredth of that.
    right = np.sign(position[live]) == np.sign(fresh.x[live, 0])
    assert right[np.abs(fresh.x[live, 0]) > 0.3].mean() > 0.9
    untrained = agent_of(fresh).positions(fresh)
    assert (position * np.nan_to_num(fresh.growth)).sum() > 3 * (
        untrained * np.nan_to_num(fresh.growth)
    ).sum()


def test_every_update_is_reported(tape: MarketTape) -> None:
    agent, seen = agent_of(tape), []

    def halve(update: TrainingUpdate) -> None:
        seen.append(update)
        agent.learner.learning_rate = update.learning_rate / 2.0

    history = agent.train(tape, updates=3, progress=halve)
    assert history == seen
    assert [u.update for u in seen] == [1, 2, 3]
    assert [u.learning_rate for u in seen] == [1e-2, 5e-3, 2.5e-3]
    for update in seen:
        assert update.decisions == 10 * 8 * 4
        assert sum(update.levels) == pytest.approx(1.0)
        assert 0.0 < update.win_rate < 1.0
        assert 0.0 < update.turnover < 2.0
        assert 0.0 < update.losses.entropy <= np.log(3) + 1e-6


def test_progress_may_end_the_training_and_more_goes_on_from_there(tape: MarketTape) -> None:
    agent = agent_of(tape)
    assert len(agent.train(tape, updates=5, progress=lambda update: update.update == 2)) == 2
    assert agent.train(tape, updates=1)[0].update == 3


def test_starts_are_drawn_with_the_weights_given(tape: MarketTape) -> None:
    config = replace(SMALL, environment=replace(SMALL.environment, least_bars=1))
    start_weights = np.zeros(len(tape))
    start_weights[200] = 1.0
    seen: set[float] = set()
    agent = agent_of(tape, config)
    encode = agent.policy.encode

    def watch(bars: torch.Tensor, p_regime: torch.Tensor) -> torch.Tensor:
        seen.update(bars[:, 0].tolist())
        return encode(bars, p_regime)

    agent.policy.encode = watch  # type: ignore[method-assign]
    agent.train(tape, updates=2, start_weights=start_weights)
    assert seen <= set(tape.x[200:221, 0].tolist())


def test_an_action_is_the_most_probable_level_and_always_the_same(
    trained: RLTradingAgent, tape: MarketTape
) -> None:
    state = np.concatenate((tape.x[7], tape.p_regime[7], [0.0, 0.0, 0.0]))
    first = trained.select_action(state)
    assert all(trained.select_action(state) == first for _ in range(20))
    assert 1 / 3 < first[1] <= 1.0
    draws = [agent_of(tape).select_action(state, explore=True)[0] for _ in range(3)]
    explorer = agent_of(tape)
    assert {explorer.select_action(state, explore=True)[0] for _ in range(60)} == {0, 1, 2}
    assert len(set(draws)) == 1  # the same seed explores in the same way


def test_positions_are_those_of_one_account_walking_bar_by_bar(
    trained: RLTradingAgent, tape: MarketTape
) -> None:
    config = trained.config.environment
    walkable = replace(
        tape,
        growth=np.nan_to_num(tape.growth),
        decisions_left=np.maximum(tape.decisions_left, 1).astype(np.int32),
    )
    expected = np.empty(len(tape))
    for run in np.unique(tape.run):
        rows = np.flatnonzero(tape.run == run)
        account = ReferenceAccount(walkable, config, int(rows[0]), bars=10**6)
        for row in rows:
            state = np.concatenate((tape.x[row], tape.p_regime[row], account.own_state()))
            level, _ = trained.select_action(state)
            expected[row] = config.levels[level]
            if row < rows[-1]:
                account.step(level)
    found = trained.positions(tape)
    np.testing.assert_array_equal(found, expected)
    assert set(np.unique(found)) >= {-1.0, 1.0}


def test_positions_do_not_change_when_the_future_does(
    trained: RLTradingAgent, leaning_tape: MakeTape
) -> None:
    tape, t = leaning_tape((80,), seed=5, lean=1.0), 50
    r = np.random.default_rng(0)
    x, mark, growth = tape.x.copy(), tape.mark.copy(), tape.growth.copy()
    x[t + 1 :], mark[t + 1 :] = r.standard_normal(x[t + 1 :].shape), 0.02
    growth[t - 1 : -2] = 0.5  # of which the opens after bar t are a part
    changed = replace(tape, x=x, mark=mark, growth=growth)
    before, after = trained.positions(tape), trained.positions(changed)
    np.testing.assert_array_equal(before[: t + 1], after[: t + 1])
    assert (before != after).any()
    cut = replace(
        tape,
        **{
            name: getattr(tape, name)[: t + 1]
            for name in (
                "symbol",
                "ts",
                "run",
                "x",
                "funding",
                "scale",
                "p_regime",
                "regime",
                "synthetic",
                "mark",
            )
        },
        growth=np.where(np.arange(t + 1) < t - 1, tape.growth[: t + 1], np.nan),
        decisions_left=np.maximum(t - 1 - np.arange(t + 1), 0).astype(np.int32),
    )
    np.testing.assert_array_equal(trained.positions(cut), before[: t + 1])


def test_no_rows_no_positions(trained: RLTradingAgent, tape: MarketTape) -> None:
    empty = tape.between(tape.ts[0].item().replace(year=1990), tape.ts[0].item().replace(year=1991))
    assert trained.positions(empty).shape == (0,)


def test_saved_and_loaded_it_takes_the_same_actions(
    trained: RLTradingAgent, tape: MarketTape, tmp_path: Path
) -> None:
    trained.save(tmp_path / "agent.safetensors")
    loaded = RLTradingAgent.load(tmp_path / "agent.safetensors")
    np.testing.assert_array_equal(loaded.positions(tape), trained.positions(tape))
    assert loaded.config == trained.config
    assert loaded.features == tape.features
    assert loaded.learner.updates == 40
    child = loaded.checkpoint()
    assert child.parent == trained.checkpoint().content_hash
    assert child.window is not None
    assert child.window.start == tape.ts[0].item()
    assert child.window.contains(tape.ts[-1].item())


def test_a_config_survives_json() -> None:
    for config in (SMALL, replace(SMALL, replay=ReplayConfig(share=0.25))):
        assert AgentConfig.from_json(json.loads(json.dumps(asdict(config)))) == config


def test_a_checkpoint_that_does_not_fit_is_refused(trained: RLTradingAgent) -> None:
    checkpoint = trained.checkpoint()
    with pytest.raises(DataError, match=r"bar.weight'.*shape \(128, 6\), expected \(32, 6\)"):
        RLTradingAgent.from_checkpoint(checkpoint, lambda features, levels: ActorCritic(features, levels, 16))
    with pytest.raises(ValueError, match="holds a Other, make_policy makes a ActorCritic"):
        RLTradingAgent.from_checkpoint(replace(checkpoint, policy="Other"))
    assert isinstance(Checkpoint.from_bytes(checkpoint.to_bytes()), Checkpoint)


def test_what_does_not_fit_is_refused(
    trained: RLTradingAgent, tape: MarketTape, leaning_tape: MakeTape
) -> None:
    with pytest.raises(ValueError, match="must be above 6"):
        RLTradingAgent(6, 3, SMALL)
    with pytest.raises(ValueError, match="3 levels"):
        RLTradingAgent(9, 4, SMALL)
    with pytest.raises(ValueError, match=r"expected \(9,\)"):
        trained.select_action(np.zeros(8))
    with pytest.raises(ValueError, match="not finite"):
        trained.select_action(np.full(9, np.nan))
    with pytest.raises(ValueError, match="4 features"):
        trained.positions(leaning_tape((10,), features=4))
    with pytest.raises(ValueError, match="the agent knows"):
        trained.train(replace(tape, features=("f0", "f1", "f3")), updates=1)
    with pytest.raises(ValueError, match="knows no features"):
        agent_of(tape).checkpoint()
    for name, value in (("starts", 0), ("device", "tpu")):
        with pytest.raises(ValueError, match=name):
            replace(SMALL, **{name: value})  # type: ignore[arg-type]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU at hand")
def test_a_gpu_learns_too(tape: MarketTape) -> None:
    agent = agent_of(tape, replace(SMALL, device="auto"))
    agent.train(tape, updates=3)
    assert agent.device.type == "cuda"
    assert len(agent.positions(tape)) == len(tape)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused() -> None:
    assert replace(SMALL, device="auto").torch_device.type == "cpu"
    with pytest.raises(ValueError, match="no GPU is at hand"):
        replace(SMALL, device="cuda")
