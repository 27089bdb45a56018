"""What the promotion gate decided and on what evidence, in figures and in plain words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.evaluation.guardrails import Guardrail

__all__ = ["Decision", "Verdict"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """Evidence on one candidate, per period and in the unit of the statistic; NaN where nothing was tested.

    Parameters
    ----------
    candidate : str
    baseline, value : float
        Statistic of the baseline and of the candidate.
    improvement, relative_improvement : float
        Candidate less baseline; the same over the size of the baseline.
    low, high : float
        Lower bound at the level tested at, simultaneous for all candidates searched: above zero exactly where
        the p-value is at most that level. Upper bound at the same level for this candidate alone.
    statistic : float
        Improvement in standard errors.
    p_value : float
        One-sided, adjusted for all candidates searched.
    minimum_detectable_effect : float
        Improvement that data of this length and variance reveal with 80 % probability.
    periods_needed : float
        Periods after which the least improvement asked for would be revealed with 80 % probability.
    probability_of_improvement : float
        Share of draws in which the improvement is at least the one asked for.
    trades : int or None
    guardrails : tuple of Guardrail
    refused_because : tuple of str
        Empty if the candidate passes.
    """

    candidate: str
    baseline: float = np.nan
    value: float = np.nan
    improvement: float = np.nan
    relative_improvement: float = np.nan
    low: float = np.nan
    high: float = np.nan
    statistic: float = np.nan
    p_value: float = np.nan
    minimum_detectable_effect: float = np.nan
    periods_needed: float = np.nan
    probability_of_improvement: float = np.nan
    trades: int | None = None
    guardrails: tuple[Guardrail, ...] = ()
    refused_because: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Decision:
    """Answer of the gate.

    Parameters
    ----------
    promote : bool
    chosen : str or None
        The promoted candidate.
    verdict : Verdict
        On the candidate chosen or, if none was, the one that came nearest.
    verdicts : tuple of Verdict
        On all candidates, in the order they were handed in.
    statistic : str
        ``"mean"`` or ``"sharpe"``.
    min_improvement, alpha : float
        What was asked for, and the level tested at.
    searched, periods : int
    block : float
        Mean block length of the bootstrap; NaN without one.
    """

    promote: bool
    chosen: str | None
    verdict: Verdict
    verdicts: tuple[Verdict, ...]
    statistic: str
    min_improvement: float
    alpha: float
    searched: int
    periods: int
    block: float

    @property
    def interval(self) -> tuple[float, float]:
        """Bounds of the improvement; see `Verdict`."""
        return self.verdict.low, self.verdict.high

    @property
    def p_value(self) -> float:
        """Adjusted for all candidates searched."""
        return self.verdict.p_value

    @property
    def minimum_detectable_effect(self) -> float:
        """Improvement that the data reveal with 80 % probability."""
        return self.verdict.minimum_detectable_effect

    @property
    def probability_of_improvement(self) -> float:
        """Share of draws in which the improvement is at least `min_improvement`."""
        return self.verdict.probability_of_improvement

    @property
    def guardrails(self) -> tuple[Guardrail, ...]:
        """Tail figures beside their limits."""
        return self.verdict.guardrails

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why, in plain words, and how much the data could have shown at all."""
        of = self.verdict
        said = [f"{of.candidate}: {reason}" for reason in of.refused_because]
        if self.promote:
            gain = f"{self.statistic} improves by {of.improvement:.3g} per period"
            share = f"{of.relative_improvement:.1%} of the baseline"
            luck = f"p = {of.p_value:.3g} among {self.searched} searched, {self.alpha:.3g} allowed"
            said = [
                f"{of.candidate}: {gain}, {share}; lower bound {of.low:.3g} is above zero ({luck})",
                f"P(improvement >= {self.min_improvement:.2%}) = {of.probability_of_improvement:.2f}",
            ]
        if np.isfinite(of.minimum_detectable_effect):
            power = f"{self.periods} periods reveal an improvement of {of.minimum_detectable_effect:.3g}"
            least = f"{self.min_improvement:.2%} would take about {of.periods_needed:.3g} periods"
            said.append(f"{power} per period with 80 % probability; {least}")
        return tuple(said)

    @property
    def candidates(self) -> pl.DataFrame:
        """One row per candidate: the fields of `Verdict`, a column per guardrail, null where unknown."""
        rows = [
            {
                **{name: getattr(of, name) for name in _COLUMNS},
                **{rail.name: rail.candidate for rail in of.guardrails},
                "refused_because": "; ".join(of.refused_because),
            }
            for of in self.verdicts
        ]
        frame = pl.DataFrame(rows, infer_schema_length=None, schema_overrides={"trades": pl.Int64})
        return frame.with_columns(pl.col(pl.Float64).fill_nan(None))


_COLUMNS = [name for name in Verdict.__dataclass_fields__ if name not in ("guardrails", "refused_because")]
