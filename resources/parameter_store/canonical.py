"""One way to write a value as JSON, so that the same content has the same hash everywhere."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from numbers import Integral, Real
from typing import Any

import numpy as np

from resources.parameter_store.moments import checked, to_text

__all__ = ["canonical", "plain"]


def plain(value: object, name: str = "content") -> Any:
    """Return the value as JSON knows it: numbers, text, lists and objects with names as keys.

    Raises
    ------
    ValueError
        If a number is not finite.
    TypeError
        If something has no form in JSON. Both name where it stands.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        number = float(value)
        if not math.isfinite(number):
            raise ValueError(f"{name} is {number}; give a number, or None where there is none")
        return number
    if isinstance(value, datetime):
        return to_text(checked(name, value))
    if isinstance(value, np.ndarray):
        return plain(value.tolist(), name)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{name} has the key {key!r}; keys must be text")
        return {key: plain(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(item, f"{name}[{index}]") for index, item in enumerate(value)]
    raise TypeError(f"{name} is a {type(value).__name__}, which has no form in JSON; give numbers and text")


def canonical(value: object, name: str = "content") -> str:
    """Write a value: keys sorted, no spaces, ASCII, floats by their shortest exact form."""
    return json.dumps(plain(value, name), sort_keys=True, separators=(",", ":"), allow_nan=False)
