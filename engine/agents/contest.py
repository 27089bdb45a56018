"""Whether new agents become champion: the promotion gate, asked about two accounts on the same bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.agents.trading_agents import DecidedTape, even_account
from engine.evaluation.decision import Decision
from engine.evaluation.promotion_gate import PromotionGate

__all__ = ["CHALLENGER", "Contest", "contest"]

CHALLENGER = "challenger"


@dataclass(frozen=True)
class Contest:
    """What the gate said.

    Parameters
    ----------
    decision : Decision
    sharpe : float or None
        Of the challenger, per bar; None where its account never moved.
    """

    decision: Decision
    sharpe: float | None


def contest(
    challenger: Sequence[DecidedTape],
    incumbent: Sequence[DecidedTape] | None,
    *,
    alpha: float,
    gate: PromotionGate,
) -> Contest:
    """Judge the challenger against the champion, net of costs, every symbol with the same share.

    Parameters
    ----------
    challenger : sequence of DecidedTape
        On bars that neither side was trained on.
    incumbent : sequence of DecidedTape or None
        The champion's on the same bars. Until there is one, plain holding takes its place: the gate's guards
        against drawdown would never let anything pass that is compared with an account that does nothing.
    alpha : float
        Level of the test.
    gate : PromotionGate
        Asked about returns bar by bar, which its bootstrap of blocks allows.

    Raises
    ------
    ValueError
        If the two were not on the same bars.
    """
    ours = even_account(challenger)
    theirs = even_account(challenger, held=1.0) if incumbent is None else even_account(incumbent)
    if not ours["ts"].equals(theirs["ts"]):
        raise ValueError(
            f"the challenger decided on {ours.height} bars and the champion on {theirs.height}; "
            "let both decide on the same"
        )
    returns = ours["net_return"].to_numpy()
    trades = sum(int((one.outcomes.turnover > 0).sum()) for one in challenger)
    decision = gate.decide(
        theirs["net_return"].to_numpy(), {CHALLENGER: returns}, alpha=alpha, trades={CHALLENGER: trades}
    )
    spread = float(np.std(returns))
    return Contest(decision, float(np.mean(returns)) / spread if spread > 0.0 else None)
