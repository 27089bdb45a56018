"""Liquidation cascades: forced sales that set off further ones, told from a single large one.

Every print (an on-chain liquidation, or the sum of a bar) counts with its size over a large one of the past
``WINDOW``, but with no more than 1, and is forgotten exponentially:

    intensity(t) = sum_i min(x_i / large, 1) exp(-(t - t_i) / memory)

the shape of a self-exciting intensity (Hawkes 1971) with bounded marks. A cascade stands where the intensity
is at or above `STANDS`. As one print cannot count for more than 1, it takes several that are large.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl
from numba import njit

from engine.alternative.replay import MICROSECOND, Past, Replay

__all__ = ["REMEMBERED", "STANDS", "Cascade"]

STANDS = 1.5
"""Intensity from which on a cascade stands: more than any single print can reach."""
REMEMBERED = timedelta(days=30)
"""A cascade that was seen longer ago counts as none."""
FORGOTTEN = 8.0  # memories after which a print no longer counts; it would weigh exp(-8)


@dataclass(frozen=True)
class Cascade:
    """Intensity of each side and the last moment at which a cascade stood.

    Columns ``<name>.long`` and ``<name>.short`` (intensity at the current period) and ``<name>.seen``
    (microseconds since the epoch). Known where the past holds enough positive prints to say what is large:
    ``large`` is the exponential of their median logarithm and ``deviations`` robust deviations.

    Parameters
    ----------
    name : str
        Prefix of the columns.
    long, short : pl.Expr
        Notional of each side, over the names of the series.
    memory : timedelta
        Time in which a print's weight falls to 1/e.
    deviations : float
        Robust deviations of the logarithm that make a print large. Prints of single loans are spread over
        orders of magnitude and need fewer than sums of bars.
    """

    name: str
    long: pl.Expr
    short: pl.Expr
    memory: timedelta
    deviations: float

    def of(self, replay: Replay) -> Mapping[str, np.ndarray]:
        """See `engine.alternative.replay.Statistic.of`."""
        usual = Past(self.name, (self.long + self.short).log()).of(replay)
        large = np.exp(usual[f"{self.name}.median"] + self.deviations * usual[f"{self.name}.spread"])
        made = _cascade(
            replay.order,
            replay.moments,
            replay.values(self.long),
            replay.values(self.short),
            large,
            self.memory // MICROSECOND,
        )
        return {f"{self.name}.{what}": made[k] for k, what in enumerate(("long", "short", "seen"))}


@njit(cache=True)
def _cascade(order, moment, long, short, large, memory):  # type: ignore[no-untyped-def]  # pragma: no cover
    out = np.full((3, len(long)), np.nan)
    period, first, settled, stamp = order
    known = np.full((2, len(stamp)), np.nan)
    current, seen = -1, np.nan
    for e in range(len(long)):
        if current < first[e]:
            current, seen = period[e], np.nan
        current = max(current, period[e])
        known[0, period[e]], known[1, period[e]] = long[e], short[e]
        if not settled[e]:
            continue
        out[2, e] = seen
        if np.isnan(large[e]):
            continue
        out[0, e] = out[1, e] = 0.0
        p = current
        while p >= first[e] and stamp[p] > stamp[current] - FORGOTTEN * memory:
            total = known[0, p] + known[1, p]
            if total > 0.0:
                weight = min(total / large[e], 1.0) * np.exp((stamp[p] - stamp[current]) / memory) / total
                out[0, e] += weight * known[0, p]
                out[1, e] += weight * known[1, p]
            p -= 1
        if out[0, e] + out[1, e] >= STANDS:
            seen = moment[e]
            out[2, e] = seen
    return out
