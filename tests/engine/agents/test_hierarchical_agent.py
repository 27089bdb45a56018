"""Options as one policy: joint probabilities, value upon arrival, costs and ends."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.agents.agent import RLTradingAgent
from engine.agents.agent_config import AgentConfig, state_width
from engine.agents.environment import EnvironmentConfig, TradingEnvironment
from engine.agents.option_laws import AGE, ENDED, NEXT, OPTION
from engine.agents.options import HierarchicalRLAgent, OptionsConfig
from engine.agents.policy import Evaluation
from engine.agents.ppo import PPOConfig
from engine.agents.rollout import Bars, Collector
from engine.agents.tape import MarketTape

FEATURES, LEVELS, BATCH = 5, 4, 6


def _agent(seed: int = 0, *, trained: bool = True, **settings: float) -> HierarchicalRLAgent:
    """Make an agent in double precision, its networks shaken so that nothing is zero or uniform."""
    torch.manual_seed(seed)
    agent = HierarchicalRLAgent.of(FEATURES, LEVELS, OptionsConfig(n_actions=LEVELS, hidden=16, **settings))  # type: ignore[arg-type]
    if trained:
        with torch.no_grad():
            for parameter in agent.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return agent.double()


def _states(seed: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Bars, regime probabilities, own states and memories; the first two states are fresh."""
    g = torch.Generator().manual_seed(seed)
    bars = torch.randn(BATCH, FEATURES, generator=g, dtype=torch.float64)
    p_regime = torch.randn(BATCH, 3, generator=g, dtype=torch.float64).softmax(1)
    own = torch.randn(BATCH, 3, generator=g, dtype=torch.float64)
    memory = torch.tensor([[0, 0, 0], [0, 0, 0], [0, 1, 0], [1, 5, 900], [2, 80, 70_000], [2, 3, 1]])
    return bars, p_regime, own, memory


def _all_actions(fresh: bool, option: int) -> list[tuple[int, int, int]]:
    """Every joint action possible in a state."""
    ends = itertools.product(range(LEVELS), range(3), [1])
    stays = [] if fresh else [(level, option, 0) for level in range(LEVELS)]
    return [*ends, *stays]


def _evaluate_all(agent: HierarchicalRLAgent, row: int) -> tuple[Evaluation, list[tuple[int, int, int]]]:
    bars, p_regime, own, memory = _states()
    actions = _all_actions(bool(memory[row, 1] == 0), int(memory[row, 0]))
    n = len(actions)
    embedding = agent.encode(bars, p_regime)[row].expand(n, -1)
    evaluation = agent.evaluate(
        embedding, own[row].expand(n, -1), memory[row].expand(n, -1), torch.tensor(actions)
    )
    return evaluation, actions


@pytest.mark.parametrize("row", range(BATCH))
def test_joint_probabilities_sum_to_one(row: int) -> None:
    evaluation, _ = _evaluate_all(_agent(), row)
    assert float(evaluation.log_prob.detach().exp().sum()) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("row", range(BATCH))
def test_entropy_is_that_of_the_joint_action_less_the_coin(row: int) -> None:
    evaluation, actions = _evaluate_all(_agent(), row)
    p = evaluation.log_prob.detach().exp()
    p_end = float(p[torch.tensor([end == 1 for *_, end in actions])].sum())
    coin = -sum(q * math.log(q) for q in (p_end, 1.0 - p_end) if q > 1e-12)
    joint = float(-(p * evaluation.log_prob).sum())
    assert float(evaluation.entropy[0]) == pytest.approx(joint - coin, abs=1e-9)


def test_entropy_does_not_reward_uncertain_ends() -> None:
    agent = _agent()
    bars, p_regime, own, memory = _states()
    action = agent.decide(agent.encode(bars, p_regime), own, memory, greedy=True).action
    agent.evaluate(agent.encode(bars, p_regime), own, memory, action).entropy.sum().backward()
    assert agent.end_logits.weight.grad is None
    assert agent.within_options.weight.grad is not None


