"""Conformal intervals and calibrated confidence: on recorded markets, and beside MAPIE and crepes.

Run from the project root: ``python -m benchmarks.conformal`` runs every part, ``python -m
benchmarks.conformal PART ...`` only those named. Each part prints a table; the last line is JSON.

- ``coverage``: 90 % intervals of a finished run's test windows, per regime and in the worst 250 days:
  static against ACI against DtACI, pooled against per regime
- ``confidence``: calibration error, Brier score and log loss of the raw against the calibrated confidence,
  with 95 % intervals over blocks of days
- ``simulated``: three unequal groups, then a stream whose variance doubles: coverage and speed
- ``peers``: the same with MAPIE, crepes and venn-abers, and what they answer in cases with a known answer

The first two read a warehouse that the main job has made, whose path is in ``ENGINE_WAREHOUSE``. The last
needs an interpreter with the peers in ``ENGINE_PEERS_PYTHON`` (``pip install mapie==1.6.0 crepes==0.9.1
venn-abers==1.5.4 lightgbm`` in a virtual environment of its own).

Nothing here was tuned: the defaults were chosen on simulated streams before a recorded outcome was looked at.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.conformal_streams import (
    CALIBRATION,
    CHANGE,
    FIT,
    LEVEL,
    START,
    TEST,
    drift_quality,
    drifting,
    group_quality,
    grouped,
)
from engine.calibration.calibration_error import (
    bins_of_equal_count,
    bins_of_equal_width,
    expected_calibration_error,
)
from engine.calibration.config import ConformalConfig
from engine.calibration.conformal import ConformalPredictor
from engine.calibration.coverage import coverage_by_regime, effective_outcomes, worst_window
from engine.calibration.drift import coverage_drift
from engine.calibration.experts import DTACI_STEPS
from engine.calibration.venn_abers import fit_venn_abers
from engine.calibration.walk_forward import calibrate_fold
from engine.evaluation.bootstrap import (
    automatic_block_length,
    bootstrap_interval,
    stationary_bootstrap_indices,
)
from engine.evaluation.skill import log_loss
from engine.evaluation.splits import Split, Window, select
from resources.settings import Settings
from resources.warehouse import Warehouse

Floats = NDArray[np.float64]

ROLLING, DRAWS, BINS, SEED, REPEATS = timedelta(days=250), 999, 10, 7, 5
STEPS = {"static": (), "ACI": (0.02,), "DtACI": DTACI_STEPS}


class AbsentError(Exception):
    """What a part needs is not there; the text says what to do."""


@cache
def folds() -> list[tuple[Split, pl.DataFrame]]:
    """Windows and predictions of a finished run, each with what happened."""
    address = os.environ.get("ENGINE_WAREHOUSE", "")
    if not Path(address).is_file():
        raise AbsentError(
            f"ENGINE_WAREHOUSE={address!r} is no file. Make a warehouse of recorded markets, e.g. "
            "ENGINE_SOURCE=files ENGINE_FILES__ROOT=FOLDER ENGINE_WAREHOUSE=real.duckdb make run, and name it"
        )
    warehouse = Warehouse(address=address)
    out = []
    for row in warehouse.frame("SELECT * FROM models.splits ORDER BY fold").iter_rows(named=True):
        train, calibrate, test = (
            Window(row[f"{name}_start"], row[f"{name}_end"]) for name in ("train", "calibrate", "test")
        )
        purge = timedelta(seconds=row["purge_seconds"])
        split = Split(row["fold"], train, calibrate, test, purge, embargo=timedelta(0))
        rows = warehouse.frame(
            "SELECT p.*, l.label, l.label_end FROM predictions.out_of_sample AS p "
            "LEFT JOIN features.labels AS l USING (symbol, ts) WHERE p.fold = ? ORDER BY ts, symbol",
            [split.number],
        )
        out.append((split, rows))
    return out


def walked(
    split: Split, rows: pl.DataFrame, settings: Settings, steps: tuple[float, ...], *, by_regime: bool
) -> pl.DataFrame:
    """Intervals of one fold's test window by one method, on the same rows as every other."""
    bar = settings.bar_duration
    if not by_regime:
        rows = rows.with_columns(regime=pl.when(pl.col("regime").is_not_null()).then(pl.lit("all")))
    known = select(rows, split.calibrate, label_end="label_end").drop_nulls("regime")
    known = known.with_columns(correct=(pl.col("label") > 0) == (pl.col("p_up") >= 0.5))
    overlap = known.height / effective_outcomes(known, "correct", overlap=float(settings.horizon_bars))
    predictor = ConformalPredictor(LEVEL, ConformalConfig(steps=steps, overlap=overlap)).fit_intervals(
        known["q10"].to_numpy(),
        known["q90"].to_numpy(),
        known["label"].to_numpy(),
        known["regime"],
        known["scale"].to_numpy(),
    )
    test = select(rows, split.test).drop_nulls(["label", "regime", "q10", "q90", "scale"])
    given = predictor.walk_intervals(
        test["q10"].to_numpy(),
        test["q90"].to_numpy(),
        test["label"].to_numpy(),
        test["regime"],
        (test["ts"] + bar).dt.epoch("us").to_numpy(),
        test["label_end"].dt.epoch("us").to_numpy(),
        test["scale"].to_numpy(),
    )
    return test.select("symbol", "ts", "label").with_columns(
        lower=pl.Series(given.lower), upper=pl.Series(given.upper)
    )


