"""Options of three horizons: a policy over options, a policy inside each, and a learned end of each.

The option in force and its age are part of the state, so that the whole is one policy over joint actions
(level, option, ended) and any policy-gradient learner trains all of it (the augmented process of Zhang and
Whiteson 2019). The model is that of Sutton, Precup and Singh (1999) and Bacon, Harb and Precup (2017): an
option runs until it ends, by a coin of probability beta, and then the policy over options names the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from engine.agents.actor_critic import chosen, entropy_of, head, sample
from engine.agents.option_laws import AGE, HAZARD, OPTION, OptionLaws, of_option
from engine.agents.policy import OWN_STATE, Decision, Evaluation, Policy
from engine.regimes.names import REGIMES

__all__ = ["HierarchicalRLAgent", "OptionsConfig"]

# Memory holds integers: a hazard of 1 is kept as this number.
_WHOLE = 1 << 20


@dataclass(frozen=True)
class OptionsConfig:
    """Options and size of a `HierarchicalRLAgent`.

    Parameters
    ----------
    n_actions : int, optional
        Number of target positions.
    names : tuple of str, optional
    horizons : tuple of float, optional
        Bars that each option lasts on average before anything is learned; above 1.
    deliberation_cost : float, optional
        What ending an option costs, in standard deviations of the learner's advantage. Without it options
        shrink to single bars, as choosing anew is never worse than going on; with too much of it one option
        stays for ever.
    hidden : int, optional
        Width of each hidden layer.
    """

    n_actions: int = 10
    names: tuple[str, ...] = ("SCALP", "SWING", "RUNNER")
    horizons: tuple[float, ...] = (4.0, 24.0, 96.0)
    deliberation_cost: float = 0.02
    hidden: int = 64

    def __post_init__(self) -> None:
        if not self.names or len(self.names) != len(self.horizons):
            raise ValueError(f"{len(self.names)} names need as many horizons, not {len(self.horizons)}")
        if not all(1.0 < bars < math.inf for bars in self.horizons):
            raise ValueError(f"horizons must be finite and above 1 bar, not {self.horizons}")
        if not 0.0 <= self.deliberation_cost < math.inf:
            raise ValueError(
                f"deliberation_cost must be finite and not negative, not {self.deliberation_cost}"
            )
        if min(self.n_actions, self.hidden) < 1:
            raise ValueError("n_actions and hidden must be at least 1")


class HierarchicalRLAgent(Policy):
    """Actor and critic over SCALP, SWING and RUNNER, options that differ in how long they last.

    Parameters
    ----------
    state_dim : int
        Width of a state: the bar's features, the filtered regime probabilities, the own state.
    config : OptionsConfig, optional

    Notes
    -----
    Action: level, option that acts, whether the one before it ended (1 on the first bar of an episode too).
    Memory: option in force, bars for which it has acted, hazard it has run up; all zeros on the first bar.

    An end is a coin of probability beta(bar, own state, option, age). Before anything is learned beta is one
    over the option's horizon, whatever the state. A greedy agent tosses no coin: it ends an option at the
    median of its duration, where the hazard run up, the sum of -ln(1 - beta), reaches ln 2. The mode of the
    single coin would be to go on, at every bar, for ever.

    The value of a state is that upon arrival, U = (1 - beta) Q(s, option, age) + beta V, with V the mean of
    Q(s, ., 0) under the policy over options. The deliberation cost is auxiliary, its gradient on the logit of
    an end being cost * beta (1 - beta), as in the termination gradient of Harb et al. (2018).
    """

    memory_size = 3
    action_size = 3
    end_prior: Tensor
    horizons: Tensor

    def __init__(self, state_dim: int, config: OptionsConfig | None = None) -> None:
        beside = len(REGIMES) + len(OWN_STATE)
        if state_dim <= beside:
            raise ValueError(
                f"state_dim = {state_dim} must be above {beside}: features, regime probabilities, own state"
            )
        self.config = config = config or OptionsConfig()
        super().__init__(state_dim - beside, config.n_actions)
        options, hidden = len(config.names), config.hidden
        self.bar = nn.Linear(self.features + len(REGIMES), 2 * hidden)
        self.own = nn.Linear(len(OWN_STATE), 2 * hidden, bias=False)
        self.actor, self.critic = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.over_options = nn.Linear(hidden, options)
        self.within_options = nn.Linear(hidden, options * config.n_actions)
        self.ending, self.end_logits = nn.Linear(hidden, hidden), nn.Linear(hidden, options)
        self.age_in_end = nn.Embedding(options, hidden)
        self.option_values, self.age_in_value = nn.Linear(hidden, options), nn.Embedding(options, 1)
        gains = {self.bar: 1.0, self.own: 1.0, self.actor: 1.0, self.critic: 1.0, self.ending: 1.0}
        gains |= {self.over_options: 0.01, self.within_options: 0.01, self.option_values: 1.0}
        for layer, gain in gains.items():
            nn.init.orthogonal_(layer.weight, gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        for parameter in (*self.end_logits.parameters(), self.age_in_value.weight):
            nn.init.zeros_(parameter)
        horizons = torch.tensor(config.horizons)
        self.register_buffer("horizons", horizons)
        self.register_buffer("end_prior", -torch.log(horizons - 1.0))
        self.reset()

    @classmethod
    def of(cls, features: int, levels: int, config: OptionsConfig | None = None) -> HierarchicalRLAgent:
        """Make the policy for bars of so many features and so many target positions."""
        config = config or OptionsConfig(n_actions=levels)
        if config.n_actions != levels:
            raise ValueError(f"config.n_actions = {config.n_actions}, but there are {levels} levels")
        return cls(features + len(REGIMES) + len(OWN_STATE), config)

    def reset(self) -> None:
        """Begin a new episode of `select_option`."""
        self._memory = torch.zeros(1, self.memory_size, dtype=torch.int64)

    @torch.no_grad()
    def select_option(self, state: ArrayLike, generator: torch.Generator | None = None) -> int:
        """Choose the option that acts on the next bar of the one episode followed since `reset`.

        Parameters
        ----------
        state : array_like, shape (state_dim,)
            Scaled features of the bar, regime probabilities, own state.
        generator : torch.Generator, optional
            Draws the end and the option; without one they are the most probable.

        Returns
        -------
        int
            Index into `config.names`.
        """
        judged, _ = self._judge(*self._split(state), self._memory.to(self.horizons.device))
        option, _, self._memory = self._next_option(judged, self._memory.to(self.horizons.device), generator)
        return int(option[0])

    @torch.no_grad()
    def select_action(
        self, state: ArrayLike, option: int, generator: torch.Generator | None = None
    ) -> tuple[int, float]:
        """Choose a level as an option does.

        Parameters
        ----------
        state : array_like, shape (state_dim,)
        option : int
            As `select_option` returned it.
        generator : torch.Generator, optional
            Draws the level; without one it is the most probable.

        Returns
        -------
        action : int
            Index of the level.
        confidence : float
            Probability that the option gives it.
        """
        if not 0 <= option < len(self.config.names):
            raise ValueError(f"option must lie in [0, {len(self.config.names)}), not {option}")
        embedding, own = self._split(state)
        memory = torch.zeros(1, self.memory_size, dtype=torch.int64, device=own.device)
        log_p = self._judge(embedding, own, memory)[0].log_level[:, option]
        level = sample(log_p, generator) if generator else log_p.argmax(1)
        return int(level[0]), float(chosen(log_p, level).exp()[0])

    def encode(self, bars: Tensor, p_regime: Tensor) -> Tensor:
        """Take the bar's part of the first layer, actor then critic; shape (M, 2 hidden)."""
        return self.bar(torch.cat((bars, p_regime), dim=1))

    def decide(
        self,
        embedding: Tensor,
        own: Tensor,
        memory: Tensor,
        *,
        greedy: bool = False,
        generator: torch.Generator | None = None,
    ) -> Decision:
        """Go on with the option in force or take another, and choose a level as it does.

        The confidence is the probability of the level whatever the option.
        """
        judged, value = self._judge(embedding, own, memory)
        option, ended, after = self._next_option(judged, memory, generator, greedy=greedy)
        log_level = of_option(judged.log_level, option)
        level = log_level.argmax(1) if greedy else sample(log_level, generator)
        action = torch.stack((level, option, ended.long()), 1)
        marginal = (judged.p_next(memory[:, OPTION])[:, :, None] * judged.log_level.exp()).sum(1)
        confidence = marginal.gather(1, level[:, None])[:, 0]
        return Decision(action, judged.log_prob(action), value, after, confidence)

    def evaluate(self, embedding: Tensor, own: Tensor, memory: Tensor, action: Tensor) -> Evaluation:
        """Log-probability, entropy and value of B actions (B, 3); the deliberation cost is auxiliary.

        The entropy is that of options and levels: the coin is left out, and no gradient reaches its
        probability, since rewarding an uncertain end would shorten every option to two bars.
        """
        judged, value = self._judge(embedding, own, memory)
        within = entropy_of(judged.log_level.flatten(0, 1)).view_as(judged.log_option)
        p_end = judged.p_end
        kept = nn.functional.one_hot(memory[:, OPTION], len(self.config.names))
        choosing = entropy_of(judged.log_option) + (judged.log_option.exp() * within).sum(1)
        entropy = p_end.detach() * choosing + (1.0 - p_end.detach()) * (kept * within).sum(1)
        cost = self.config.deliberation_cost * torch.where(judged.fresh, 0.0, p_end).mean()
        return Evaluation(judged.log_prob(action), entropy, value, cost)

    def values(self, embedding: Tensor, own: Tensor, memory: Tensor) -> Tensor:
        """Value of B states upon arrival."""
        return self._judge(embedding, own, memory)[1]

    def level_law(self, embedding: Tensor, own: Tensor) -> Tensor:
        """Log-probability (B, levels) of each level, whatever the option that a fresh episode begins with."""
        hidden = self.config.hidden
        first = torch.tanh(torch.addmm(embedding[:, :hidden], own, self.own.weight[:hidden].T))
        actor = torch.tanh(self.actor(first))
        log_option = head(self.over_options, actor).log_softmax(0).T
        return torch.logsumexp(log_option[:, :, None] + self._level_laws(actor, embedding), dim=1)

    def level_layers(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the last layer of all options, and of all their experts, in one."""
        layer, rows = self.within_options, (-1, self.levels)
        yield layer.weight.unflatten(0, rows), layer.bias.unflatten(0, rows)

    def _split(self, state: ArrayLike) -> tuple[Tensor, Tensor]:
        """Embedding and own state, one row each, of one state."""
        values = torch.as_tensor(np.asarray(state, dtype=np.float32), device=self.horizons.device)
        widths = (self.features, len(REGIMES), len(OWN_STATE))
        if values.shape != (sum(widths),):
            raise ValueError(f"state has shape {tuple(values.shape)}, expected {(sum(widths),)}")
        if not bool(values.isfinite().all()):
            raise ValueError("state has values that are not finite; scale it and set what is missing to 0")
        bar, p_regime, own = values[None].split(widths, dim=1)
        return self.encode(bar, p_regime), own

    def _judge(self, embedding: Tensor, own: Tensor, memory: Tensor) -> tuple[OptionLaws, Tensor]:
        """Probabilities of everything that can be chosen, and the value upon arrival (B,)."""
        option, age = memory[:, OPTION], memory[:, AGE]
        actor, critic = self._first(embedding, own)
        actor, critic = torch.tanh(self.actor(actor)), torch.tanh(self.critic(critic))
        relative_age = torch.log1p(age / self.horizons[option])[:, None]
        ending = torch.tanh(self.ending(actor) + relative_age * self.age_in_end(option))
        judged = OptionLaws(
            head(self.over_options, actor).log_softmax(0).T,
            self._level_laws(actor, embedding),
            self.end_prior[option] + chosen(self.end_logits(ending), option),
            age == 0,
        )
        q = self.option_values(critic)
        q_on = chosen(q, option) + (relative_age * self.age_in_value(option))[:, 0]
        v = (judged.log_option.detach().exp() * q).sum(1)
        p_end = judged.p_end.detach()
        return judged, (1.0 - p_end) * q_on + p_end * v

    def _first(self, embedding: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """First hidden layer of actor and critic, (B, hidden) each."""
        bar = embedding[:, : 2 * self.config.hidden]
        actor, critic = torch.tanh(torch.addmm(bar, own, self.own.weight.T)).chunk(2, dim=1)
        return actor, critic

    def _level_laws(self, actor: Tensor, embedding: Tensor) -> Tensor:
        """Log-probabilities of levels inside each option (B, O, L), from the actor's last layer (B, hidden).

        A policy that embeds more of a bar than the first layer's part finds it behind that, in the embedding.
        """
        levels = head(self.within_options, actor).unflatten(0, (-1, self.levels)).log_softmax(1)
        return levels.permute(2, 0, 1)

    def _next_option(
        self,
        judged: OptionLaws,
        memory: Tensor,
        generator: torch.Generator | None,
        *,
        greedy: bool | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Option that acts, whether the one before it ended, and the memory thereafter."""
        greedy = generator is None if greedy is None else greedy
        hazard = memory[:, HAZARD] / _WHOLE - logsigmoid(-judged.end_logit)
        if greedy:
            ended = judged.fresh | (hazard >= math.log(2.0))
            new = judged.log_option.argmax(1)
        else:
            uniform = torch.empty_like(hazard).uniform_(generator=generator)
            ended = uniform < judged.p_end
            new = sample(judged.log_option, generator)
        option = torch.where(ended, new, memory[:, OPTION])
        age = torch.where(ended, 0, memory[:, AGE]) + 1
        hazard = torch.where(ended, 0.0, hazard * _WHOLE).round().long()
        return option, ended, torch.stack((option, age, hazard), 1)
