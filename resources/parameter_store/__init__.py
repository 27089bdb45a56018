"""Versions of the live parameters, their history, and the sessions and experiments that change them."""

from __future__ import annotations

from resources.parameter_store.errors import (
    BusyError,
    ChainBrokenError,
    LeaseLostError,
    OverriddenError,
    RefusedError,
    StaleBaseline,
    StoreError,
    UnknownError,
    UnreachableError,
)
from resources.parameter_store.scopes import Scope
from resources.parameter_store.store import ParameterStore

__all__ = [
    "BusyError",
    "ChainBrokenError",
    "LeaseLostError",
    "OverriddenError",
    "ParameterStore",
    "RefusedError",
    "Scope",
    "StaleBaseline",
    "StoreError",
    "UnknownError",
    "UnreachableError",
]
