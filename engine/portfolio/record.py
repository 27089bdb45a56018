"""Frozen records that go to JSON and come back bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

__all__ = ["Record"]


class Record:
    """Base of a frozen dataclass made of numbers, strings, tuples, dicts and other records.

    ``json.dumps(record.to_dict())`` writes floats by ``repr``, so that reading them back gives the same bits:
    a decision can be computed again from what was stored.
    """

    def to_dict(self) -> dict[str, Any]:
        """Fields by name, in plain JSON types."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Restore what `to_dict` gave.

        Raises
        ------
        ValueError
            If a field is missing or unknown: what was stored belongs to another version.
        """
        kinds = _kinds(cls)  # type: ignore[arg-type]
        if set(stored) != set(kinds):
            raise ValueError(
                f"{cls.__name__} has the fields {sorted(kinds)}, stored are {sorted(stored)}:"
                " read it with the version that wrote it"
            )
        return cls(**{name: _restored(kinds[name], value) for name, value in stored.items()})


@cache
def _kinds(record: type[Record]) -> dict[str, Any]:
    hints = get_type_hints(record)
    return {field.name: hints[field.name] for field in fields(record)}  # type: ignore[arg-type]


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _restored(kind: Any, value: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        if value is None:
            return None
        kind = next(option for option in get_args(kind) if option is not NoneType)
    if isinstance(kind, type) and issubclass(kind, Record):
        return kind.from_dict(value)
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        return tuple(_restored(inner, item) for item in value)
    if get_origin(kind) is dict:
        inner = get_args(kind)[1]
        return {key: _restored(inner, item) for key, item in value.items()}
    return value
