"""Experts behind a gate as one policy: the mixture, the gate's prior and smoothing, balance over regimes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.agents.agent import RLTradingAgent
from engine.agents.agent_config import AgentConfig, state_width
from engine.agents.experts import ExpertsConfig, MoEAgent
from engine.agents.mixture import balance_loss, gate_report
from engine.agents.policy import OWN_STATE
from engine.agents.ppo import PPOConfig
from engine.agents.tape import MarketTape
from engine.regimes.names import REGIMES

FEATURES, LEVELS, BATCH = 5, 4, 8


def _agent(seed: int = 0, *, trained: bool = True, **settings: float) -> MoEAgent:
    """Make an agent in double precision, its networks shaken so that nothing is zero or uniform."""
    torch.manual_seed(seed)
    agent = MoEAgent.of(FEATURES, LEVELS, ExpertsConfig(hidden=8, gate_hidden=4, **settings))
    if trained:
        with torch.no_grad():
            for parameter in agent.parameters():
                parameter.add_(0.5 * torch.randn_like(parameter))
    return agent.double()


def _states(n: int = BATCH, seed: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Bars, regime probabilities, own states and memories; the first half are fresh."""
    g = torch.Generator().manual_seed(seed)
    bars = torch.randn(n, FEATURES, generator=g, dtype=torch.float64)
    p_regime = (2.0 * torch.randn(n, 3, generator=g, dtype=torch.float64)).softmax(1)
    own = torch.randn(n, len(OWN_STATE), generator=g, dtype=torch.float64)
    memory = torch.randint(1, 1 << 18, (n, 3), generator=g)
    memory[: n // 2] = 0
    return bars, p_regime, own, memory


def test_forward_gives_a_law_a_value_and_weights() -> None:
    agent = _agent()
    bars, p_regime, own, _ = _states()
    logits, value, weights = agent(torch.cat((bars, own), 1), p_regime)
    assert logits.shape == (BATCH, LEVELS)
    assert value.shape == (BATCH,)
    torch.testing.assert_close(logits.exp().sum(1), torch.ones(BATCH).double())
    torch.testing.assert_close(weights.sum(1), torch.ones(BATCH).double())
    assert agent.experts == REGIMES


def test_laws_are_mixed_and_not_logits() -> None:
    agent = _agent()
    bars, p_regime, own, _ = _states()
    logits, value, weights = agent(torch.cat((bars, own), 1), p_regime)
    seen = torch.cat((bars, p_regime), 1)
    judged = [head(embed(seen), own) for embed, head in zip(agent.embed, agent.heads, strict=True)]
    law = sum(weights[:, k, None] * log_p.exp() for k, (log_p, _) in enumerate(judged))
    torch.testing.assert_close(logits.exp(), law)
    torch.testing.assert_close(value, sum(weights[:, k] * v for k, (_, v) in enumerate(judged)))
    blended = sum(weights[:, k, None] * log_p for k, (log_p, _) in enumerate(judged)).softmax(1)
    assert float((blended - logits.exp()).detach().abs().max()) > 1e-3


def test_an_untrained_gate_is_the_filtered_regime_probabilities() -> None:
    agent = _agent(trained=False)
    bars, p_regime, *_ = _states()
    p_regime = 0.05 + 0.85 * p_regime
    torch.testing.assert_close(agent.expert_weights(bars, p_regime), p_regime)
    report = gate_report(agent.expert_weights(bars, p_regime), p_regime)
    assert report.mutual_information > 0.05
    certain = torch.eye(3).double()
    weights = agent.expert_weights(bars[:3], certain)
    assert float(weights.detach().min()) > 0.005, "no expert is cut off from learning"


def test_gate_and_experts_see_the_market() -> None:
    agent = _agent()
    bars, p_regime, *_ = _states()
    other = agent.expert_weights(bars + 1.0, p_regime)
    assert float((other - agent.expert_weights(bars, p_regime)).detach().abs().max()) > 1e-3


def test_a_change_of_regime_moves_a_smoothed_gate_step_by_step() -> None:
    calm, panic = torch.tensor([[0.98, 0.01, 0.01]]).double(), torch.tensor([[0.01, 0.01, 0.98]]).double()
    bars, _, own, _ = _states(1)

    def panic_weights(smoothing: float) -> list[float]:
        agent = _agent(trained=False, gate_smoothing=smoothing)
        memory, weights = torch.zeros(1, 3, dtype=torch.int64), []
        for p_regime in (calm, calm, panic, panic, panic, panic):
            memory = agent.decide(agent.encode(bars, p_regime), own, memory, greedy=True).memory
            weights.append(float(memory[0, 2] / memory.sum()))
        return weights

    expected = [0.01, 0.01]
    for _ in range(4):
        expected.append(0.75 * expected[-1] + 0.25 * 0.98)
    assert panic_weights(0.75) == pytest.approx(expected, abs=1e-5)
    assert panic_weights(0.0)[2] == pytest.approx(0.98, abs=1e-5), "without smoothing it jumps"


def test_forward_smooths_as_deciding_does() -> None:
    agent = _agent(gate_smoothing=0.6)
    bars, p_regime, own, _ = _states()
    state = torch.cat((bars, own), 1)
    last = torch.tensor([[0.2, 0.5, 0.3]]).double().expand(BATCH, -1)
    raw, smoothed = agent(state, p_regime)[2], agent(state, p_regime, last)[2]
    torch.testing.assert_close(smoothed, 0.6 * last + 0.4 * raw, atol=1e-5, rtol=0.0)


def test_deciding_and_evaluating_agree() -> None:
    agent = _agent()
    bars, p_regime, own, memory = _states()
    embedding = agent.encode(bars, p_regime)
    decision = agent.decide(embedding, own, memory, generator=torch.Generator().manual_seed(0))
    evaluation = agent.evaluate(embedding, own, memory, decision.action)
    torch.testing.assert_close(decision.log_prob, evaluation.log_prob)
    torch.testing.assert_close(decision.value, agent.values(embedding, own, memory))
    torch.testing.assert_close(decision.confidence, decision.log_prob.exp())
    assert decision.action.dtype == decision.memory.dtype == torch.int64
    every = torch.arange(LEVELS).repeat(BATCH)[:, None]
    e, o, m = (x.repeat_interleave(LEVELS, 0) for x in (embedding, own, memory))
    log_p = agent.evaluate(e, o, m, every).log_prob.view(BATCH, LEVELS)
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(BATCH).double())
    torch.testing.assert_close(-(log_p.exp() * log_p).sum(1), evaluation.entropy)


