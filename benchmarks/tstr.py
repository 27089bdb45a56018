"""Whether synthetic PANIC windows help: train on real ones with and without them, test on later real ones.

Run from the project root: ``python -m benchmarks.tstr``, or ``python -m benchmarks.tstr "block bootstrap"``
for the generators named alone. Prints a table and one line of JSON. ``TSTR_SEEDS`` sets the number of seeds,
10 by default.

Recorded hourly candles of 11 pairs; regimes filtered walking forward. PANIC windows of 30 bars that end
before July 2023 train; all later ones that open in PANIC, however it goes on, test. From the first 25 bars
LightGBM forecasts of the last five

- ``volatility``: the logarithm of the mean absolute return (squared error)
- ``drop``: whether prices fall by more than in nine of ten training windows (log loss)
- ``direction``: whether prices rise (log loss)

Arms: ``real``; ``mixed``, with synthetic windows as 20 % of the result; ``synthetic`` alone. A seed deals
episodes to generator and judges, fits and samples the generator and seeds the trees of all arms alike;
``change`` is the paired difference of mean loss, mixed less real, below 0 where synthetic windows help. Its
interval is over seeds (Student's t). Another one resamples test episodes, as all seeds share one test sample.
The first three seeds' samples are validated, and used whatever comes out.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import polars as pl
from scipy.stats import t as student

from engine.errors import EngineError
from engine.evaluation.bootstrap import bootstrap_interval
from engine.market.segments import segments
from engine.regimes.history import walk_forward_regimes
from engine.synthetic.generator import default_generators
from engine.synthetic.mixing import synthetic_count
from engine.synthetic.validation import RealWindows
from engine.synthetic.validation_c2st import window_features
from engine.synthetic.validation_splits import split_groups
from engine.synthetic.window_generator import Floats, WindowGenerator
from engine.synthetic.windows import PanicWindows, as_delivered, panic_windows

MARKET = Path(__file__).resolve().parents[2] / "shared" / "data" / "market" / "candles" / "spot_1h"
HOUR, EMBARGO = timedelta(hours=1), timedelta(days=1)
CUT, END = datetime.fromisoformat("2023-07-01"), datetime.fromisoformat("2030-01-01")
SEEDS = int(os.environ.get("TSTR_SEEDS", "10"))
AHEAD, SHARE, JUDGED_SEEDS = 5, 0.20, 3
TASKS = {"volatility": "regression", "drop": "binary", "direction": "binary"}
Arms = dict[str, Floats]


def candles_and_regimes() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Traded candles with segments and returns, and their filtered regimes."""
    raw = pl.concat([pl.read_parquet(path) for path in sorted(MARKET.glob("*.parquet"))])
    candles = (
        raw.with_columns(pl.col("ts").dt.replace_time_zone(None))
        .filter(pl.col("volume") > 0)
        .sort("symbol", "ts")
    )
    candles = candles.with_columns(segment=segments(candles, HOUR)).with_columns(
        log_return=(pl.col("close") / pl.col("close").shift(1)).log().over("symbol", "segment")
    )
    day = timedelta(days=1)
    history = walk_forward_regimes(candles, HOUR, refit=90 * day, warmup=180 * day, lookback=730 * day)
    return candles, history.rows


def targets(windows: Floats, drop: float) -> Arms:
    """Return what is forecast, one value for each window."""
    last = windows[:, -AHEAD:, 0]
    return {
        "volatility": np.log(np.abs(last).mean(axis=1) + 0.05),
        "drop": (last.sum(axis=1) < drop).astype(np.float64),
        "direction": (last.sum(axis=1) > 0).astype(np.float64),
    }


def losses(train: Floats, test: Floats, drop: float, seed: int) -> Arms:
    """Loss of each task in each test window."""
    known, asked = window_features(train[:, :-AHEAD]), window_features(test[:, :-AHEAD])
    labels, truth = targets(train, drop), targets(test, drop)
    found = {}
    for task, objective in TASKS.items():
        parameters = {
            "objective": objective,
            "learning_rate": 0.05,
            "num_leaves": 7,
            "min_data_in_leaf": 40,
            "feature_fraction": 0.3,
            "bagging_fraction": 0.7,
            "bagging_freq": 1,
            "lambda_l2": 10.0,
            "max_bin": 63,
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
            "seed": seed,
            "verbose": -1,
        }
        model = lgb.train(parameters, lgb.Dataset(known, labels[task]), 80, keep_training_booster=True)
        said = np.asarray(model.predict(asked, num_threads=1))
        if objective == "regression":
            found[task] = (said - truth[task]) ** 2
        else:
            found[task] = -np.log(np.where(truth[task] > 0.5, said, 1.0 - said))
    return found


