"""Scores of one run on the test window, net of fees, slippage and funding."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.agents.environment import EnvironmentConfig
from engine.agents.outcomes import outcomes
from engine.agents.tape import MarketTape
from engine.calibration.calibration_error import expected_calibration_error
from engine.evaluation.ablation_cells import Scores
from engine.evaluation.improvements import ALL
from engine.evaluation.metrics import max_drawdown, sharpe, volatility
from engine.regimes.names import REGIMES

__all__ = ["account_scores", "calibration_score", "learning_scores", "match_score"]

Floats = NDArray[np.float64]

_BARS_A_YEAR = 8_760.0
_AFTER_CHANGE = timedelta(hours=48)
_LEAST = 50
"""Bars below which nothing is said of them."""


def account_scores(tape: MarketTape, position: Floats, rows: pl.DataFrame, cost: float) -> Scores:
    """Judge the account that holds a position on every bar.

    Parameters
    ----------
    tape : MarketTape
        The test window.
    position : ndarray, shape (N,)
        Fractions of the whole account.
    rows : DataFrame
        ``ts, regime, true_regime`` of the same bars. The true regime tells where it changed, and is read
        nowhere else; without it the filtered regime of the first symbol does.
    cost : float
        Fee and half spread, a fraction of what is traded.
    """
    found = outcomes(tape, position, EnvironmentConfig(cost=cost))
    hosts = tape.decisions_left > 0
    scaled = found.net / tape.scale * len(tape.symbols)
    by_bar = (
        pl.DataFrame({"ts": tape.ts[hosts], "net": found.net[hosts]})
        .group_by("ts")
        .agg(pl.col("net").sum())
        .sort("ts")
    )
    net = by_bar["net"].to_numpy()
    in_regime = {name: hosts & (tape.regime == code) for code, name in enumerate(REGIMES)}
    returns = {ALL: float(scaled[hosts].mean())} | {
        name: float(scaled[mine].mean()) for name, mine in in_regime.items() if mine.sum() >= _LEAST
    }
    traded = float(found.turnover.sum())
    figures = {
        "sharpe": float(sharpe(net, _BARS_A_YEAR)),
        "volatility": float(volatility(net, _BARS_A_YEAR)),
        "edge": float(found.net.sum()) / traded if traded > 0.0 else np.nan,
        "tail_drawdown": _tail_drawdown(net),
        "transition_drawdown": _transition_drawdown(by_bar, rows),
    }
    return {"net_return": returns} | {
        name: {ALL: value} for name, value in figures.items() if np.isfinite(value)
    }


def _tail_drawdown(net: Floats) -> float:
    wealth = np.cumprod(1.0 + net)
    drawdown = np.sort(1.0 - wealth / np.maximum(np.maximum.accumulate(wealth), 1.0))
    return float(drawdown[-max(len(drawdown) // 20, 1) :].mean())


def _transition_drawdown(by_bar: pl.DataFrame, rows: pl.DataFrame) -> float:
    """Largest drawdown in the two days after a change of regime."""
    regime = pl.coalesce("true_regime", "regime")
    seen = rows.select("ts", now=regime).unique("ts", keep="first", maintain_order=True).sort("ts")
    changed = seen.filter((pl.col("now") != pl.col("now").shift(1)).fill_null(value=False))["ts"]
    windows = (
        by_bar.filter(pl.col("ts").is_between(ts, ts + _AFTER_CHANGE, closed="left"))["net"].to_numpy()
        for ts in changed
    )
    falls = [float(max_drawdown(window, _BARS_A_YEAR)) for window in windows if len(window)]
    return max(falls, default=np.nan)


def calibration_score(stated: Floats, correct: pl.Series) -> Scores:
    """Compare what was stated with what came true, where both are known."""
    known = ~np.isnan(stated) & correct.is_not_null().to_numpy()
    if known.sum() < _LEAST:
        return {}
    error = expected_calibration_error(stated[known], correct.filter(pl.Series(known)).to_numpy())
    return {"calibration_error": {ALL: error}}


def match_score(rows: pl.DataFrame, usual: float) -> Scores:
    """Skill of what followed the neighbours: one less its squared error over that of what usually follows.

    Parameters
    ----------
    rows : DataFrame
        ``pattern_mean, label, volatility`` of the test window; labels known by its end.
    usual : float
        Mean label of the training window.
    """
    known = rows.drop_nulls(["pattern_mean", "label", "volatility"])
    if known.height < _LEAST:
        return {}
    label, guess, scale = known.select("label", "pattern_mean", "volatility").to_numpy().T
    error = (((label - guess) / scale) ** 2).mean()
    return {"match_quality": {ALL: float(1.0 - error / (((label - usual) / scale) ** 2).mean())}}


def learning_scores(report: pl.DataFrame, target: float, decisions_per_second: float) -> Scores:
    """Tell how soon the validation reward reached a target, and how fast bars were trained on."""
    first = next(_reached(report, target), None)
    return {
        "learning_speed": {ALL: 1.0 / first["update"] if first else 0.0},
        "sample_efficiency": {ALL: 1.0 / (first["update"] * first["decisions"]) if first else 0.0},
        "training_speed": {ALL: decisions_per_second},
    }


def _reached(report: pl.DataFrame, target: float) -> Iterator[dict[str, float]]:
    return (row for row in report.iter_rows(named=True) if row["validation_reward"] >= target)
