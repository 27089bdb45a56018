"""An agent as bytes: weights, and all that is needed to use them rightly or to refuse to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from engine.errors import DataError
from engine.evaluation.splits import Window
from engine.features.scaling import Scaler

__all__ = ["FORMAT", "Checkpoint", "schema_hash"]

FORMAT = 1
"""Version of the layout; another is refused."""

_SOURCE, _HEADER, _WEIGHT, _SCALER = "checkpoint", "engine", "policy.", "scaler."
_FIELDS = (
    "format",
    "policy",
    "features",
    "schema",
    "config",
    "window",
    "seed",
    "updates",
    "parent",
    "weights",
)


def schema_hash(features: Sequence[str]) -> str:
    """SHA-256 over the names of features in their order."""
    return hashlib.sha256("\n".join(features).encode()).hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    """A trained policy with its provenance.

    Parameters
    ----------
    policy : str
        Class of the policy.
    weights : mapping from str to Tensor
        The policy's state.
    features : tuple[str, ...]
        Columns of the bars that it reads, in order.
    schema : str
        Hash of those features: of their names (`schema_hash`), or of their definitions too
        (`FeatureRecipe.schema_hash`).
    config : mapping
        What it was trained with, as JSON holds it.
    seed : int
    updates : int
        Updates made.
    window : Window, optional
        Data that it was trained on.
    scaler : Scaler, optional
        That made the features which it reads.
    parent : str, optional
        Content hash of the checkpoint that it was trained on from.
    """

    policy: str
    weights: Mapping[str, Tensor]
    features: tuple[str, ...]
    schema: str
    config: Mapping[str, Any]
    seed: int
    updates: int
    window: Window | None = None
    scaler: Scaler | None = None
    parent: str | None = None

    def to_bytes(self) -> bytes:
        """Safetensors bytes; equal checkpoints give equal bytes."""
        tensors = {_WEIGHT + name: value.detach().cpu().contiguous() for name, value in self.weights.items()}
        if self.scaler is not None:
            for name, array in self.scaler.to_arrays().items():
                tensors[_SCALER + name] = torch.as_tensor(array)
        header = {
            "format": FORMAT,
            "policy": self.policy,
            "features": list(self.features),
            "schema": self.schema,
            "config": self.config,
            "window": None if self.window is None else [str(self.window.start), str(self.window.end)],
            "seed": self.seed,
            "updates": self.updates,
            "parent": self.parent,
            "weights": {name: list(value.shape) for name, value in self.weights.items()},
        }
        # One entry: safetensors writes several in an order that differs from process to process.
        return save_tensors(tensors, {_HEADER: json.dumps(header, sort_keys=True)})

    @property
    def content_hash(self) -> str:
        """SHA-256 of the bytes, by which a child names its parent."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    def from_bytes(cls, data: bytes, schema: str | None = None) -> Checkpoint:
        """Read what `to_bytes` wrote.

        Parameters
        ----------
        data : bytes
        schema : str, optional
            Hash of the features at hand; a checkpoint of others is refused.

        Raises
        ------
        DataError
            If the bytes are no checkpoint, their format is unknown, a tensor is missing or has another shape
            than declared, or the schema differs.
        """
        header, tensors = _header(data), _tensors(data)
        if header.get("format") != FORMAT:
            raise DataError(
                f"format {header.get('format')} is unknown, this version reads {FORMAT}; train anew or "
                "upgrade",
                source=_SOURCE,
            )
        if missing := [name for name in _FIELDS if name not in header]:
            raise DataError(f"the header lacks {missing}", source=_SOURCE)
        if schema is not None and header["schema"] != schema:
            raise DataError(
                f"made for features of schema {header['schema'][:12]}, those at hand have {schema[:12]}; "
                f"train anew on those at hand (it reads {len(header['features'])}: {header['features']})",
                source=_SOURCE,
            )
        weights = {name[len(_WEIGHT) :]: v for name, v in tensors.items() if name.startswith(_WEIGHT)}
        require_shapes(weights, header["weights"])
        scaler = {name[len(_SCALER) :]: v.numpy() for name, v in tensors.items() if name.startswith(_SCALER)}
        window = header["window"]
        return cls(
            policy=header["policy"],
            weights=weights,
            features=tuple(header["features"]),
            schema=header["schema"],
            config=header["config"],
            seed=header["seed"],
            updates=header["updates"],
            window=None if window is None else Window(*map(datetime.fromisoformat, window)),
            scaler=Scaler.from_arrays(scaler) if scaler else None,
            parent=header["parent"],
        )


def require_shapes(weights: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]) -> None:
    """Refuse weights of other names or shapes than expected, with a DataError that says which."""
    if different := sorted(set(weights) ^ set(shapes)):
        raise DataError(f"weights differ from those expected in {different}", source=_SOURCE)
    for name, shape in shapes.items():
        if tuple(weights[name].shape) != tuple(shape):
            raise DataError(
                f"shape {tuple(weights[name].shape)}, expected {tuple(shape)}", source=_SOURCE, column=name
            )


def _header(data: bytes) -> dict[str, Any]:
    """JSON object that safetensors keeps beside the tensors."""
    try:
        length = int.from_bytes(data[:8], "little")
        return dict(json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_HEADER]))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"no agent in these {len(data)} bytes: {error!r}", source=_SOURCE) from error


def _tensors(data: bytes) -> dict[str, Tensor]:
    try:
        return load_tensors(data)
    except SafetensorError as error:
        raise DataError(f"broken tensors: {error}", source=_SOURCE) from error
