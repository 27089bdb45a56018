"""Optuna (TPE) driving vectorbt on the live algorithm, for `benchmarks.tuning`, in an environment of its own.

``python tuning_peer.py ARRAYS.npz`` reads one command per line and answers each with a line of JSON:

- ``trades {"parameter": value, ...}``: the trades of one parameter set, and what became of a unit
- ``search COUNT``: so many further trials of the study; seconds in all, and those within vectorbt
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import optuna
import pandas as pd
import vectorbt as vbt


def portfolio(market: dict[str, np.ndarray], p: dict[str, float], capital: float) -> Any:
    """Simulate one parameter set: orders at the next open, stop and target from the bar after it on."""
    cheap = (market["cost"] <= p["costCapBps"]) & market["enterable"]
    news = cheap & (market["news_side"] != 0) & (market["strength"] >= p["socialGo"])
    breakout = cheap & ~news & (market["breakout_side"] != 0) & (market["percentile"] >= p["volPctBreakout"])
    revert = cheap & ~news & ~breakout & (market["revert_side"] != 0)
    revert &= market["percentile"] <= p["volPctMeanRevert"]
    kinds = [news, breakout, revert]

    def by_kind(*values: Any) -> np.ndarray:
        return np.select(kinds, values, np.nan)

    side = np.nan_to_num(by_kind(market["news_side"], market["breakout_side"], market["revert_side"]))
    risk = by_kind(min(p["baseRiskPct"], p["newsMaxRiskPct"]), p["baseRiskPct"], p["baseRiskPct"])
    stop = by_kind(p["slNews"], p["slBreakout"], p["slRevert"]) / 100.0
    target = by_kind(p["tpNews"] / 100.0, p["tpBreakout"] / 100.0, market["way"])
    size = np.minimum(risk / 100.0 / stop, 1.0)
    # A signal is known at its bar's close: everything that belongs to it moves to the next bar.
    side, stop, target, size = (np.append(np.nan, values[:-1]) for values in (side, stop, target, size))
    return vbt.Portfolio.from_signals(
        pd.Series(market["close"], index=pd.DatetimeIndex(market["ts"])),
        entries=side > 0, exits=False, short_entries=side < 0, short_exits=False,
        price=market["open"], open=market["open"], high=market["high"], low=market["low"],
        sl_stop=stop, tp_stop=target, size=size, size_type="percent", fees=float(market["fee"]),
        stop_entry_price="fillprice", stop_exit_price="stopmarket", upon_opposite_entry="ignore",
        init_cash=capital, freq="1h",
    )  # fmt: skip


def balanced(found: Any) -> float:
    """Score a portfolio by growth, Sharpe ratio and drawdown of its daily values."""
    value = found.value().resample("1D").last().ffill().to_numpy()
    returns = value[1:] / value[:-1] - 1.0
    growth = np.log(value[-1] / value[0]) / len(returns) * 365.0
    deviation = returns.std(ddof=1)
    sharpe = returns.mean() / deviation * np.sqrt(365.0) if deviation > 0 else 0.0
    fall = (1.0 - value / np.maximum.accumulate(value)).max() + 0.01
    return float(growth / 0.1 + sharpe + (growth / fall if growth > 0 else growth * fall / 0.01)) / 3.0


def main() -> None:
    """Answer commands until the input ends."""
    with np.load(sys.argv[1]) as stored:
        market = {name: stored[name] for name in stored.files}
    settings = json.loads(str(market.pop("settings")))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    within = 0.0

    def objective(trial: optuna.Trial) -> float:
        nonlocal within
        chosen = {
            name: trial.suggest_float(name, low, high, step=step)
            for name, (low, high, step) in settings["targets"].items()
        }
        started = time.perf_counter()
        score = balanced(portfolio(market, {**settings["defaults"], **chosen}, settings["capital"]))
        within += time.perf_counter() - started
        return score

    balanced(portfolio(market, settings["defaults"], settings["capital"]))  # compiles
    print(json.dumps({"vectorbt": vbt.__version__, "optuna": optuna.__version__}), flush=True)
    for line in sys.stdin:
        command, argument = line.split(maxsplit=1)
        if command == "trades":
            found = portfolio(market, {**settings["defaults"], **json.loads(argument)}, settings["capital"])
            trades = found.trades.records
            columns = ("entry_idx", "exit_idx", "entry_price", "exit_price", "direction", "status")
            answer = {name: trades[name].tolist() for name in columns}
            answer["growth"] = float(found.value().iloc[-1] / settings["capital"])
        else:
            started, within = time.perf_counter(), 0.0
            study.optimize(objective, n_trials=int(argument))
            answer = {"seconds": time.perf_counter() - started, "vectorbt": within, "best": study.best_value}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
