"""Tail guardrails: what an improvement of the mean must not be bought with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.metrics import METRICS
from engine.evaluation.paired_returns import PairedReturns

__all__ = ["Allowance", "Guardrail", "Guardrails"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Allowance:
    """How much worse than the baseline's a tail figure may be: the larger of two allowances.

    Parameters
    ----------
    relative : float
        Share of the baseline's figure.
    absolute : float
        In the figure's own unit.

    Raises
    ------
    ValueError
        If one is negative or NaN.
    """

    relative: float
    absolute: float = 0.0

    def __post_init__(self) -> None:
        if not (self.relative >= 0.0 and self.absolute >= 0.0):
            raise ValueError(f"relative={self.relative} and absolute={self.absolute} must not be negative")

    def limit(self, baseline: float) -> float:
        """Worst figure that passes."""
        return baseline + max(self.relative * abs(baseline), self.absolute)


@dataclass(frozen=True)
class Guardrail:
    """One tail figure compared with its limit; larger is worse, and NaN never passes."""

    name: str
    baseline: float
    candidate: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the candidate stays inside."""
        return self.candidate <= self.limit


@dataclass(frozen=True)
class Guardrails:
    """Allowed worsening of each tail figure; None leaves a figure unguarded.

    A gate on the mean or the Sharpe ratio alone passes changes that raise rare large losses. Figures are
    compared as measured, without a test: a few worst periods cannot carry one, and a veto errs on the careful
    side. A guardrail can veto a promotion and never make one.

    Parameters
    ----------
    max_drawdown : Allowance or None
        Largest fall from a peak, fraction of equity, from simple returns per period.
    cvar_95 : Allowance or None
        Mean loss in the worst 5 % of periods, fraction of equity per period.
    worst_trade : Allowance or None
        Loss of the worst trade, in the unit of the trades handed in; judged only where they are.
    """

    max_drawdown: Allowance | None = Allowance(0.25, 0.02)
    cvar_95: Allowance | None = Allowance(0.25, 0.001)
    worst_trade: Allowance | None = Allowance(0.25)

    def check(
        self, returns: PairedReturns, trade_pnls: Mapping[str, Floats] | None = None
    ) -> dict[str, tuple[Guardrail, ...]]:
        """Compare every candidate with the baseline, by name.

        Parameters
        ----------
        returns : PairedReturns
        trade_pnls : mapping of str to ndarray, optional
            Net profit of each trade, by candidate and under ``"baseline"``; who is missing there or has no
            trade cannot pass.
        """
        names = returns.names
        streams = np.column_stack([returns.baseline, returns.candidates]).T
        checked: dict[str, list[Guardrail]] = {name: [] for name in names}

        def compare(figure: str, values: Floats, allowance: Allowance) -> None:
            limit = allowance.limit(float(values[0]))
            for name, value in zip(names, values[1:], strict=True):
                checked[name].append(Guardrail(figure, float(values[0]), float(value), limit))

        for figure, allowance in (("max_drawdown", self.max_drawdown), ("cvar_95", self.cvar_95)):
            if allowance is not None:
                compare(figure, METRICS[figure](streams, 1.0), allowance)
        if self.worst_trade is not None and trade_pnls is not None:
            worst = [_worst_loss(trade_pnls.get(name)) for name in ("baseline", *names)]
            compare("worst_trade", np.array(worst), self.worst_trade)
        return {name: tuple(rails) for name, rails in checked.items()}


def _worst_loss(pnls: Floats | None) -> float:
    return float("nan") if pnls is None or len(pnls) == 0 else max(0.0, -float(np.min(pnls)))