def one_seed(
    generator: WindowGenerator, past: PanicWindows, test: Floats, seed: int, baseline: Arms, drop: float
) -> tuple[dict[str, Arms], str | None]:
    """Losses of every arm, and what the tests said of the sample where it was judged."""
    parts = split_groups(past.episode, (2 / 3, 1 / 3), np.random.default_rng(seed))
    train, held_out = (past.take(part) for part in parts)
    sample = as_delivered(generator.fit(train.values, seed).sample(len(train), seed))
    verdict = None
    if seed < JUDGED_SEEDS:
        groups = np.concatenate([train.episode, held_out.episode])
        report = RealWindows(train.values, held_out.values, groups, seed).judge(sample)
        verdict = "passed" if report.passed else "failed: " + ", ".join(report.failures)
    drawn = np.random.default_rng(seed).permutation(sample)[: synthetic_count(len(past), SHARE)]
    return {
        "real": baseline,
        "mixed": losses(np.concatenate([past.values, drawn]), test, drop, seed),
        "synthetic": losses(sample, test, drop, seed),
    }, verdict


def summary(runs: list[dict[str, Arms]], task: str, episode: np.ndarray) -> dict[str, Any]:
    """Mean loss of each arm, and the change with both intervals."""
    loss = {arm: np.array([run[arm][task] for run in runs]) for arm in runs[0]}
    change = loss["mixed"] - loss["real"]
    by_seed = change.mean(axis=1)
    reach = student.ppf(0.975, len(runs) - 1) * by_seed.std(ddof=1) / np.sqrt(len(runs))
    total = np.bincount(episode, weights=change.mean(axis=0))
    windows = np.bincount(episode)
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(windows), (1_999, len(windows)))
    low, high = bootstrap_interval(total[drawn].sum(axis=1) / windows[drawn].sum(axis=1))
    return {
        **{arm: float(values.mean()) for arm, values in loss.items()},
        "change": float(by_seed.mean()),
        "over_seeds": [float(by_seed.mean() - reach), float(by_seed.mean() + reach)],
        "over_episodes": [float(low), float(high)],
        "seeds_that_gain": int((by_seed < 0).sum()),
    }


def measure(
    generator: WindowGenerator,
    past: PanicWindows,
    test: Floats,
    episode: np.ndarray,
    baseline: Callable[[int], Arms],
) -> dict[str, Any]:
    """All seeds of one generator; says why where it cannot be fitted."""
    start, runs, verdicts = time.process_time(), [], []
    drop = largest_usual_drop(past)
    try:
        for seed in range(SEEDS):
            run, verdict = one_seed(generator, past, test, seed, baseline(seed), drop)
            runs.append(run)
            verdicts += [] if verdict is None else [verdict]
            print(f"{generator.name}: seed {seed}, {time.process_time() - start:.0f} CPU s", file=sys.stderr)
    except EngineError as error:
        return {"skipped": str(error)}
    found = {task: summary(runs, task, episode) for task in TASKS}
    return {"validation": verdicts, "cpu_s": round(time.process_time() - start), **found}


def largest_usual_drop(windows: PanicWindows) -> float:
    """Sum of the last returns that one training window in ten falls below."""
    return float(np.quantile(windows.values[:, -AHEAD:, 0].sum(axis=1), 0.10))


def main(names: list[str]) -> None:
    """Measure every generator, print the table and the JSON line."""
    if not MARKET.is_dir():
        print(f"recorded candles are not at {MARKET}")
        return
    load = os.getloadavg()[0]
    candles, regimes = candles_and_regimes()
    past = panic_windows(candles, regimes, CUT, embargo=EMBARGO)
    whole = panic_windows(candles, regimes, END, least_share=0.0)
    later = whole.take(whole.opens >= np.datetime64(CUT))
    episodes = np.unique(later.episode, return_inverse=True)[1]
    drop = largest_usual_drop(past)
    cache: dict[int, Arms] = {}

    def baseline(seed: int) -> Arms:
        if seed not in cache:
            cache[seed] = losses(past.values, later.values, drop, seed)
        return cache[seed]

    print(
        f"{len(past)} windows of {past.episode.max() + 1} episodes train, "
        f"{len(later)} of {episodes.max() + 1} test, {SEEDS} seeds"
    )
    heads = f"{'generator':>16}{'task':>12}{'real':>9}{'mixed':>9}{'synth.':>9}{'change':>10}"
    print(f"{heads}  over seeds / episodes", flush=True)
    results: dict[str, Any] = {}
    for generator in default_generators():
        if names and generator.name not in names:
            continue
        found = results[generator.name] = measure(generator, past, later.values, episodes, baseline)
        if "skipped" in found:
            print(f"{generator.name:>16} skipped: {found['skipped']}")
            continue
        for task in TASKS:
            row = found[task]
            ends = [*row["over_seeds"], *row["over_episodes"]]
            print(
                f"{generator.name:>16}{task:>12}{row['real']:9.4f}{row['mixed']:9.4f}{row['synthetic']:9.4f}"
                f"{row['change']:+10.5f}  [{ends[0]:+.5f}, {ends[1]:+.5f}] / [{ends[2]:+.5f}, {ends[3]:+.5f}]"
            )
        print(f"{'':>16}judged: {found['validation']}, {found['cpu_s']} CPU s", flush=True)
    print(
        json.dumps(
            {
                "benchmark": "tstr",
                "cpus": os.cpu_count(),
                "load_1min": [round(load, 1), round(os.getloadavg()[0], 1)],
                "seeds": SEEDS,
                "train_windows": len(past),
                "test_windows": len(later),
                **results,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
