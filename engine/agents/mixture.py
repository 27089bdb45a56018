"""Mixtures of experts: a softmax gate shares the work out, the likelihood makes the experts compete for it.

With densities mixed, p(y|x) = sum_k g_k(x) p_k(y|x), an expert learns from an observation in proportion to
how well it alone explains it (Jacobs, Jordan, Nowlan and Hinton 1991), so that experts part company. The
squared error of the blended output would have them cooperate instead, each correcting the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = [
    "GateReport",
    "MixtureOfExperts",
    "balance_loss",
    "fit_mixture",
    "gate_report",
    "mixture_log_probs",
    "stratified_weights",
]


def mixture_log_probs(log_gate: Tensor, log_probs: Tensor) -> Tensor:
    """Log-probabilities of a mixture of K laws.

    Parameters
    ----------
    log_gate : Tensor, shape (N, K)
        Logarithms of weights that sum to 1.
    log_probs : Tensor, shape (N, K, ...)
        What each expert gives to each outcome.

    Returns
    -------
    Tensor, shape (N, ...)
    """
    trailing = (1,) * (log_probs.ndim - 2)
    return torch.logsumexp(log_gate.reshape(*log_gate.shape, *trailing) + log_probs, dim=1)


def stratified_weights(strata: Tensor) -> Tensor:
    """Weights of N rows, sum 1, such that every stratum present counts the same.

    Parameters
    ----------
    strata : Tensor of int64, shape (N,)
        Numbers from 0 on.
    """
    counts = torch.bincount(strata)
    return 1.0 / (counts[strata] * (counts > 0).sum())


def balance_loss(gate: Tensor, weights: Tensor | None = None) -> Tensor:
    """K sum_k f_k P_k: 1 where experts share the rows evenly, K where one has them all.

    f_k is the share of rows whose largest weight is expert k's, P_k the mean weight of expert k; the gradient
    flows through P (Fedus, Zoph and Shazeer 2022). Rows of unequal strata ask for `stratified_weights`:
    balanced over the rows as they come, the expert of a rare regime would be given rows of a common one.

    Parameters
    ----------
    gate : Tensor, shape (N, K)
        Weights of the experts per row, each row summing to 1.
    weights : Tensor, shape (N,), optional
        How much each row counts, sum 1; all the same by default.
    """
    experts = gate.shape[1]
    if weights is None:
        weights = gate.new_full((gate.shape[0],), 1.0 / gate.shape[0])
    weights = weights.to(gate.dtype)
    chosen = nn.functional.one_hot(gate.argmax(dim=1), experts).to(gate.dtype)
    return experts * torch.sum((weights @ chosen) * (weights @ gate))


@dataclass(frozen=True)
class GateReport:
    """How a gate shares out the work; what to watch for collapse.

    Parameters
    ----------
    shares : tuple of float
        Mean weight of each expert.
    dispatched : tuple of float
        Share of rows on which each expert has the largest weight.
    entropy : float
        Mean entropy of a row's weights over ln K: 0 where one expert decides each row, 1 where all have the
        same say.
    mutual_information : float
        Nats that the expert tells about the regime: 0 where the gate takes no notice of regimes.
    by_regime : tuple of tuple of float
        Mean weights of the experts (columns) in each regime (rows); NaN in a regime that never occurs.
    """

    shares: tuple[float, ...]
    dispatched: tuple[float, ...]
    entropy: float
    mutual_information: float
    by_regime: tuple[tuple[float, ...], ...]


def gate_report(gate: Tensor, p_regime: Tensor) -> GateReport:
    """Summarise the weights of K experts (N, K) beside the filtered probabilities of R regimes (N, R).

    The joint law of expert and regime is the mean over rows of the product of their probabilities.
    """
    g, p = gate.detach().double(), p_regime.double()
    experts = g.shape[1]
    joint = p.T @ g
    joint = joint / joint.sum()
    independent = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    information = torch.special.xlogy(joint, joint / independent.clamp_min(1e-300)).sum()
    entropy = torch.special.entr(g).sum(1).mean() / math.log(experts)
    dispatched = torch.bincount(g.argmax(1), minlength=experts) / g.shape[0]
    return GateReport(
        shares=tuple(g.mean(0).tolist()),
        dispatched=tuple(dispatched.tolist()),
        entropy=float(entropy),
        mutual_information=float(information.clamp_min(0.0)),
        by_regime=tuple(tuple(row) for row in (joint / joint.sum(1, keepdim=True)).tolist()),
    )


class MixtureOfExperts(nn.Module):
    """Regression by linear experts with Gaussian noise, and a softmax gate linear in its inputs.

    Parameters
    ----------
    inputs, gate_inputs : int
        Columns of what the experts and the gate are shown.
    experts : int
    generator : torch.Generator
        Draws the first coefficients.
    """

    def __init__(self, inputs: int, gate_inputs: int, experts: int, generator: torch.Generator) -> None:
        super().__init__()
        draw = lambda *shape: nn.Parameter(torch.randn(*shape, generator=generator))  # noqa: E731
        self.coefficients, self.intercepts = draw(inputs, experts), draw(experts)
        self.gate_coefficients, self.gate_intercepts = draw(gate_inputs, experts), draw(experts)
        self.log_noise = nn.Parameter(torch.zeros(experts))

    def log_gate(self, gate_inputs: Tensor) -> Tensor:
        """Logarithms of the experts' weights, shape (N, K)."""
        return torch.log_softmax(gate_inputs @ self.gate_coefficients + self.gate_intercepts, dim=1)

    def experts(self, inputs: Tensor) -> Tensor:
        """Mean that each expert expects, shape (N, K)."""
        return inputs @ self.coefficients + self.intercepts

    def forward(self, inputs: Tensor, gate_inputs: Tensor) -> Tensor:
        """Blend the experts' means into the expectation, shape (N,)."""
        return (self.log_gate(gate_inputs).exp() * self.experts(inputs)).sum(1)

    def log_likelihood(self, inputs: Tensor, gate_inputs: Tensor, targets: Tensor) -> Tensor:
        """Log density of each target under the mixture, shape (N,)."""
        standardised = (targets[:, None] - self.experts(inputs)) * torch.exp(-self.log_noise)
        log_density = -0.5 * (standardised.square() + math.log(2.0 * math.pi)) - self.log_noise
        return mixture_log_probs(self.log_gate(gate_inputs), log_density)