def coverage() -> dict[str, Any]:
    """Judge each method per regime on the recorded markets."""
    settings = Settings()
    result: dict[str, Any] = {}
    regimes = pl.concat([select(rows, split.test) for split, rows in folds()]).select(
        "symbol", "ts", "regime"
    )
    methods = [(name, by_regime) for by_regime in (False, True) for name in STEPS]
    for name, by_regime in methods:
        parts = [walked(split, rows, settings, STEPS[name], by_regime=by_regime) for split, rows in folds()]
        judged = (
            pl.concat(parts)
            .join(regimes, on=["symbol", "ts"])
            .with_columns(
                covered=pl.col("label").is_between("lower", "upper"), width=pl.col("upper") - pl.col("lower")
            )
        )
        overall = coverage_by_regime(judged, LEVEL, overlap=float(settings.horizon_bars))
        worst = worst_window(judged, ROLLING).select("regime", worst="coverage")
        bounded = judged.filter(pl.col("width").is_finite())
        widths: dict[str, Any] = {
            **dict(bounded.group_by("regime").agg(pl.col("width").mean()).iter_rows()),
            "ALL": bounded["width"].mean(),
        }
        drifts = coverage_drift(judged, LEVEL, (settings.horizon_bars + 1) * settings.bar_duration)
        alarms = {drift.regime: drift.alarm for drift in drifts}
        figures = {
            row["regime"]: {
                "coverage": round(row["coverage"], 4),
                "interval": [round(row["low"], 4), round(row["high"], 4)],
                "worst_250_days": round(row["worst"], 4),
                "width": round(widths[row["regime"]], 4),
                "drift_alarm": alarms[row["regime"]],
                "count": row["n"],
            }
            for row in overall.join(worst, on="regime").iter_rows(named=True)
        }
        label = f"{name}, {'per regime' if by_regime else 'pooled'}"
        result[label] = figures | {"unbounded": round(1.0 - bounded.height / judged.height, 5)}
    table(
        f"90 % intervals, {judged.height:,} outcomes: coverage / worst {ROLLING.days} days / mean width",
        ("", "ALL", "PANIC", "RANGE", "TREND", "unbounded"),
        (
            (
                label,
                *(
                    f"{v['coverage']:.3f} / {v['worst_250_days']:.3f} / {v['width']:.3f}"
                    + (" !" if v["drift_alarm"] else "")
                    for v in (row[regime] for regime in ("ALL", "PANIC", "RANGE", "TREND"))
                ),
                f"{row['unbounded']:.3%}",
            )
            for label, row in result.items()
        ),
    )
    print("! = alarm of coverage_drift\n")
    return result