def test_gradient_of_the_log_probability_and_of_the_balance_loss() -> None:
    agent = _agent(balance_weight=1.0)
    bars, p_regime, own, memory = _states()
    action = (torch.arange(BATCH) % LEVELS)[:, None]

    def total() -> Tensor:
        evaluation = agent.evaluate(agent.encode(bars, p_regime), own, memory, action)
        return evaluation.log_prob.sum() + evaluation.auxiliary

    total().backward()
    for parameter in agent.parameters():
        assert parameter.grad is not None
        index, h = int(parameter.grad.abs().argmax()), 1e-6
        with torch.no_grad():
            flat = parameter.view(-1)
            flat[index] += h
            above = total()
            flat[index] -= 2 * h
            below = total()
            flat[index] += h
        assert float(parameter.grad.view(-1)[index]) == pytest.approx(
            float(above - below) / (2 * h), rel=1e-5, abs=1e-7
        )


def test_an_expert_learns_in_proportion_to_its_share_in_the_action() -> None:
    agent = _agent()
    bars, p_regime, own, memory = _states()
    action = torch.zeros(BATCH, 1, dtype=torch.int64)
    embedding = agent.encode(bars, p_regime)
    agent.evaluate(embedding, own, memory, action).log_prob.sum().backward()
    seen = torch.cat((bars, p_regime), 1)
    with torch.no_grad():
        gate = agent._judge(embedding, own, memory)[2]
        laws = torch.stack(
            [h(e(seen), own)[0].exp() for e, h in zip(agent.embed, agent.heads, strict=True)], 1
        )
        share = gate * laws[:, :, 0] / (gate * laws[:, :, 0]).sum(1, keepdim=True)
        for k, head in enumerate(agent.heads):
            expected = (share[:, k, None] * (torch.eye(LEVELS)[0] - laws[:, k])).sum(0)
            bias = head.get_parameter("outputs.bias")
            assert bias.grad is not None
            torch.testing.assert_close(bias.grad[:LEVELS], expected)


