"""Parameter sets as columns: what lets an entry pass, and the order that each kind of entry places."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.tuning.parameters import PARAMETERS, highs, lows
from engine.tuning.rules import BREAKOUT, NEWS, REVERT, exposure

__all__ = ["Orders", "boldest", "checked", "orders_of"]

Floats = NDArray[np.float64]

_COLUMN = {parameter.attribute: i for i, parameter in enumerate(PARAMETERS.values())}


class Orders(NamedTuple):
    """Thresholds, shape (sets,), and stop, target and size, shape (sets, kinds), as fractions.

    The target of a return to the mean is the mean: NaN here.
    """

    go: Floats
    breakout: Floats
    revert: Floats
    cost_cap: Floats
    stop: Floats
    target: Floats
    size: Floats


def checked(sets: NDArray) -> Floats:
    """Return the sets as an array of shape (n, 11).

    Raises
    ------
    ValueError
        If the shape is another, or a value is not finite or out of bounds: it names the first.
    """
    values = np.atleast_2d(np.asarray(sets, dtype=np.float64))
    if values.ndim != 2 or values.shape[1] != len(PARAMETERS):
        raise ValueError(f"sets have shape {np.shape(sets)}, (n, {len(PARAMETERS)}) needed")
    wrong = ~((values >= lows()) & (values <= highs()))
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        try:
            list(PARAMETERS.values())[column].check(float(values[row, column]))
        except ValueError as error:
            raise ValueError(f"set {row}: {error}") from None
    return np.ascontiguousarray(values)


def orders_of(sets: Floats) -> Orders:
    """Lay out checked sets."""
    column = {name: np.ascontiguousarray(sets[:, i]) for name, i in _COLUMN.items()}
    stop_pct, risk_pct, target = (np.full((len(sets), 3), np.nan) for _ in range(3))
    stop_pct[:, NEWS], stop_pct[:, BREAKOUT] = column["sl_news"], column["sl_breakout"]
    stop_pct[:, REVERT] = column["sl_revert"]
    risk_pct[:] = column["base_risk_pct"][:, None]
    risk_pct[:, NEWS] = np.minimum(column["base_risk_pct"], column["news_max_risk_pct"])
    target[:, NEWS], target[:, BREAKOUT] = column["tp_news"] / 100.0, column["tp_breakout"] / 100.0
    return Orders(
        go=column["social_go"],
        breakout=column["vol_pct_breakout"],
        revert=column["vol_pct_mean_revert"],
        cost_cap=column["cost_cap_bps"],
        stop=stop_pct / 100.0,
        target=target,
        size=np.vectorize(exposure, otypes=[float])(risk_pct, stop_pct),
    )


def boldest() -> Orders:
    """Return the thresholds at their bounds: whatever a set inside the bounds enters passes these."""
    values = lows()
    for name in ("vol_pct_mean_revert", "cost_cap_bps"):
        values[_COLUMN[name]] = highs()[_COLUMN[name]]
    return orders_of(values[None])