def confidence() -> dict[str, Any]:
    """Errors of the raw and of the calibrated confidence, and what the calibration gains."""
    settings = Settings()
    started = time.perf_counter()
    rows = pl.concat(
        [
            calibrate_fold(rows, split, settings.bar_duration, settings.horizon_bars).rows
            for split, rows in folds()
        ]
    )
    elapsed = time.perf_counter() - started
    judged = rows.drop_nulls(["correct", "probability", "regime"])
    result: dict[str, Any] = {
        "calibration_stage_s": round(elapsed, 2),
        "unknown": round(float((rows["status"] == "unknown").to_numpy().mean()), 4),
    }
    lines = []
    for regime in ("ALL", "PANIC", "RANGE", "TREND"):
        part = judged if regime == "ALL" else judged.filter(pl.col("regime") == regime)
        result[regime] = {
            "count": part.height,
            "accuracy": round(float(part["correct"].to_numpy().mean()), 4),
        }
        for measure, figures in gains(part).items():
            result[regime][measure] = figures
            low, high = figures["reduction_interval"]
            lines.append(
                (
                    regime,
                    measure,
                    f"{figures['raw']:.4f}",
                    f"{figures['calibrated']:.4f}",
                    f"{figures['reduction']:+.1%}",
                    f"{low:+.1%} to {high:+.1%}",
                )
            )
    table(
        f"{judged.height:,} predictions: error of raw and of calibrated (Venn-Abers) confidence",
        ("regime", "measure", "raw", "calibrated", "reduction", "95 % interval"),
        lines,
    )
    return result


