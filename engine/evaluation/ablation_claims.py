"""What was claimed for each improvement beside what was measured, in the claim's own metric."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import polars as pl

from engine.evaluation.ablation import comparisons, paired_scores
from engine.evaluation.improvements import IMPROVEMENTS, Claim, Improvement
from engine.evaluation.seed_effects import FEWEST_SEEDS, Effect, relative_effect

__all__ = ["CLAIMS", "Outcome", "claims_table", "outcome"]

Outcome = Literal["reached", "missed", "undecided", "no base to compare with", "not measured"]

CLAIMS = pl.Schema(
    {
        "world": pl.String(),
        "improvement": pl.String(),
        "claim": pl.String(),
        "metric": pl.String(),
        "scope": pl.String(),
        "claimed_low": pl.Float64(),
        "claimed_high": pl.Float64(),
        "comparison": pl.String(),
        "measured": pl.Float64(),
        "measured_low": pl.Float64(),
        "measured_high": pl.Float64(),
        "outcome": pl.String(),
        "seeds": pl.Int64(),
    }
)


def outcome(claim: Claim, effect: Effect) -> Outcome:
    """Compare a relative effect with the modest end of a claim.

    ``reached`` if the whole interval is at that end or beyond, ``missed`` if all of it falls short.
    """
    if claim.low > 0.0:
        modest, worst, best = claim.low, effect.low, effect.high
    else:
        modest, worst, best = -claim.high, -effect.high, -effect.low
    if worst >= modest:
        return "reached"
    return "missed" if best < modest else "undecided"


def claims_table(
    scores: pl.DataFrame,
    improvements: Mapping[str, Improvement] = IMPROVEMENTS,
    *,
    confidence: float = 0.95,
    least_seeds: int = FEWEST_SEEDS,
) -> pl.DataFrame:
    """Measure each claim by both comparisons, world by world.

    Intervals are Fieller's over seeds, each on its own: they estimate, and are not adjusted for their number.

    Parameters
    ----------
    scores : polars.DataFrame
        Columns `engine.evaluation.ablation.SCORES`.
    improvements : mapping of str to Improvement
    confidence : float
    least_seeds : int

    Returns
    -------
    polars.DataFrame
        Columns `CLAIMS`, two rows for each claim. ``measured`` is the relative change by the improvement,
        null if too few seeds have the metric (``not measured``), or if without the improvement it is not
        above zero beyond doubt (``no base to compare with``).
    """
    rows = [
        {"world": world, "improvement": key, **row}
        for world in scores["world"].unique(maintain_order=True).to_list()
        for key, improvement in improvements.items()
        for claim in improvement.claims
        for row in _measured(scores.filter(pl.col("world") == world), key, claim, confidence, least_seeds)
    ]
    return pl.DataFrame(rows, schema=CLAIMS)


def _measured(
    scores: pl.DataFrame, key: str, claim: Claim, confidence: float, least_seeds: int
) -> Iterator[dict[str, object]]:
    for comparison, (ours, theirs) in comparisons(key).items():
        pair = paired_scores(scores, ours, theirs, claim.metric, claim.scope)
        enough = pair[0].size >= least_seeds
        effect = relative_effect(*pair, confidence=confidence, least_seeds=least_seeds) if enough else None
        missing: Outcome = "no base to compare with" if enough else "not measured"
        yield {
            "claim": claim.text,
            "metric": claim.metric,
            "scope": claim.scope,
            "claimed_low": claim.low,
            "claimed_high": claim.high,
            "comparison": comparison,
            "measured": effect and effect.value,
            "measured_low": effect and effect.low,
            "measured_high": effect and effect.high,
            "outcome": outcome(claim, effect) if effect else missing,
            "seeds": pair[0].size,
        }
