"""From returns to change-point probabilities and actions: every stream of a batch through one compiled loop.

A bar's return feeds two channels, each standardised by what preceded it and limited to a few units:

- mean: the return over a filtered volatility that follows the market within a day, so that clustering of
  volatility is no change;
- volatility: the return over a slow robust scale, which leaves a change of volatility in.

The slow scale is the running median of absolute returns: it rises by a fixed fraction at each larger return
and falls by it at each smaller one (Robbins and Monro 1951), whatever their size. A bar without a move does
not lower it, or hours without a trade would.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from engine.regimes.run_length import absorb, most_probable, short_mass

__all__ = ["EXIT", "HOLD", "MEAN", "REDUCE", "VOLATILITY", "next_action", "run_streams"]

MEAN, VOLATILITY = 0, 1
HOLD, REDUCE, EXIT = 0, 1, 2

# Median of absolute standard normal values.
_NORMAL_MEDIAN = 0.6744897501960817
# The filtered volatility is not let fall below this share of the slow one.
_LEAST_SHARE = 0.01
# Returns smaller than this are rounding, and no return is more units away than that.
_SMALLEST_SCALE, _FARTHEST = 1e-12, 1e9


@nb.njit(cache=True, error_model="numpy")
def _observe(  # type: ignore[no-untyped-def]  # pragma: no cover
    r, s, law, priors, scale, variance, kept, runs
):  # fmt: skip
    """Feed both channels of stream s with a return, then let the scales follow it."""
    limit, step, forget, hazard = law[0], law[1], law[2], law[3]
    size = abs(r)
    slow = max(scale[s], _SMALLEST_SCALE) / _NORMAL_MEDIAN
    fast = max(math.sqrt(variance[s]), _LEAST_SHARE * slow)
    for channel in range(2):
        if channel == MEAN:
            z = min(max(r / fast, -limit), limit)
            variance[s] = fast * fast * (1.0 + forget * (z * z - 1.0))
        else:
            z = min(size / slow, _FARTHEST)
            if z > limit:
                z = limit + math.log1p(z - limit)
        kept[s, channel] = absorb(z, kept[s, channel], runs[s, channel], priors[channel], hazard)
    if size > scale[s]:
        scale[s] *= 1.0 + step
    elif size > 0.0:
        scale[s] *= 1.0 - step


@nb.njit(cache=True, error_model="numpy")
def _median_size(values):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Median of absolute values. By insertion: the library's median takes seconds to compile."""
    sizes = np.empty(values.size)
    for i in range(values.size):
        j = i
        while j > 0 and sizes[j - 1] > abs(values[i]):
            sizes[j] = sizes[j - 1]
            j -= 1
        sizes[j] = abs(values[i])
    return 0.5 * (sizes[(sizes.size - 1) // 2] + sizes[sizes.size // 2])


@nb.njit(cache=True, error_model="numpy")
def next_action(p, action, calm, rule):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Step up at once; step down only after enough calm bars in a row. Returns the action and those bars."""
    reduce_at, exit_at, resume_below, resume_after = rule[0], rule[1], rule[2], rule[3]
    calm = calm + 1 if p < resume_below else 0
    if p >= exit_at:
        action = EXIT
    elif p >= reduce_at:
        action = max(action, REDUCE)
    elif calm >= resume_after:
        action = HOLD
    return action, calm


@nb.njit(cache=True, nogil=True, error_model="numpy")
def run_streams(  # type: ignore[no-untyped-def]  # pragma: no cover
    returns, begin, streams, law, priors, rule,
    seen, first, scale, variance, kept, runs, level, calm,
    p_out, length_out, action_out,
):  # fmt: skip
    """Run stream ``streams[j]`` through ``returns[begin[j] : begin[j + 1]]``; write what is known after each.

    A return that is not finite leaves the state as it is.
    """
    longest, prior_level, warmup = rule[4], rule[5], first.shape[1]
    for j in range(streams.size):
        s = streams[j]
        for t in range(begin[j], begin[j + 1]):
            r = returns[t]
            if not math.isfinite(r):
                p_out[t, :] = np.nan
                length_out[t, :] = 0
                action_out[t] = max(level[s], REDUCE)
                continue
            due = 1
            if seen[s] < warmup:
                due = 0
                if r != 0.0:
                    first[s, seen[s]] = r
                    seen[s] += 1
                if seen[s] == warmup:
                    scale[s] = _median_size(first[s])
                    variance[s] = (scale[s] / _NORMAL_MEDIAN) ** 2
                    due = warmup
            for i in range(due):
                value = first[s, i] if due > 1 else r
                _observe(value, s, law, priors, scale, variance, kept, runs)
            if due != 1:
                p_out[t, :] = prior_level
                length_out[t, :] = seen[s]
                action_out[t] = level[s]
                continue
            for channel in range(2):
                p_out[t, channel] = short_mass(kept[s, channel], runs[s, channel], longest)
                length_out[t, channel] = most_probable(kept[s, channel], runs[s, channel])
            p = max(p_out[t, MEAN], p_out[t, VOLATILITY])
            level[s], calm[s] = next_action(p, level[s], calm[s], rule)
            action_out[t] = level[s]