def gains(rows: pl.DataFrame) -> dict[str, Any]:
    """Each measure for raw and calibrated confidence; its reduction with an interval over blocks of days."""
    days, day = np.unique(rows["ts"].to_numpy().astype("datetime64[D]"), return_inverse=True)
    correct = rows["correct"].to_numpy().astype(np.float64)
    stated = {"raw": rows["raw_confidence"].to_numpy(), "calibrated": rows["probability"].to_numpy()}
    counts = np.bincount(day, minlength=days.size).astype(np.float64)

    def by_day(values: Floats, place: NDArray[np.int64] | None = None) -> Floats:
        """Sum per day, and per bin where there are any, shape (days, bins)."""
        width = 1 if place is None else int(place.max()) + 1
        flat = day * width + (0 if place is None else place)
        sums = np.bincount(flat, values, days.size * width).astype(np.float64)
        return sums.reshape(days.size, width)

    measures = {
        "ECE": lambda p: by_day(p - correct, bins_of_equal_width(p, BINS)),
        "adaptive ECE": lambda p: by_day(p - correct, bins_of_equal_count(p, BINS)),
        "Brier score": lambda p: by_day((p - correct) ** 2),
        "log loss": lambda p: by_day(log_loss(p, correct)),
    }
    brier = measures["Brier score"]
    block = automatic_block_length(((brier(stated["raw"]) - brier(stated["calibrated"]))[:, 0]) / counts)
    drawn = stationary_bootstrap_indices(days.size, block, DRAWS, np.random.default_rng(SEED))
    weights = np.stack([np.bincount(row, minlength=days.size) for row in drawn]).astype(np.float64)
    out = {}
    for measure, summed in measures.items():
        daily = {name: summed(p) for name, p in stated.items()}
        value = {
            name: float(np.abs(table_.sum(axis=0)).sum() / counts.sum()) for name, table_ in daily.items()
        }
        draws = {
            name: np.abs(weights @ table_).sum(axis=1) / (weights @ counts) for name, table_ in daily.items()
        }
        low, high = bootstrap_interval(1.0 - draws["calibrated"] / draws["raw"])
        out[measure] = {name: round(v, 5) for name, v in value.items()} | {
            "reduction": round(1.0 - value["calibrated"] / value["raw"], 4),
            "reduction_interval": [round(float(low), 4), round(float(high), 4)],
            "mean_block_days": round(block, 1),
        }
    return out


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, minimum and maximum to three digits."""
    listed = list(values)
    return {f.__name__: float(f"{f(listed):.3g}") for f in (statistics.median, min, max)}


def seconds(call: Callable[[], Any]) -> dict[str, float]:
    """Measure repeated calls after one that is not counted."""
    call()
    out = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        out.append(time.perf_counter() - start)
    return spread(out)


def simulated() -> dict[str, Any]:
    """Measure this library on the streams that the peers get."""
    from lightgbm import LGBMRegressor
    from sklearn.linear_model import LinearRegression

    x, y, group = grouped()
    model = LGBMRegressor(n_estimators=100, random_state=0, n_jobs=2, verbose=-1).fit(x[FIT], y[FIT])
    names = np.array(["a", "b", "c"])[group]
    fixed = ConformalPredictor(LEVEL, ConformalConfig(steps=()))

    def calibrate() -> None:
        point = model.predict(x[CALIBRATION])
        fixed.fit_intervals(point, point, y[CALIBRATION], names[CALIBRATION])

    def predict() -> tuple[Floats, Floats]:
        point = model.predict(x[TEST])
        given = fixed.intervals(point, point, names[TEST])
        return given.lower, given.upper

    result: dict[str, Any] = {
        "per group": {"calibrate_s": seconds(calibrate), "predict_s": seconds(predict)}
        | group_quality(*predict(), y[TEST], group[TEST])
    }
    x, y = drifting()
    line = LinearRegression().fit(x[:START], y[:START])
    point = line.predict(x)
    seed, stream = slice(START - 500, START), slice(START, None)
    clock, regime = np.arange(y.size - START), pl.Series(["a"] * y.size)
    seen = CHANGE - START + 2  # a detector that takes two steps
    for name, steps in STEPS.items():
        for told in (False, True) if steps else (False,):
            p = np.where(clock >= seen, 0.95, 0.0) if told else 0.0
            changed_at = np.where(clock < seen, clock, np.minimum(clock, seen + 7))

            rates = []
            for _ in range(REPEATS + 1):
                predictor = ConformalPredictor(LEVEL, ConformalConfig(steps=steps, window=500))
                predictor.fit_intervals(point[seed], point[seed], y[seed], regime[seed])
                begun = time.perf_counter()
                given = predictor.walk_intervals(
                    point[stream],
                    point[stream],
                    y[stream],
                    regime[stream],
                    clock,
                    clock + 1,
                    p_changepoint=p,
                    changed_at=changed_at,
                )
                rates.append(clock.size / (time.perf_counter() - begun))
            label = f"{name}, change told" if told else name
            result[label] = {"steps_per_s": spread(rates[1:])} | drift_quality(
                given.lower, given.upper, y[stream]
            )
    boast = np.random.default_rng(3).uniform(0.5, 1.0, 24_000)
    truth = np.random.default_rng(4).random(24_000) < 0.5 + 0.3 * (boast - 0.5)
    half, rest = slice(0, 12_000), slice(12_000, None)
    mended = ConformalPredictor(LEVEL).calibrate(boast[half], truth[half], ["a"] * 12_000)
    rows = mended.calibrate_rows(boast[rest], ["a"] * 12_000)
    result["a boastful model, ECE"] = {
        "raw": round(expected_calibration_error(boast[rest], truth[rest], BINS), 4),
        "calibrated": round(expected_calibration_error(rows.probability, truth[rest], BINS), 4),
    }
    scores = np.random.default_rng(1).random(30_000)
    right = np.random.default_rng(2).random(30_000) < scores
    result["Venn-Abers of 30,000"] = {"fit_s": seconds(lambda: fit_venn_abers(scores, right))}
    report("simulated, this library", result)
    return result


def peers() -> dict[str, Any]:
    """Run the peers' half in their own interpreter."""
    interpreter = os.environ.get("ENGINE_PEERS_PYTHON", "")
    if not Path(interpreter).is_file():
        raise AbsentError(
            f"ENGINE_PEERS_PYTHON={interpreter!r} is no interpreter. Make a virtual environment, pip install "
            "mapie==1.6.0 crepes==0.9.1 venn-abers==1.5.4 lightgbm into it, and name its python here"
        )
    process = subprocess.run(
        [interpreter, "-W", "ignore", "-m", "benchmarks.conformal_peers"],
        cwd=Path(__file__).resolve().parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        raise AbsentError(f"the peers stopped: {process.stderr.strip().splitlines()[-1]}")
    result: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    report("simulated, the peers", result)
    return result


def report(title: str, result: dict[str, Any]) -> None:
    """Print one line per contender."""
    table(title, ("contender", "figures"), ((name, json.dumps(figures)) for name, figures in result.items()))


def table(title: str, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Print columns of equal width."""
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    print(f"\n{title}  (load {os.getloadavg()[0]:.1f})")
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "coverage": coverage,
    "confidence": confidence,
    "simulated": simulated,
    "peers": peers,
}


def main() -> None:
    """Run the parts that are named, or all."""
    result: dict[str, Any] = {"benchmark": "conformal", "cpus": os.cpu_count()}
    for name in sys.argv[1:] or PARTS:
        try:
            result[name] = PARTS[name]() | {"load_1min": round(os.getloadavg()[0], 1)}
        except AbsentError as error:
            print(f"\n{name}: {error}")
            result[name] = {"skipped": str(error)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
