from __future__ import annotations

import io

import numpy as np
import polars as pl
import pytest
from PIL import Image

from engine.evaluation.ablation_plots import forest
from engine.evaluation.improvements import IMPROVEMENTS


def table(shift=0.0):
    n = len(IMPROVEMENTS)
    value = np.linspace(-1, 1, n) + shift
    frame = pl.DataFrame(
        {
            "world": ["simulator"] * n,
            "title": [row.title for row in IMPROVEMENTS.values()],
            "claim": [row.claim for row in IMPROVEMENTS.values()],
            "verdict": ["helps", "hurts", "mixed", "no effect shown", "not measured"] * 3,
        }
    ).with_columns(
        pl.Series(name + edge, value + add)
        for name in ("minus_one", "plus_one")
        for edge, add in (("", 0.0), ("_low", -0.2), ("_high", 0.3))
    )
    measured = pl.col("verdict") != "not measured"
    return frame.with_columns(pl.when(measured).then(pl.col(pl.Float64)))


def test_forest_is_a_picture_of_its_table():
    first, other = forest(table()), forest(table(shift=0.5))
    width, height = Image.open(io.BytesIO(first)).size
    assert width > 800
    assert height > 400
    assert first != other
    assert len(first) < 100_000


def test_one_world_to_a_picture():
    two = pl.concat([table(), table().with_columns(world=pl.lit("recorded"))])
    with pytest.raises(ValueError, match="one world"):
        forest(two)
    with pytest.raises(ValueError, match="one world"):
        forest(table().clear())
