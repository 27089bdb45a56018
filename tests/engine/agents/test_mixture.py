"""Mixtures of experts: balance, competition for rows, rare regimes, and what a gate tells."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.agents.mixture import (
    MixtureOfExperts,
    balance_loss,
    fit_mixture,
    gate_report,
    mixture_log_probs,
    stratified_weights,
)

NOISE = 0.2


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        (torch.eye(3), 1.0),
        (torch.tensor([[1.0, 0.0, 0.0]]).repeat(6, 1), 3.0),
        (torch.tensor([[0.5, 0.3, 0.2]]).repeat(6, 1), 1.5),
    ],
)
def test_balance_loss(gate: Tensor, expected: float) -> None:
    assert float(balance_loss(gate)) == pytest.approx(expected, abs=1e-6)


def test_the_importance_of_a_stratum_does_not_hang_on_its_rows() -> None:
    strata = torch.tensor([0] * 55 + [1] * 40 + [2] * 5)
    weights = stratified_weights(strata)
    assert float(weights.sum()) == pytest.approx(1.0)
    assert [float(weights[strata == k].sum()) for k in range(3)] == pytest.approx([1 / 3] * 3)
    # An expert per regime is perfectly balanced by strata, and far from it by rows.
    gate = torch.eye(3)[strata]
    assert float(balance_loss(gate, weights)) == pytest.approx(1.0)
    assert float(balance_loss(gate)) == pytest.approx(3 * (0.55**2 + 0.40**2 + 0.05**2))


def test_a_missing_stratum_takes_no_weight() -> None:
    weights = stratified_weights(torch.tensor([0, 2, 2]))
    torch.testing.assert_close(weights, torch.tensor([0.5, 0.25, 0.25]))


def test_balance_by_rows_pulls_the_rare_regimes_expert_to_common_rows() -> None:
    """The gradient of the loss on a common row's logits, for the expert of the rare regime."""
    strata = torch.tensor([0] * 55 + [1] * 40 + [2] * 5)
    pull = {}
    for name, weights in (("rows", None), ("strata", stratified_weights(strata))):
        logits = (4.0 * torch.eye(3)[strata]).requires_grad_()
        balance_loss(logits.softmax(1), weights).backward()
        assert logits.grad is not None
        # Down the gradient: negative means that the rare expert is given more of a common row.
        pull[name] = float(
            (logits.grad[0, 2] - logits.grad[0, 0]) / (1 / 100 if weights is None else weights[0])
        )
    assert pull["rows"] < 0.0
    assert pull["strata"] == pytest.approx(0.0, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(2, 6), st.integers(0, 1000))
def test_a_mixture_of_laws_is_a_law(experts: int, outcomes: int, seed: int) -> None:
    g = _generator(seed)
    gate = torch.randn(4, experts, generator=g).log_softmax(1)
    laws = torch.randn(4, experts, outcomes, generator=g).log_softmax(2)
    mixed = mixture_log_probs(gate, laws).exp()
    torch.testing.assert_close(mixed.sum(1), torch.ones(4))
    torch.testing.assert_close(mixed, torch.einsum("nk,nko->no", gate.exp(), laws.exp()))


def test_experts_learn_in_proportion_to_what_they_explain() -> None:
    """The gradient on an expert's mean is its responsibility times its error over its variance."""
    model = MixtureOfExperts(1, 1, 3, _generator(3)).double()
    x, y = torch.tensor([[0.4]], dtype=torch.float64), torch.tensor([0.7], dtype=torch.float64)
    model.log_likelihood(x, x, y).sum().backward()
    with torch.no_grad():
        mean, sd = model.experts(x)[0], model.log_noise.exp()
        density = torch.exp(-0.5 * ((y - mean) / sd) ** 2) / sd
        responsibility = model.log_gate(x)[0].exp() * density
        responsibility /= responsibility.sum()
        assert model.intercepts.grad is not None
        torch.testing.assert_close(model.intercepts.grad, responsibility * (y - mean) / sd**2)


