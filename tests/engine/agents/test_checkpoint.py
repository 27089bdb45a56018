from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from engine.agents.checkpoint import FORMAT, Checkpoint, schema_hash
from engine.errors import DataError
from engine.evaluation.splits import Window
from engine.features.scaling import Scaler

WINDOW = Window(datetime(2024, 1, 1), datetime(2024, 6, 1))
SCALER = Scaler(("a", "b"), np.array([0.1, -2.0]), np.array([1.0, 3.0]), 5.0, WINDOW)
CHECKPOINT = Checkpoint(
    policy="ActorCritic",
    weights={"w": torch.arange(6.0).view(2, 3), "b": torch.ones(2)},
    features=("a", "b"),
    schema=schema_hash(("a", "b")),
    config={"seed": 4, "levels": [-0.5, 0.5]},
    seed=4,
    updates=12,
    window=WINDOW,
    scaler=SCALER,
    parent="0" * 64,
)


def edited(data: bytes, **changes: object) -> bytes:
    """The same file with other entries in its header."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["engine"])
    return save(load(data), {"engine": json.dumps({**header, **changes})})


def test_what_is_read_is_what_was_written() -> None:
    found = Checkpoint.from_bytes(CHECKPOINT.to_bytes(), CHECKPOINT.schema)
    for name in ("policy", "features", "schema", "config", "seed", "updates", "window", "parent"):
        assert getattr(found, name) == getattr(CHECKPOINT, name)
    assert {k: v.tolist() for k, v in found.weights.items()} == {
        k: v.tolist() for k, v in CHECKPOINT.weights.items()
    }
    assert found.scaler is not None
    assert found.scaler.fingerprint() == SCALER.fingerprint()
    assert found.content_hash == CHECKPOINT.content_hash
    bare = replace(CHECKPOINT, scaler=None, window=None, parent=None)
    again = Checkpoint.from_bytes(bare.to_bytes())
    assert (again.scaler, again.window, again.parent) == (None, None, None)


def test_the_hash_is_that_of_the_content() -> None:
    other = {**CHECKPOINT.weights, "b": torch.tensor([1.0, 1.0 + 1e-7])}
    assert replace(CHECKPOINT, weights=other).content_hash != CHECKPOINT.content_hash
    assert replace(CHECKPOINT, seed=5).content_hash != CHECKPOINT.content_hash
    assert replace(CHECKPOINT, scaler=replace(SCALER, clip=4.0)).content_hash != CHECKPOINT.content_hash
    assert replace(CHECKPOINT, weights=dict(CHECKPOINT.weights)).content_hash == CHECKPOINT.content_hash


def test_other_features_are_refused() -> None:
    assert schema_hash(("a", "b")) != schema_hash(("b", "a"))
    assert schema_hash(("a", "b")) != schema_hash(("ab",))
    with pytest.raises(DataError, match="train anew"):
        Checkpoint.from_bytes(CHECKPOINT.to_bytes(), schema_hash(("a", "c")))


def test_another_format_is_refused() -> None:
    with pytest.raises(DataError, match=f"format 99 is unknown, this version reads {FORMAT}"):
        Checkpoint.from_bytes(edited(CHECKPOINT.to_bytes(), format=99))


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({"w": [3, 2], "b": [2]}, r"column 'w': shape \(2, 3\), expected \(3, 2\)"),
        ({"w": [2, 3]}, r"\['b'\]"),
        ({"w": [2, 3], "b": [2], "c": [1]}, r"\['c'\]"),
    ],
)
def test_other_shapes_are_refused(shapes: dict[str, list[int]], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        Checkpoint.from_bytes(edited(CHECKPOINT.to_bytes(), weights=shapes))


@pytest.mark.parametrize("data", [b"", b"junk", b"\x80\x04\x95junk of a pickle", save({"w": torch.ones(2)})])
def test_what_is_no_checkpoint_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="no agent in these"):
        Checkpoint.from_bytes(data)


def test_a_file_cut_short_is_refused() -> None:
    with pytest.raises(DataError, match="broken tensors"):
        Checkpoint.from_bytes(CHECKPOINT.to_bytes()[:-4])


def test_a_header_that_lacks_something_says_what() -> None:
    data = CHECKPOINT.to_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["engine"])
    del header["features"]
    with pytest.raises(DataError, match=r"lacks \['features'\]"):
        Checkpoint.from_bytes(save(load(data), {"engine": json.dumps(header)}))
