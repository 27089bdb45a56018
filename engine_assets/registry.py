"""What is kept of every trained model: from what it was made, how, and the model itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from resources.table import Column, Table

if TYPE_CHECKING:
    from engine.evaluation.splits import Split

__all__ = ["REGISTRY", "registry_row"]

REGISTRY = Table(
    "models",
    "registry",
    "Trained models with what they were made from; content is text or arrays, never a pickle.",
    (
        Column("model_id", "VARCHAR", "Kind and fold."),
        Column("kind", "VARCHAR", "What it predicts."),
        Column("fold", "BIGINT", "Walk-forward fold."),
        Column("train_start", "TIMESTAMP", "Start of the data it saw, UTC."),
        Column("train_end", "TIMESTAMP", "End of the data it saw, UTC."),
        Column("code_version", "VARCHAR", "Version of the training code."),
        Column("data_version", "VARCHAR", "JSON: content versions of the tables it was trained from."),
        Column("features", "VARCHAR[]", "Features it reads, in order."),
        Column("schema_hash", "VARCHAR", "Recipe that made those features."),
        Column("parameters", "VARCHAR", "JSON: settings of the learner, with the seed."),
        Column("metrics", "VARCHAR", "JSON: figures of the training."),
        Column("parent", "VARCHAR", "Model that it grew from, if any.", nullable=True),
        Column("format", "VARCHAR", "How content is written."),
        Column("content", "BLOB", "The model."),
    ),
    ("model_id",),
)


def registry_row(
    split: Split,
    *,
    name: str,
    kind: str,
    code_version: str,
    inputs: Mapping[str, Any],
    features: Sequence[str],
    parameters: Mapping[str, Any],
    metrics: Mapping[str, Any],
    content: bytes,
    format: str = "safetensors",  # noqa: A002  as the column is called
    parent: str | None = None,
) -> dict[str, Any]:
    """Row of a model trained on a fold's training window; `name` and the fold make its id.

    `inputs` are the content versions of the tables that it was trained from.
    """
    from engine.alpha.walk_forward import SCHEMA_HASH

    return {
        "model_id": f"{name}-{split.number:02d}",
        "kind": kind,
        "fold": split.number,
        "train_start": split.train.start,
        "train_end": split.train.end,
        "code_version": code_version,
        "data_version": json.dumps(inputs, sort_keys=True),
        "features": list(features),
        "schema_hash": SCHEMA_HASH,
        "parameters": json.dumps(parameters, sort_keys=True),
        "metrics": json.dumps(metrics, sort_keys=True),
        "parent": parent,
        "format": format,
        "content": content,
    }
