"""The gate that every change must pass before it goes live: better than the baseline beyond luck, or refused.

Differences of returns are paired (same periods, net of costs) and drawn again by a studentised stationary
bootstrap that is common to all candidates. A candidate is promoted if

1. there is evidence enough: periods, trades, periods in which it differs from the baseline at all;
2. its improvement is above zero at the level asked for, as one of *all candidates searched* (step-down);
3. its improvement is at least `min_improvement` of the baseline's size, losing baselines included;
4. no tail guardrail vetoes it.

Of several, the one with the highest lower bound is chosen. What the gate cannot see is the caller's promise:
candidates were fixed before the tested periods were looked at, returns are net of costs, and no period is
tested twice at the full level (`engine.evaluation.attempts` hands out the level of each attempt).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from engine.evaluation.decision import Decision, Verdict
from engine.evaluation.guardrails import Guardrails
from engine.evaluation.paired_returns import PairedReturns
from engine.evaluation.step_down import MaximumTail, step_down
from engine.evaluation.studentised import PairedDraws, draw_means, draw_sharpes

__all__ = ["PromotionGate"]

Floats = NDArray[np.float64]

_POWER = 0.80
_SHORTEST = 20


@dataclass(frozen=True)
class PromotionGate:
    """Promote a candidate only if its improvement is real, large enough and not bought with tail risk.

    Parameters
    ----------
    confidence : float
        One less the probability of a false promotion in one decision, between 0.5 and 1.
    min_improvement : float
        Least improvement relative to the baseline's size, 0.02 for 2 %.
    statistic : {"mean", "sharpe"}
        Mean return per period, or its ratio to the standard deviation.
    guardrails : Guardrails or None
        Tail figures that can veto.
    min_periods, min_trades : int
        Least evidence. At least `min_trades` periods must also differ between candidate and baseline, which
        is all that can be asked where trades are not handed in.
    floor : float
        Least size of the baseline that improvements are measured against, as a Sharpe ratio per period: a
        baseline that neither wins nor loses would make any improvement infinite. 0.01 is 0.19 a year on daily
        returns.
    draws : int
        Of the bootstrap.
    seed : int

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    Politis and Romano (1994); Romano and Wolf (2005); Ledoit and Wolf (2008).
    """

    confidence: float = 0.95
    min_improvement: float = 0.02
    statistic: Literal["mean", "sharpe"] = "mean"
    guardrails: Guardrails | None = field(default_factory=Guardrails)
    min_periods: int = 250
    min_trades: int = 30
    floor: float = 0.01
    draws: int = 999
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.5 < self.confidence < 1.0:
            raise ValueError(f"confidence={self.confidence} must lie between 0.5 and 1")
        if self.statistic not in ("mean", "sharpe"):
            raise ValueError(f"statistic={self.statistic!r} must be 'mean' or 'sharpe'")
        if not (0.0 <= self.min_improvement < np.inf and 0.0 < self.floor < np.inf):
            raise ValueError(
                f"min_improvement={self.min_improvement} must not be negative, floor={self.floor} be positive"
            )
        if self.draws < 99 or self.min_periods < _SHORTEST or self.min_trades < 1:
            raise ValueError(
                f"draws={self.draws} must be at least 99, min_periods={self.min_periods} at least {_SHORTEST}"
                f" and min_trades={self.min_trades} at least 1"
            )

    def decide(
        self,
        baseline: Floats,
        candidates: Mapping[str, Floats] | Floats,
        *,
        alpha: float | None = None,
        searched: int | None = None,
        trades: Mapping[str, int] | None = None,
        trade_pnls: Mapping[str, Floats] | None = None,
    ) -> Decision:
        """Keep the baseline or promote one candidate.

        Parameters
        ----------
        baseline : ndarray, shape (T,)
            Simple returns per period, net of all costs.
        candidates : mapping of str to ndarray of shape (T,), or ndarray of shape (T, K)
            The same of each candidate over the same periods; columns are named ``"0"`` to ``"K-1"``.
        alpha : float, optional
            Probability allowed for a false promotion, below 0.5; ``1 - confidence`` unless given.
        searched : int, optional
            Candidates searched, where only finalists are handed in; the family is every one of them.
        trades : mapping of str to int, optional
            Number of trades of each candidate; one that is missing is not promoted.
        trade_pnls : mapping of str to ndarray, optional
            Net profit of each trade, by candidate and under ``"baseline"``, for the worst-trade guardrail;
            also counts trades where `trades` is not given.

        Returns
        -------
        Decision
            Too little data is an answer (keep, and why), not an error.

        Raises
        ------
        DataError
            If a return is NaN or infinite, with the candidate and the period.
        ValueError
            If shapes disagree, there is no candidate, or a setting is out of range.
        """
        returns = PairedReturns.of(baseline, candidates)
        level = round(1.0 - self.confidence, 12) if alpha is None else alpha
        family = len(returns.names) if searched is None else searched
        if not 0.0 < level < 0.5:
            raise ValueError(f"alpha={alpha} must lie between 0 and 0.5")
        if family < len(returns.names):
            raise ValueError(
                f"searched={searched} is less than the {len(returns.names)} candidates handed in"
            )
        if trades is None and trade_pnls is not None:
            trades = {name: len(pnls) for name, pnls in trade_pnls.items()}

        verdicts, block = self._test(returns, level, family)
        verdicts = self._guard(verdicts, returns, trade_pnls)
        lacking = self._lacking_evidence(returns, trades)
        verdicts = [
            replace(
                verdict,
                trades=None if trades is None else trades.get(verdict.candidate),
                refused_because=(*lacking[k], *self._shortcomings(verdict, level, family)),
            )
            for k, verdict in enumerate(verdicts)
        ]
        passing = [verdict for verdict in verdicts if not verdict.refused_because]
        best = max(passing, key=lambda verdict: verdict.low) if passing else _nearest(verdicts)
        return Decision(
            promote=bool(passing),
            chosen=best.candidate if passing else None,
            verdict=best,
            verdicts=tuple(verdicts),
            statistic=self.statistic,
            min_improvement=self.min_improvement,
            alpha=level,
            searched=family,
            periods=returns.periods,
            block=block,
        )

    def _test(self, returns: PairedReturns, alpha: float, family: int) -> tuple[list[Verdict], float]:
        """Verdicts with the figures of the test, and the block length; NaN where nothing can be tested."""
        verdicts = [Verdict(name) for name in returns.names]
        testable = returns.varying if self.statistic == "mean" else returns.all_varying
        if returns.periods < _SHORTEST or not testable.any():
            return verdicts, float("nan")
        draw = draw_means if self.statistic == "mean" else draw_sharpes
        tested = returns.candidates[:, testable]
        paired = draw(returns.baseline, tested, draws=self.draws, rng=np.random.default_rng(self.seed))
        statistic, without_effect = paired.statistic, paired.statistic_draws
        df, unseen = paired.degrees_of_freedom, family - statistic.size
        p_value, critical = step_down(statistic, without_effect, alpha, df, unseen)
        lowest = [MaximumTail(-column, df).critical_value(alpha) for column in without_effect.T]
        size = self._size(returns.baseline, tested)
        detectable = (critical + ndtri(_POWER)) * paired.standard_error
        asked = self.min_improvement * np.maximum(abs(paired.baseline), size)
        figures = {
            "baseline": np.full(statistic.size, paired.baseline),
            "value": paired.baseline + paired.improvement,
            "improvement": paired.improvement,
            "relative_improvement": paired.improvement / np.maximum(abs(paired.baseline), size),
            "low": paired.improvement - critical * paired.standard_error,
            "high": paired.improvement + np.array(lowest) * paired.standard_error,
            "statistic": statistic,
            "p_value": p_value,
            "minimum_detectable_effect": detectable,
            "periods_needed": np.ceil(returns.periods * (detectable / np.maximum(asked, 1e-300)) ** 2),
            "probability_of_improvement": self._probability(paired, size),
        }
        for j, k in enumerate(np.flatnonzero(testable)):
            found: dict[str, Any] = {name: float(values[j]) for name, values in figures.items()}
            verdicts[k] = replace(verdicts[k], **found)
        return verdicts, paired.block

    def _size(self, baseline: Floats, candidates: Floats) -> Floats:
        """Least size of the baseline in the unit of the statistic, shape (K,)."""
        if self.statistic == "sharpe":
            return np.full(candidates.shape[1], self.floor)
        return self.floor * np.maximum(baseline.std(), candidates.std(axis=0))

    def _probability(self, paired: PairedDraws, size: Floats) -> Floats:
        asked = self.min_improvement * np.maximum(np.abs(paired.baseline_draws)[:, None], size)
        return (paired.improvement_draws >= asked).mean(axis=0)

    def _guard(
        self,
        verdicts: list[Verdict],
        returns: PairedReturns,
        trade_pnls: Mapping[str, Floats] | None,
    ) -> list[Verdict]:
        if self.guardrails is None or returns.periods == 0:
            return verdicts
        rails = self.guardrails.check(returns, trade_pnls)
        return [replace(verdict, guardrails=rails[verdict.candidate]) for verdict in verdicts]

    def _lacking_evidence(self, returns: PairedReturns, trades: Mapping[str, int] | None) -> list[list[str]]:
        """Per candidate, what there is too little of."""
        lacking: list[list[str]] = []
        for name, differing in zip(returns.names, returns.differing, strict=True):
            found = []
            if returns.periods < self.min_periods:
                found.append(f"{returns.periods} periods; at least {self.min_periods} are needed")
            if trades is not None and name not in trades:
                found.append("its number of trades is unknown")
            elif trades is not None and trades[name] < self.min_trades:
                found.append(f"{trades[name]} trades; at least {self.min_trades} are needed")
            if differing == 0:
                found.append("it is identical to the baseline")
            elif differing < self.min_trades:
                found.append(
                    f"differs from the baseline in {differing} periods; {self.min_trades} are needed"
                )
            lacking.append(found)
        return lacking

    def _shortcomings(self, verdict: Verdict, alpha: float, family: int) -> list[str]:
        """Say what test and guardrails have against a candidate; what is unknown counts against it."""
        found = []
        if np.isnan(verdict.p_value):
            found.append(f"its {self.statistic} cannot be tested: too few periods, or nothing varies")
        elif verdict.p_value > alpha:
            found.append(
                f"improvement {verdict.improvement:.3g} per period is within luck: p = {verdict.p_value:.3g} "
                f"among {family} searched, {alpha:.3g} allowed; lower bound {verdict.low:.3g}"
            )
        if verdict.relative_improvement < self.min_improvement:
            found.append(
                f"improvement is {verdict.relative_improvement:.2%} of the baseline; "
                f"{self.min_improvement:.2%} is the least"
            )
        found += [
            f"guardrail {rail.name}: {rail.candidate:.4g} against the baseline's {rail.baseline:.4g}, "
            f"{rail.limit:.4g} allowed"
            for rail in verdict.guardrails
            if not rail.passed
        ]
        return found


def _nearest(verdicts: list[Verdict]) -> Verdict:
    """Verdict with the largest statistic; one that could not be tested comes last."""
    return max(verdicts, key=lambda of: -np.inf if np.isnan(of.statistic) else of.statistic)
