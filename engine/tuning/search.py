"""Search of better parameters: one generation an episode, by a policy gradient or a named alternative.

All methods get the same number of evaluations, propose on the grid of steps inside the same box around what
is in force, and see every candidate on the same market: random numbers are common to all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.tuning.parameters import PARAMETERS, ParameterSet, check_names
from engine.tuning.proposers import METHODS, Box, Method, Proposer
from engine.tuning.scenarios import MEDIUM, Aggressiveness
from engine.tuning.two_starts import TwoStarts

__all__ = ["EPISODES", "METHODS", "Method", "Search", "SearchConfig", "SearchPrior", "SearchResult", "search"]

Floats = NDArray[np.float64]
Objective = Callable[[Floats], Floats]
"""From parameter sets (n, 11) to their scores (n,), more is better."""

EPISODES = pl.Schema(
    {
        "episode": pl.Int64(),
        "mean_score": pl.Float64(),
        "best_score": pl.Float64(),
        "best_so_far": pl.Float64(),
        "searched": pl.Int64(),
        **dict.fromkeys(PARAMETERS, pl.Float64()),
    }
)
"""One row an episode; the parameters are those of the best candidate so far."""


@dataclass(frozen=True)
class SearchPrior:
    """Where to begin, from what earlier searches or other symbols found, unless that proves worse.

    Parameters
    ----------
    mean : mapping of wire name to value
    spread : mapping of wire name to float, optional
        Standard deviation about it, a share of the parameter's range; the aggressiveness' where not named.

    Raises
    ------
    TypeError, ValueError
        If a name is unknown, a mean out of bounds, or a spread no share.
    """

    mean: Mapping[str, float]
    spread: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_names([*self.mean, *self.spread])
        for name, value in self.mean.items():
            PARAMETERS[name].check(value)
        for name, share in self.spread.items():
            if not 0.0 < share <= 1.0:
                raise ValueError(f"spread of {name} = {share} must lie above 0 and be at most 1")


@dataclass(frozen=True)
class SearchConfig:
    """How to search.

    Parameters
    ----------
    targets : tuple of str
        Wire names of the parameters that may move.
    episodes : int
    method : {"pgpe", "cma-es", "tpe", "random"}
    aggressiveness : Aggressiveness
    pairs : int
        An episode evaluates twice as many candidates.
    seed : int
    """

    targets: tuple[str, ...]
    episodes: int
    method: Method = "pgpe"
    aggressiveness: Aggressiveness = MEDIUM
    pairs: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        check_names(self.targets)
        if not self.targets or len(set(self.targets)) < len(self.targets):
            raise ValueError(f"targets = {self.targets} must be different parameters, at least one")
        if self.method not in METHODS:
            raise ValueError(f"method = {self.method!r} must be one of {', '.join(METHODS)}")
        for name in ("episodes", "pairs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
        if self.method == "cma-es" and self.pairs < 2:
            raise ValueError("pairs = 1 is too small a generation for cma-es; take at least 2")
        if self.seed < 0:
            raise ValueError(f"seed = {self.seed} must not be negative")


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Parameters
    ----------
    best : ParameterSet
        Highest score of all; what was in force if nothing scored higher.
    candidates : ndarray, shape (k, 11)
        All different sets that were scored, what was in force first: the family of any later test.
    scores : ndarray, shape (k,)
    episodes : DataFrame
        Columns `EPISODES`.
    """

    best: ParameterSet
    candidates: Floats
    scores: Floats
    episodes: pl.DataFrame


class Search:
    """A search that can be stopped after any episode and taken up again.

    Parameters
    ----------
    config : SearchConfig
    incumbent : ParameterSet
        What is in force: candidate zero.
    prior : SearchPrior, optional
    """

    def __init__(
        self, config: SearchConfig, incumbent: ParameterSet, prior: SearchPrior | None = None
    ) -> None:
        self.config, self.incumbent = config, incumbent
        near, size = config.aggressiveness, 2 * config.pairs
        self._box = Box(config.targets, incumbent, near.reach, near.spread, {}, {})
        self._proposer: Proposer
        if prior is None or not prior.mean.keys() & set(config.targets):
            self._proposer = METHODS[config.method](self._box, size, config.seed)
        else:
            told = Box(config.targets, incumbent, near.reach, near.spread, prior.mean, prior.spread)
            self._proposer = TwoStarts(config.method, self._box, told, size, config.seed)
        self._scores: dict[tuple[float, ...], float] = {}
        self._rows: list[dict[str, float]] = []
        self._proposed: Floats | None = None
        self.history: list[list[float]] = []

    @property
    def finished(self) -> bool:
        """Whether all episodes are over."""
        return len(self._rows) == self.config.episodes

    def episode(self, objective: Objective) -> dict[str, float]:
        """Propose, score and learn once; return the row of `EPISODES`.

        If the objective fails, the next call proposes the same again.

        Raises
        ------
        ValueError
            If the search is over, or a score is not finite.
        """
        if self.finished:
            raise ValueError(f"all {self.config.episodes} episodes are over")
        if self._proposed is None:
            self._proposed = self._box.sets(self._proposer.ask())
        sets = self._proposed
        if not self._rows:
            sets = np.vstack((self.incumbent.vector(), sets))
        row = self._learn(sets, np.asarray(objective(sets), dtype=np.float64))
        self._proposed = None
        return row

    def replay(self, history: Sequence[Sequence[float]]) -> None:
        """Take up a fresh search where another one of the same config was, from that one's `history`."""
        for scores in history:
            self.episode(lambda _, known=scores: np.array(known))  # type: ignore[misc]

    def _learn(self, sets: Floats, scores: Floats) -> dict[str, float]:
        if scores.shape != (len(sets),) or not np.isfinite(scores).all():
            raise ValueError(f"{len(sets)} finite scores are needed, not {scores}")
        self._scores |= {
            tuple(candidate): score
            for candidate, score in zip(sets.tolist(), scores.tolist(), strict=True)
            if tuple(candidate) not in self._scores
        }
        self.history.append(scores.tolist())
        proposed = scores[-2 * self.config.pairs :]
        self._proposer.tell(proposed)
        best = self._best()
        row = {
            "episode": len(self._rows) + 1,
            "mean_score": float(proposed.mean()),
            "best_score": float(proposed.max()),
            "best_so_far": self._scores[best],
            "searched": len(self._scores),
            **dict(zip(PARAMETERS, best, strict=True)),
        }
        self._rows.append(row)
        return row

    def _best(self) -> tuple[float, ...]:
        # Of equal scores the earliest: what is in force is only left for something better.
        return max(self._scores, key=self._scores.__getitem__)

    def result(self) -> SearchResult:
        """Sum up what was searched so far.

        Raises
        ------
        ValueError
            Before the first episode.
        """
        if not self._rows:
            raise ValueError("nothing was searched yet")
        return SearchResult(
            ParameterSet.from_vector(self._best()),
            np.array(list(self._scores)),
            np.array(list(self._scores.values())),
            pl.DataFrame(self._rows, schema=EPISODES),
        )


def search(
    objective: Objective, config: SearchConfig, incumbent: ParameterSet, prior: SearchPrior | None = None
) -> SearchResult:
    """Search through all episodes."""
    one = Search(config, incumbent, prior)
    while not one.finished:
        one.episode(objective)
    return one.result()
