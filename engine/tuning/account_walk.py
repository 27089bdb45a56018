"""Compiled walk of an account through its candidates; `engine.tuning.kernel` states the rules."""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from engine.evaluation.brackets import CLOSES, HIGHS, LOWS, OPENS, PAID, VOLUMES, Track, first_touch
from engine.tuning.candidates import EXPECTED, PERCENTILE, STRENGTH, WAY, Candidates, entry_code
from engine.tuning.orders import Orders
from engine.tuning.rules import BREAKOUT, NEWS, REVERT, price_at

__all__ = ["REASONS", "Terms", "run_accounts", "walk_account"]

Floats = NDArray[np.float64]
Terms = tuple[float, float, float, float]
"""Fee, least half spread and impact as fractions, and the account's capital in quote units."""

STOP, TARGET, DELISTED, OPEN, RUINED = range(5)
REASONS = ("stop", "target", "delisted", "open", "ruined")
# columns of the figures, one row per parameter set
TRADES, WON, TURNOVER, COST, FUNDING, HELD = range(6)
# columns of the log, one row per trade; bars are indices into the track
ASSET, ENTRY, EXIT, REASON, CODE, SIZE, PRICE_IN, PRICE_OUT, PAID_COST, PAID_FUNDING, RESULT = range(11)


@nb.njit(nogil=True, cache=True)
def run_accounts(
    track: Track,
    candidates: Candidates,
    spread: Floats,
    orders: Orders,
    terms: Terms,
    begin: int,
    returns: Floats,
    figures: Floats,
    share: float,
    log: Floats,
) -> None:
    """Add one symbol's accounts of a chunk of sets, which starts at set `begin`."""
    own = np.empty(returns.shape[1])
    for k in range(len(returns)):
        walk_account(track, candidates, spread, orders, begin + k, terms, own, figures[k], log)
        for p in range(own.size):
            returns[k, p] += share * own[p]


@nb.njit(nogil=True, cache=True, error_model="numpy")
def walk_account(
    track: Track,
    candidates: Candidates,
    spread: Floats,
    orders: Orders,
    s: int,
    terms: Terms,
    returns: Floats,
    figures: Floats,
    log: Floats,
) -> None:
    """Trade set `s` on one symbol: write returns, add to figures, fill the log where it has room."""
    bars, reach, blocks = track.bars, track.reach, track.blocks
    known, sides = candidates.figures, candidates.sides
    fee, half_spread, impact, capital = terms
    go, breakout, revert, cost_cap = orders.go[s], orders.breakout[s], orders.revert[s], orders.cost_cap[s]
    returns[:] = 0.0
    equity = marked = 1.0
    period, logged, k = 0, 0, 0
    while k < candidates.bar.size:
        code = entry_code(
            known[k, STRENGTH], known[k, PERCENTILE], known[k, EXPECTED],
            int(sides[k, NEWS]), int(sides[k, BREAKOUT]), int(sides[k, REVERT]),
            go, breakout, revert, cost_cap,
        )  # fmt: skip
        if code == 0:
            k += 1
            continue
        asset, entry = candidates.asset[k], candidates.bar[k] + 1
        end, price = track.end[asset], bars[entry, OPENS]
        side, kind = (1.0, code - 1) if code > 0 else (-1.0, -code - 1)
        size = orders.size[s, kind]
        way = known[k, WAY] if kind == REVERT else orders.target[s, kind]
        stop, target = price_at(price, side, -orders.stop[s, kind]), price_at(price, side, way)
        below, above = (stop, target) if side > 0.0 else (target, stop)
        b = first_touch(reach, blocks, entry, end, below, above)

        quantity = size * capital / price
        cost_in = size * (
            fee + max(half_spread, spread[entry - 1]) + impact * np.sqrt(quantity / bars[entry, VOLUMES])
        )
        units = side * size / price
        room, cost_out = np.inf, 0.0
        if b < end:
            room, paid, final = bars[b, VOLUMES], bars[b, PAID], track.period[b]
            stopped = reach[b, LOWS] <= below if side > 0.0 else reach[b, HIGHS] >= above
            reason = STOP if stopped else TARGET
            out = min(bars[b, OPENS], below) if stopped == (side > 0.0) else max(bars[b, OPENS], above)
        else:
            paid, final, out = track.paid_end[asset], track.period_gone[asset], bars[end - 1, CLOSES]
            reason = DELISTED if track.gone[asset] else OPEN
        sold = size * out / price
        if reason != OPEN:
            cost_out = sold * (fee + max(half_spread, spread[b - 1]) + impact * np.sqrt(quantity / room))

        # Equity of the periods before the entry, then marked to the last close of each that it was held in.
        if track.period[entry] > period:
            returns[period] = equity / marked - 1.0
            marked, period = equity, track.period[entry]
        while period < final:
            last = track.period_end[period] - 1
            moved = units * (bars[last, CLOSES] - price - (bars[last, PAID] - bars[entry, PAID]))
            value = equity * (1.0 + moved - cost_in)
            if value <= 0.0:
                b, reason, out, paid, cost_out = last, RUINED, bars[last, CLOSES], bars[last, PAID], 0.0
                sold = size * out / price
                break
            returns[period] = value / marked - 1.0
            marked, period = value, period + 1
        due = units * (paid - bars[entry, PAID])
        result = units * (out - price) - cost_in - cost_out - due
        if result <= -1.0:
            reason = RUINED
        equity *= 1.0 + result

        figures[TRADES] += 1
        figures[WON] += result > 0.0
        figures[TURNOVER] += size + (0.0 if reason == OPEN else sold)
        figures[COST] += cost_in + cost_out
        figures[FUNDING] += due
        figures[HELD] += b - entry
        if log.size:
            line = log[logged]
            line[ASSET], line[ENTRY], line[EXIT], line[REASON], line[CODE] = asset, entry, b, reason, code
            line[SIZE], line[PRICE_IN], line[PRICE_OUT] = size, price, out
            line[PAID_COST], line[PAID_FUNDING], line[RESULT] = cost_in + cost_out, due, result
            logged += 1
        if reason == RUINED:
            returns[period] = -1.0
            return
        k = candidates.following[b]
    returns[period] = equity / marked - 1.0
