"""What an A/B test showed: the sample ratio, the assignment drawn again, and the interval of the effect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import chisquare

if TYPE_CHECKING:
    from engine.tuning.ab_test import ABTest

__all__ = ["ABResult", "judged"]

Floats = NDArray[np.float64]

LEAST_SHARE_P = 0.001
"""Below this probability the sample ratio is no accident."""


@dataclass(frozen=True)
class ABResult:
    """What a test showed.

    Parameters
    ----------
    test : ABTest
    verdict : {"promote", "keep", "void"}
    reasons : tuple of str
    counts : dict
        Units seen of each arm.
    sample_ratio_p : float
        Chi-squared, against the half each that was planned.
    effect, low, high : float
        Candidate less live, net return per unit, with one-sided bounds at the test's level; NaN if void.
    p_value : float
        One-sided.
    """

    test: ABTest
    verdict: Literal["promote", "keep", "void"]
    reasons: tuple[str, ...]
    counts: Mapping[str, int]
    sample_ratio_p: float
    effect: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p_value: float = np.nan

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; None stands for what is not known."""
        figures = {name: getattr(self, name) for name in ("effect", "low", "high", "p_value")}
        return {
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "counts": dict(self.counts),
            "sample_ratio_p": self.sample_ratio_p,
            **{name: value if np.isfinite(value) else None for name, value in figures.items()},
        }


def judged(test: ABTest, units: pl.DataFrame) -> ABResult:
    """Judge the units of a test whose horizon is over.

    Parameters
    ----------
    test : ABTest
    units : DataFrame
        All that were planned: ``arm`` as drawn, ``seen`` the one that decided and ``value``, both null where
        the unit was not seen.
    """
    counts, share_p = _sample_ratio(units["seen"])
    missing = int(units["seen"].null_count())
    otherwise = int((units["seen"] != units["arm"]).sum())
    void = _void(counts, share_p, missing, otherwise)
    if void:
        return ABResult(test, "void", void, counts, share_p)
    value = units["value"].to_numpy()
    treated = (units["arm"] == "candidate").to_numpy()
    # The same design, drawn again; an empty arm has no mean and is no draw that could have been kept.
    drawn = np.random.default_rng(test.seed).random((test.draws, value.size)) < 0.5
    drawn = drawn[drawn.any(axis=1) & ~drawn.all(axis=1)]
    effect = float(_difference(value, treated[None])[0])
    again, overlap = _difference(value, drawn), _difference(treated.astype(float), drawn)
    # An effect d, taken off the treated, leaves draw j at least as far from nothing as what was drawn
    # exactly if d >= border_j: the p-value of "the effect is at most d" is a rank among the borders.
    border = np.sort((effect - again)[overlap < 1.0] / (1.0 - overlap[overlap < 1.0]))
    same = int((overlap >= 1.0).sum())
    rank = int(np.floor(test.alpha * (drawn.shape[0] + 1) + 1e-9)) - same
    p_value = (1 + same + int((border <= 0.0).sum())) / (drawn.shape[0] + 1)
    low = float(border[rank - 1]) if rank >= 1 else -np.inf
    high = float(border[-rank]) if rank >= 1 else np.inf
    figures = (
        f"effect {effect:.3g} per unit, at least {low:.3g} with {1.0 - test.alpha:.0%}; "
        f"p = {p_value:.3g}, {test.alpha:.3g} allowed; "
        f"{counts['candidate']} units of the candidate, {counts['live']} of live"
    )
    refused = []
    if p_value > test.alpha:
        refused.append("the effect is within luck")
    if effect < test.min_improvement or effect <= 0.0:
        refused.append(f"the least effect that is worth a change is {test.min_improvement:.3g}")
    verdict: Literal["promote", "keep"] = "keep" if refused else "promote"
    return ABResult(test, verdict, (figures, *refused), counts, share_p, effect, low, high, p_value)


def _difference(values: Floats, treated: NDArray[np.bool_]) -> Floats:
    """Mean over the treated less mean over the others, shape (draws,)."""
    count = treated.sum(axis=1)
    inside = treated @ values
    return inside / count - (values.sum() - inside) / (values.size - count)


def _sample_ratio(seen: pl.Series) -> tuple[dict[str, int], float]:
    """Units seen of each arm, and the probability of a ratio as far from one half."""
    counts = {arm: int((seen == arm).sum()) for arm in ("live", "candidate")}
    if not sum(counts.values()):
        return counts, 0.0
    return counts, float(chisquare(list(counts.values())).pvalue)


def _void(counts: Mapping[str, int], share_p: float, missing: int, otherwise: int) -> tuple[str, ...]:
    """Say what makes a test void."""
    found = []
    if share_p <= LEAST_SHARE_P:
        shares = f"{counts['live']} units of live and {counts['candidate']} of the candidate"
        found.append(f"{shares} are no accident of equal shares: p = {share_p:.2g}")
    if missing:
        found.append(f"{missing} units were not seen")
    if otherwise:
        found.append(f"in {otherwise} units another set decided than was drawn")
    return tuple(found)
