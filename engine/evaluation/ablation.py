"""Ablation: what each improvement is worth inside the full system and on top of the base alone.

Every variant runs with the same seeds, on the same paths, within the same budget. An effect is a mean over
seeds of paired differences, and its uncertainty is that between seeds; regimes inside a run are parts of one
run and never counted as repetitions. On recorded data the seeds repeat the training and not the market: an
effect there is one on that stretch of history.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.errors import DataError, NotEnoughDataError
from engine.evaluation.improvements import ALL, IMPROVEMENTS, Improvement
from engine.evaluation.interquartile import probability_of_improvement, stratified_interval
from engine.evaluation.seed_effects import FEWEST_SEEDS, Effect, holm, paired_effect

__all__ = [
    "BASE",
    "FULL",
    "SCORES",
    "VARIANTS",
    "AblationConfig",
    "Variant",
    "Verdict",
    "ablation_table",
    "comparisons",
    "design",
    "measure",
    "paired_scores",
    "variant_table",
]

Floats = NDArray[np.float64]
Verdict = Literal["helps", "hurts", "mixed", "no effect shown", "not measured"]

FULL, BASE = "full", "base"
SCORES = pl.Schema(
    {
        "variant": pl.String(),
        "world": pl.String(),
        "seed": pl.Int64(),
        "metric": pl.String(),
        "scope": pl.String(),
        "score": pl.Float64(),
    }
)
"""Scores of all runs, one a row; `scope` is a regime, or `ALL` for the run as a whole."""
VARIANTS = pl.Schema(
    {
        "world": pl.String(),
        "variant": pl.String(),
        "iqm": pl.Float64(),
        "iqm_low": pl.Float64(),
        "iqm_high": pl.Float64(),
        "beats_base": pl.Float64(),
        "beats_base_low": pl.Float64(),
        "beats_base_high": pl.Float64(),
        "seeds": pl.Int64(),
        "regimes": pl.Int64(),
    }
)


@dataclass(frozen=True)
class AblationConfig:
    """How effects are judged.

    Parameters
    ----------
    metric : str
        What verdicts are about; more must be better.
    alpha : float
        Probability of one false verdict or more in the table of a world.
    confidence : float
        Of each interval on its own.
    least_seeds : int
        Seeds that a comparison needs, at least 5.

    Raises
    ------
    ValueError
        If a setting is out of range.
    """

    metric: str = "net_return"
    alpha: float = 0.05
    confidence: float = 0.95
    least_seeds: int = FEWEST_SEEDS

    def __post_init__(self) -> None:
        if self.least_seeds < FEWEST_SEEDS:
            raise ValueError(
                f"least_seeds={self.least_seeds} must be at least {FEWEST_SEEDS} to claim anything"
            )
        if not 0.0 < self.alpha < 1.0 or not 0.0 < self.confidence < 1.0:
            raise ValueError(f"alpha={self.alpha} and confidence={self.confidence} must lie between 0 and 1")


@dataclass(frozen=True)
class Variant:
    """A system with some of the improvements on."""

    name: str
    enabled: tuple[str, ...]


def design(improvements: Collection[str] = tuple(IMPROVEMENTS)) -> tuple[Variant, ...]:
    """List the variants to run: full, base, full minus each improvement, base plus each.

    Parameters
    ----------
    improvements : collection of str
        Keys, at least two: with one, both of its comparisons would be the same.
    """
    keys = tuple(improvements)
    if len(keys) < 2:
        raise ValueError(f"improvements={keys} must be at least two")
    return (
        Variant(FULL, keys),
        Variant(BASE, ()),
        *(Variant(f"{FULL} - {key}", tuple(k for k in keys if k != key)) for key in keys),
        *(Variant(f"{BASE} + {key}", (key,)) for key in keys),
    )


def comparisons(key: str) -> dict[str, tuple[str, str]]:
    """Name the variants with and without an improvement: in the full system, and on top of the base."""
    return {"minus_one": (FULL, f"{FULL} - {key}"), "plus_one": (f"{BASE} + {key}", BASE)}


def paired_scores(
    scores: pl.DataFrame, ours: str, theirs: str, metric: str, scope: str = ALL
) -> tuple[Floats, Floats]:
    """Scores of two variants in one world on the seeds that both have, in the order of the seeds.

    Raises
    ------
    DataError
        If a seed appears twice.
    """
    chosen = scores.filter((pl.col("metric") == metric) & (pl.col("scope") == scope))
    parts = [chosen.filter(pl.col("variant") == name).select("seed", "score") for name in (ours, theirs)]
    for name, part in zip((ours, theirs), parts, strict=True):
        if part["seed"].is_duplicated().any():
            raise DataError(f"{metric} in {scope} has a seed twice; give one world's scores", source=name)
    both = parts[0].join(parts[1], on="seed", suffix="_theirs").sort("seed")
    return both["score"].to_numpy(), both["score_theirs"].to_numpy()


def measure(scores: pl.DataFrame, key: str, config: AblationConfig) -> dict[str, Effect | None]:
    """Effects of an improvement in one world, with less without, in each of its `comparisons`.

    None where too few seeds have both runs.
    """
    found: dict[str, Effect | None] = {}
    for name, (ours, theirs) in comparisons(key).items():
        pair = paired_scores(scores, ours, theirs, config.metric)
        enough = pair[0].size >= config.least_seeds
        found[name] = paired_effect(*pair, confidence=config.confidence) if enough else None
    return found


def ablation_table(
    scores: pl.DataFrame,
    improvements: Mapping[str, Improvement] = IMPROVEMENTS,
    config: AblationConfig | None = None,
) -> pl.DataFrame:
    """Judge every improvement by both comparisons, world by world.

    A row's p-value is twice the smaller of its two, adjusted by Holm over the rows of its world: the
    probability of any false verdict in that world's table stays below alpha. The verdict has the sign of the
    comparison with the smaller p-value, and is ``mixed`` where the other's interval lies on the other side of
    zero. Improvements that were not measured keep their place among the rows that Holm counts.

    Parameters
    ----------
    scores : polars.DataFrame
        Columns `SCORES`; a run that failed is absent, and its seed left out of its pairs.
    improvements : mapping of str to Improvement
    config : AblationConfig, optional

    Returns
    -------
    polars.DataFrame
        ``world, improvement, title, claim, minus_one, minus_one_low, minus_one_high, minus_one_seeds,
        plus_one, plus_one_low, plus_one_high, plus_one_seeds, p_adjusted, verdict``; null where not measured.
        Effects are with less without: more is better in both.

    Raises
    ------
    NotEnoughDataError
        If no comparison of a world has enough seeds.
    """
    settings = config or AblationConfig()
    return pl.concat(
        _judge(world, scores.filter(pl.col("world") == world), improvements, settings)
        for world in _worlds(scores)
    )


def _judge(
    world: str, scores: pl.DataFrame, improvements: Mapping[str, Improvement], config: AblationConfig
) -> pl.DataFrame:
    effects = [measure(scores, key, config) for key in improvements]
    if not any(effect for row in effects for effect in row.values()):
        seeds = scores.filter(pl.col("metric") == config.metric)["seed"].n_unique()
        raise NotEnoughDataError(
            f"{world}: {seeds} seeds with {config.metric!r} cannot carry a claim at {config.confidence:.0%};"
            f" both runs of a comparison need at least {config.least_seeds} in common, better 10"
        )
    p_adjusted = holm([_p_of_row(row) for row in effects])
    columns: dict[str, object] = {
        "world": [world] * len(effects),
        "improvement": [*improvements],
        "title": [improvement.title for improvement in improvements.values()],
        "claim": [improvement.claim for improvement in improvements.values()],
    }
    for name in effects[0]:
        column = [row[name] for row in effects]
        columns |= {
            name: [effect and effect.value for effect in column],
            f"{name}_low": [effect and effect.low for effect in column],
            f"{name}_high": [effect and effect.high for effect in column],
            f"{name}_seeds": [effect.seeds if effect else 0 for effect in column],
        }
    verdicts = [_verdict(row, p, config.alpha) for row, p in zip(effects, p_adjusted, strict=True)]
    figures = [name + edge for name in effects[0] for edge in ("", "_low", "_high")]
    return pl.DataFrame(
        columns | {"p_adjusted": p_adjusted, "verdict": verdicts},
        schema_overrides=dict.fromkeys(figures, pl.Float64),
    ).with_columns(pl.col(figures).fill_nan(None))


def _p_of_row(row: Mapping[str, Effect | None]) -> float:
    return min(1.0, 2.0 * min(effect.p_value if effect else 1.0 for effect in row.values()))


def _verdict(row: Mapping[str, Effect | None], p_adjusted: float, alpha: float) -> Verdict:
    measured = sorted((effect for effect in row.values() if effect), key=lambda effect: effect.p_value)
    if not measured:
        return "not measured"
    if p_adjusted > alpha:
        return "no effect shown"
    sign = np.sign(measured[0].value)
    if any(np.sign(effect.low) == np.sign(effect.high) == -sign for effect in measured[1:]):
        return "mixed"
    return "helps" if sign > 0 else "hurts"


def variant_table(
    scores: pl.DataFrame, metric: str = "net_return", *, confidence: float = 0.95, seed: int = 0
) -> pl.DataFrame:
    """Describe each variant: interquartile mean over runs and regimes, and how often it beats the base.

    Parameters
    ----------
    scores : polars.DataFrame
        Columns `SCORES`; the strata are all scopes but `ALL`, and runs without one of them are left out.
    metric : str
    confidence : float
    seed : int
        Of the bootstrap.

    Returns
    -------
    polars.DataFrame
        Columns `VARIANTS`; ``beats_base`` is null without a base, and variants of one run are left out.
    """
    rows = []
    for world in _worlds(scores):
        runs = _runs_by_regime(scores.filter((pl.col("world") == world) & (pl.col("metric") == metric)))
        for variant, table in runs.items():
            middle = stratified_interval(table, confidence=confidence, seed=seed)
            row = {"world": world, "variant": variant, "seeds": table.shape[0], "regimes": table.shape[1]}
            row |= {"iqm": middle.value, "iqm_low": middle.low, "iqm_high": middle.high}
            if BASE in runs:
                wins = probability_of_improvement(table, runs[BASE], confidence=confidence, seed=seed)
                row |= {"beats_base": wins.value, "beats_base_low": wins.low, "beats_base_high": wins.high}
            rows.append(row)
    return pl.DataFrame(rows, schema=VARIANTS)


def _runs_by_regime(scores: pl.DataFrame) -> dict[str, Floats]:
    """Collect scores, runs by regimes, of every variant with at least two whole runs."""
    scores = scores.filter(pl.col("scope") != ALL)
    regimes = sorted(scores["scope"].unique())
    runs = {}
    for (variant,), part in scores.partition_by("variant", as_dict=True, maintain_order=True).items():
        table = part.pivot("scope", on_columns=regimes, index="seed", values="score").drop_nulls()
        if table.height >= 2:
            runs[str(variant)] = table.select(regimes).to_numpy()
    return runs


def _worlds(scores: pl.DataFrame) -> list[str]:
    if scores.is_empty():
        raise NotEnoughDataError("there are no scores to judge; every run failed or none was made")
    return scores["world"].unique(maintain_order=True).to_list()
