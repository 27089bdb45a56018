"""What is kept of a trained model fits the declared table."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import polars as pl

from engine.alpha.walk_forward import SCHEMA_HASH
from engine.evaluation.splits import Split, Window
from engine_assets.registry import REGISTRY, registry_row

START, MONTH = datetime(2024, 1, 1), timedelta(days=30)
WINDOWS = [Window(START + 2 * k * MONTH, START + (2 * k + 1) * MONTH) for k in range(3)]


def test_a_row_names_its_fold_and_what_the_model_was_made_from() -> None:
    split = Split(7, *WINDOWS, purge=timedelta(days=1), embargo=timedelta(days=1))
    row = registry_row(
        split,
        name="direction",
        kind="direction of the return",
        code_version="3",
        inputs={"b": "2", "a": "1"},
        features=("x", "y"),
        parameters={"seed": 7},
        metrics={"trees": 12},
        content=b"model",
    )
    stored = REGISTRY.check(pl.DataFrame([row], schema=REGISTRY.polars_schema)).row(0, named=True)
    assert stored["model_id"] == "direction-07"
    assert (stored["train_start"], stored["train_end"]) == (WINDOWS[0].start, WINDOWS[0].end)
    assert stored["data_version"] == json.dumps({"a": "1", "b": "2"})
    assert json.loads(stored["parameters"]) == {"seed": 7}
    assert json.loads(stored["metrics"]) == {"trees": 12}
    assert (stored["features"], stored["schema_hash"]) == (["x", "y"], SCHEMA_HASH)
    assert (stored["parent"], stored["format"], stored["content"]) == (None, "safetensors", b"model")
