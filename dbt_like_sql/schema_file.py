"""Reading ``schema.yml``: what models and columns mean, and which rules they obey."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbt_like_sql.errors import ModelError
from dbt_like_sql.model_tests import ModelTest, build_test

__all__ = ["Entry", "read_schema_file"]


@dataclass(frozen=True)
class Entry:
    """What ``schema.yml`` says of one model."""

    description: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    tests: tuple[ModelTest, ...] = ()


def read_schema_file(path: Path) -> dict[str, Entry]:
    """Read the entries by model.

    Raises
    ------
    ModelError
        If the file is no YAML of the expected form, or an entry repeats.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text()) or {}
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ModelError(f"not YAML: {error.problem}", path, line) from error
    _keys(content, {"models"}, "the file", path)
    entries: dict[str, Entry] = {}
    for declared in content.get("models") or []:
        name = declared.get("name") if isinstance(declared, dict) else None
        if not isinstance(name, str) or name in entries:
            raise ModelError(f"each model has a name of its own, schema.name; found {name!r}", path)
        entries[name] = _entry(name, declared, path)
    return entries


def _keys(mapping: object, allowed: set[str], where: str, path: Path) -> None:
    if not isinstance(mapping, dict):
        raise ModelError(f"{where}: {mapping!r} is not a mapping", path)
    if unknown := mapping.keys() - allowed:
        raise ModelError(f"{where}: unknown {sorted(unknown)}; known are {sorted(allowed)}", path)


def _entry(model: str, declared: dict[str, Any], path: Path) -> Entry:
    _keys(declared, {"name", "description", "columns", "tests"}, model, path)
    tests = [build_test(model, None, test, path) for test in declared.get("tests") or []]
    columns: dict[str, str] = {}
    for column in declared.get("columns") or []:
        _keys(column, {"name", "description", "tests"}, f"{model}, a column", path)
        columns[column["name"]] = str(column.get("description", ""))
        tests += [build_test(model, column["name"], test, path) for test in column.get("tests") or []]
    repeated = [name for name, count in Counter(test.name for test in tests).items() if count > 1]
    if repeated:
        raise ModelError(f"{model}: tests share the name {repeated[0]!r}; give one of them a name", path)
    return Entry(str(declared.get("description", "")).strip(), columns, tuple(tests))
