"""A curriculum over market regimes: one after the other with rehearsal of the earlier, then all as they come.

Curricula help most where training is short or noisy (Wu, Dyer and Neyshabur 2021), and an agent forgets what
it no longer sees; so each stage keeps a share of every regime learnt before. A stage ends by competence on
validation episodes, not by a count of steps alone (Narvekar et al. 2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from engine.agents.starts import regime_start_weights
from engine.errors import DataError, NotEnoughDataError
from engine.regimes.names import REGIMES, Regime

__all__ = ["ALL", "CurriculumConfig", "CurriculumLearner", "Stage", "natural_shares"]

ALL = "ALL"
"""Name of the last stage."""


@dataclass(frozen=True)
class Stage:
    """What is trained on now: a name, and the share of each regime among the episode starts (sum 1)."""

    name: str
    weights: Mapping[Regime, float]


@dataclass(frozen=True)
class CurriculumConfig:
    """How the stages follow each other.

    Parameters
    ----------
    order : tuple of Regime, optional
        The regimes in the order in which they join. Reversed, or empty for "all from the start", it gives the
        two controls that a curriculum is to be compared with.
    rehearsal : float, optional
        Share of each earlier regime in a later stage. 0 forgets; it is there for that comparison.
    natural : Mapping of Regime to float, optional
        Shares of the regimes in the market, for the last stage; see `natural_shares`.
    least : float, optional
        Share that no regime with a natural share above 0 falls below in the last stage: a rare one would
        hardly be met otherwise.
    threshold : float, optional
        Mean score on validation episodes that shows competence.
    confidence : float, optional
        Probability, over all evaluations of a stage, that an incompetent agent is not let pass.
    stage_evaluations : int, optional
        Evaluations after which a stage ends in any case.
    final_evaluations : int, optional
        Evaluations that the last stage takes; it does not end sooner.
    """

    order: tuple[Regime, ...] = REGIMES
    rehearsal: float = 0.15
    natural: Mapping[Regime, float] = field(
        default_factory=lambda: {"TREND": 0.55, "RANGE": 0.40, "PANIC": 0.05}
    )
    least: float = 0.05
    threshold: float = 0.0
    confidence: float = 0.95
    stage_evaluations: int = 10
    final_evaluations: int = 20

    def __post_init__(self) -> None:
        if len(set(self.order)) != len(self.order) or not set(self.order) <= set(REGIMES):
            raise ValueError(f"order must name some of {REGIMES}, each once, not {self.order}")
        if not 0.0 <= self.rehearsal < 1.0 / len(REGIMES):
            raise ValueError(f"rehearsal must lie in [0, 1/{len(REGIMES)}), not {self.rehearsal}")
        if not 0.0 <= self.least <= 1.0 / len(REGIMES):
            raise ValueError(f"least must lie in [0, 1/{len(REGIMES)}], not {self.least}")
        shares = list(self.natural.values())
        if set(self.natural) != set(REGIMES) or min(shares) < 0.0 or abs(sum(shares) - 1.0) > 1e-6:
            raise ValueError(f"natural must give {REGIMES} shares that sum to 1, not {dict(self.natural)}")
        if not 0.5 <= self.confidence < 1.0:
            raise ValueError(f"confidence must lie in [0.5, 1), not {self.confidence}")
        if min(self.stage_evaluations, self.final_evaluations) < 1:
            raise ValueError("stage_evaluations and final_evaluations must be at least 1")

    def stages(self) -> tuple[Stage, ...]:
        """All stages in order."""
        stages = []
        for k, newest in enumerate(self.order):
            weights = dict.fromkeys(REGIMES, 0.0)
            weights.update(dict.fromkeys(self.order[:k], self.rehearsal))
            weights[newest] = 1.0 - k * self.rehearsal
            stages.append(Stage(newest, weights))
        return (*stages, Stage(ALL, _with_floor(self.natural, self.least)))


class CurriculumLearner:
    """Keeps the stage of training, says what to train on, and advances on competence.

    Parameters
    ----------
    config : CurriculumConfig, optional

    Notes
    -----
    Normalisers, optimiser state and replay priorities carry over from stage to stage; a learning rate that
    restarts does so when `record` returns True.
    """

    def __init__(self, config: CurriculumConfig | None = None) -> None:
        self.config = config or CurriculumConfig()
        self.stages = self.config.stages()
        self._stage = 0
        self._evaluations = 0

    def get_current_stage(self) -> Stage:
        """Return the stage in force: its name and the share of each regime."""
        return self.stages[self._stage]

    @property
    def finished(self) -> bool:
        """Whether the last stage has had its evaluations."""
        return self._last and self._evaluations >= self.config.final_evaluations

    @property
    def _last(self) -> bool:
        return self._stage == len(self.stages) - 1

    def competence(self, scores: ArrayLike, looks: int | None = None) -> float:
        """Lower confidence bound of the mean score of validation episodes.

        Student's bound, with the level divided by the looks that are taken, by default the evaluations of a
        stage: looking after every update until one looks good would else let an incompetent agent pass far
        more often than stated.

        Raises
        ------
        DataError
            A score is not finite.
        """
        x = np.asarray(scores, dtype=np.float64).ravel()
        if not np.isfinite(x).all():
            raise DataError("scores of validation episodes must be finite", column="scores")
        if x.size < 2:
            return -np.inf
        level = 1.0 - (1.0 - self.config.confidence) / (looks or self.config.stage_evaluations)
        quantile = float(stdtrit(x.size - 1, level))
        return float(x.mean() - quantile * x.std(ddof=1) / np.sqrt(x.size))

    def record(self, scores: ArrayLike) -> bool:
        """Take the scores of one evaluation on validation episodes; return whether the stage changed.

        The episodes are independent of those trained on, and of each other. A stage ends when `competence`
        exceeds the threshold, or with its last evaluation.
        """
        competent = self.competence(scores) > self.config.threshold
        self._evaluations += 1
        if self._last or not (competent or self._evaluations >= self.config.stage_evaluations):
            return False
        self._stage, self._evaluations = self._stage + 1, 0
        return True

    def start_weights(self, regime: ArrayLike, eligible: ArrayLike | None = None) -> NDArray[np.float64]:
        """Probability of each bar to start an episode, such that the regimes have the stage's shares.

        Parameters and errors are those of `engine.agents.starts.regime_start_weights`.
        """
        return regime_start_weights(regime, self.get_current_stage().weights, eligible)

    def filter_training_data(
        self, data: pl.DataFrame, regime_column: str = "regime", *, seed: int = 0
    ) -> pl.DataFrame:
        """Draw the largest subset of rows in which the regimes have the stage's shares, in the order given.

        Rows are drawn without replacement and keep their order, so that time still runs forward. Rows
        whose regime is null are left out.

        Raises
        ------
        DataError
            The column is missing or holds a name that is no regime.
        NotEnoughDataError
            The stage needs a regime that no row has.
        """
        if regime_column not in data.columns:
            raise DataError(f"no such column among {data.columns}", column=regime_column)
        label = data[regime_column].cast(pl.String)
        unknown = sorted(set(label.drop_nulls().unique()) - set(REGIMES))
        if unknown:
            raise DataError(f"{unknown[0]!r} is no regime; they are {REGIMES}", column=regime_column)
        rows = {name: np.flatnonzero((label == name).fill_null(False).to_numpy()) for name in REGIMES}
        for name, _ in self._needed():
            self._require(name, len(rows[name]))
        total = min(len(rows[name]) / share for name, share in self._needed())
        rng = np.random.default_rng(seed)
        chosen = [
            # The excess keeps a product that should be whole from falling below it by rounding.
            rng.choice(rows[name], size=int(total * share + 1e-6), replace=False)
            for name, share in self._needed()
        ]
        return data[np.sort(np.concatenate(chosen))]

    def state_dict(self) -> dict[str, Any]:
        """Where the curriculum stands, as plain values."""
        return {"stage": self.get_current_stage().name, "evaluations": self._evaluations}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`.

        Raises
        ------
        ValueError
            The stage does not exist in this curriculum.
        """
        names = [stage.name for stage in self.stages]
        if state["stage"] not in names:
            raise ValueError(f"stage must be one of {names}, not {state['stage']!r}")
        self._stage, self._evaluations = names.index(state["stage"]), int(state["evaluations"])

    def _needed(self) -> list[tuple[Regime, float]]:
        return [(name, share) for name, share in self.get_current_stage().weights.items() if share > 0.0]

    def _require(self, name: Regime, rows: int) -> None:
        if not rows:
            stage = self.get_current_stage().name
            raise NotEnoughDataError(
                f"stage {stage} trains on {name}, of which there is no bar: take a longer window, or leave "
                f"{name} out of the order and of the natural shares"
            )


def natural_shares(regime: ArrayLike) -> dict[Regime, float]:
    """Shares of the regimes among bars whose regime (index into `REGIMES`, -1 unknown) is known.

    Raises
    ------
    NotEnoughDataError
        No bar's regime is known.
    """
    codes = np.asarray(regime)
    counts = np.bincount(codes[codes >= 0].astype(np.int64), minlength=len(REGIMES))
    if not counts.sum():
        raise NotEnoughDataError("no bar has a known regime, so that there are no shares")
    return {name: float(count / counts.sum()) for name, count in zip(REGIMES, counts, strict=True)}


def _with_floor(shares: Mapping[Regime, float], least: float) -> dict[Regime, float]:
    """Raise shares between nothing and the least to it, and scale the others so that all sum to 1."""
    present = [name for name in REGIMES if shares[name] > 0.0]
    raised = {name for name in present if shares[name] <= least}
    while True:
        free = sum(shares[name] for name in present if name not in raised)
        scale = (1.0 - least * len(raised)) / free if free else 0.0
        floored = {name: least if name in raised else shares[name] * scale for name in REGIMES}
        below = {name for name in present if floored[name] < least}
        if not below:
            return floored
        raised |= below