def test_deciding_and_evaluating_agree() -> None:
    agent = _agent()
    bars, p_regime, own, memory = _states()
    embedding = agent.encode(bars, p_regime)
    for seed in range(20):
        decision = agent.decide(embedding, own, memory, generator=torch.Generator().manual_seed(seed))
        evaluation = agent.evaluate(embedding, own, memory, decision.action)
        torch.testing.assert_close(decision.log_prob, evaluation.log_prob)
        torch.testing.assert_close(decision.value, evaluation.value)
        torch.testing.assert_close(decision.value, agent.values(embedding, own, memory))
        assert decision.action.dtype == decision.memory.dtype == torch.int64
        stays = decision.action[:, 2] == 0
        assert not stays[:2].any(), "a fresh episode chooses an option"
        assert torch.equal(decision.action[stays, 1], memory[stays, 0])
        assert torch.equal(decision.memory[:, 0], decision.action[:, 1])
        assert torch.equal(decision.memory[:, 1], torch.where(stays, memory[:, 1], 0) + 1)


def test_draws_have_the_joint_probabilities() -> None:
    agent, n = _agent(), 40_000
    bars, p_regime, own, memory = _states()
    embedding = agent.encode(bars, p_regime)
    rows = torch.full((n,), 3)
    decision = agent.decide(
        embedding[rows], own[rows], memory[rows], generator=torch.Generator().manual_seed(0)
    )
    evaluation, actions = _evaluate_all(agent, 3)
    for p, action in zip(evaluation.log_prob.exp().tolist(), actions, strict=True):
        share = float((decision.action == torch.tensor(action)).all(1).double().mean())
        assert share == pytest.approx(p, abs=4 * math.sqrt(p / n) + 1e-4)
    level = torch.tensor([a[0] for a in actions])
    marginal = float(evaluation.log_prob.exp()[level == decision.action[0, 0]].sum())
    assert float(decision.confidence[0]) == pytest.approx(marginal)


def test_gradient_of_the_joint_log_probability() -> None:
    agent = _agent()
    bars, p_regime, own, memory = _states()
    action = torch.tensor([[0, 1, 1], [3, 2, 1], [1, 0, 0], [2, 1, 0], [3, 0, 1], [1, 2, 1]])

    def total() -> Tensor:
        evaluation = agent.evaluate(agent.encode(bars, p_regime), own, memory, action)
        return evaluation.log_prob.sum()

    total().backward()
    touched = 0
    for name, parameter in agent.named_parameters():
        if parameter.grad is None:
            assert name.startswith(("critic", "option_values", "age_in_value"))
            continue
        index, h = int(parameter.grad.abs().argmax()), 1e-6
        with torch.no_grad():
            flat = parameter.view(-1)
            flat[index] += h
            above = total()
            flat[index] -= 2 * h
            below = total()
            flat[index] += h
        slope = float(above - below) / (2 * h)
        assert float(parameter.grad.view(-1)[index]) == pytest.approx(slope, rel=1e-5, abs=1e-7)
        touched += abs(slope) > 1e-6
    assert touched >= 10


def test_value_is_that_upon_arrival() -> None:
    agent = _agent()
    bars, p_regime, own, memory = _states()
    embedding = agent.encode(bars, p_regime)

    def q_on(option: int, row: int) -> float:
        """Value of going on: a state whose end has been made impossible."""
        fixed = _agent()
        with torch.no_grad():
            fixed.end_prior.fill_(-1e9)
        held = torch.tensor([[option, int(memory[row, 1]), 0]])
        return float(fixed.values(embedding[row : row + 1], own[row : row + 1], held))

    evaluation, actions = _evaluate_all(agent, 3)
    p_end = float(evaluation.log_prob.exp()[torch.tensor([a[2] == 1 for a in actions])].sum())
    v = float(agent.values(embedding[3:4], own[3:4], torch.zeros(1, 3, dtype=torch.int64)))
    expected = (1 - p_end) * q_on(int(memory[3, 0]), 3) + p_end * v
    assert float(agent.values(embedding, own, memory)[3]) == pytest.approx(expected)


@torch.no_grad()
def test_value_over_options_is_a_mean_and_not_the_maximum() -> None:
    agent = _agent()
    bars, p_regime, own, memory = _states()
    state = agent.encode(bars, p_regime)[:1], own[:1], memory[:1]
    q = []
    for option in range(3):
        sure = _agent()
        sure.over_options.bias[option] += 1e4
        q.append(float(sure.values(*state)))
    evaluation, actions = _evaluate_all(agent, 0)
    p = evaluation.log_prob.exp()
    p_option = [float(p[torch.tensor([a[1] == option for a in actions])].sum()) for option in range(3)]
    assert float(agent.values(*state)) == pytest.approx(sum(x * y for x, y in zip(p_option, q, strict=True)))
    assert float(agent.values(*state)) < max(q) - 0.01


