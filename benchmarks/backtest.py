"""Backtest of 200 parameter sets on 50,000 bars beside a bare compiled loop, vectorbt and backtesting.py.

Run from the project root: ``python -m benchmarks.backtest``. Prints a table and one line of JSON. The market,
the signals and the loop are those of the peers' own script; the two packages run in an environment of their
own, whose interpreter the variable ``BACKTEST_PEERS`` names, and are left out where that is not set. Figures
are bar evaluations (bars x parameter sets) per second, measured in turns so that all meet the same load.

- ``bare loop``: signals and simulation, nothing but what is needed, filled at the close that made the signal
- ``sweep, close``: `engine.evaluation.sweep` on the same rule, its signals included
- ``sweep, next open``: Engine's own rule with fees, slippage by volume and funding
- ``same trades``: trades and result against the loop, on its signals and on Engine's own
- ``memory``: peak resident memory of a sweep of 200 and of 2,000 sets, each in a process of its own
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from engine.evaluation.costs import Costs
from engine.evaluation.entry_signals import ChannelEntries, SignalRows
from engine.evaluation.panel import Panel
from engine.evaluation.sweep import Brackets, SweepResult, sweep, trades_of
from engine.evaluation.trade_log import fingerprint

PEERS = Path(__file__).resolve().parents[2] / "shared" / "bench" / "peers"
ROUNDS = 9
FEE = Costs(5.0, 0.0, 0.0)


def peers() -> ModuleType:
    """Load the peers' script."""
    path = PEERS / "backtest.py"
    if not path.is_file():
        raise SystemExit(f"{path} is not there: nothing to compare with")
    sys.path.insert(0, str(PEERS))
    spec = importlib.util.spec_from_file_location("peers_backtest", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def panel(bars: tuple[np.ndarray, ...]) -> Panel:
    """Lay the bars out with ample volume."""
    open_, high, low, close = (np.ascontiguousarray(values)[:, None] for values in bars)
    times = np.datetime64("2020-01-01", "us") + np.arange(len(close)) * np.timedelta64(3_600_000_000, "us")
    volume = np.full(close.shape, 1e5)
    return Panel(times, ("A",), timedelta(hours=1), open_, close, volume, high, low)


def parameters(script: ModuleType, sets: int) -> tuple[ChannelEntries, Brackets]:
    """Return the peers' grid, repeated with other stops as far as needed."""
    grid = np.array(script.PARAMS * -(-sets // len(script.PARAMS)))[:sets]
    wider = 1.0 + np.arange(sets) // len(script.PARAMS) / 10.0
    entries = ChannelEntries(grid[:, 0].astype(int), grid[:, 1], script.TREND)
    return entries, Brackets(grid[:, 2] * wider, grid[:, 3] * wider, quantity=1.0)


def closed(result: SweepResult, sets: slice = slice(None)) -> tuple[int, float]:
    """Return closed trades and their result."""
    pnl = (result.net_pnl - result.open_pnl)[sets].sum()
    return int(result.trades[sets].sum()), round(float(pnl), 2)


def same_trades(script: ModuleType) -> dict[str, Any]:
    """Compare trades with the loop: on its signals, and on Engine's own where the market moved.

    Where closes stood still for the whole lookback, the loop's running sums leave rounding as a deviation and
    it enters on that; Engine takes a still market for no ground to act.
    """
    bars, grid, brackets = script.bars(), *parameters(script, len(script.PARAMS))
    market, rows = panel(bars), script.all_signals(bars)
    given = sweep(market, SignalRows(rows[:, :, None], script.ROW), brackets, costs=FEE, fill="close")
    loop = script.sweep(*bars, rows, script.ROW, script.SL, script.TP)
    moving = rows.copy()
    for i, n in enumerate(script.LOOK):
        windows = np.lib.stride_tricks.sliding_window_view(bars[3], n)[:-1]
        still = np.flatnonzero(windows.max(axis=1) == windows.min(axis=1)) + n
        moving[i * len(script.ZK) : (i + 1) * len(script.ZK), still] = 0
    moved = script.sweep(*bars, moving, script.ROW, script.SL, script.TP)
    own = sweep(market, grid, brackets, costs=FEE, fill="close")
    first = slice(0, 4)
    return {
        "loop": (int(loop[:, 0].sum()), round(float(loop[:, 1].sum()), 2)),
        "sweep on the loop's signals": closed(given),
        "loop, first 4": (int(loop[first, 0].sum()), round(float(loop[first, 1].sum()), 2)),
        "sweep on the loop's signals, first 4": closed(given, first),
        "signals in still markets": int((moving != rows).sum()),
        "loop without them": (int(moved[:, 0].sum()), round(float(moved[:, 1].sum()), 2)),
        "sweep on its own signals": closed(own),
        "fingerprint of set 0": fingerprint(trades_of(market, grid, brackets, 0, costs=FEE))[:16],
    }


def speed(script: ModuleType) -> dict[str, list[float]]:
    """Seconds of each contender, in turns after an uncounted one."""
    import numba

    numba.set_num_threads(1)
    bars, (grid, brackets) = script.bars(), parameters(script, len(script.PARAMS))
    market = panel(bars)
    rates = np.zeros(market.open.shape)
    rates[::8] = 1e-4

    def bare() -> None:
        script.sweep(*bars, script.all_signals(bars), script.ROW, script.SL, script.TP)

    contenders: dict[str, Callable[[], Any]] = {
        "bare loop": bare,
        "sweep, close": lambda: sweep(market, grid, brackets, costs=FEE, fill="close"),
        "sweep, next open": lambda: sweep(market, grid, brackets, costs=Costs(), funding=rates),
        "sweep, next open, 2 threads": lambda: sweep(
            market, grid, brackets, costs=Costs(), funding=rates, threads=2
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(ROUNDS + 1):
        for name, call in contenders.items():
            started = time.perf_counter()
            call()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def package(interpreter: str, name: str) -> dict[str, Any]:
    """Run one package by the peers' script in its own environment."""
    done = subprocess.run(
        [interpreter, "backtest.py", "--one", name], cwd=PEERS, capture_output=True, text=True, check=False
    )
    lines = [line[7:] for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    return json.loads(lines[-1]) if lines else {"failed": done.stderr.strip().splitlines()[-1:]}


def peak_mb(sets: int) -> int:
    """Peak resident memory of a sweep of so many sets in a fresh process, MB."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.backtest", "--memory", str(sets)],
        cwd=Path(__file__).resolve().parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[-1])


def main() -> None:
    """Run everything, or with ``--memory SETS`` one sweep."""
    script = peers()
    if sys.argv[1:2] == ["--memory"]:
        market = panel(script.bars())
        sweep(market, *parameters(script, 1))
        sweep(market, *parameters(script, int(sys.argv[2])))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
        return
    evaluations = script.T * len(script.PARAMS)
    before = os.getloadavg()[0]
    seconds = speed(script)
    interpreter = os.environ.get("BACKTEST_PEERS")
    others = (
        {name: package(interpreter, name) for name in ("vectorbt", "backtesting_py")} if interpreter else {}
    )
    if others:
        # Once more after the packages, so that a change of load meets both sides.
        for name, more in speed(script).items():
            seconds[name] += more
    rates = {name: [evaluations / s for s in each] for name, each in seconds.items()}
    after = os.getloadavg()[0]
    print(f"{script.T} bars x {len(script.PARAMS)} sets; load {before:.1f} before, {after:.1f} after")
    print(f"{'M bar evaluations/s':<30}{'median':>10}{'min':>10}{'max':>10}{'of the loop':>13}")
    for name, each in rates.items():
        pairs = [loop / s for loop, s in zip(seconds["bare loop"], seconds[name], strict=True)]
        figures = (statistics.median(each), min(each), max(each))
        cells = "".join(f"{figure / 1e6:>10.1f}" for figure in figures)
        print(f"{name:<30}{cells}{statistics.median(pairs):>13.2f}")
    for name, found in others.items():
        print(f"{name:<30}{json.dumps(found)}")
    if not interpreter:
        print("vectorbt and backtesting.py: left out, BACKTEST_PEERS names no interpreter")
    trades, memory = same_trades(script), {f"{sets} sets": peak_mb(sets) for sets in (200, 2000)}
    for name, value in trades.items():
        print(f"{name:<40}{value}")
    print("peak memory, MB", memory)
    result = {
        "benchmark": "backtest",
        "load_1min": [round(before, 1), round(after, 1)],
        "bar_evals_per_s": {name: round(statistics.median(each)) for name, each in rates.items()},
        "packages": others,
        "trades": trades,
        "peak_mb": memory,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
