"""Speed of the market simulator, and its stylized facts beside what is required of them.

Run from the project root: ``python -m benchmarks.simulator``. Prints one line of JSON, then the table.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import datetime

from engine.market.simulator import VERSION, MarketSimulator
from engine.market.stylized_facts import market_facts

SYMBOLS = [f"{c}/USDT" for c in ("BTC", "ETH", "BNB", "SOL", "XRP", "ADA", "DOGE", "AVAX", "DOT", "LINK")]
START = datetime(2014, 1, 1)  # noqa: DTZ001  (moments in frames are UTC without a zone)
BARS, REPEATS = 100_000, 5
FACT_BARS, FACT_SEEDS = 20_000, range(7, 12)

FIRST_CALL = """
import time
from datetime import datetime
from engine.market.simulator import MarketSimulator
started = time.perf_counter()
MarketSimulator(["BTC/USDT"]).simulate(datetime(2024, 1, 1), 100)
print(time.perf_counter() - started)
"""


def first_call(cache: str) -> float:
    """Seconds of the first small simulation in a fresh process with this folder of compiled code."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    done = subprocess.run(
        [sys.executable, "-c", FIRST_CALL], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def speed() -> dict[str, float | int | str]:
    """Measure 10 symbols x 100 000 bars with all side series, after compilation."""
    with tempfile.TemporaryDirectory() as cache:
        uncached, cached = first_call(cache), first_call(cache)
    simulator = MarketSimulator(SYMBOLS)
    simulator.simulate(START, 100)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, rows = [], 0
    for _ in range(REPEATS):
        started = time.perf_counter()
        market = simulator.simulate(START, BARS)
        seconds.append(time.perf_counter() - started)
        rows = len(market.candles) + len(market.observations) + len(market.truth)
        del market
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    best = min(seconds)
    return {
        "benchmark": "simulator",
        "version": VERSION,
        "symbols": len(SYMBOLS),
        "bars": BARS,
        "rows": rows,
        "seconds": round(best, 3),
        "seconds_worst": round(max(seconds), 3),
        "rows_per_second": round(rows / best),
        "first_call_seconds_compiling": round(uncached, 2),
        "first_call_seconds_compiled": round(cached, 2),
        "peak_memory_mib": round(after / 1024),
        "peak_memory_before_mib": round(before / 1024),
    }


def print_facts() -> None:
    """Print every fact for five seeds beside its required range."""
    found = [
        market_facts(MarketSimulator(SYMBOLS[:3], seed=s).simulate(START, FACT_BARS)) for s in FACT_SEEDS
    ]
    print(
        f"{'figure, ' + str(FACT_BARS) + ' bars':66}{'required':>18}  seeds {', '.join(map(str, FACT_SEEDS))}"
    )
    for row in zip(*found, strict=True):
        required = f"[{row[0].lower:g}, {row[0].upper:g}]"
        values = "".join(f"{fact.value:10.3f}{' ' if fact.holds else '!'}" for fact in row)
        print(f"{row[0].name:66}{required:>18}{values}")


if __name__ == "__main__":
    print(json.dumps(speed()))
    print_facts()
