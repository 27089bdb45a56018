"""Arrays with a header as safetensors bytes: same content, same bytes, and reading them runs no code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from engine.errors import DataError

__all__ = ["pack", "unpack"]

_HEADER = "header"
_FORMAT = 1


def pack(kind: str, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Write arrays and a JSON header, kept as an array of its own."""
    text = json.dumps({"kind": kind, "format": _FORMAT, **header}, sort_keys=True)
    parts = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    return save({**parts, _HEADER: np.frombuffer(text.encode(), np.uint8).copy()})


def unpack(kind: str, data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read what `pack` wrote for the same kind.

    Raises
    ------
    DataError
        If the bytes are no safetensors, or of another kind or format.
    """
    try:
        arrays = load(data)
        header = json.loads(arrays.pop(_HEADER).astype(np.uint8).tobytes())
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"no {kind} in these {len(data)} bytes: {error!r}", source=kind) from error
    if (header["kind"], header["format"]) != (kind, _FORMAT):
        raise DataError(
            f"is a {header['kind']} of format {header['format']}, expected a {kind} of format {_FORMAT}",
            source=kind,
        )
    return header, arrays
