"""Returns of a baseline and of candidates over the same periods, checked before anything is concluded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import DataError

__all__ = ["PairedReturns"]

Floats = NDArray[np.float64]

_SAME = 1e-12


@dataclass(frozen=True, eq=False)
class PairedReturns:
    """Simple returns per period, net of all costs, all finite.

    Parameters
    ----------
    baseline : ndarray, shape (T,)
    names : tuple of str
        Of the K candidates.
    candidates : ndarray, shape (T, K)
    """

    baseline: Floats
    names: tuple[str, ...]
    candidates: Floats

    @classmethod
    def of(cls, baseline: Floats, candidates: Mapping[str, Floats] | Floats) -> PairedReturns:
        """Check and name; columns of an array are named ``"0"`` to ``"K-1"``.

        Raises
        ------
        DataError
            If a return is NaN or infinite, with the candidate and the period.
        ValueError
            If shapes disagree or there is no candidate.
        """
        base = np.asarray(baseline, np.float64)
        if base.ndim != 1:
            raise ValueError(f"baseline has shape {base.shape}; one return per period is needed")
        if isinstance(candidates, Mapping):
            columns = {str(name): np.asarray(values, np.float64) for name, values in candidates.items()}
        else:
            table = np.asarray(candidates, np.float64)
            if table.ndim != 2:
                raise ValueError(f"candidates have shape {table.shape}; (periods, candidates) is needed")
            columns = {str(k): column for k, column in enumerate(table.T)}
        if not columns or "baseline" in columns:
            raise ValueError("at least one candidate is needed, and none may be named 'baseline'")
        for name, values in {"baseline": base, **columns}.items():
            if values.shape != base.shape:
                raise ValueError(f"candidate {name!r} has shape {values.shape}, the baseline {base.shape}")
            bad = np.flatnonzero(~np.isfinite(values))
            if bad.size:
                raise DataError(
                    f"return {values[bad[0]]} is not finite ({bad.size} such); mend the backtest or drop the "
                    "period for baseline and candidates alike",
                    row=int(bad[0]) + 1,
                    column=name,
                )
        return cls(base, tuple(columns), np.column_stack(list(columns.values())))

    @property
    def periods(self) -> int:
        """Length of the series."""
        return self.baseline.size

    @property
    def differing(self) -> NDArray[np.int64]:
        """Periods in which each candidate's return is not the baseline's, shape (K,)."""
        apart = np.abs(self.candidates - self.baseline[:, None]) > _SAME * self._scale
        return apart.sum(axis=0)

    @property
    def varying(self) -> NDArray[np.bool_]:
        """Whether each candidate's difference varies, shape (K,); without, no error can be estimated."""
        return self._deviation(self.candidates - self.baseline[:, None]) > _SAME * self._scale

    @property
    def all_varying(self) -> NDArray[np.bool_]:
        """The same, and candidate and baseline vary themselves, as a Sharpe ratio needs."""
        least = _SAME * self._scale
        alone = (self._deviation(self.candidates) > least) & (self._deviation(self.baseline) > least)
        return self.varying & alone

    @staticmethod
    def _deviation(series: Floats) -> Floats:
        return series.std(axis=0) if series.shape[0] else np.zeros(series.shape[1:])

    @property
    def _scale(self) -> Floats:
        """Size of the largest return of each pair."""
        return np.maximum(np.abs(self.baseline).max(initial=0.0), np.abs(self.candidates).max(0, initial=0.0))