def test_value_sees_option_and_age() -> None:
    agent = _agent()
    bars, p_regime, own, _ = _states()
    embedding = agent.encode(bars, p_regime)[:1].expand(4, -1)
    memory = torch.tensor([[0, 2, 0], [1, 2, 0], [1, 40, 0], [0, 0, 0]])
    values = agent.values(embedding, own[:1].expand(4, -1), memory)
    assert len(set(values.tolist())) == 4


def test_values_do_not_push_ends_or_choices() -> None:
    agent = _agent()
    bars, p_regime, own, memory = _states()
    agent.values(agent.encode(bars, p_regime), own, memory).sum().backward()
    for layer in (agent.end_logits, agent.over_options, agent.within_options, agent.actor):
        assert layer.weight.grad is None


def test_deliberation_cost_acts_on_the_logit_as_published() -> None:
    agent = _agent(trained=False, deliberation_cost=0.5)
    bars, p_regime, own, memory = _states()
    embedding = agent.encode(bars, p_regime)
    action = agent.decide(embedding, own, memory, greedy=True).action
    penalty = agent.evaluate(embedding, own, memory, action).auxiliary
    penalty.backward()
    beta = 1.0 / agent.horizons[memory[2:, 0]]
    slope = 0.5 * beta * (1 - beta) / BATCH
    expected = torch.stack([slope[memory[2:, 0] == k].sum() for k in range(3)])
    torch.testing.assert_close(agent.end_logits.bias.grad, expected)
    # Fresh states end nothing and cost nothing.
    assert float(penalty.detach()) == pytest.approx(0.5 * float(beta.sum()) / BATCH)
    free = _agent(trained=False, deliberation_cost=0.0)
    assert float(free.evaluate(embedding, own, memory, action).auxiliary.detach()) == 0.0


def test_ends_hang_on_age_and_position() -> None:
    agent = _agent()
    bars, p_regime, own, _ = _states()
    embedding = agent.encode(bars, p_regime)[:1].expand(3, -1)
    own = own[:1].repeat(3, 1)
    own[2, 0] += 1.0
    memory = torch.tensor([[1, 2, 0], [1, 50, 0], [1, 2, 0]])
    stay = torch.tensor([[0, 1, 0]]).expand(3, -1)
    end = torch.tensor([[0, 1, 1]]).expand(3, -1)
    odds = (
        agent.evaluate(embedding, own, memory, end).log_prob
        - agent.evaluate(embedding, own, memory, stay).log_prob
    )
    assert len({round(x, 9) for x in odds.tolist()}) == 3


def _walk(
    agent: HierarchicalRLAgent, bars: int, *, accounts: int = 400, greedy: bool = False
) -> tuple[Tensor, Tensor]:
    """Memories and actions of accounts that meet the same market, bar after bar."""
    g = torch.Generator().manual_seed(0)
    embedding = agent.encode(torch.zeros(1, FEATURES).double(), torch.full((1, 3), 1 / 3).double())
    embedding, own = embedding.expand(accounts, -1), torch.zeros(accounts, 3).double()
    memory, memories, actions = torch.zeros(accounts, 3, dtype=torch.int64), [], []
    for _ in range(bars):
        decision = agent.decide(embedding, own, memory, greedy=greedy, generator=None if greedy else g)
        memories.append(memory)
        actions.append(decision.action)
        memory = decision.memory
    return torch.stack(memories), torch.stack(actions)


@torch.no_grad()
def test_options_last_their_horizons_before_anything_is_learnt() -> None:
    agent = _agent(trained=False)
    memory, action = _walk(agent, 200)
    for option, horizon in enumerate(agent.config.horizons):
        occasions = (memory[..., AGE] > 0) & (memory[..., OPTION] == option)
        ends = (occasions & (action[..., ENDED] > 0)).sum().item()
        # Occasions to end over ends: a mean over finished options alone would be too short.
        assert occasions.sum().item() / ends == pytest.approx(horizon, rel=4 / math.sqrt(ends))
    # Each is chosen alike, so that use goes with duration.
    scalp, swing, runner = torch.bincount(action[..., NEXT].flatten(), minlength=3).tolist()
    assert scalp < swing < runner


