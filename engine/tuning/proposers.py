"""The methods of search: each proposes generations of candidates in a box and learns from their scores.

Candidates are shares of the ranges of the parameters that may move. All methods begin from the same centre
and spread, except random search, which knows nothing.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from engine.tuning.parameters import PARAMETERS, ParameterSet
from engine.tuning.pgpe import PGPE

if TYPE_CHECKING:
    import optuna

__all__ = ["METHODS", "Box", "Method", "Proposer"]

Floats = NDArray[np.float64]
Method = Literal["pgpe", "cma-es", "tpe", "random"]

_ROUNDING = 1e-9
_RESAMPLINGS = 100


class Box:
    """The targets' values as shares of their ranges, within reach of what is in force.

    Its borders lie on the grid of steps, so that what is snapped to the grid stays inside.

    Parameters
    ----------
    targets : sequence of str
    incumbent : ParameterSet
    reach : float
        Farthest from the incumbent, a share of the range.
    spread : float
        Standard deviation of the first proposals, a share of the range, where `spreads` does not name it.
    mean, spreads : mapping of wire name to float
        Values to begin from, and standard deviations about them.

    Raises
    ------
    ValueError
        If the reach is shorter than a step.
    """

    def __init__(
        self,
        targets: Sequence[str],
        incumbent: ParameterSet,
        reach: float,
        spread: float,
        mean: Mapping[str, float],
        spreads: Mapping[str, float],
    ) -> None:
        self.incumbent, self.rows = incumbent, [PARAMETERS[name] for name in targets]
        self.columns = [list(PARAMETERS).index(name) for name in targets]
        self.lows, self.ranges, steps = np.array(
            [(row.low, row.high - row.low, row.step / (row.high - row.low)) for row in self.rows]
        ).T
        now = self.shares([incumbent.to_dict()[name] for name in targets])
        self.low = np.maximum(np.ceil((now - reach) / steps - _ROUNDING) * steps, 0.0)
        self.high = np.minimum(np.floor((now + reach) / steps + _ROUNDING) * steps, 1.0)
        for row, low, high in zip(self.rows, self.low, self.high, strict=True):
            if not low < high:
                raise ValueError(
                    f"a reach of {reach:g} leaves {row.name} nowhere to go: it is a share of the range from "
                    f"{row.low:g} to {row.high:g}, whose steps are {row.step:g}"
                )
        start = [mean.get(name, incumbent.to_dict()[name]) for name in targets]
        self.start = np.clip(self.shares(start), self.low, self.high)
        self.spread = np.array([spreads.get(name, spread) for name in targets])

    def shares(self, values: Sequence[float]) -> Floats:
        """Where the targets' values lie in their ranges."""
        return (np.array(values) - self.lows) / self.ranges

    def sets(self, shares: Floats) -> Floats:
        """Whole parameter sets on the grid of steps, (n, 11), from shares (n, targets)."""
        out = np.tile(self.incumbent.vector(), (len(shares), 1))
        values = self.lows + shares * self.ranges
        for column, row, moved in zip(self.columns, self.rows, values.T, strict=True):
            out[:, column] = [row.snap(value) for value in moved]
        return out


class Proposer(ABC):
    """Proposes generations of a size in a box."""

    def __init__(self, box: Box, size: int, seed: int) -> None:
        self.box, self.size = box, size

    @abstractmethod
    def ask(self) -> Floats:
        """Propose a generation, shape (size, targets)."""

    @abstractmethod
    def tell(self, scores: Floats) -> None:
        """Learn from its scores, shape (size,), more is better."""


class _PolicyGradient(Proposer):
    """PGPE, begun anew where it has come to rest.

    Where more than half of a generation share the highest score, as sets do that never trade, it has nothing
    left to learn. It begins again with the spread of the start: from the best proposal so far or, if that is
    one of those, from anywhere in the box.
    """

    def __init__(self, box: Box, size: int, seed: int) -> None:
        super().__init__(box, size, seed)
        self._rng = np.random.default_rng(seed)
        self._best, self._best_score = box.start, -np.inf
        self._begin(box.start)

    def _begin(self, mean: Floats) -> None:
        box, seed = self.box, int(self._rng.integers(2**32))
        self._search = PGPE(mean, box.spread, low=box.low, high=box.high, pairs=self.size // 2, seed=seed)

    def ask(self) -> Floats:
        self._proposed = self._search.ask()
        return self._proposed

    def tell(self, scores: Floats) -> None:
        self._search.tell(scores)
        top = int(scores.argmax())
        at_rest = scores[top] <= np.median(scores)
        if at_rest and scores[top] >= self._best_score:
            self._best, self._best_score = self._proposed[top], scores[top]
            self._begin(self._rng.uniform(self.box.low, self.box.high))
        elif at_rest:
            self._begin(self._best)
        elif scores[top] > self._best_score:
            self._best, self._best_score = self._proposed[top], scores[top]


class _CovarianceMatrixAdaptation(Proposer):
    """CMA-ES (Hansen 2016) of the library that Optuna's sampler wraps.

    It is asked for itself: the sampler would restore the state from its storage, learn from the last
    generation and store the state again, for every single candidate of the next.
    """

    def __init__(self, box: Box, size: int, seed: int) -> None:
        super().__init__(box, size, seed)
        from cmaes import CMA  # takes seconds to import, which the other methods spare

        # the covariance carries how the spreads differ
        sigma = float(np.exp(np.log(box.spread).mean()))
        self._search = CMA(
            box.start,
            sigma,
            bounds=np.column_stack([box.low, box.high]),
            n_max_resampling=_RESAMPLINGS,
            seed=seed,
            population_size=size,
            cov=np.diag((box.spread / sigma) ** 2),
        )
        self._proposed = np.empty((0, box.start.size))

    def ask(self) -> Floats:
        self._proposed = np.array([self._search.ask() for _ in range(self.size)])
        return self._proposed

    def tell(self, scores: Floats) -> None:
        self._search.tell(list(zip(self._proposed, -scores, strict=True)))


class _ParzenEstimator(Proposer):
    """TPE (Bergstra et al. 2011) by Optuna; its first proposal is the centre."""

    def __init__(self, box: Box, size: int, seed: int) -> None:
        super().__init__(box, size, seed)
        import optuna  # takes seconds to import, which the other methods spare

        self._space: dict[str, optuna.distributions.BaseDistribution] = {
            row.name: optuna.distributions.FloatDistribution(low, high)
            for row, low, high in zip(box.rows, box.low, box.high, strict=True)
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._study.enqueue_trial(dict(zip(self._space, box.start.tolist(), strict=True)))
        self._trials: list[optuna.Trial] = []

    def ask(self) -> Floats:
        self._trials = [self._study.ask(self._space) for _ in range(self.size)]
        return np.array([[trial.params[name] for name in self._space] for trial in self._trials])

    def tell(self, scores: Floats) -> None:
        for trial, score in zip(self._trials, scores, strict=True):
            self._study.tell(trial, float(score))


class _Random(Proposer):
    def __init__(self, box: Box, size: int, seed: int) -> None:
        super().__init__(box, size, seed)
        self._rng = np.random.default_rng(seed)

    def ask(self) -> Floats:
        return self._rng.uniform(self.box.low, self.box.high, (self.size, self.box.low.size))

    def tell(self, scores: Floats) -> None:
        pass


METHODS: Mapping[Method, type[Proposer]] = {
    "pgpe": _PolicyGradient,
    "cma-es": _CovarianceMatrixAdaptation,
    "tpe": _ParzenEstimator,
    "random": _Random,
}
