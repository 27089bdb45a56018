"""The agents that trade a universe together: one for all symbols, and those tuned for one symbol each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.agents.agent import RLTradingAgent
from engine.agents.checkpoint import Checkpoint
from engine.agents.decisions import GreedyDecisions, greedy_decisions
from engine.agents.options import HierarchicalRLAgent
from engine.agents.outcomes import Outcomes, outcomes
from engine.agents.policies import POLICIES
from engine.agents.tape import MarketTape
from engine.errors import DataError
from engine.tensors import pack, unpack

__all__ = ["DecidedTape", "TradingAgents", "even_account"]

_KIND, _POOLED = "trading agents", "*"


@dataclass(frozen=True)
class DecidedTape:
    """Bars of one symbol and what an agent decided on each.

    Parameters
    ----------
    agent : RLTradingAgent
    tape : MarketTape
    decisions : GreedyDecisions
    """

    agent: RLTradingAgent
    tape: MarketTape
    decisions: GreedyDecisions

    @property
    def positions(self) -> NDArray[np.float64]:
        """Exposure decided on each row, a fraction of equity."""
        return np.array(self.agent.config.environment.levels)[self.decisions.level]

    @property
    def outcomes(self) -> Outcomes:
        """What these positions earned."""
        return outcomes(self.tape, self.positions, self.agent.config.environment)

    def frame(self) -> pl.DataFrame:
        """``symbol, ts, level, position, confidence, value, option``; the last is null without options."""
        policy, made = self.agent.policy, self.decisions
        options = None
        if isinstance(policy, HierarchicalRLAgent):
            options = np.array(policy.config.names)[made.action[:, 1].cpu().numpy()].tolist()
        return pl.DataFrame(
            {
                "symbol": [self.tape.symbols[0]] * len(self.tape),
                "ts": self.tape.ts,
                "level": made.level,
                "position": self.positions,
                "confidence": made.confidence.cpu().numpy().astype(np.float64),
                "value": made.value.cpu().numpy().astype(np.float64),
                "option": pl.Series(options, dtype=pl.String)
                if options is not None
                else pl.repeat(None, len(self.tape), dtype=pl.String, eager=True),
            },
            schema_overrides={"ts": pl.Datetime("us")},
        )


@dataclass(frozen=True)
class TradingAgents:
    """Checkpoints by symbol; a symbol without one of its own is traded by the pooled agent.

    Parameters
    ----------
    pooled : Checkpoint
        With its scaler.
    tuned : mapping from symbol to Checkpoint
    """

    pooled: Checkpoint
    tuned: Mapping[str, Checkpoint] = field(default_factory=dict)

    def decide(self, rows: pl.DataFrame) -> list[DecidedTape]:
        """Decide on every bar of market rows, each symbol from flat on its first bar.

        Parameters
        ----------
        rows : DataFrame
            As `MarketTape.from_frame` takes them, unscaled; rows whose ``volatility`` is missing are left
            out.

        Raises
        ------
        DataError
            If a checkpoint has no scaler.
        """
        known = rows.filter(pl.col("volatility").is_not_null())
        agents: dict[str, RLTradingAgent] = {}
        decided = []
        for (symbol,), part in known.group_by("symbol", maintain_order=True):
            name = str(symbol) if symbol in self.tuned else _POOLED
            checkpoint = self.tuned.get(name, self.pooled)
            if checkpoint.scaler is None:
                raise DataError("has no scaler, so that features cannot be put in its units", source=_KIND)
            if name not in agents:
                agents[name] = RLTradingAgent.from_checkpoint(checkpoint, POLICIES[checkpoint.policy])
            agent = agents[name]
            tape = MarketTape.from_frame(part, checkpoint.features, checkpoint.scaler)
            made = greedy_decisions(agent.policy, tape, agent.config.environment, agent.device)
            decided.append(DecidedTape(agent, tape, made))
        return decided

    def to_bytes(self) -> bytes:
        """All checkpoints in one; equal agents give equal bytes."""
        each = {_POOLED: self.pooled, **self.tuned}
        return pack(
            _KIND, {}, {name: np.frombuffer(c.to_bytes(), np.uint8).copy() for name, c in each.items()}
        )

    @property
    def content_hash(self) -> str:
        """SHA-256 of the bytes."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    def from_bytes(cls, data: bytes, schema: str | None = None) -> TradingAgents:
        """Read what `to_bytes` wrote.

        Raises
        ------
        DataError
            If the bytes are something else, or made for features of another schema.
        """
        _, arrays = unpack(_KIND, data)
        read = {name: Checkpoint.from_bytes(array.tobytes(), schema) for name, array in arrays.items()}
        return cls(read.pop(_POOLED), read)


def even_account(decided: list[DecidedTape]) -> pl.DataFrame:
    """Sum up an account that gives every symbol the same share, bar by bar.

    Returns
    -------
    DataFrame
        ``ts, net_return, turnover``: mean over the symbols that could decide on the bar, sorted by ts.
    """
    parts = []
    for one in decided:
        found, hosts = one.outcomes, one.tape.decisions_left > 0
        parts.append(
            pl.DataFrame(
                {"ts": one.tape.ts[hosts], "net_return": found.net[hosts], "turnover": found.turnover[hosts]}
            )
        )
    return (
        pl.concat(parts).group_by("ts").agg(pl.col("net_return").mean(), pl.col("turnover").mean()).sort("ts")
    )
