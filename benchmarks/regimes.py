"""Regimes found online, beside a Gaussian hidden Markov model and the statistical jump model.

Run from the project root: ``python -m benchmarks.regimes``; prints tables and one line of JSON.

- ``switching``: one symbol, 20 000 bars, returns alone: three regimes with Student-t(6) noise and an
  autoregression each. Fitted on the first half, judged on the second.
- ``simulator``: the market simulator with four symbols over 540 days, refitted every 120 days on the last
  240, judged from day 45 on.

Everything is online: a bar is named by what was known at its close. The peers see returns, their mean and
log volatility over 20 bars, and on the simulator, of the symbols' mean, the average correlation too; their
states are named by the truth of the window that they were fitted on, which ours is not. ``limit`` is the
filter of the true model. PANIC is compared at equal false alarms: at the rate that each peer's own labels
have, our recall at that very rate stands beside its own.

jumpmodels needs an interpreter of an environment that has it: ``PEERS_PYTHON=/path/to/python``.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from hmmlearn.hmm import GaussianHMM
from numpy.typing import NDArray
from scipy.stats import multivariate_normal
from scipy.stats import t as student

from engine.evaluation.splits import Window
from engine.market.simulator import MarketSimulator
from engine.regimes.detector import RegimeDetector
from engine.regimes.history import walk_forward_regimes
from engine.regimes.hmm import forward
from engine.regimes.names import REGIMES
from engine.regimes.observations import observations
from engine.regimes.regime_scores import (
    balanced_accuracy_interval,
    false_alarm_rate,
    recall_at_false_alarms,
    regime_scores,
)

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = datetime(2024, 1, 1)  # noqa: DTZ001  (moments in frames are UTC without a zone)
NAMES = np.array(REGIMES)
PANIC = REGIMES.index("PANIC")
SEEDS = (43, 44, 45, 46, 47)
BARS, HALF, SPAN = 20_000, 10_000, 20
SIMULATOR_SEEDS = (7, 8, 9, 10, 11)
SYMBOLS = ["BTC/USDT", "ETH/USDT", "BNB/USDT", "SOL/USDT"]
SIMULATED_BARS, WARMUP, REFIT, LOOKBACK = 12_960, 45 * 24, 120 * 24, 240 * 24
PENALTIES = (10.0, 50.0)

MOVES = np.array([[0.995, 0.0035, 0.0015], [0.004, 0.995, 0.001], [0.006, 0.009, 0.985]])
DRIFT, SCALE = np.array([0.0016, 0.0, -0.004]), np.array([0.006, 0.004, 0.020])
MEMORY, DEGREES = np.array([0.05, -0.25, 0.0]), 6.0

JUMP = """
import json, sys, time, warnings
import numpy as np, pandas as pd
from jumpmodels.jump import JumpModel
warnings.simplefilter("ignore")
data, out, seconds = np.load(sys.argv[1]), {}, []
for k, (begin, cut, end) in enumerate(data["windows"]):
    frame = pd.DataFrame(data[f"features{k}"], index=pd.date_range("2015", periods=end - begin, freq="h"))
    returns = pd.Series(data["returns"][begin:end], index=frame.index)
    n = cut - begin
    model = JumpModel(n_components=3, jump_penalty=float(sys.argv[3]), cont=False, n_init=5, random_state=0)
    started = time.perf_counter()
    model.fit(frame.iloc[:n], ret_ser=returns.iloc[:n], sort_by="cumret")
    fitted = time.perf_counter()
    out[f"labels{k}"] = np.asarray(model.predict_online(frame)).astype(int)
    seconds.append((fitted - started, time.perf_counter() - fitted, int(end - begin)))
