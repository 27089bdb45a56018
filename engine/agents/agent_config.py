"""What the training of an agent depends on besides the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch

from engine.agents.environment import EnvironmentConfig
from engine.agents.policy import OWN_STATE
from engine.agents.ppo import PPOConfig
from engine.agents.replayed import ReplayConfig
from engine.regimes.names import REGIMES

__all__ = ["AgentConfig", "state_width"]


def state_width(features: int) -> int:
    """Width of a state: scaled features of the bar, regime probabilities, own state, in this order."""
    return features + len(REGIMES) + len(OWN_STATE)


@dataclass(frozen=True)
class AgentConfig:
    """Everything that training depends on besides the data.

    Parameters
    ----------
    environment : EnvironmentConfig
    ppo : PPOConfig
    replay : ReplayConfig, optional
        Prioritised replay of earlier fragments beside the fresh ones; none by default.
    starts, paths : int
        Start points, and accounts on each of them.
    horizon : int
        Steps between updates; an update sees ``horizon * starts * paths`` decisions.
    seed : int
        Of weights, starts, actions and minibatches.
    device : str
        ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.
    """

    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    replay: ReplayConfig | None = None
    starts: int = 64
    paths: int = 16
    horizon: int = 32
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("starts", "paths", "horizon"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
        if self.device not in ("cpu", "cuda", "auto"):
            raise ValueError(f"device = {self.device!r} must be 'cpu', 'cuda' or 'auto'")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device = 'cuda', but no GPU is at hand; 'auto' takes one where there is one")

    @property
    def torch_device(self) -> torch.device:
        """The device that `device` stands for here."""
        gpu = self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available())
        return torch.device("cuda" if gpu else "cpu")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild a config from what `dataclasses.asdict` and JSON made of it."""
        environment = {**values["environment"], "levels": tuple(values["environment"]["levels"])}
        replay = values["replay"]
        if replay is not None:
            replay = ReplayConfig(**{**replay, "regime_factors": tuple(replay["regime_factors"])})
        parts = {"environment": EnvironmentConfig(**environment), "ppo": PPOConfig(**values["ppo"])}
        return cls(**{**values, **parts, "replay": replay})
