"""The agent that trades: a policy, what it was trained with, and how it acts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from engine.agents.actor_critic import ActorCritic
from engine.agents.agent_config import AgentConfig, state_width
from engine.agents.checkpoint import Checkpoint, require_shapes, schema_hash
from engine.agents.decisions import greedy_decisions
from engine.agents.environment import TradingEnvironment
from engine.agents.policy import OWN_STATE, Policy
from engine.agents.ppo import PPO, fresh_samples
from engine.agents.replayed import FragmentReplay
from engine.agents.rollout import Bars, Collector
from engine.agents.tape import MarketTape
from engine.agents.training_update import TrainingUpdate, report
from engine.evaluation.splits import Window
from engine.features.scaling import Scaler
from engine.regimes.names import REGIMES

__all__ = ["PolicyFactory", "RLTradingAgent"]

_OPTIMIZER, _REPLAY = "optimizer.", "replay."

PolicyFactory = Callable[[int, int], Policy]
"""Makes a policy from the number of features and of levels; a class of policies is one."""


class RLTradingAgent:
    """Target positions by proximal policy optimisation.

    Parameters
    ----------
    state_dim : int
        Width of a state: `engine.agents.agent_config.state_width` of the number of features.
    n_actions : int
        Number of levels; as many as the environment's config has.
    config : AgentConfig, optional
    make_policy : PolicyFactory
        Which policy is trained; the flat actor and critic by default.

    Attributes
    ----------
    policy : Policy
    learner : PPO
        Its `learning_rate` may be set at any time, its `optimizer` given to a schedule.
    features : tuple[str, ...] or None
        Names of the features, once trained or loaded.

    Raises
    ------
    ValueError
        If the state is too narrow to hold a feature or the levels are not `n_actions`.
    """

    def __init__(
        self,
        state_dim: int,
        n_actions: int,
        config: AgentConfig | None = None,
        make_policy: PolicyFactory = ActorCritic,
    ) -> None:
        self.config = config = AgentConfig() if config is None else config
        beside = len(REGIMES) + len(OWN_STATE)
        if state_dim <= beside:
            raise ValueError(f"state_dim = {state_dim} must be above {beside}: features, then {beside} more")
        if n_actions != len(config.environment.levels):
            raise ValueError(
                f"n_actions = {n_actions}, but the environment has {len(config.environment.levels)} levels"
            )
        self.state_dim, self.n_actions = state_dim, n_actions
        self.device = config.torch_device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.policy = make_policy(state_dim - beside, n_actions)
        self.policy.to(self.device)
        self._actions = torch.Generator(self.device).manual_seed(config.seed)
        self.learner = PPO(self.policy, config.ppo, torch.Generator().manual_seed(config.seed))
        self.features: tuple[str, ...] | None = None
        self.window: Window | None = None
        self._parent: str | None = None
        self._trainings = 0
        self._replay: tuple[MarketTape, FragmentReplay] | None = None

    def select_action(self, state: ArrayLike, *, explore: bool = False) -> tuple[int, float]:
        """Choose a level in one state.

        Parameters
        ----------
        state : array_like, shape (state_dim,)
            Scaled features of the bar, regime probabilities, own state.
        explore : bool
            Draw from the policy instead of taking its most probable level, which is always the same.

        Returns
        -------
        action : int
            Index of the level.
        confidence : float
            The policy's probability of it. Raw: calibrate it before it is believed.
        """
        values = torch.as_tensor(np.asarray(state, dtype=np.float32), device=self.device)
        if values.shape != (self.state_dim,):
            raise ValueError(f"state has shape {tuple(values.shape)}, expected {(self.state_dim,)}")
        if not bool(values.isfinite().all()):
            raise ValueError("state has values that are not finite; scale it and set what is missing to 0")
        width = self.policy.features
        bar, p_regime, own = values[None].split((width, len(REGIMES), len(OWN_STATE)), dim=1)
        memory = torch.zeros(1, self.policy.memory_size, dtype=torch.int64, device=self.device)
        with torch.no_grad():
            decision = self.policy.decide(
                self.policy.encode(bar, p_regime),
                own,
                memory,
                greedy=not explore,
                generator=self._actions if explore else None,
            )
        return int(decision.action[0, 0]), float(decision.confidence[0])

    def train(
        self,
        tape: MarketTape,
        *,
        updates: int,
        start_weights: NDArray[np.float64] | None = None,
        progress: Callable[[TrainingUpdate], bool | None] | None = None,
    ) -> list[TrainingUpdate]:
        """Improve the policy on a tape; called again, it goes on from where it was, with new episodes.

        Parameters
        ----------
        tape : MarketTape
            With the features of earlier tapes.
        updates : int
            Rollouts collected and learned from, at most.
        start_weights : ndarray, shape (N,), optional
            Relative frequency of each row as the first of an episode.
        progress : callable, optional
            Called after each update; may set the learning rate, and ends the training by returning True.

        Returns
        -------
        list of TrainingUpdate

        Raises
        ------
        ValueError
            If the tape has other features than those the agent knows.
        DivergenceError
            If a loss is not finite.
        """
        self._know(tape)
        config = self.config
        seed = int(np.random.SeedSequence((config.seed, self._trainings)).generate_state(1)[0])
        environment = TradingEnvironment(
            tape,
            config.environment,
            starts=config.starts,
            paths=config.paths,
            seed=seed,
            start_weights=start_weights,
            device=self.device,
        )
        self._trainings += 1
        self.window = _widened(self.window, tape)
        bars = Bars.of(tape, self.device)
        collector = Collector(environment, bars, self.policy, config.horizon, self._actions)
        replay = self._replay_of(tape)
        history = []
        for _ in range(updates):
            rollout = collector.collect()
            fresh, rate = fresh_samples(rollout, config.ppo), self.learner.learning_rate
            if replay is None:
                losses = self.learner.update(bars, fresh)
            else:
                losses = self.learner.update(bars, fresh, replay.draw(self.policy, bars, config.ppo))
                replay.store(rollout, fresh.advantage)
            history.append(report(rollout, losses, self.learner.updates, rate, config.environment.levels))
            if progress is not None and progress(history[-1]):
                break
        return history

    def positions(self, tape: MarketTape) -> NDArray[np.float64]:
        """Target position that the greedy policy takes on each row, walking every run from flat; shape (N,).

        The state on a row holds the position of the row before, so these are the positions of one account
        that was there from the first bar of the run.

        Raises
        ------
        ValueError
            If the tape has other features than those the agent knows.
        """
        self._know(tape)
        made = greedy_decisions(self.policy, tape, self.config.environment, self.device)
        return np.array(self.config.environment.levels)[made.level]

    def checkpoint(self, *, scaler: Scaler | None = None, schema: str | None = None) -> Checkpoint:
        """Take the agent's present state, to be stored.

        Parameters
        ----------
        scaler : Scaler, optional
            That the tapes were scaled with.
        schema : str, optional
            Hash of the features' definitions; by default of their names.

        Raises
        ------
        ValueError
            If the agent has seen no tape, so that it does not know the names of its features.
        """
        if self.features is None:
            raise ValueError("the agent has seen no tape yet and knows no features; train it first")
        return Checkpoint(
            policy=type(self.policy).__name__,
            weights={name: value.detach().clone() for name, value in self.policy.state_dict().items()},
            features=self.features,
            schema=schema_hash(self.features) if schema is None else schema,
            config=asdict(self.config),
            seed=self.config.seed,
            updates=self.learner.updates,
            window=self.window,
            scaler=scaler,
            parent=self._parent,
        )

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        make_policy: PolicyFactory = ActorCritic,
        config: AgentConfig | None = None,
    ) -> Self:
        """Rebuild an agent: it takes the same actions, and what it is trained to from here names this parent.

        Parameters
        ----------
        checkpoint : Checkpoint
        make_policy : PolicyFactory
            That made the stored policy.
        config : AgentConfig, optional
            To train on with, or to run on another device; by default the stored one, on a device that is
            here.

        Raises
        ------
        DataError
            If the weights do not fit the policy.
        ValueError
            If the policy is of another class than the stored one.
        """
        stored = AgentConfig.from_json({**checkpoint.config, "device": "auto"})
        if config is None:
            config = replace(stored, device="cpu") if checkpoint.config["device"] == "cpu" else stored
        agent = cls(
            state_width(len(checkpoint.features)), len(config.environment.levels), config, make_policy
        )
        if (found := type(agent.policy).__name__) != checkpoint.policy:
            raise ValueError(f"the checkpoint holds a {checkpoint.policy}, make_policy makes a {found}")
        require_shapes(checkpoint.weights, {k: v.shape for k, v in agent.policy.state_dict().items()})
        agent.policy.load_state_dict(dict(checkpoint.weights))
        agent.features, agent.window = checkpoint.features, checkpoint.window
        agent.learner.updates = checkpoint.updates
        agent._parent = checkpoint.content_hash
        return agent

    def learner_state(self) -> dict[str, NDArray[Any]]:
        """Optimiser, generators and replay as arrays: with the weights, all that later updates depend on."""
        optimizer = self.learner.optimizer.state_dict()["state"].get(0, {})
        state = {
            "counters": np.array([self._trainings, self.learner.updates]),
            "learning_rate": np.array(self.learner.learning_rate),
            "actions": self._actions.get_state().numpy(),
            "minibatches": self.learner.generator.get_state().numpy(),
            **{_OPTIMIZER + name: value.cpu().numpy() for name, value in optimizer.items()},
        }
        if self._replay is not None:
            buffer = self._replay[1].buffer.state_dict()
            state |= {_REPLAY + name: value for name, value in buffer.items()}
        return state

    def load_learner_state(self, state: Mapping[str, NDArray[Any]], tape: MarketTape) -> None:
        """Go on from where `learner_state` was taken, with the same weights and on the same tape.

        Raises
        ------
        ValueError
            If replay was made with other settings.
        """
        self._know(tape)
        self.window = _widened(self.window, tape)
        self._trainings, self.learner.updates = (int(count) for count in state["counters"])
        self.learner.learning_rate = float(state["learning_rate"])
        self._actions.set_state(torch.from_numpy(state["actions"]))
        self.learner.generator.set_state(torch.from_numpy(state["minibatches"]))
        optimizer = {k.removeprefix(_OPTIMIZER): v for k, v in state.items() if k.startswith(_OPTIMIZER)}
        if optimizer:
            whole = self.learner.optimizer.state_dict()
            whole["state"] = {0: {name: torch.from_numpy(value) for name, value in optimizer.items()}}
            self.learner.optimizer.load_state_dict(whole)
        buffer = {k.removeprefix(_REPLAY): v for k, v in state.items() if k.startswith(_REPLAY)}
        replay = self._replay_of(tape)
        if replay is not None and buffer:
            replay.buffer.load_state_dict(buffer)

    def save(self, path: Path, *, scaler: Scaler | None = None) -> None:
        """Write `checkpoint` to a file."""
        path.write_bytes(self.checkpoint(scaler=scaler).to_bytes())

    @classmethod
    def load(cls, path: Path, make_policy: PolicyFactory = ActorCritic) -> Self:
        """Read an agent from a file that `save` wrote."""
        return cls.from_checkpoint(Checkpoint.from_bytes(path.read_bytes()), make_policy)

    def _know(self, tape: MarketTape) -> None:
        """Refuse a tape of other features; the first one names them."""
        if len(tape.features) != self.policy.features:
            raise ValueError(f"the tape has {len(tape.features)} features, the agent {self.policy.features}")
        if self.features is not None and self.features != tape.features:
            raise ValueError(f"the tape has the features {tape.features}, the agent knows {self.features}")
        self.features = tape.features

    def _replay_of(self, tape: MarketTape) -> FragmentReplay | None:
        """Replay of what was done on a tape; on another tape it begins empty."""
        if self.config.replay is None:
            return None
        if self._replay is None or self._replay[0] is not tape:
            replay = FragmentReplay(self.config.replay, tape.regime, self.config.starts, self.config.seed)
            self._replay = (tape, replay)
        return self._replay[1]


def _widened(window: Window | None, tape: MarketTape) -> Window:
    """Least window that holds a window and the bars of a tape."""
    start, end = tape.ts.min().item(), tape.ts.max().item() + timedelta(microseconds=1)
    return Window(start, end) if window is None else Window(min(start, window.start), max(end, window.end))
