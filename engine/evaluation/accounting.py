"""The compiled accounts behind `engine.evaluation.backtest`; that module states the rules."""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

__all__ = ["simulate"]

Floats = NDArray[np.float64]

# columns of the accounts, one row per bar
EQUITY, PRICE_PNL, FEES, SLIPPAGE, FUNDING, TRADED, GROSS = range(7)
# columns of the trades, one row per trade
SYMBOL, ENTRY, EXIT, SIDE, BOUGHT, PAID, SOLD, GOT, FEE, SLIP, FUND = range(11)


@nb.njit(cache=True)
def _fill(
    i: int,
    t: int,
    change: float,
    price: float,
    fee: float,
    slip: float,
    quantity: Floats,
    open_trades: Floats,
    trades: Floats,
    closed: int,
) -> int:
    """Book one fill: close first, then open or add; returns the number of closed trades."""
    size = abs(change)
    held = quantity[i]
    if held != 0.0 and held * change < 0.0:
        leaving = min(size, abs(held))
        part = leaving / size
        trade = open_trades[i]
        trade[SOLD] += leaving
        trade[GOT] += leaving * price
        trade[FEE] += fee * part
        trade[SLIP] += slip * part
        if size >= abs(held):
            trade[EXIT] = t
            trades[closed] = trade
            closed += 1
            trade[:] = 0.0
            held = 0.0
            change = change + quantity[i]
        else:
            quantity[i] = held + change
            return closed
        fee, slip = fee * (1.0 - part), slip * (1.0 - part)
    quantity[i] = held + change
    if change != 0.0:
        trade = open_trades[i]
        if held == 0.0:
            trade[SYMBOL], trade[ENTRY], trade[SIDE] = i, t, np.sign(change)
        trade[BOUGHT] += abs(change)
        trade[PAID] += abs(change) * price
        trade[FEE] += fee
        trade[SLIP] += slip
    return closed


@nb.njit(cache=True)
def _executable(wanted: float, held: float, price: float, lot: float, floor: float) -> float:
    """Quantity that an order towards `wanted` arrives at: whole lots, and none below the smallest value.

    An order that closes the position is always taken, as venues do.
    """
    if wanted == 0.0:
        return wanted
    change = wanted - held
    if lot > 0.0:
        change = np.sign(change) * np.floor(abs(change) / lot + 1e-9) * lot
        wanted = np.round((held + change) / lot) * lot
    return held if abs(change) * price < floor and wanted != 0.0 else wanted


@nb.njit(cache=True)
def simulate(
    opens: Floats,
    volume: Floats,
    targets: Floats,
    allowed: NDArray[np.bool_],
    relisted: NDArray[np.bool_],
    rates: Floats,
    lots: Floats,
    floors: Floats,
    fee_rate: float,
    half_spread: float,
    impact: float,
    capital: float,
    max_gap: int,
) -> tuple[Floats, Floats, Floats]:
    """Run the accounts; returns them per bar, the trades, and the quantities held after each bar.

    All arrays have shape (bars, symbols), lots and floors (symbols,); rates and costs are fractions. A trade
    still open at the end has the exit -1 and is valued at its last mark.
    """
    bars, symbols = opens.shape
    accounts = np.zeros((bars, 7))
    quantities = np.zeros((bars, symbols))
    trades = np.zeros((np.isfinite(targets).sum() + 1, 11))
    open_trades = np.zeros((symbols, 11))
    quantity, mark = np.zeros(symbols), np.zeros(symbols)
    missing = np.zeros(symbols, np.int64)
    equity, closed, ruined = capital, 0, False
    for t in range(bars):
        account = accounts[t]
        for i in range(symbols):
            here = np.isfinite(opens[t, i])
            missing[i] = 0 if here else missing[i] + 1
            if relisted[t, i] and quantity[i] != 0.0:
                continue
            if here:
                account[PRICE_PNL] += quantity[i] * (opens[t, i] - mark[i])
                mark[i] = opens[t, i]
            if quantity[i] != 0.0 and rates[t, i] != 0.0:
                due = quantity[i] * mark[i] * rates[t, i]
                open_trades[i, FUND] += due
                account[FUNDING] += due
        equity += account[PRICE_PNL] - account[FUNDING]
        ruined = ruined or equity <= 0.0
        for i in range(symbols):
            wanted, room = np.nan, np.inf
            if quantity[i] != 0.0 and (ruined or missing[i] > max_gap or relisted[t, i]):
                wanted = 0.0
            elif (
                not ruined
                and t > 0
                and np.isfinite(targets[t - 1, i])
                and np.isfinite(opens[t - 1, i])
                and np.isfinite(opens[t, i])
                and allowed[t, i]
                and not relisted[t, i]
            ):
                wanted = targets[t - 1, i] * equity / mark[i]
                wanted = _executable(wanted, quantity[i], mark[i], lots[i], floors[i])
                room = volume[t, i]
            change = wanted - quantity[i]
            if np.isnan(wanted) or change == 0.0:
                continue
            value = abs(change) * mark[i]
            fee = value * fee_rate
            slip = value * (half_spread + impact * np.sqrt(abs(change) / room))
            closed = _fill(i, t, change, mark[i], fee, slip, quantity, open_trades, trades, closed)
            quantity[i] = wanted
            account[FEES] += fee
            account[SLIPPAGE] += slip
            account[TRADED] += value
        equity -= account[FEES] + account[SLIPPAGE]
        account[EQUITY] = equity
        for i in range(symbols):
            quantities[t, i] = quantity[i]
            account[GROSS] += abs(quantity[i]) * mark[i]
    for i in range(symbols):
        if quantity[i] != 0.0:
            trade = open_trades[i]
            trade[EXIT] = -1
            trade[GOT] += abs(quantity[i]) * mark[i]
            trades[closed] = trade
            closed += 1
    return accounts, trades[:closed], quantities
