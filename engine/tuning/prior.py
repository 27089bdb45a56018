"""Meta-learning: where a search begins, from what those before it found, on other symbols as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from engine.tuning.parameters import PARAMETERS, check_names
from engine.tuning.search import SearchPrior, SearchResult

__all__ = ["Finding", "finding", "learn_prior"]

Floats = NDArray[np.float64]

_ELITE, _FEWEST = 0.05, 8
_NARROWEST, _WIDEST = 0.05, 0.25
_HALF_LIFE = timedelta(days=180)


@dataclass(frozen=True)
class Finding:
    """What one search found: the best of its candidates, as shares of each parameter's range.

    Parameters
    ----------
    mean, spread : dict of wire name to float
        Mean and standard deviation of the best candidates, shares of the range above the lower bound.
    gain : float
        How far the best scores above what was in force, in standard deviations of all scores.
    found_at : datetime
        UTC.
    source : str
        Symbol, regime or session, for people.

    Raises
    ------
    ValueError
        If a name is unknown, the two name different parameters, or a figure cannot be.
    """

    mean: dict[str, float]
    spread: dict[str, float]
    gain: float
    found_at: datetime
    source: str = ""

    def __post_init__(self) -> None:
        check_names([*self.mean, *self.spread])
        if self.mean.keys() != self.spread.keys():
            raise ValueError("mean and spread must name the same parameters")
        if not (0.0 <= self.gain < np.inf):
            raise ValueError(f"gain = {self.gain} must be finite and not negative")
        for figures in (self.mean, self.spread):
            for name, share in figures.items():
                if not 0.0 <= share <= 1.0:
                    raise ValueError(f"{name}: {share} must be a share of the range, from 0 to 1")


def finding(searched: SearchResult, targets: Sequence[str], found_at: datetime, source: str = "") -> Finding:
    """Sum a search up by its best twentieth, at least eight candidates.

    The mean of many good candidates depends on luck less than the best does, and their spread says how
    sharply each parameter is determined.
    """
    scores = searched.scores
    elite = np.argsort(-scores, kind="stable")[: max(_FEWEST, int(np.ceil(_ELITE * scores.size)))]
    rows = {name: (i, PARAMETERS[name]) for i, name in enumerate(PARAMETERS) if name in targets}
    shares = {
        name: (searched.candidates[elite, column] - row.low) / (row.high - row.low)
        for name, (column, row) in rows.items()
    }
    deviation = float(scores.std())
    return Finding(
        {name: float(values.mean()) for name, values in shares.items()},
        {name: float(values.std()) for name, values in shares.items()},
        float(scores.max() - scores[0]) / deviation if deviation > 0.0 else 0.0,
        found_at,
        source,
    )


def learn_prior(
    findings: Sequence[Finding], now: datetime, *, half_life: timedelta = _HALF_LIFE
) -> SearchPrior | None:
    """Make a start from findings, each weighted by its gain and its age.

    The prior has the mean and the spread of the mixture of what was found: where findings disagree, it is
    wide. It sets where a search may begin (`engine.tuning.two_starts`) and no border: whatever is within
    reach of what is in force can still be found.

    Parameters
    ----------
    findings : sequence of Finding
    now : datetime
        UTC, not before any finding: later ones would tell of the future.
    half_life : timedelta
        Age at which a finding counts for half.

    Returns
    -------
    SearchPrior or None
        None where nothing that was found was better than what was in force.

    Raises
    ------
    ValueError
        If a finding is from after `now`, or the half-life is not positive.
    """
    if half_life <= timedelta(0):
        raise ValueError(f"half_life = {half_life} must be positive")
    weights = {}
    for k, one in enumerate(findings):
        if one.found_at > now:
            raise ValueError(f"finding {one.source!r} of {one.found_at} is from after {now}")
        weights[k] = one.gain * 0.5 ** ((now - one.found_at) / half_life)
    mean, spread = {}, {}
    for name, row in PARAMETERS.items():
        told = [k for k, weight in weights.items() if name in findings[k].mean and weight > 0.0]
        if not told:
            continue
        weight = np.array([weights[k] for k in told])
        means, spreads = (
            np.array([figures[name] for figures in of])
            for of in ([findings[k].mean for k in told], [findings[k].spread for k in told])
        )
        centre = float(np.average(means, weights=weight))
        variance = float(np.average(spreads**2 + (means - centre) ** 2, weights=weight))
        mean[name] = row.snap(row.low + centre * (row.high - row.low))
        spread[name] = min(max(variance**0.5, _NARROWEST), _WIDEST)
    return SearchPrior(mean, spread) if mean else None
