"""Tests of models: each is a SELECT of the rows that should not be there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dbt_like_sql.errors import ModelError
from dbt_like_sql.query import parse_select, tables_read

if TYPE_CHECKING:
    import duckdb

__all__ = ["KINDS", "ModelTest", "Outcome", "build_test", "run_test"]

KINDS = ("not_null", "unique", "accepted_values", "relationships", "expression", "query")
_BLOCKING = ("not_null", "unique")
_OPTIONS = ("name", "description", "severity", "blocking")
_SAMPLE = 5


@dataclass(frozen=True)
class ModelTest:
    """A test of one model.

    Parameters
    ----------
    model : str
        Table under test, ``schema.name``.
    name : str
        Name, unique within the model.
    kind : str
        One of `KINDS`.
    bad_rows : str
        SELECT of the rows that break the rule.
    reads : tuple of str
        Tables that it reads, ``schema.table``.
    description : str
        The rule in words.
    severity : {"error", "warn"}
        ``warn`` never stops anything.
    blocking : bool
        Whether a failure stops what depends on the model in the same run.
    source : Path
        The ``schema.yml`` that declares it.
    """

    model: str
    name: str
    kind: str
    bad_rows: str
    reads: tuple[str, ...]
    description: str
    severity: Literal["error", "warn"]
    blocking: bool
    source: Path


@dataclass(frozen=True)
class Outcome:
    """What a test found."""

    bad: int
    sample: tuple[Mapping[str, Any], ...]

    @property
    def passed(self) -> bool:
        """Whether no row breaks the rule."""
        return self.bad == 0


def run_test(connection: duckdb.DuckDBPyConnection, test: ModelTest) -> Outcome:
    """Count the bad rows and take the first few."""
    [(bad,)] = connection.execute(f"SELECT count(*) FROM ({test.bad_rows})").fetchall()  # noqa: S608
    if not bad:
        return Outcome(0, ())
    found = connection.execute(f"SELECT * FROM ({test.bad_rows}) LIMIT {_SAMPLE}")  # noqa: S608
    names = [column[0] for column in found.description or ()]
    return Outcome(bad, tuple(dict(zip(names, row, strict=True)) for row in found.fetchall()))


def build_test(model: str, column: str | None, declared: object, source: Path) -> ModelTest:
    """Make a test of its entry in ``schema.yml``.

    An entry is a kind (``not_null``), or a kind with its arguments and options
    (``accepted_values: {values: [1, 2], severity: warn}``).

    Raises
    ------
    ModelError
        If the kind or an argument is unknown, missing or of the wrong type.
    """
    where = f"{model}, column {column}" if column else model
    kind, arguments = _entry(declared, where, source)
    options = {name: arguments.pop(name) for name in _OPTIONS if name in arguments}
    if column is not None:
        arguments.setdefault("column", column)
    try:
        default_name, rule, bad_rows = _RULES[kind](model, **arguments)
    except TypeError as error:
        raise ModelError(
            f"{where}: arguments {arguments} do not fit test {kind} ({error})", source
        ) from error
    severity = options.get("severity", "error")
    if severity not in ("error", "warn"):
        raise ModelError(f"{where}: severity is {severity!r}, not error or warn", source)
    blocking = options.get("blocking", severity == "error" and kind in _BLOCKING)
    if blocking and severity == "warn":
        raise ModelError(f"{where}: a warning cannot block; drop blocking or severity: warn", source)
    try:
        reads = tables_read(parse_select(bad_rows, source), source)
    except ModelError as error:
        raise ModelError(
            f"{where}, line {error.line} of the SQL of test {kind}: {error.reason}", source
        ) from error
    return ModelTest(
        model=model,
        name=str(options.get("name", default_name)),
        kind=kind,
        bad_rows=bad_rows,
        reads=tuple(reads),
        description=str(options.get("description", rule)),
        severity=severity,
        blocking=bool(blocking),
        source=source,
    )


def _entry(declared: object, where: str, source: Path) -> tuple[str, dict[str, Any]]:
    if isinstance(declared, str):
        declared = {declared: {}}
    if not isinstance(declared, dict) or len(declared) != 1:
        raise ModelError(
            f"{where}: {declared!r} is not a test; write a kind, or one kind with arguments", source
        )
    [(kind, arguments)] = declared.items()
    if kind not in KINDS:
        raise ModelError(f"{where}: there is no test {kind!r}; there are {', '.join(KINDS)}", source)
    if not isinstance(arguments or {}, dict):
        raise ModelError(f"{where}: arguments of {kind} are {arguments!r}, not names with values", source)
    return kind, dict(arguments or {})


def _literal(value: object) -> str:
    from sqlglot import exp

    return exp.convert(value).sql("duckdb")


def _not_null(model: str, column: str) -> tuple[str, str, str]:
    bad = f'SELECT * FROM {model} WHERE "{column}" IS NULL'  # noqa: S608
    return f"not_null_{column}", f"{column} is never missing.", bad


def _unique(model: str, columns: Sequence[str] = (), column: str = "") -> tuple[str, str, str]:
    names = [*columns, *([column] if column else [])]
    if not names:
        raise TypeError("columns are missing")
    listed = ", ".join(f'"{name}"' for name in names)
    bad = f"SELECT {listed}, count(*) AS occurrences FROM {model} GROUP BY {listed} HAVING count(*) > 1"  # noqa: S608
    return f"unique_{'_'.join(names)}", f"({', '.join(names)}) occurs once.", bad


def _accepted_values(model: str, column: str, values: Sequence[object]) -> tuple[str, str, str]:
    listed = ", ".join(_literal(value) for value in values)
    bad = f'SELECT * FROM {model} WHERE "{column}" NOT IN ({listed})'  # noqa: S608
    return f"accepted_values_{column}", f"{column} is one of {listed}; a missing one passes.", bad


def _relationships(model: str, column: str, to: str, field: str) -> tuple[str, str, str]:
    bad = (
        f'SELECT DISTINCT child."{column}" FROM {model} AS child WHERE child."{column}" IS NOT NULL '  # noqa: S608
        f'AND NOT EXISTS (SELECT 1 FROM {to} AS parent WHERE parent."{field}" = child."{column}")'
    )
    return f"relationships_{column}", f"Every {column} occurs in {to}.{field}.", bad


def _expression(model: str, sql: str) -> tuple[str, str, str]:
    bad = f"SELECT * FROM {model} WHERE NOT ({sql})"  # noqa: S608
    return "expression", f"{sql} (a row where it is unknown passes).", bad


def _query(model: str, sql: str) -> tuple[str, str, str]:
    return "query", f"No row comes out of a query about {model}.", sql.strip().rstrip(";")


_RULES: dict[str, Any] = {
    "not_null": _not_null,
    "unique": _unique,
    "accepted_values": _accepted_values,
    "relationships": _relationships,
    "expression": _expression,
    "query": _query,
}
