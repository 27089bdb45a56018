"""Parameter sets of the live algorithm scored per second, beside Optuna (TPE) driving vectorbt.

Run from the project root: ``python -m benchmarks.tuning``. Prints a table and one line of JSON. Three years
of hourly bars of BTC where recorded data lie beside the project, else simulated; sets differ in the targets
of ``comprehensive_evolution``. The peers run in an environment of their own, whose interpreter the variable
``PEERS_PYTHON`` names, and are left out where it is not set. Both sides take turns.

- ``rates``: evaluations per second, decisions, daily returns and score included; ``search`` on the peers'
  side is a trial of Optuna, ``vectorbt`` the simulation and score alone
- ``trades``: of both on a common ground: fee and half spread alone (no impact, no measured spread, no
  funding). vectorbt follows stop and target from the bar after the entry, Engine from the fill on. With stops
  and targets at their widest, hardly a bar reaches either within the entry's bar; with the defaults some do,
  and the trades that follow can differ too
- ``binding``: share of the bars at which the default costCapBps refuses, by symbol, simulated and recorded
- ``memory``: peak resident memory of 1,000 and of 5,000 sets, each in a process of its own
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from engine.evaluation.costs import Costs
from engine.market.simulator import MarketSimulator
from engine.tuning.candidates import EXPECTED, PERCENTILE, STRENGTH, WAY, bar_figures, ground_of
from engine.tuning.kernel import evaluate, trades_of
from engine.tuning.market_state import StateTape, state_tape
from engine.tuning.objectives import score
from engine.tuning.parameters import DEFAULTS, PARAMETERS, ParameterSet
from engine.tuning.rules import BREAKOUT, NEWS, REVERT
from engine.tuning.scenarios import SCENARIOS

ROOT = Path(__file__).resolve().parents[1]
MARKET = ROOT.parent / "shared" / "data" / "market" / "candles"
HOUR = timedelta(hours=1)
# Moments in frames are UTC without a zone.
START, FIRST, END = (datetime(*day) for day in ((2022, 8, 1), (2022, 9, 1), (2025, 9, 1)))  # noqa: DTZ001
TARGETS = SCENARIOS["comprehensive_evolution"].targets
BATCHES = ((1, 1), (64, 1), (64, 2), (1000, 1), (1000, 2))
ROUNDS, TRIALS = 5, 20
WIDE = ParameterSet(tp_breakout=15.0, sl_breakout=8.0, sl_revert=8.0, tp_news=12.0, sl_news=8.0)


def recorded(name: str) -> StateTape:
    """Tape of one recorded file."""
    candles = pl.read_parquet(MARKET / f"{name}.parquet").with_columns(
        pl.col("ts").dt.replace_time_zone(None)
    )
    return state_tape(candles.filter(pl.col("ts").is_between(START, END)), None, HOUR)


def simulated() -> StateTape:
    """Tape of two simulated symbols over the same time."""
    market = MarketSimulator(["BTC/USDT", "ETH/USDT"], seed=7).simulate(START, (END - START) // HOUR)
    return state_tape(market.candles, market.observations, HOUR)


def tape() -> tuple[str, StateTape]:
    """Three years to measure on, their states warm."""
    source = "recorded" if MARKET.is_dir() else "simulated"
    whole = recorded("spot_1h/BTC_USDT") if MARKET.is_dir() else simulated().of("BTC/USDT")
    return source, whole.between(FIRST, END)


def drawn(count: int, seed: int = 0) -> np.ndarray:
    """Draw sets that differ in the targets of the scenario, on the grid."""
    rng = np.random.default_rng(seed)
    sets = np.tile(DEFAULTS.vector(), (count, 1))
    for column, parameter in enumerate(PARAMETERS.values()):
        if parameter.name in TARGETS:
            values = parameter.low + rng.random(count) * (parameter.high - parameter.low)
            sets[:, column] = [parameter.snap(value) for value in values]
    return sets


def binding() -> dict[str, float]:
    """Return the share of bars at which the default cost cap refuses."""
    tapes = [("simulated", simulated())]
    if MARKET.is_dir():
        files = [path for folder in ("spot_1h", "futures_1h") for path in sorted((MARKET / folder).glob("*"))]
        tapes += [("recorded", recorded(f"{path.parent.name}/{path.stem}")) for path in files]
    shares = {}
    for source, each in tapes:
        for symbol in each.symbols:
            cost = each.expected_cost_bps[each.rows_of(symbol)]
            known = cost[np.isfinite(cost)]
            shares[f"{source} {symbol}"] = round(float((known > DEFAULTS.cost_cap_bps).mean()), 3)
    return shares


@contextmanager
def peer(market: StateTape) -> Iterator[Any]:
    """Start the peers' script on a market; yields a function that asks it, or None without an interpreter."""
    interpreter = os.environ.get("PEERS_PYTHON")
    if interpreter is None:
        yield None
        return
    figures, sides = bar_figures(market)
    settings = {
        "defaults": DEFAULTS.to_dict(),
        "targets": {
            name: (PARAMETERS[name].low, PARAMETERS[name].high, PARAMETERS[name].step) for name in TARGETS
        },
        "capital": market.capital,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "market.npz"
        np.savez(
            path, ts=market.ts, open=market.open, high=market.high, low=market.low, close=market.close,
            strength=figures[:, STRENGTH], percentile=figures[:, PERCENTILE], cost=figures[:, EXPECTED],
            way=figures[:, WAY], news_side=sides[:, NEWS], breakout_side=sides[:, BREAKOUT],
            revert_side=sides[:, REVERT], fee=6e-4, settings=json.dumps(settings),
            enterable=ground_of(market, timedelta(days=1)).market.tracks[0].enterable,
        )  # fmt: skip
        script = [interpreter, str(ROOT / "benchmarks" / "tuning_peer.py"), str(path)]
        with subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None

            commands, answers = process.stdin, process.stdout
            print("peers", answers.readline().strip())

            def ask(command: str) -> dict[str, Any]:
                print(command, file=commands, flush=True)
                return dict(json.loads(answers.readline()))

            yield ask
            commands.close()


def rate(market: StateTape, sets: np.ndarray, threads: int) -> float:
    """Return evaluations per second, over at least half a second."""
    count, started = 0, time.perf_counter()
    while (spent := time.perf_counter() - started) < 0.5:
        score(evaluate(market, sets, threads=threads), "balanced")
        count += len(sets)
    return count / spent


def rates(market: StateTape, ask: Any) -> dict[str, list[float]]:
    """Return evaluations per second of each contender, in turns."""
    found: dict[str, list[float]] = {}
    for turn in range(ROUNDS):
        for count, threads in BATCHES:
            label = f"batch of {count}, {threads} thread{'s' if threads > 1 else ''}"
            found.setdefault(label, []).append(rate(market, drawn(count, turn), threads))
        if ask is not None:
            answer = ask(f"search {TRIALS}")
            found.setdefault("Optuna search", []).append(TRIALS / answer["seconds"])
            found.setdefault("vectorbt alone", []).append(TRIALS / answer["vectorbt"])
    return found


def compared(market: StateTape, ask: Any) -> dict[str, dict[str, float]]:
    """Compare the trades of both for wide stops and for the defaults."""
    plain = replace(market, half_spread=np.zeros(len(market)), funding=np.zeros_like(market.funding))
    costs, ts, result = Costs(5.0, 1.0, 0.0), market.ts, {}
    for name, parameters in (("widest stops", WIDE), ("defaults", DEFAULTS)):
        ours = trades_of(plain, parameters, costs).drop_nulls("exit_ts")
        entry, out = (np.searchsorted(ts, ours[column].to_numpy()) for column in ("entry_ts", "exit_ts"))
        mine = {
            (int(e), int(x), int(s)): (p, q)
            for e, x, s, p, q in zip(
                entry, out, ours["side"], ours["entry_price"], ours["exit_price"], strict=True
            )
        }
        answer = ask(f"trades {json.dumps(parameters.to_dict())}")
        columns = ("entry_idx", "exit_idx", "direction", "entry_price", "exit_price", "status")
        theirs = {
            (e, x, 1 - 2 * d): (p, q)
            for e, x, d, p, q, status in zip(*(answer[column] for column in columns), strict=True)
            if status == 1
        }
        shared = mine.keys() & theirs.keys()
        result[name] = {
            "ours": len(mine),
            "vectorbt": len(theirs),
            "same bars and side": len(shared),
            "same prices": sum(np.allclose(mine[key], theirs[key], rtol=1e-9) for key in shared),
            "ours that end in the entry's bar": int((entry == out).sum()),
            "growth, ours": float(np.prod(1.0 + evaluate(plain, parameters.vector(), costs).returns[0])),
            "growth, vectorbt": answer["growth"],
        }
    return result


def peak_mb(sets: int) -> int:
    """Peak resident memory of scoring so many sets in a fresh process, MB."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.tuning", "--memory", str(sets)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(done.stdout.split()[-1])


def main() -> None:
    """Run everything, or with ``--memory SETS`` one evaluation."""
    source, market = tape()
    if sys.argv[1:2] == ["--memory"]:
        score(evaluate(market, drawn(int(sys.argv[2]))), "balanced")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
        return
    evaluate(market, drawn(2))
    before = os.getloadavg()[0]
    with peer(market) as ask:
        found = rates(market, ask)
        trades = {} if ask is None else compared(market, ask)
    medians = {name: statistics.median(each) for name, each in found.items()}
    after = os.getloadavg()[0]
    print(f"{len(market)} bars of {source} {market.symbols[0]}; load {before:.1f} before, {after:.1f} after")
    print(f"{'evaluations/s':<28}{'median':>10}{'min':>10}{'max':>10}{'x Optuna':>10}")
    peers = found.get("Optuna search")
    for name, each in found.items():
        times = statistics.median(a / b for a, b in zip(each, peers, strict=True)) if peers else float("nan")
        print(f"{name:<28}{medians[name]:>10.1f}{min(each):>10.1f}{max(each):>10.1f}{times:>10.1f}")
    if not peers:
        print("Optuna and vectorbt: left out, PEERS_PYTHON names no interpreter")
    for name, row in trades.items():
        print(name, row)
    bound, memory = binding(), {f"{sets} sets": peak_mb(sets) for sets in (1000, 5000)}
    print("costCapBps 8 refuses", bound)
    print("peak memory, MB", memory)
    result = {
        "benchmark": "tuning",
        "source": source,
        "load_1min": [round(before, 1), round(after, 1)],
        "evaluations_per_s": {name: round(value, 1) for name, value in medians.items()},
        "trades": trades,
        "binding": bound,
        "peak_mb": memory,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
