"""One way to make a table: read, compute, check against the declaration, write, note where it came from.

Every Python asset that makes one table is declared with `table_asset`; its function returns `Made`. What all
share is written here once: row counts, the column schema, provenance, and pictures that land on the newest
partition only, because the event log keeps every byte for good.
"""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import dagster as dg

from resources import provenance, warehouse_writes
from resources.settings import Settings
from resources.table import Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "Made",
    "asset_key",
    "column_schema",
    "picture",
    "shown_rows",
    "stored",
    "table_asset",
    "table_specs",
]

TableSource = Table | Callable[[], Table]
Facts = Mapping[Table, Mapping[str, Any]]


@dataclass(frozen=True)
class Made:
    """What an asset function returns: rows, pictures by name (PNG), and figures for the asset's page."""

    frame: "pl.DataFrame"
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)


def asset_key(name: str) -> dg.AssetKey:
    """Key of the asset that makes the table ``schema.name``."""
    return dg.AssetKey(name.split("."))


def column_schema(table: Table) -> dg.TableSchema:
    """Columns of a table as the asset's page shows them."""
    return dg.TableSchema(
        [
            dg.TableColumn(
                column.name,
                column.type,
                description=column.description,
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
            )
            for column in table.columns
        ]
    )


def picture(png: bytes) -> dg.MetadataValue:
    """Wrap a PNG so that the asset's page shows it."""
    from engine.figures import data_uri

    return dg.MetadataValue.md(f"![picture]({data_uri(png)})")


def shown_rows(title: str, rows: "pl.DataFrame") -> dict[str, Any]:
    """Show rows as a table on an asset's page; nothing where there are none."""
    if rows.is_empty():
        return {}
    texts = [
        {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in row.items()}
        for row in rows.iter_rows(named=True)
    ]
    return {title: dg.MetadataValue.table([dg.TableRecord(row) for row in texts])}


def table_asset(
    name: str,
    table: TableSource,
    *,
    deps: Sequence[str],
    group: str,
    code_version: str,
    kinds: set[str],
    owner: str = "team:research",
    pool: str | None = None,
    partitions_def: dg.PartitionsDefinition | None = None,
) -> Callable[[Callable[..., Made]], dg.AssetsDefinition]:
    """Make an asset of a function ``(context, warehouse, settings) -> Made`` that computes a table.

    Parameters
    ----------
    name : str
        ``schema.table``.
    table : Table or callable
        The declaration; a callable where it can only be known by importing heavy libraries.
    deps : sequence of str
        Tables that the function reads.
    group : str
        Group of the graph.
    code_version : str
        Raised by hand when the function's meaning changes; stored results of older code are then made anew.
    kinds : set of str
        Libraries that do the work, shown in the graph.
    owner : str
        Who answers for it.
    pool : str, optional
        Throttle for steps that are heavy on memory or processors.
    partitions_def : PartitionsDefinition, optional
        Partitions of time: the function is then given the range in `context` and returns just its rows.
    """

    def declare(function: Callable[..., Made]) -> dg.AssetsDefinition:
        @dg.asset(
            key=asset_key(name),
            deps=[asset_key(dep) for dep in deps],
            group_name=group,
            kinds={"duckdb", *kinds},
            owners=[owner],
            code_version=code_version,
            description=inspect.getdoc(function),
            pool=pool,
            partitions_def=partitions_def,
            backfill_policy=dg.BackfillPolicy.single_run() if partitions_def else None,
            metadata={"dagster/table_name": name},
        )
        def made(
            context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
        ) -> dg.MaterializeResult:
            inputs = warehouse.versions(deps)
            result = function(context, warehouse, settings)
            declared = table() if callable(table) else table
            if partitions_def is None:
                whole = {declared: result.frame}
                rows = _written(context, warehouse, settings, whole, inputs, code_version)[declared]
            else:
                start, end = time_window(context)
                rows = warehouse.replace_range(declared, result.frame, "ts", start, end)
                warehouse.record(
                    asset=name,
                    code_version=code_version,
                    inputs=inputs,
                    settings_hash=settings.fingerprint(),
                    run_id=context.run.run_id,
                )
            shown: dict[str, Any] = {**result.figures, **{k: picture(v) for k, v in result.pictures.items()}}
            if partitions_def is not None:
                last = context.partition_key_range.end
                context.add_asset_metadata(shown, asset_key=asset_key(name), partition_key=last)
                shown = {}
            facts: dict[str, Any] = {
                "dagster/row_count": rows,
                "dagster/column_schema": column_schema(declared),
            }
            return dg.MaterializeResult(metadata={**facts, **shown})

        return made

    return declare


def table_specs(
    tables: Iterable[Table], *, deps: Sequence[str], group: str, code_version: str, kinds: set[str]
) -> list[dg.AssetSpec]:
    """Declare tables that one computation makes together; arguments as in `table_asset`."""
    return [
        dg.AssetSpec(
            asset_key(table.full_name),
            deps=[asset_key(name) for name in deps],
            group_name=group,
            description=table.description,
            owners=["team:research"],
            kinds={"duckdb", *kinds},
            code_version=code_version,
            metadata={"dagster/table_name": table.full_name},
        )
        for table in tables
    ]


def stored(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    settings: Settings,
    made: Mapping[Table, "pl.DataFrame"],
    inputs: Mapping[str, str],
    code_version: str,
    facts: Facts | Callable[[], Facts] = MappingProxyType({}),
    append_only: Collection[Table] = (),
) -> Iterator[dg.MaterializeResult]:
    """Write the tables that one computation makes, all or none, each with where it came from.

    `inputs` are the content versions that were read, `facts` is what each table's page shows beside its
    columns; a callable is asked for that once the tables are written. Of a table in `append_only` stored rows
    stay as they are.
    """
    rows = _written(context, warehouse, settings, made, inputs, code_version, append_only)
    found = facts() if callable(facts) else facts
    for table in made:
        shown: dict[str, Any] = {
            "dagster/row_count": rows[table],
            "dagster/column_schema": column_schema(table),
            **found.get(table, {}),
        }
        yield dg.MaterializeResult(asset_key=asset_key(table.full_name), metadata=shown)


def _written(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    settings: Settings,
    made: Mapping[Table, "pl.DataFrame"],
    inputs: Mapping[str, str],
    code_version: str,
    append_only: Collection[Table] = (),
) -> dict[Table, int]:
    """Write tables, all or none, each with where it came from; return how many rows were put into each."""
    checked = {table: table.check(frame) for table, frame in made.items()}
    rows: dict[Table, int] = {}
    names = [*(table.full_name for table in made), provenance.MATERIALIZATIONS.full_name]
    with warehouse.write(names) as connection:
        for table, frame in checked.items():
            put = warehouse_writes.append_new if table in append_only else warehouse_writes.replace
            rows[table] = put(connection, table, frame)
            provenance.record(
                connection,
                table.full_name,
                code_version,
                inputs,
                settings.fingerprint(),
                context.run.run_id,
            )
    return rows


def time_window(context: dg.AssetExecutionContext) -> tuple[datetime, datetime]:
    """Start (inclusive) and end (exclusive) of the partitions of this run, UTC without zone."""
    window = context.partition_time_window
    return window.start.replace(tzinfo=None), window.end.replace(tzinfo=None)