np.savez(sys.argv[2], **out)
print(json.dumps(seconds))
"""


@dataclass
class Found:
    """What a contender found in the judged bars of one series, and what it took."""

    regime: NDArray[np.str_]
    p_panic: Floats
    fit_seconds: float
    bars_per_second: float


@dataclass
class Series:
    """A market with its truth; ``windows`` are where each fit begins, ends, and ceases to be in use."""

    features: Floats
    returns: Floats
    truth: Labels
    windows: list[tuple[int, int, int]]
    found: dict[str, Found] = field(default_factory=dict)

    @property
    def judged(self) -> NDArray[np.str_]:
        """True regimes of the bars after the first fit."""
        return NAMES[self.truth[self.windows[0][1] :]]


def moving_mean(x: Floats, span: int) -> Floats:
    """Mean over the last `span` values or as many as there are."""
    total = np.cumsum(np.r_[0.0, x])
    last = np.arange(1, len(x) + 1)
    return (total[last] - total[np.maximum(last - span, 0)]) / np.minimum(last, span)


def plain_features(x: Floats) -> list[Floats]:
    """Return, 20-bar mean and 20-bar log volatility."""
    return [x, moving_mean(x, SPAN), 0.5 * np.log(moving_mean(x * x, SPAN) + 1e-10)]


def switching(seed: int) -> tuple[Floats, Labels]:
    """Draw returns and regimes of the switching market."""
    rng = np.random.default_rng(seed)
    x, z = np.zeros(BARS), np.zeros(BARS, dtype=np.int64)
    for t in range(1, BARS):
        k = z[t] = rng.choice(3, p=MOVES[z[t - 1]])
        x[t] = DRIFT[k] + MEMORY[k] * x[t - 1] + SCALE[k] * rng.standard_t(DEGREES) / np.sqrt(1.5)
    return x, z


def switching_series(seed: int) -> Series:
    """Score ours and the limit on a switching market."""
    x, z = switching(seed)
    series = Series(np.stack(plain_features(x), axis=1), x, z, [(0, HALF, BARS)])
    close = np.exp(np.cumsum(x))
    candles = pl.DataFrame(
        {
            "symbol": "BTC/USDT",
            "ts": [START + k * HOUR for k in range(BARS)],
            "open": np.r_[1.0, close[:-1]],
            "close": close,
            "log_return": x,
        },
        schema_overrides={"ts": pl.Datetime("us")},
    ).with_columns(high=pl.max_horizontal("open", "close"), low=pl.min_horizontal("open", "close"))
    seen = observations(candles)
    started = time.perf_counter()
    detector = RegimeDetector().fit(seen, Window(START, START + HALF * HOUR))
    fitted = time.perf_counter()
    rows = detector.filter(seen)
    speed = BARS / (time.perf_counter() - fitted)
    series.found["engine"] = ours(rows[HALF:], fitted - started, speed)

    before = np.r_[0.0, x[:-1]][:, None]
    scale = SCALE / np.sqrt(1.5)
    density = student.logpdf((x[:, None] - DRIFT - MEMORY * before) / scale, DEGREES) - np.log(scale)
    p, _ = forward(density, np.zeros_like(density), np.full(3, 1.0 / 3.0), MOVES, np.ones((1, 1)))
    series.found["limit"] = Found(NAMES[p[HALF:].argmax(axis=1)], p[HALF:, PANIC], np.nan, np.nan)
    return series


def ours(rows: pl.DataFrame, fit_seconds: float, bars_per_second: float) -> Found:
    """Contender of filtered rows of one symbol."""
    regime = rows["regime"].to_numpy().astype(str)
    return Found(regime, rows["p_panic"].to_numpy(), fit_seconds, bars_per_second)


def simulated_series(seed: int) -> Series:
    """Score ours on a simulated market of four symbols, walked forward."""
    market = MarketSimulator(SYMBOLS, HOUR, seed).simulate(START, SIMULATED_BARS)
    returns = (pl.col("close") / pl.col("close").shift(1)).log().over("symbol")
    candles = market.candles.with_columns(log_return=returns)
    started = time.perf_counter()
    history = walk_forward_regimes(
        candles, HOUR, refit=REFIT * HOUR, warmup=WARMUP * HOUR, lookback=LOOKBACK * HOUR
    )
    seconds = time.perf_counter() - started
    rows = history.rows.filter(pl.col("symbol") == SYMBOLS[0])[WARMUP:]
    truth = market.truth["regime"].replace_strict({name: k for k, name in enumerate(REGIMES)})

    grid = candles.pivot(on="symbol", index="ts", values="log_return").sort("ts").drop("ts").fill_null(0.0)
    each = grid.to_numpy()
    each = each / np.median(np.abs(each[:WARMUP]), axis=0)
    mean = each.mean(axis=1)
    square = moving_mean((each**2).mean(axis=1), SPAN)
    common = moving_mean(mean**2, SPAN)
    correlation = (len(SYMBOLS) * common / np.maximum(square, 1e-10) - 1.0) / (len(SYMBOLS) - 1.0)
    windows = [
        (max(0, cut - LOOKBACK), cut, min(cut + REFIT, SIMULATED_BARS))
        for cut in range(WARMUP, SIMULATED_BARS, REFIT)
    ]
    features = np.stack([*plain_features(mean), correlation], axis=1)
    series = Series(features, mean, truth.to_numpy().astype(np.int64), windows)
    series.found["engine"] = ours(rows, seconds / len(windows), SIMULATED_BARS / seconds)
    return series


def standardised(series: Series, begin: int, cut: int, end: int) -> Floats:
    """Features of a window by the statistics of its fitted part, without the first, incomplete ones."""
    part = series.features[begin + SPAN : cut]
    return (series.features[begin:end] - part.mean(axis=0)) / part.std(axis=0)


def naming(labels: Labels, truth: Labels) -> tuple[int, ...]:
    """Regime of each state by which most bars of the fitted window are named right."""
    return max(
        itertools.permutations(range(3)), key=lambda names: float((np.array(names)[labels] == truth).mean())
    )


def gaussian_hmm(series: Series) -> Found:
    """Fit by hmmlearn, the best of three starts, and filter by the forward pass that it lacks."""
    regimes, panics, fit_seconds, filter_seconds, bars = [], [], [], 0.0, 0
    for begin, cut, end in series.windows:
        rows, n = standardised(series, begin, cut, end), cut - begin
        started = time.perf_counter()
        fits = [
            GaussianHMM(3, "full", n_iter=100, tol=1e-3, random_state=seed).fit(rows[:n]) for seed in range(3)
        ]
        model = max(fits, key=lambda fit: fit.score(rows[:n]))
        fit_seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
        density = np.stack(
            [
                multivariate_normal(mean, cov, allow_singular=True).logpdf(rows)
                for mean, cov in zip(model.means_, model.covars_, strict=True)
            ],
            axis=1,
        )
        p, _ = forward(density, np.zeros_like(density), model.startprob_, model.transmat_, np.ones((1, 1)))
        filter_seconds, bars = filter_seconds + time.perf_counter() - started, bars + len(rows)
        names = np.array(naming(p[:n].argmax(axis=1), series.truth[begin:cut]))
        regimes.append(NAMES[names[p[n:].argmax(axis=1)]])
        panics.append(p[n:, int(np.flatnonzero(names == PANIC)[0])])
    return Found(
        np.concatenate(regimes), np.concatenate(panics), statistics.mean(fit_seconds), bars / filter_seconds
    )


def jump_model(series: Series, penalty: float, python: str) -> Found:
    """Fit and predict online by jumpmodels, in its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "given.npz", Path(folder) / "made.npz"
        parts: dict[str, Any] = {
            f"features{k}": standardised(series, *window) for k, window in enumerate(series.windows)
        }
        np.savez(given, returns=series.returns, windows=np.array(series.windows), **parts)
        done = subprocess.run(
            [python, "-c", JUMP, str(given), str(made), str(penalty)],
            capture_output=True,
            text=True,
            check=True,
        )
        seconds = np.array(json.loads(done.stdout.strip().splitlines()[-1]))
        labels = dict(np.load(made))
    regimes = []
    for k, (begin, cut, _) in enumerate(series.windows):
        found = labels[f"labels{k}"]
        names = np.array(naming(found[: cut - begin], series.truth[begin:cut]))
        regimes.append(NAMES[names[found[cut - begin :]]])
    regime = np.concatenate(regimes)
    speed = seconds[:, 2].sum() / seconds[:, 1].sum()
    return Found(regime, (regime == REGIMES[PANIC]).astype(float), float(seconds[:, 0].mean()), float(speed))


