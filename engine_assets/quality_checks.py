"""Asset checks by Great Expectations, and a check of a figure against its own history.

Dagster reads the annotation of ``context`` as an object, so annotations are not postponed here.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import dagster as dg

from engine_assets.table_asset import TableSource, asset_key
from resources.settings import Settings
from resources.warehouse import Warehouse
from resources.warehouse_session import NoWarehouseError

if TYPE_CHECKING:
    import polars as pl

    from engine.quality import Report

__all__ = ["QUALITY", "anomaly_check", "quality_check"]

QUALITY = "great_expectations"
ENOUGH_HISTORY = 6


def quality_check(
    group_name: str, tables: Mapping[str, TableSource], *, blocking: bool = True
) -> dg.AssetChecksDefinition:
    """Check the tables of a group in one step, each with its suite and its own result.

    The library takes seconds to import, so a group shares a step; where one of its tables is made from
    another, Dagster splits the step by itself. A run that makes only some of the tables checks only those.

    Parameters
    ----------
    group_name : str
        Name of the group; the step is called ``<group_name>_quality``.
    tables : mapping
        ``schema.name`` of each table to its declaration, as `table_asset` takes it.
    blocking : bool
        Whether a red table stops, in the same run, everything that depends on a table of the group.
        With False it is a warning.

    Returns
    -------
    AssetChecksDefinition
        Needs the resources ``warehouse`` and ``settings``; runs in the pool ``gx``. Each result shows the
        rules as a table and links a Data Docs page under ``<settings.reports>/data_docs``.
    """
    sources = {asset_key(name): (name, source) for name, source in tables.items()}
    severity = dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN
    specs = [
        dg.AssetCheckSpec(
            QUALITY, asset=key, blocking=blocking, description="Columns, types, keys and meaning of the rows."
        )
        for key in sources
    ]

    @dg.multi_asset_check(specs=specs, name=f"{group_name}_quality", can_subset=True, pool="gx")
    def check(
        context: dg.AssetCheckExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
    ) -> Iterator[dg.AssetCheckResult]:
        from engine.quality import validate
        from engine.quality_suites import suite

        for key in sorted(chosen.asset_key for chosen in context.selected_asset_check_keys):
            name, source = sources[key]
            where = {"asset_key": key, "check_name": QUALITY, "severity": severity}
            rules = suite(source() if callable(source) else source, settings.universe or ())
            rows = _rows(warehouse, name, rules.sql)
            if rows is None:
                missing = {"note": f"{name} is not stored; materialize it first"}
                yield dg.AssetCheckResult(passed=False, metadata=missing, **where)
                continue
            report = validate(rows, rules.name, rules.expectations)
            yield dg.AssetCheckResult(
                passed=report.ok,
                description=report.summary(),
                metadata={
                    "rules": dg.MetadataValue.md(report.markdown()),
                    "broken": report.failed,
                    "data docs": dg.MetadataValue.path(_data_docs(report, settings)),
                },
                **where,
            )

    return check


def _rows(warehouse: Warehouse, name: str, sql: str) -> "pl.DataFrame | None":
    """Read what a suite looks at, or nothing where the table is not stored, in one opening."""
    try:
        with warehouse.read():
            return warehouse.frame(sql) if warehouse.exists(name) else None
    except NoWarehouseError:
        return None


def _data_docs(report: "Report", settings: Settings) -> str:
    """Write the report's page and return where it is."""
    from engine.quality import data_docs_html

    page = settings.reports / "data_docs" / f"{report.name}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(data_docs_html(report), encoding="utf-8")
    return str(page.absolute())


def anomaly_check(
    key: dg.AssetKey, field: str = "dagster/row_count", window: int = 30, z: float = 4.0
) -> dg.AssetChecksDefinition:
    """Warn when a figure of an asset's newest materialization is unlike those before.

    The distance is the robust z-score 0.6745 (x - median) / MAD over the asset's own history; until
    there are `ENOUGH_HISTORY` materializations with the figure, the check passes and says so.

    Parameters
    ----------
    key : AssetKey
        The asset.
    field : str
        Name of a numeric metadata value.
    window : int
        Most materializations of the past that count.
    z : float
        Largest distance that passes.
    """

    @dg.asset_check(asset=key, name=f"{field.split('/')[-1]}_anomaly")
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        import statistics

        events = context.instance.fetch_materializations(key, limit=window + 1).records
        facts = [record.asset_materialization.metadata for record in events if record.asset_materialization]
        figures = [float(fact[field].value) for fact in facts if field in fact]
        if len(figures) < ENOUGH_HISTORY:
            return dg.AssetCheckResult(
                passed=True, metadata={"note": "not enough history", "materializations": len(figures)}
            )
        now, past = figures[0], figures[1:]
        median = statistics.median(past)
        spread = statistics.median(abs(x - median) for x in past) or max(abs(median) * 0.01, 1e-9)
        score = 0.6745 * (now - median) / spread
        return dg.AssetCheckResult(
            passed=abs(score) <= z,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"robust z": score, "now": now, "median": median},
        )

    return check
