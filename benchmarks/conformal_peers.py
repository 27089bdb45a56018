"""The peers' half of `benchmarks.conformal`, run by an interpreter that has MAPIE, crepes and venn-abers."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from crepes import ConformalRegressor, WrapRegressor
from lightgbm import LGBMRegressor
from mapie._venn_abers import calc_p0p1 as mapie_fits
from mapie._venn_abers import calc_probs as mapie_probabilities
from mapie.regression import SplitConformalRegressor, TimeSeriesRegressor
from mapie.subsample import BlockBootstrap
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression
from venn_abers import VennAbers

from benchmarks.conformal_streams import (
    CALIBRATION,
    FIT,
    LEVEL,
    START,
    TEST,
    drift_quality,
    drifting,
    group_quality,
    grouped,
)


def seconds(call: Callable[[], Any], repeats: int = 5) -> dict[str, float]:
    """Measure repeated calls after one that is not counted."""
    call()
    out = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        out.append(time.perf_counter() - start)
    return {f.__name__: float(f"{f(out):.3g}") for f in (statistics.median, min, max)}


def groups() -> dict[str, Any]:
    """Per-group intervals by each peer, prediction of the model included."""
    x, y, group = grouped()
    model = LGBMRegressor(n_estimators=100, random_state=0, n_jobs=2, verbose=-1).fit(x[FIT], y[FIT])
    parts = {k: group[CALIBRATION] == k for k in range(3)}
    mapie: dict[int, Any] = {}

    def calibrate_mapie() -> None:
        for k, rows in parts.items():
            regressor = SplitConformalRegressor(model, confidence_level=LEVEL, prefit=True)
            mapie[k] = regressor.conformalize(x[CALIBRATION][rows], y[CALIBRATION][rows])

    def predict_mapie() -> tuple[np.ndarray, np.ndarray]:
        lower, upper = np.empty((2, TEST.stop - TEST.start))
        for k in range(3):
            rows = group[TEST] == k
            interval = mapie[k].predict_interval(x[TEST][rows])[1]
            lower[rows], upper[rows] = interval[:, 0, 0], interval[:, 1, 0]
        return lower, upper

    wrapped = WrapRegressor(model)

    def calibrate_crepes() -> None:
        wrapped.calibrate(x[CALIBRATION], y[CALIBRATION], mc=lambda rows: rows[:, 9].astype(int))

    def predict_crepes() -> tuple[np.ndarray, np.ndarray]:
        interval = wrapped.predict_int(x[TEST], confidence=LEVEL)
        return interval[:, 0], interval[:, 1]

    out = {}
    for name, calibrate, predict in (
        ("MAPIE, one regressor per group", calibrate_mapie, predict_mapie),
        ("crepes, Mondrian", calibrate_crepes, predict_crepes),
    ):
        times = {"calibrate_s": seconds(calibrate), "predict_s": seconds(predict)}
        out[name] = times | group_quality(*predict(), y[TEST], group[TEST])
    return out


def drift() -> dict[str, Any]:
    """MAPIE's ACI, one step at a time; an interval of unbounded width counts as 50 wide."""
    x, y = drifting()
    model = LinearRegression().fit(x[:START], y[:START])
    blocks = BlockBootstrap(n_resamplings=20, length=25, random_state=0)
    regressor = TimeSeriesRegressor(model, method="aci", cv=blocks, agg_function="mean")
    regressor.fit(x[:START], y[:START])
    lower, upper = np.empty((2, y.size - START))
    begun = time.perf_counter()
    for i in range(START, y.size):
        row, outcome = x[i : i + 1], y[i : i + 1]
        interval = regressor.predict(row, confidence_level=LEVEL, ensemble=True, allow_infinite_bounds=True)[
            1
        ]
        lower[i - START], upper[i - START] = interval[0, 0, 0], interval[0, 1, 0]
        regressor.update(row, outcome)
        regressor.adapt_conformal_inference(row, outcome, gamma=0.02, confidence_level=LEVEL)
    rate = round(lower.size / (time.perf_counter() - begun), 1)
    return {"MAPIE, ACI 0.02 with update": {"steps_per_s": rate} | drift_quality(lower, upper, y[START:])}


def known_answers() -> dict[str, Any]:
    """Cases whose answer follows from the definition."""
    ranks = ConformalRegressor().fit(np.arange(1.0, 40.0))
    few = ConformalRegressor().fit(np.arange(1.0, 10.0))
    by_bin = ConformalRegressor().fit(np.arange(1.0, 40.0), bins=np.zeros(39, int))
    unseen = by_bin.predict_int(np.zeros(1), bins=np.array([7]), confidence=LEVEL)
    signed = ConformalRegressor().fit(np.linspace(-3.0, -1.0, 39))
    rng = np.random.default_rng(0)
    wrong, cases = {"venn-abers": 0, "MAPIE": 0}, 200
    for _ in range(cases):
        n = int(rng.integers(2, 40))
        raw = np.round(rng.random(n), 2)
        right = (rng.random(n) < raw).astype(float)
        above = np.array([min(float(raw.max()) + 0.005, 1.0)])
        expected = [
            IsotonicRegression(out_of_bounds="clip")
            .fit(np.append(raw, above), np.append(right, label))
            .predict(above)[0]
            for label in (0.0, 1.0)
        ]
        pair = np.column_stack([1 - raw, raw])
        asked = np.column_stack([1 - above, above])
        library = VennAbers()
        library.fit(pair, right)
        copied = mapie_probabilities(*mapie_fits(pair, right), asked)[1]
        wrong["venn-abers"] += not np.allclose(library.predict_proba(asked)[1], expected)
        wrong["MAPIE"] += not np.allclose(copied, expected)
    return {
        "scores 1..39 at 90 %: 36": {"crepes": float(ranks.predict_int(np.zeros(1), confidence=LEVEL)[0, 1])},
        "scores 1..9 at 90 %: 9": {"crepes": float(few.predict_int(np.zeros(1), confidence=LEVEL)[0, 1])},
        "a category never seen: unbounded": {"crepes": unseen[0].tolist()},
        "signed scores -3..-1 at 90 %: below 0": {
            "crepes": float(signed.predict_int(np.zeros(1), confidence=LEVEL)[0, 1])
        },
        f"Venn-Abers above the largest score, {cases} sets": {f"{k} wrong": v for k, v in wrong.items()},
    }


def venn_abers() -> dict[str, Any]:
    """Time of the fits of 30,000 scores."""
    scores = np.random.default_rng(1).random(30_000)
    right = (np.random.default_rng(2).random(30_000) < scores).astype(float)
    pair = np.column_stack([1 - scores, scores])
    return {"venn-abers of 30,000": {"fit_s": seconds(lambda: VennAbers().fit(pair, right), 3)}}


if __name__ == "__main__":
    print(json.dumps(known_answers() | venn_abers() | groups() | drift()))
