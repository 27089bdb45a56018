"""Trades of a sweep as a table, and the fingerprint by which two tables are known to be the same."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.evaluation.brackets import (
    DELISTED,
    DUE,
    FEE,
    OPEN,
    PRICE_IN,
    PRICE_OUT,
    QUANTITY,
    RESULT,
    SLIP,
)
from engine.evaluation.panel import Panel
from engine.evaluation.tracks import Market

__all__ = ["bracket_trades", "fingerprint"]

Floats = NDArray[np.float64]

_REASONS = ("stop", "target", "delisted", "open")


def bracket_trades(panel: Panel, market: Market, logs: list[Floats]) -> pl.DataFrame:
    """Table of the trades logged on each symbol; columns as in `engine.evaluation.sweep.trades_of`."""
    frames = [_one_symbol(panel, market, i, log) for i, log in enumerate(logs)]
    return pl.concat(frames).sort("entry_ts", "symbol", maintain_order=True)


def _one_symbol(panel: Panel, market: Market, i: int, log: Floats) -> pl.DataFrame:
    asset, entry, out, reason, side, kind = log[:, :6].astype(np.int64).T
    rows, is_open = market.rows[i], reason == OPEN
    left = np.append(rows, 0)[out]
    left = np.where(reason == DELISTED, market.closed[i][asset], left)
    exit_ts = np.where(is_open, np.datetime64("NaT"), panel.times[np.where(is_open, 0, left)])
    gross = side * log[:, QUANTITY] * (log[:, PRICE_OUT] - log[:, PRICE_IN])
    return pl.DataFrame(
        {
            "symbol": pl.repeat(panel.symbols[i], len(log), dtype=pl.String, eager=True),
            "entry_ts": panel.times[rows[entry]],
            "exit_ts": exit_ts,
            "side": side,
            "kind": kind + 1,
            "entry_price": log[:, PRICE_IN],
            "exit_price": pl.Series(np.where(is_open, np.nan, log[:, PRICE_OUT])).fill_nan(None),
            "quantity": log[:, QUANTITY],
            "gross_pnl": gross,
            "fees": log[:, FEE],
            "slippage": log[:, SLIP],
            "funding": log[:, DUE],
            "net_pnl": log[:, RESULT],
            "reason": pl.Series(_REASONS, dtype=pl.String).gather(reason),
        },
        schema_overrides={"entry_ts": pl.Datetime("us"), "exit_ts": pl.Datetime("us")},
    )


def fingerprint(trades: pl.DataFrame) -> str:
    """SHA-256 over every value of a table of trades, bit by bit.

    A change made for speed must leave it as it was.
    """
    digest = hashlib.sha256()
    for name, column in zip(trades.columns, trades.iter_columns(), strict=True):
        digest.update(f"{name}:{column.dtype}:{len(column)};".encode())
        missing = column.is_null().to_numpy()
        digest.update(np.packbits(missing).tobytes())
        if column.dtype == pl.String:
            digest.update("\0".join(value or "" for value in column).encode())
        else:
            digest.update(column.to_physical().fill_null(0).to_numpy().tobytes())
    return digest.hexdigest()
