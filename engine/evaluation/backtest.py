"""Portfolio backtest on target weights: decide at a bar's close, fill at the next open, pay for everything.

The accounts, at the open of each bar and in this order:

1. positions are marked to the open; a symbol without a bar keeps its last price;
2. funding falls due on the positions carried in;
3. a symbol that has had no bar for longer than `max_gap` is taken to be delisted: closed at its last price.
   So is one whose number in `Panel.listing` changes, at the first bar of the new listing, which is another
   asset: nothing decided before it is filled in it, and no old position meets its prices or its funding;
4. decisions of the previous bar are filled: a weight w becomes the quantity ``w * equity / open``, with the
   equity of step 2. A fill needs a bar at the decision and at the fill, so nothing trades across a gap: the
   position is held, and an order that could not be filled lapses. Orders are rounded down to whole lots and
   lapse below the smallest value, except those that close a position;
5. fees and slippage of all fills are paid.

If equity is gone after step 2, every position is closed at its mark and nothing is traded again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from engine.evaluation.accounting import (
    BOUGHT,
    ENTRY,
    EQUITY,
    EXIT,
    FEE,
    FEES,
    FUND,
    FUNDING,
    GOT,
    GROSS,
    PAID,
    PRICE_PNL,
    SIDE,
    SLIP,
    SLIPPAGE,
    SOLD,
    SYMBOL,
    TRADED,
    simulate,
)
from engine.evaluation.costs import Costs
from engine.evaluation.panel import Panel, per_symbol

__all__ = ["BacktestResult", "backtest"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BacktestResult:
    """Accounts of a backtest.

    Parameters
    ----------
    equity : polars.DataFrame
        One row per bar, after its fills: ``ts``, ``equity`` (quote units), ``gross_return`` (price moves
        alone, on the equity before), ``net_return``, ``turnover`` (value traded over equity), ``fees``,
        ``slippage`` and ``funding`` (quote units paid at this bar; funding received is negative),
        ``exposure`` (sum of absolute positions over equity).
    trades : polars.DataFrame
        One row per stretch of time that a symbol was held on one side: ``symbol, entry_ts, exit_ts, side``
        (1 or -1), ``entry_price, exit_price`` (averages over all fills, before costs), ``quantity`` (all
        that was entered, base units), ``gross_pnl, fees, slippage, funding, net_pnl`` (quote units). A
        position still open has no exit and is valued at the last mark. The sum of ``net_pnl`` is the change
        of equity.
    quantities : ndarray, shape (bars, symbols)
        Base units held after each bar's fills.
    capital : float
        Equity at the start, quote units.
    """

    equity: pl.DataFrame
    trades: pl.DataFrame
    quantities: Floats
    capital: float

    def daily(self) -> pl.DataFrame:
        """Equity at the end of each UTC day: ``day, equity, net_return, turnover, exposure``.

        ``turnover`` is the day's sum and ``exposure`` its mean. A bar that opens at midnight closes the day
        before.
        """
        days = (
            self.equity.group_by(pl.col("ts").dt.offset_by("-1us").dt.truncate("1d").alias("day"))
            .agg(pl.col("equity").last(), pl.col("turnover").sum(), pl.col("exposure").mean())
            .sort("day")
        )
        before = pl.col("equity").shift(1, fill_value=self.capital)
        net = pl.when(before > 0).then(pl.col("equity") / before - 1.0).otherwise(0.0)
        return days.with_columns(net_return=net).select("day", "equity", "net_return", "turnover", "exposure")


def backtest(
    panel: Panel,
    target_weights: Floats,
    *,
    costs: Costs | None = None,
    funding: Floats | None = None,
    tradable: NDArray[np.bool_] | None = None,
    lot_size: ArrayLike = 0.0,
    min_notional: ArrayLike = 0.0,
    capital: float = 100_000.0,
    max_gap: int = 72,
) -> BacktestResult:
    """Run target weights through the market.

    Parameters
    ----------
    panel : Panel
        Prices and volumes.
    target_weights : ndarray, shape (bars, symbols)
        Row t: fractions of equity decided at the close of bar t, signed; NaN for no decision.
    costs : Costs, optional
        Slippage grows with the share in the volume of the fill's bar; a bar without volume is not traded.
    funding : ndarray, shape (bars, symbols), optional
        Rate due at each open on the position carried in; see `funding_panel`.
    tradable : ndarray of bool, shape (bars, symbols), optional
        Where False nothing is filled at that bar's open.
    lot_size : float or array, shape (symbols,)
        Smallest step of an order, base units; 0 for none.
    min_notional : float or array, shape (symbols,)
        Smallest value of an order, quote units.
    capital : float
        Equity at the start, in quote units.
    max_gap : int
        Missing bars in a row after which a symbol counts as delisted.

    Raises
    ------
    ValueError
        If shapes disagree or a target, rate or setting is out of range.
    """
    shape = panel.open.shape
    allowed = np.isfinite(panel.volume) & (panel.volume > 0)
    if tradable is not None:
        allowed &= _shaped("tradable", tradable, shape)
    targets = _shaped("target_weights", target_weights, shape)
    rates = np.zeros(shape) if funding is None else _shaped("funding", funding, shape)
    if np.isinf(targets).any() or not np.isfinite(rates).all():
        raise ValueError("target_weights must be finite or NaN, and funding finite")
    if not capital > 0 or max_gap < 1:
        raise ValueError(f"capital={capital} must be positive and max_gap={max_gap} at least 1")
    price = costs or Costs()
    accounts, trades, quantities = simulate(
        np.ascontiguousarray(panel.open),
        np.ascontiguousarray(panel.volume),
        np.ascontiguousarray(targets, dtype=np.float64),
        allowed,
        _relisted(panel),
        np.ascontiguousarray(rates, dtype=np.float64),
        per_symbol("lot_size", lot_size, shape[1]),
        per_symbol("min_notional", min_notional, shape[1]),
        price.fee_bps * 1e-4,
        price.half_spread_bps * 1e-4,
        price.impact_bps * 1e-4,
        capital,
        max_gap,
    )
    return BacktestResult(
        _equity_frame(panel, accounts, capital), _trades_frame(panel, trades), quantities, capital
    )


def _relisted(panel: Panel) -> NDArray[np.bool_]:
    """Mark bars whose asset is another than that of the symbol's bar before, however long ago."""
    relisted = np.zeros(panel.open.shape, dtype=bool)
    if panel.listing is not None:
        for i in range(len(panel.symbols)):
            rows = np.flatnonzero(np.isfinite(panel.open[:, i]))
            relisted[rows[1:], i] = np.diff(panel.listing[rows, i]) != 0
    return relisted


