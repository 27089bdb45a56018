"""The agents that trade a universe together: one for all symbols, and those tuned for one symbol each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from engine.agents.agent import RLTradingAgent
from engine.agents.checkpoint import Checkpoint
from engine.agents.collapse import Finding, collapse_findings
from engine.agents.decisions import GreedyDecisions, greedy_decisions
from engine.agents.expert_options import ExpertOptionsAgent
from engine.agents.experts import MoEAgent
from engine.agents.options import HierarchicalRLAgent
from engine.agents.outcomes import Outcomes, outcomes
from engine.agents.policies import POLICIES
from engine.agents.tape import MarketTape
from engine.errors import DataError
from engine.regimes.names import REGIMES
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

    def held(self, position: float) -> Outcomes:
        """Settle one position held on every row instead."""
        return outcomes(self.tape, np.full(len(self.tape), position), self.agent.config.environment)

    @property
    def outcomes(self) -> Outcomes:
        """What these positions earned."""
        return outcomes(self.tape, self.positions, self.agent.config.environment)

    def between(self, start: datetime, end: datetime) -> DecidedTape:
        """Keep the bars that open in ``[start, end)``, in the states in which they were met."""
        inside = (self.tape.ts >= np.datetime64(start, "us")) & (self.tape.ts < np.datetime64(end, "us"))
        return replace(self, tape=self.tape.between(start, end), decisions=self.decisions.rows(inside))

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

    @torch.no_grad()
    def health(self) -> list[Finding]:
        """Signs of collapse in these decisions, as `engine.agents.collapse` judges them."""
        policy, made, device = self.agent.policy, self.decisions, self.agent.device
        bars = torch.from_numpy(self.tape.x).to(device)
        p_regime = torch.from_numpy(self.tape.p_regime).to(device)
        judged = policy.evaluate(policy.encode(bars, p_regime), made.own, made.memory, made.action)
        frame = pl.DataFrame(
            {
                "level": made.level,
                "position": self.positions,
                "run": self.tape.run,
                "growth": np.nan_to_num(self.tape.growth),
                "entropy": judged.entropy.cpu().numpy().astype(np.float64),
            }
        )
        if isinstance(policy, MoEAgent | ExpertOptionsAgent):
            gate = policy.expert_weights(bars, p_regime).cpu().numpy().astype(np.float64)
            frame = frame.with_columns(
                pl.Series(f"expert_{name}", gate[:, k]) for k, name in enumerate(REGIMES)
            )
        options: tuple[str, ...] = ()
        if isinstance(policy, HierarchicalRLAgent):
            options = policy.config.names
            chosen = made.action[:, 1:].cpu().numpy()
            frame = frame.with_columns(
                option=pl.Series(chosen[:, 0]), option_started=pl.Series(chosen[:, 1] > 0)
            )
        return collapse_findings(frame, policy.levels, options=options)


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

    def decide(self, rows: pl.DataFrame, *, episode: int | None = None) -> list[DecidedTape]:
        """Decide on every bar of market rows, each symbol from flat on its first bar.

        Parameters
        ----------
        rows : DataFrame
            As `MarketTape.from_frame` takes them, unscaled; rows whose ``volatility`` is missing are left
            out.
        episode : int, optional
            Begin flat anew every so many bars, which is many times faster on long histories.

        Raises
        ------
        DataError
            If a checkpoint has no scaler.
        """
        known = rows.filter(pl.col("volatility").is_not_null())
        decided = []
        symbols = known["symbol"].unique(maintain_order=True).to_list()
        others = [symbol for symbol in symbols if symbol not in self.tuned]
        tuned = [(checkpoint, [symbol]) for symbol, checkpoint in self.tuned.items()]
        for checkpoint, own in ((self.pooled, others), *tuned):
            part = known.filter(pl.col("symbol").is_in(own))
            if part.is_empty():
                continue
            if checkpoint.scaler is None:
                raise DataError("has no scaler, so that features cannot be put in its units", source=_KIND)
            agent = RLTradingAgent.from_checkpoint(checkpoint, POLICIES[checkpoint.policy])
            tape = MarketTape.from_frame(part, checkpoint.features, checkpoint.scaler)
            tape = tape if episode is None else tape.episodes(episode)
            # All symbols at once: the walk is sequential in time and batched over everything else.
            made = greedy_decisions(agent.policy, tape, agent.config.environment, agent.device)
            decided += [
                DecidedTape(agent, tape.of_symbol(symbol), made.rows(tape.symbol == code))
                for code, symbol in enumerate(tape.symbols)
            ]
        return sorted(decided, key=lambda one: symbols.index(one.tape.symbols[0]))

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


def even_account(decided: Sequence[DecidedTape], held: float | None = None) -> pl.DataFrame:
    """Sum up an account that gives every symbol the same share, bar by bar.

    Parameters
    ----------
    decided : sequence of DecidedTape
    held : float, optional
        One position to hold throughout instead of what was decided.

    Returns
    -------
    DataFrame
        ``ts, net_return, turnover``: mean over the symbols that could decide on the bar, sorted by ts.
    """
    parts = []
    for one in decided:
        found = one.outcomes if held is None else one.held(held)
        hosts = one.tape.decisions_left > 0
        parts.append(
            pl.DataFrame(
                {"ts": one.tape.ts[hosts], "net_return": found.net[hosts], "turnover": found.turnover[hosts]}
            )
        )
    return (
        pl.concat(parts).group_by("ts").agg(pl.col("net_return").mean(), pl.col("turnover").mean()).sort("ts")
    )