def test_balance_is_over_regimes_and_not_over_rows() -> None:
    """An expert per regime on 55/40/5 % data is balanced by regimes; by rows the rare one would be pulled."""
    agent = _agent(trained=False, balance_weight=1.0)
    regime = torch.tensor([0] * 55 + [1] * 40 + [2] * 5)
    p_regime = 0.98 * torch.eye(3).double()[regime] + 0.02 / 3
    bars, _, own, memory = _states(100)
    action = torch.zeros(100, 1, dtype=torch.int64)
    penalty = agent.evaluate(agent.encode(bars, p_regime), own, memory, action).auxiliary
    assert float(penalty.detach()) == pytest.approx(1.0, abs=1e-6)
    assert float(balance_loss(agent.expert_weights(bars, p_regime)).detach()) > 1.3


def test_balance_fades_out() -> None:
    agent = _agent(balance_weight=0.5)
    bars, p_regime, own, memory = _states()
    embedding, action = agent.encode(bars, p_regime), torch.zeros(BATCH, 1, dtype=torch.int64)
    penalties = []
    for progress in (0.0, 0.5, 1.0):
        agent.anneal(progress)
        penalties.append(float(agent.evaluate(embedding, own, memory, action).auxiliary.detach()))
    assert penalties[1] == pytest.approx(penalties[0] / 2)
    assert penalties[2] == 0.0
    # Training that goes on from a checkpoint goes on with its weight.
    restored = _agent(balance_weight=0.5)
    restored.load_state_dict(agent.state_dict())
    assert float(restored.balance_weight) == 0.0
    with pytest.raises(ValueError, match="progress"):
        agent.anneal(1.5)


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


@pytest.mark.usefixtures("one_thread")
def test_a_learner_trains_it(leaning_tape: Callable[..., MarketTape]) -> None:
    tape = leaning_tape((400, 300), lean=1.0)
    config = AgentConfig(ppo=PPOConfig(learning_rate=3e-3), starts=16, paths=4, horizon=32)

    def trained(updates: int) -> tuple[RLTradingAgent, list[float], list[float]]:
        agent = RLTradingAgent(state_width(3), 10, config, MoEAgent.of)
        policy = agent.policy
        assert isinstance(policy, MoEAgent)
        history = agent.train(tape, updates=updates, progress=lambda u: policy.anneal(u.update / 12))
        return agent, [u.reward for u in history], [u.losses.auxiliary for u in history]

    agent, reward, balance = trained(12)
    assert np.mean(reward[-3:]) > np.mean(reward[:3]) + 0.1
    assert balance[0] >= 0.01
    assert balance[-1] < 0.2 * balance[0]
    one, other = (trained(1)[0].policy.state_dict() for _ in range(2))
    torch.testing.assert_close(one, other, rtol=0.0, atol=0.0)
    fresh = leaning_tape((300,), seed=9, lean=1.0)
    positions = agent.positions(fresh)
    assert np.corrcoef(positions, fresh.x[:, 0])[0, 1] > 0.3


@pytest.mark.parametrize(
    "wrong", [{"hidden": 0}, {"balance_weight": -1.0}, {"gate_smoothing": 1.0}], ids=lambda w: next(iter(w))
)
def test_wrong_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ExpertsConfig(**wrong)


def test_states_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="state_dim"):
        MoEAgent(3, 4)
    with pytest.raises(ValueError, match="columns"):
        _agent()(torch.zeros(2, FEATURES), torch.full((2, 3), 1 / 3))
