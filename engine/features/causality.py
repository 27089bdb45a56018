"""How far back an expression reads, and the refusal of those that read ahead or without end."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import polars as pl

__all__ = ["look_back"]

FORGOTTEN = 1e-12
"""Weight of all older bars together below which an exponential mean counts as having forgotten them."""

_WITHIN_ROW = {
    "Abs", "Clip", "Exp", "Log", "Log1p", "MaxHorizontal", "MinHorizontal", "Negate", "Pow", "Round", "Sign",
    "TemporalExpr", "Trigonometry",
}  # fmt: skip
_TESTS_WITHIN_ROW = {
    "AllHorizontal", "AnyHorizontal", "IsBetween", "IsFinite", "IsInfinite", "IsNan", "IsNotNan", "IsNotNull",
    "IsNull", "Not",
}  # fmt: skip


def look_back(expr: pl.Expr, known: Mapping[str, int] | None = None) -> int:
    """Count the bars before the current one that an expression reads.

    Only operations known to read a bounded past are accepted: arithmetic within a row, ``when``, ``shift``
    and ``diff`` by a fixed number of bars, trailing rolling windows, and exponential means (bounded by the
    age at which the weight of everything older is under 1e-12). Whatever else there is, such as means over
    the whole column, cumulated sums, fills in either direction, centred windows, negative shifts or Python
    functions, either sees the future or never forgets, and is refused.

    Parameters
    ----------
    expr : pl.Expr
        An expression over columns of one symbol, sorted by time.
    known : Mapping[str, int], optional
        Look-back of columns that are themselves computed; of all others it is 0.

    Returns
    -------
    int
        0 for an expression of the current bar alone.

    Raises
    ------
    ValueError
        If an operation is not known to read a bounded past; it is named.
    """
    return _bars(json.loads(expr.meta.serialize(format="json")), known or {})


def _bars(node: Any, known: Mapping[str, int]) -> int:
    kind, body = _kind(node)
    if kind == "Column":
        return known.get(body, 0)
    if kind == "Literal" and not body.keys() & {"Series", "Range"}:
        return 0
    if kind == "Alias":
        return _bars(body[0], known)
    if kind == "Cast":
        return _bars(body["expr"], known)
    if kind == "BinaryExpr":
        return max(_bars(body["left"], known), _bars(body["right"], known))
    if kind == "Ternary":
        return max(_bars(body[part], known) for part in ("predicate", "truthy", "falsy"))
    if kind == "Function":
        return _function_bars(body["function"], body["input"], known)
    raise ValueError(
        f"{kind} is not known to read a bounded past; use shift, diff and trailing rolling windows"
    )


def _kind(node: Any) -> tuple[str, Any]:
    """Name of a node and what it holds: a node is ``{name: body}``, or its name alone."""
    return next(iter(node.items())) if isinstance(node, dict) else (str(node), None)


def _function_bars(function: Any, inputs: list[Any], known: Mapping[str, int]) -> int:
    name, body = _kind(function)
    if name in ("Shift", "Diff"):
        return _bars(inputs[0], known) + _fixed_step(name, inputs[1])
    deepest = max(_bars(part, known) for part in inputs)
    if name in _WITHIN_ROW:
        return deepest
    if name == "Boolean":
        name, _ = _kind(body)
        if name in _TESTS_WITHIN_ROW:
            return deepest
    if name == "RollingExpr":
        options = body["options"]
        if options["center"]:
            raise ValueError("a centred rolling window reads the future; use a trailing one")
        if isinstance(body["function"], dict) and "Map" in body["function"]:
            raise ValueError("rolling_map runs a Python function that cannot be stored with a model")
        return deepest + int(options["window_size"]) - 1
    if name in ("EwmMean", "EwmStd", "EwmVar"):
        alpha = float(body["options"]["alpha"])
        return deepest + (math.ceil(math.log(FORGOTTEN) / math.log1p(-alpha)) if alpha < 1.0 else 0)
    raise ValueError(
        f"{name} is not known to read a bounded past; use shift, diff and trailing rolling windows"
    )


def _fixed_step(name: str, node: Any) -> int:
    try:
        bars = int(node["Literal"]["Dyn"]["Int"])
    except (KeyError, TypeError):
        raise ValueError(f"{name} by something other than a fixed number of bars") from None
    if bars < 0:
        raise ValueError(f"{name} by {bars} bars reads the future; give a positive number")
    return bars