def fit_mixture(
    inputs: Tensor,
    gate_inputs: Tensor,
    targets: Tensor,
    *,
    experts: int = 3,
    strata: Tensor | None = None,
    balance_weight: float = 0.01,
    starts: int = 5,
    rounds: int = 4,
    steps: int = 25,
    seed: int = 0,
) -> MixtureOfExperts:
    """Fit by maximum likelihood from several starts and keep the most likely fit.

    One start may leave an expert without rows for good. The balance loss keeps experts alive early on; its
    weight falls to 0 over the rounds, so that in the end only the likelihood counts.

    Parameters
    ----------
    inputs, gate_inputs, targets : Tensor, shapes (N, D), (N, G), (N,)
    experts : int, optional
    strata : Tensor of int64, shape (N,), optional
        Filtered regimes to balance over; all rows count the same without.
    balance_weight : float, optional
    starts, rounds, steps, seed : int, optional
        Random starts, rounds in each, steps of L-BFGS on all rows in each round, and the seed of the starts.

    Raises
    ------
    ValueError
        Inputs or targets hold values that are not finite.
    """
    if not all(bool(values.isfinite().all()) for values in (inputs, gate_inputs, targets)):
        raise ValueError("inputs, gate_inputs and targets must be finite")
    generator = torch.Generator().manual_seed(seed)
    weights = None if strata is None else stratified_weights(strata)
    best, highest = None, -math.inf
    for _ in range(starts):
        model = MixtureOfExperts(inputs.shape[1], gate_inputs.shape[1], experts, generator)
        for weight in torch.linspace(balance_weight, 0.0, rounds).tolist():
            _improve(model, (inputs, gate_inputs, targets), weight, weights, steps)
        with torch.no_grad():
            reached = float(model.log_likelihood(inputs, gate_inputs, targets).mean())
        if reached > highest:
            best, highest = model, reached
    if best is None:
        raise ValueError(f"no fit from {starts} starts has a likelihood; take more, or scale the inputs")
    return best


def _improve(
    model: MixtureOfExperts,
    rows: tuple[Tensor, Tensor, Tensor],
    balance_weight: float,
    row_weights: Tensor | None,
    steps: int,
) -> None:
    """Take steps of L-BFGS up the mean log-likelihood less the weighted balance loss."""
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=steps, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        balance = balance_loss(model.log_gate(rows[1]).exp(), row_weights)
        value = balance_weight * balance - model.log_likelihood(*rows).mean()
        value.backward()
        return value

    optimizer.step(loss)