@torch.no_grad()
def test_a_greedy_agent_ends_options_at_the_median_of_their_duration() -> None:
    for option, horizon in enumerate((4.0, 24.0, 96.0)):
        agent = _agent(trained=False)
        agent.over_options.bias[option] += 50.0
        _, action = _walk(agent, 300, accounts=1, greedy=True)
        starts = np.flatnonzero(action[:, 0, 2].numpy())
        median = math.ceil(math.log(2.0) / -math.log(1.0 - 1.0 / horizon) - 1e-4)
        assert set(np.diff(starts)) == {median}


@torch.no_grad()
def test_one_by_one_as_in_a_batch() -> None:
    agent = _agent()
    bars, p_regime, own, memory = _states()
    whole = agent.decide(agent.encode(bars, p_regime), own, memory, greedy=True)
    for i in range(BATCH):
        row = slice(i, i + 1)
        alone = agent.decide(agent.encode(bars[row], p_regime[row]), own[row], memory[row], greedy=True)
        assert torch.equal(alone.action, whole.action[row])
        assert torch.equal(alone.memory, whole.memory[row])
        torch.testing.assert_close(alone.value, whole.value[row], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(alone.log_prob, whole.log_prob[row], rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("one_thread")
def test_a_learner_trains_it(leaning_tape: Callable[..., MarketTape]) -> None:
    tape = leaning_tape((400, 300), lean=1.0)
    config = AgentConfig(ppo=PPOConfig(learning_rate=3e-3), starts=16, paths=4, horizon=32)

    def trained(updates: int) -> tuple[RLTradingAgent, list[float]]:
        agent = RLTradingAgent(state_width(3), 10, config, HierarchicalRLAgent.of)
        return agent, [update.reward for update in agent.train(tape, updates=updates)]

    agent, reward = trained(12)
    assert np.mean(reward[-3:]) > np.mean(reward[:3]) + 0.1
    one, other = (trained(1)[0].policy.state_dict() for _ in range(2))
    torch.testing.assert_close(one, other, rtol=0.0, atol=0.0)
    fresh = leaning_tape((300,), seed=9, lean=1.0)
    assert np.corrcoef(agent.positions(fresh), fresh.x[:, 0])[0, 1] > 0.3

    environment = TradingEnvironment(fresh, EnvironmentConfig(), starts=4, paths=2, seed=0)
    rollout = Collector(environment, Bars.of(fresh), agent.policy, 100, torch.Generator()).collect()
    assert rollout.memory.dtype == rollout.action.dtype == torch.int64
    # Nobody else keeps the option: each memory is what the action before it left, but for new episodes.
    goes_on = ~rollout.ended[:-1]
    assert torch.equal(rollout.memory[1:, :, :, 0][goes_on], rollout.action[:-1, :, :, 1][goes_on])
    assert not rollout.memory[1:][~goes_on].any()


def test_an_episode_through_the_public_calls() -> None:
    torch.manual_seed(0)
    agent = HierarchicalRLAgent(FEATURES + 6, OptionsConfig(n_actions=LEVELS, hidden=16))
    rng = np.random.default_rng(0)
    states = rng.normal(size=(60, FEATURES + 6))
    options = [agent.select_option(state) for state in states]
    agent.reset()
    assert options == [agent.select_option(state) for state in states]
    changes = np.flatnonzero(np.diff(options))
    assert len(changes) < 20
    action, confidence = agent.select_action(states[0], options[0])
    assert 0 <= action < LEVELS
    assert 1 / LEVELS <= confidence <= 1.0
    g = torch.Generator().manual_seed(0)
    assert {agent.select_action(states[0], 0, g)[0] for _ in range(200)} == set(range(LEVELS))
    agent.reset()
    assert len({agent.select_option(states[0], g) for _ in range(400)}) == 3
    with pytest.raises(ValueError, match="option"):
        agent.select_action(states[0], 3)
    with pytest.raises(ValueError, match="not finite"):
        agent.select_option(np.full(FEATURES + 6, np.nan))
    with pytest.raises(ValueError, match="shape"):
        agent.select_option(states[0][:-1])


@pytest.mark.parametrize(
    "wrong",
    [
        {"names": ("SCALP",)},
        {"horizons": (1.0, 24.0, 96.0)},
        {"deliberation_cost": -1.0},
        {"hidden": 0},
    ],
)
def test_wrong_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        OptionsConfig(**wrong)


def test_states_too_narrow_and_other_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="state_dim"):
        HierarchicalRLAgent(6)
    with pytest.raises(ValueError, match="n_actions"):
        HierarchicalRLAgent.of(5, 4, OptionsConfig(n_actions=10))
