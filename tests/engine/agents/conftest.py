"""A small market whose next return leans on its first feature, and a loader of modules that tests share."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.agents.agent import RLTradingAgent
from engine.agents.agent_config import AgentConfig, state_width
from engine.agents.decisions import GreedyDecisions
from engine.agents.environment import EnvironmentConfig
from engine.agents.policy import OWN_STATE
from engine.agents.tape import MarketTape
from engine.agents.trading_agents import DecidedTape


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Small networks gain nothing from a second thread, and test processes run side by side."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def shared_module() -> Callable[[str], ModuleType]:
    def load(name: str) -> ModuleType:
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
            assert spec is not None
            assert spec.loader is not None
            sys.modules[name] = module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        return sys.modules[name]

    return load


@pytest.fixture(scope="session")
def leaning_tape() -> Callable[..., MarketTape]:
    def make(
        lengths: tuple[int, ...] = (300, 200), seed: int = 0, lean: float = 0.0, features: int = 3
    ) -> MarketTape:
        r = np.random.default_rng(seed)
        n = sum(lengths)
        run = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        left = np.concatenate([np.maximum(np.arange(k, 0, -1) - 2, 0) for k in lengths]).astype(np.int32)
        x = r.standard_normal((n, features)).astype(np.float32)
        scale = r.uniform(0.005, 0.02, n)
        growth = np.where(left > 0, scale * (lean * x[:, 0] + r.standard_normal(n)), np.nan)
        p_regime = r.dirichlet(np.ones(3), n).astype(np.float32)
        return MarketTape(
            symbols=("A/USDT",),
            features=tuple(f"f{i}" for i in range(features)),
            symbol=np.zeros(n, np.int16),
            ts=np.datetime64("2024-01-01", "us") + np.arange(n) * np.timedelta64(1, "h"),
            run=run,
            x=x,
            growth=growth,
            funding=np.where(left > 0, r.normal(0, 1e-4, n), 0.0),
            scale=scale,
            p_regime=p_regime,
            regime=p_regime.argmax(1).astype(np.int8),
            decisions_left=left,
            synthetic=np.zeros(n, bool),
            mark=r.normal(0, 0.005, n),
        )

    return make


@pytest.fixture(scope="session")
def decided_tape() -> Callable[..., DecidedTape]:
    """Make decisions by hand: the level taken on each row of a tape."""

    def make(tape: MarketTape, level: NDArray[np.int64], **config: Any) -> DecidedTape:
        environment = EnvironmentConfig(**config)
        agent = RLTradingAgent(
            state_width(len(tape.features)), len(environment.levels), AgentConfig(environment=environment)
        )
        n = len(tape)
        return DecidedTape(
            agent,
            tape,
            GreedyDecisions(
                action=torch.from_numpy(level)[:, None],
                confidence=torch.full((n,), 0.5),
                value=torch.zeros(n),
                own=torch.zeros(n, len(OWN_STATE)),
                memory=torch.zeros(n, 0, dtype=torch.int64),
            ),
        )

    return make