def _shaped(name: str, array: NDArray, shape: tuple[int, ...]) -> NDArray:
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, {shape} needed")
    return array


def _equity_frame(panel: Panel, accounts: Floats, capital: float) -> pl.DataFrame:
    equity = accounts[:, EQUITY]
    before = np.append(capital, equity[:-1])
    solvent = before > 0
    base = np.where(solvent, before, 1.0)
    value = np.where(equity > 0, equity, np.nan)
    worth = equity + accounts[:, FEES] + accounts[:, SLIPPAGE]
    traded = accounts[:, TRADED]
    return pl.DataFrame(
        {
            "ts": panel.times,
            "equity": equity,
            "gross_return": np.where(solvent, accounts[:, PRICE_PNL] / base, 0.0),
            "net_return": np.where(solvent, equity / base - 1.0, 0.0),
            "turnover": np.where(worth > 0, traded / np.where(worth > 0, worth, 1.0), np.sign(traded)),
            "fees": accounts[:, FEES],
            "slippage": accounts[:, SLIPPAGE],
            "funding": accounts[:, FUNDING],
            "exposure": np.where(accounts[:, GROSS] > 0, accounts[:, GROSS] / value, 0.0),
        }
    ).with_columns(pl.col("exposure").fill_nan(None))


def _trades_frame(panel: Panel, trades: Floats) -> pl.DataFrame:
    trades = trades[np.lexsort((trades[:, SYMBOL], trades[:, ENTRY]))]
    entry, out = trades[:, ENTRY].astype(np.int64), trades[:, EXIT].astype(np.int64)
    is_open = out < 0
    exit_ts = np.where(is_open, np.datetime64("NaT"), panel.times[out])
    sold = np.where(is_open, 1.0, trades[:, SOLD])
    gross = trades[:, SIDE] * (trades[:, GOT] - trades[:, PAID])
    return pl.DataFrame(
        {
            "symbol": pl.Series(panel.symbols, dtype=pl.String).gather(trades[:, SYMBOL].astype(np.int64)),
            "entry_ts": panel.times[entry],
            "exit_ts": exit_ts,
            "side": trades[:, SIDE].astype(np.int64),
            "entry_price": trades[:, PAID] / trades[:, BOUGHT],
            "exit_price": pl.Series(np.where(is_open, np.nan, trades[:, GOT] / sold)).fill_nan(None),
            "quantity": trades[:, BOUGHT],
            "gross_pnl": gross,
            "fees": trades[:, FEE],
            "slippage": trades[:, SLIP],
            "funding": trades[:, FUND],
            "net_pnl": gross - trades[:, FEE] - trades[:, SLIP] - trades[:, FUND],
        },
        schema_overrides={"entry_ts": pl.Datetime("us"), "exit_ts": pl.Datetime("us")},
    )
