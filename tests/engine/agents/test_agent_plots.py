"""The picture of a training is one, and shows the figures it is given."""

from __future__ import annotations

import io

import numpy as np
import polars as pl
import pytest
from matplotlib.image import imread

from engine.agents.agent_plots import learning_curves
from engine.agents.training import REPORT


def report(seed: int = 0, unknown: int = 0) -> pl.DataFrame:
    """Three stages and the last one; so many looks at first lack figures of training."""
    rng = np.random.default_rng(seed)
    stages = ["TREND"] * 2 + ["RANGE"] * 2 + ["PANIC"] * 2 + ["ALL"] * 8
    n = len(stages)
    progress = 1.0 - np.exp(-np.arange(n) / 5.0)
    frame = pl.DataFrame(
        {
            "stage": stages,
            "update": 5 * np.arange(1, n + 1),
            "reward": 0.12 * progress - 0.05 + rng.normal(0, 0.01, n),
            "validation_reward": 0.10 * progress - 0.05 + rng.normal(0, 0.015, n),
            "entropy": 2.3 - 0.9 * progress + rng.normal(0, 0.02, n),
            "turnover": 0.4 - 0.3 * progress + rng.normal(0, 0.01, n),
            "validation_turnover": 0.35 - 0.3 * progress + rng.normal(0, 0.01, n),
        }
    )
    known = pl.int_range(pl.len()) >= unknown
    frame = frame.with_columns(
        pl.when(known).then(pl.col(name)).alias(name) for name in ("reward", "entropy", "turnover")
    )
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in REPORT.items() if name not in frame.columns]
    return frame.with_columns(missing).select(REPORT.names())


def pixels(png: bytes) -> np.ndarray:
    return imread(io.BytesIO(png), format="png")[..., :3]


@pytest.fixture(scope="module")
def drawn() -> bytes:
    return learning_curves(report())


def test_it_is_a_small_png_and_the_same_for_the_same_report(drawn: bytes) -> None:
    assert drawn.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(drawn) < 150_000
    assert learning_curves(report()) == drawn
    assert pixels(drawn).std() > 0.05, "an empty page"


@pytest.mark.parametrize(
    "column", ["reward", "validation_reward", "entropy", "turnover", "validation_turnover"]
)
def test_every_curve_is_in_the_picture(drawn: bytes, column: str) -> None:
    """One point moved inside the range of its panel, so that the axes stay as they are."""
    moved = report().with_columns(
        pl.when(pl.int_range(pl.len()) == 4).then(pl.col(column).median()).otherwise(column).alias(column)
    )
    before, after = pixels(drawn), pixels(learning_curves(moved))
    assert before.shape == after.shape
    assert (np.abs(before - after).max(axis=2) > 0.3).sum() > 20


def test_the_stages_are_in_the_picture(drawn: bytes) -> None:
    merged = report().with_columns(pl.col("stage").replace("PANIC", "RANGE"))
    before, after = pixels(drawn), pixels(learning_curves(merged))
    assert (np.abs(before - after).max(axis=2) > 0.02).mean() > 0.05, "a stage's shade is gone"


def test_a_training_that_has_just_begun_can_be_drawn() -> None:
    png = learning_curves(report(unknown=1).head(1))
    assert png.startswith(b"\x89PNG")
