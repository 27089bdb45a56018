"""Reading one SELECT: its syntax, and the tables in its FROM clauses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from dbt_like_sql.errors import ModelError

if TYPE_CHECKING:
    from sqlglot import exp

__all__ = ["parse_select", "tables_read"]


def parse_select(sql: str, path: Path) -> exp.Query:
    """Parse a text that must be one SELECT; an error names the file and the line."""
    import sqlglot
    from sqlglot import exp

    try:
        statements = sqlglot.parse(sql, dialect="duckdb")
    except sqlglot.ParseError as error:
        [first, *_] = error.errors
        raise ModelError(
            f"{first['description']} near {first['highlight']!r}", path, first["line"]
        ) from error
    except sqlglot.TokenError as error:
        raise ModelError("a text, name or comment is not closed", path, _unclosed_line(sql)) from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        found = ", ".join(type(statement).__name__ for statement in statements)
        raise ModelError(f"must hold one SELECT and nothing else; it holds {found}", path, 1)
    return statements[0]


def _unclosed_line(sql: str) -> int:
    """Line of the quote that nothing closes: the first after the longest start of the text that is sound."""
    import sqlglot

    lines = sql.splitlines(keepends=True)
    for count in range(len(lines) - 1, 0, -1):
        try:
            sqlglot.tokenize("".join(lines[:count]), dialect="duckdb")
        except sqlglot.TokenError:
            continue
        return count + 1
    return 1


def tables_read(query: exp.Query, path: Path) -> dict[str, int]:
    """Tables in FROM clauses, common table expressions excluded, with the line of the first mention."""
    from sqlglot import exp

    local = {cte.alias_or_name.lower() for cte in query.find_all(exp.CTE)}
    reads: dict[str, int] = {}
    for table in query.find_all(exp.Table):
        if isinstance(table.this, exp.GenerateSeries) or (not table.db and table.name.lower() in local):
            continue
        line = int(table.this.meta.get("line", 1))
        if not re.fullmatch(r"\w+", table.name) or not table.db or table.catalog:
            raise ModelError(
                f"reads {table.sql('duckdb')}; a model reads tables of the warehouse, written schema.table",
                path,
                line,
            )
        reads.setdefault(f"{table.db}.{table.name}".lower(), line)
    return dict(sorted(reads.items(), key=lambda item: item[1]))
