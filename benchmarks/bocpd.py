"""Online change-point detection: updates per second at any age, agreement with the exact posterior, quality.

Run from the project root: ``PEERS_PYTHON=/path/to/python python -m benchmarks.bocpd``; prints one line of
JSON. The peers are the public packages and a compiled reference of the peers' own script, run by an
interpreter whose environment has them; without it they are skipped.

- ``kernel``: updates per second of one stream of observations fed as an array, after so many were seen, and
  state kept; prior and hazard are the peers'
- ``exact_share``: share of observations after which the most probable run length is the exact one's, on the
  peers' series, and the largest difference of P(1 < n <= 10)
- ``quality``: recall, precision and delay of drops of the most probable run length, as the peers are scored
- ``detector``: bars per second of the whole detector (two channels, scales, actions) as a frame of one
  symbol and one by one with ``update``
- ``batch``: stream-bars per second of 32 symbols with two channels each, that is 64 streams

Each speed is the median of repeats, with the least and greatest, and what it would be per second of CPU time:
beside other work, and with two threads, that says more than the wall does.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.regimes.bocd import BOCDRegimeDetector
from engine.regimes.run_length import RunLengths, SegmentPrior
from engine.regimes.run_length_exact import run_length_matrix

PEERS = Path(__file__).resolve().parents[2] / "shared" / "bench" / "peers"
SEEN = (1_000, 10_000, 50_000, 200_000)
HAZARD, MOST = 1.0 / 250.0, (64, 128, 256)
REPEATS, PROBE, CALLS, SYMBOLS = 9, 5_000, 1_000, 32
START = datetime(2000, 1, 1)  # noqa: DTZ001  (moments in frames are UTC without a zone)


def peers_script() -> ModuleType | None:
    """Load the peers' script for its series and its score, where it is there."""
    if not (PEERS / "bocpd.py").is_file():
        return None
    sys.path.insert(0, str(PEERS))
    spec = importlib.util.spec_from_file_location("peers_bocpd", PEERS / "bocpd.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rate(count: int, call: Callable[[], object], repeats: int = REPEATS) -> dict[str, float]:
    """Count per second of wall time, median, least and greatest, and of CPU time of all threads."""
    seconds, cpu = [], []
    for _ in range(repeats):
        started, used = time.perf_counter(), time.process_time()
        call()
        seconds.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    figures = {"median": statistics.median(seconds), "min": max(seconds), "max": min(seconds)}
    figures["per_cpu_s"] = statistics.median(cpu)
    return {name: float(f"{count / s:.4g}") for name, s in figures.items()}


def kernel(series: NDArray[np.float64], most: int) -> dict[str, Any]:
    """Measure updates per second of one stream at several ages."""
    stream, seen = RunLengths(SegmentPrior(), HAZARD, most), 0
    out: dict[str, Any] = {}
    probe = series[-PROBE:]
    stream.update(series[:10])
    for age in SEEN:
        stream.update(series[seen:age])
        out[f"updates_per_s_at_{age}"] = rate(PROBE, partial(stream.update, probe))
        seen = age
    return out


def agreement(series: NDArray[np.float64], most: int) -> dict[str, float]:
    """Compare each row with the exact posterior."""
    stream = RunLengths(SegmentPrior(), HAZARD, most)
    expected = run_length_matrix(series, SegmentPrior(), HAZARD)
    same, worst_row, worst_short = 0, 0.0, 0.0
    for t in range(series.size):
        length = int(stream.update(series[t : t + 1])[0])
        row = stream.posterior(series.size)
        same += length == int(expected[t].argmax())
        worst_row = max(worst_row, float(np.abs(row - expected[t]).max()))
        worst_short = max(worst_short, float(abs(row[2:11].sum() - expected[t, 2:11].sum())))
    return {
        "same_most_probable_run": round(same / series.size, 5),
        "largest_row_difference": float(f"{worst_row:.2g}"),
        "largest_short_mass_difference": float(f"{worst_short:.2g}"),
    }


def returns(bars: int, seed: int) -> NDArray[np.float64]:
    """Heavy-tailed returns whose scale changes now and then."""
    rng = np.random.default_rng(seed)
    scale = np.repeat(rng.choice([0.004, 0.006, 0.014], bars // 150 + 1), 150)[:bars]
    return rng.standard_t(5, bars) * scale


def frame(symbols: int, first: int, bars: int) -> pl.DataFrame:
    """Candles' columns that the detector needs."""
    ts = [START + timedelta(hours=first + i) for i in range(bars)]
    return pl.concat(
        pl.DataFrame({"symbol": [f"S{k:02d}"] * bars, "ts": ts, "log_return": returns(bars, first + k)})
        for k in range(symbols)
    )


def detector() -> dict[str, Any]:
    """One symbol through the whole detector, as a frame and bar by bar."""
    guard, seen = BOCDRegimeDetector(), 0
    out: dict[str, Any] = {}
    guard.update(0.0, "compiled")
    for age in SEEN:
        guard.detect(frame(1, seen, age - seen))
        arrays, meta = guard.to_arrays()
        probe = frame(1, age, PROBE)

        def fed(arrays: Any = arrays, meta: Any = meta, probe: pl.DataFrame = probe) -> None:
            BOCDRegimeDetector.from_arrays(arrays, meta).detect(probe)

        one, values = BOCDRegimeDetector.from_arrays(arrays, meta), returns(CALLS, age).tolist()

        def called(one: BOCDRegimeDetector = one, values: list[float] = values) -> None:
            for value in values:
                one.update(value, "S00")

        out[f"bars_per_s_fed_at_{age}"] = rate(PROBE, fed)
        out[f"bars_per_s_called_at_{age}"] = rate(CALLS, called)
        out[f"state_bytes_at_{age}"] = sum(array.nbytes for array in arrays.values()) // 2
        seen = age
    return out


def batch() -> dict[str, Any]:
    """All symbols at once, two channels each."""
    guard, seen = BOCDRegimeDetector(), 0
    out: dict[str, Any] = {}
    for age in SEEN:
        guard.detect(frame(SYMBOLS, seen, age - seen))
        arrays, meta = guard.to_arrays()
        probe = frame(SYMBOLS, age, 1_000)

        def fed(arrays: Any = arrays, meta: Any = meta, probe: pl.DataFrame = probe) -> None:
            BOCDRegimeDetector.from_arrays(arrays, meta).detect(probe)

        out[f"stream_bars_per_s_at_{age}"] = rate(2 * probe.height, fed)
        seen = age
    return out


def peers(python: str | None) -> dict[str, Any]:
    """Run the peers' script; says what is missing where it cannot."""
    if not (PEERS / "bocpd.py").is_file():
        return {"skipped": f"{PEERS / 'bocpd.py'} is not there"}
    if python is None:
        return {"skipped": "set PEERS_PYTHON to an interpreter that has the packages of the peers' script"}
    done = subprocess.run([python, str(PEERS / "bocpd.py")], capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    return dict(json.loads(lines[-1])) if lines else {"failed": done.stderr.strip()[-200:]}


def main() -> None:
    """Measure and print."""
    load = os.getloadavg()[0]
    result: dict[str, Any] = {}
    script = peers_script()
    long = returns(SEEN[-1] + PROBE, 1) / 0.006 if script is None else script.series(SEEN[-1] + PROBE)[0]
    result["kernel"] = {most: kernel(long, most) for most in MOST}
    if script is not None:
        x, changes, kinds = script.series(8_000)
        stream = RunLengths(SegmentPrior(), HAZARD)
        result["quality"] = script.score(stream.update(x), changes, kinds)
        result["exact_share"] = {most: agreement(x, most) for most in MOST}
    result["detector"], result["batch"] = detector(), batch()
    result["load_1min"] = [round(load, 1), round(os.getloadavg()[0], 1)]
    result["peers"] = peers(os.environ.get("PEERS_PYTHON"))
    print(json.dumps({"benchmark": "bocpd", "cpus": os.cpu_count(), **result}, default=float))


if __name__ == "__main__":
    main()