def _pieces(n: int, seed: int) -> tuple[Tensor, Tensor]:
    g = _generator(seed)
    x = 6.0 * torch.rand(n, 1, generator=g) - 3.0
    y = torch.where(x < -1, 2 * x + 1, torch.where(x > 1, 3 * x - 2, -x))[:, 0]
    return x, y + NOISE * torch.randn(n, generator=g)


def test_three_lines_are_found() -> None:
    x, y = _pieces(600, 0)
    test_x, test_y = _pieces(4000, 1)

    def error(starts: int) -> float:
        model = fit_mixture(x, x, y, starts=starts, seed=0)
        with torch.no_grad():
            return float((model(test_x, test_x) - test_y).square().mean())

    assert error(3) <= 0.13
    # The first of these starts leaves an expert without rows: one start is not enough.
    assert error(1) > 0.5


def _regimes(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs, filtered regime probabilities, regimes (55, 37, 8 %) and targets of three conflicting laws."""
    g = _generator(seed)
    regime = torch.multinomial(torch.tensor([0.55, 0.37, 0.08]), n, replacement=True, generator=g)
    x = torch.randn(n, 2, generator=g)
    laws = torch.tensor([[1.0, 0.5], [-1.0, 0.5], [0.5, -3.0]])
    y = (x * laws[regime]).sum(1) + NOISE * torch.randn(n, generator=g)
    evidence = 8.0 * torch.eye(3)[regime] + torch.randn(n, 3, generator=g)
    return x, evidence.softmax(1), regime, y


def _rare_regime(balance_weight: float) -> tuple[float, float, set[int]]:
    """Share of PANIC rows with one expert, squared error on them, the experts in charge of the regimes."""
    x, p, regime, y = _regimes(800, 0)
    model = fit_mixture(x, p, y, strata=regime, balance_weight=balance_weight, starts=2)
    x, p, regime, y = _regimes(3000, 1)
    with torch.no_grad():
        chosen = model.log_gate(p).argmax(1)
        error = (model(x, p) - y).square()
    mode = [int(chosen[regime == k].mode().values) for k in range(3)]
    panic = regime == 2
    return float((chosen[panic] == mode[2]).float().mean()), float(error[panic].mean()), set(mode)


def test_a_rare_regime_keeps_an_expert() -> None:
    share, error, experts = _rare_regime(0.01)
    assert experts == {0, 1, 2}
    assert share >= 0.8
    assert error <= 2.0 * NOISE**2


def test_a_large_balance_loss_spoils_the_rare_regime() -> None:
    assert _rare_regime(5.0)[1] > 2.0 * NOISE**2


def test_gate_report_of_known_gates() -> None:
    regime = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    p = torch.eye(3)[regime]
    told = gate_report(p, p)
    assert told.shares == pytest.approx((0.5, 0.3, 0.2))
    assert told.dispatched == pytest.approx((0.5, 0.3, 0.2))
    assert told.entropy == pytest.approx(0.0, abs=1e-9)
    entropy = -sum(q * math.log(q) for q in (0.5, 0.3, 0.2))
    assert told.mutual_information == pytest.approx(entropy)
    torch.testing.assert_close(torch.tensor(told.by_regime), torch.eye(3))

    blind = gate_report(torch.full((100, 3), 1 / 3), p)
    assert blind.entropy == pytest.approx(1.0)
    assert blind.mutual_information == pytest.approx(0.0, abs=1e-9)


def test_gate_report_shows_collapse() -> None:
    collapsed = gate_report(
        torch.tensor([[0.98, 0.01, 0.01]]).repeat(50, 1), torch.eye(3)[torch.arange(50) % 3]
    )
    assert collapsed.dispatched == (1.0, 0.0, 0.0)
    assert collapsed.mutual_information == pytest.approx(0.0, abs=1e-9)


def test_a_fit_is_the_same_for_the_same_seed() -> None:
    x, y = _pieces(200, 0)
    first, second = (fit_mixture(x, x, y, starts=2, rounds=2, seed=5) for _ in range(2))
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0.0, atol=0.0)


def test_targets_that_are_not_finite_are_refused() -> None:
    x, y = _pieces(50, 0)
    y[3] = torch.nan
    with pytest.raises(ValueError, match="must be finite"):
        fit_mixture(x, x, y, starts=1)