def figures(series: Series, name: str) -> dict[str, Any]:
    """Scores of one contender on one series; PANIC beside ours at its own false alarms."""
    found, truth = series.found[name], series.judged
    scores = regime_scores(truth, found.regime)
    low, high = balanced_accuracy_interval(truth, found.regime)
    alarms = false_alarm_rate(truth, found.regime == REGIMES[PANIC])
    return {
        "balanced": scores.balanced_accuracy,
        "balanced_low": low,
        "balanced_high": high,
        "accuracy": scores.accuracy,
        **{f"recall_{name.lower()}": recall for name, recall in scores.recall.items()},
        "panic_false_alarms": alarms,
        "engine_panic_recall_there": recall_at_false_alarms(truth, series.found["engine"].p_panic, alarms),
        "panic_recall_at_2_percent": recall_at_false_alarms(truth, found.p_panic, 0.02),
        "median_panic_delay": scores.median_delay.get("PANIC", np.nan),
        "switches_per_true": scores.switches_per_true_switch,
        "fit_s": found.fit_seconds,
        "bars_per_s": found.bars_per_second,
    }


def table(title: str, results: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """Print means over the seeds and return them."""
    means = {
        name: {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}
        for name, runs in results.items()
    }
    print(f"\n{title}: means over {len(next(iter(results.values())))} seeds")
    width = max(map(len, means)) + 2
    print(" " * 28 + "".join(f"{name:>{width}}" for name in means))
    for key in next(iter(means.values())):
        cells = "".join(f"{found[key]:>{width}.4g}" for found in means.values())
        print(f"{key:>28}{cells}")
    spread = ", ".join(
        f"{name} {min(r['balanced'] for r in runs):.3f}..{max(r['balanced'] for r in runs):.3f}"
        for name, runs in results.items()
    )
    print(f"{'balanced, least..most':>28}  {spread}")
    return means


def main() -> None:
    """Measure all, print the tables and the JSON line."""
    logging.getLogger("hmmlearn").setLevel(logging.ERROR)
    python = os.environ.get("PEERS_PYTHON")
    if python is None:
        print("jump model skipped: set PEERS_PYTHON to an interpreter that has jumpmodels")
    load = os.getloadavg()[0]
    switching_series(SEEDS[0])  # compile
    report: dict[str, Any] = {"benchmark": "regimes", "cpus": os.cpu_count()}
    for title, make, seeds in (
        ("switching", switching_series, SEEDS),
        ("simulator", simulated_series, SIMULATOR_SEEDS),
    ):
        results: dict[str, list[dict[str, Any]]] = {}
        for seed in seeds:
            series = make(seed)
            series.found["gaussian hmm"] = gaussian_hmm(series)
            for penalty in PENALTIES if python else ():
                series.found[f"jump {penalty:g}"] = jump_model(series, penalty, str(python))
            for name in series.found:
                results.setdefault(name, []).append(figures(series, name))
            balanced = (f"{name} {runs[-1]['balanced']:.3f}" for name, runs in results.items())
            print(f"{title}, seed {seed}: {', '.join(balanced)}", flush=True)
        report[title] = table(title, results)
    print(json.dumps(report | {"load_1min": [round(load, 1), round(os.getloadavg()[0], 1)]}))


if __name__ == "__main__":
    main()
