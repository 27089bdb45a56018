"""Group ``raw``: what the source delivers, unrepaired, and what was noticed while reading it."""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from engine_assets.table_asset import asset_key, column_schema, picture, time_window
from resources.feeds.feed import Feed
from resources.feeds.open_feed import universe
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from engine.market.finding import Reading

__all__ = ["CANDLES", "FINDINGS", "OBSERVATIONS", "TRUTH", "candles_asset", "observation_assets", "truth"]

_NETWORK_RETRY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.FULL)
_REVISION_WINDOW = timedelta(days=3)

CANDLES = Table(
    "raw",
    "candles",
    "Finished bars as the source delivers them.",
    (
        Column("symbol", "VARCHAR", "Pair, BASE/QUOTE."),
        Column("ts", "TIMESTAMP", "Open of the bar, UTC."),
        Column("open", "DOUBLE", "First price, quote units."),
        Column("high", "DOUBLE", "Highest price, quote units."),
        Column("low", "DOUBLE", "Lowest price, quote units."),
        Column("close", "DOUBLE", "Last price, quote units."),
        Column("volume", "DOUBLE", "Traded amount, base units."),
        Column("bar_seconds", "BIGINT", "Size of the bar, seconds."),
        Column("source", "VARCHAR", "Feed that delivered it."),
    ),
    ("symbol", "ts"),
)

_FINDING_COLUMNS = (
    Column("table", "VARCHAR", "Warehouse table the rows belong to."),
    Column("series", "VARCHAR", "Symbol, or alternative series."),
    Column("kind", "VARCHAR", "What was found."),
    Column("severity", "VARCHAR", "info, warn or error."),
    Column("first", "TIMESTAMP", "First moment concerned, UTC.", nullable=True),
    Column("last", "TIMESTAMP", "Last moment concerned, UTC.", nullable=True),
    Column("count", "BIGINT", "Rows concerned; for a gap, missing bars."),
    Column("detail", "VARCHAR", "Figures to judge it by."),
    Column("cause", "VARCHAR", "Where it comes from, if known."),
)
FINDINGS = Table("meta", "reading_findings", "Noticed while reading the source.", _FINDING_COLUMNS)
AUDIT = Table("raw", "audit", "Every defect found in the raw tables.", _FINDING_COLUMNS)

TRUTH = Table(
    "raw",
    "truth",
    "What the simulator knows of its own market. It scores detectors and never becomes a feature.",
    (
        Column("ts", "TIMESTAMP", "Open of the bar, UTC."),
        Column("regime", "VARCHAR", "TREND, RANGE or PANIC."),
        Column("drift_sign", "BIGINT", "Direction of the drift: -1, 0 or 1."),
        Column("jump", "BOOLEAN", "Whether the market jumped in this bar."),
    ),
    ("ts",),
)

_OBSERVATION_COLUMNS = (
    Column("series", "VARCHAR", "Name of the series."),
    Column("symbol", "VARCHAR", "Pair, or * for the whole market."),
    Column("ts", "TIMESTAMP", "Start of the period described, UTC."),
    Column("available_at", "TIMESTAMP", "When this value became known, UTC."),
    Column("value", "DOUBLE", "Value in the unit of the series."),
    Column("source", "VARCHAR", "Feed that delivered it."),
)


def _observation_table(name: str) -> Table:
    from engine.alternative.series import SERIES

    meanings = "; ".join(f"{s.name} ({s.unit}): {s.description}" for s in SERIES.values() if s.table == name)
    key = ("series", "symbol", "ts", "available_at")
    return Table("raw", name, f"{meanings} A revision is a further row.", _OBSERVATION_COLUMNS, key)


def _observation_tables() -> dict[str, Table]:
    from engine.alternative.series import TABLES

    return {name: _observation_table(name) for name in TABLES}


OBSERVATIONS = _observation_tables()
_DAILY = {"exchange_flows", "commits", "fear_greed"}


def _keep_findings(warehouse: Warehouse, table: Table, reading: "Reading") -> None:
    """Replace what was noticed in earlier readings of this table."""
    import polars as pl

    from engine.market.finding import findings_frame

    noticed = findings_frame(reading.findings).with_columns(pl.lit(table.full_name).alias("table"))
    with warehouse.read():
        kept = (
            warehouse.frame('SELECT * FROM meta.reading_findings WHERE "table" <> ?', [table.full_name])
            if warehouse.exists(FINDINGS.full_name)
            else FINDINGS.empty()
        )
    warehouse.replace(FINDINGS, pl.concat([kept, noticed]))


def _end(settings: Settings, feed: Feed) -> datetime:
    """End (exclusive) of what is asked for: the settings' last moment, or the newest finished bar."""
    if settings.last_moment is not None:
        return settings.last_moment
    last = feed.last_bar(universe(settings))
    return settings.first_moment if last is None else last + settings.bar_duration


def candles_asset(partitions_def: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """Build the asset ``raw.candles``, partitioned by month."""

    @dg.asset(
        key=asset_key(CANDLES.full_name),
        group_name="raw",
        kinds={"duckdb", "polars"},
        owners=["team:data"],
        code_version="1",
        description="Finished candles as the source delivers them. A month is replaced whole.",
        partitions_def=partitions_def,
        backfill_policy=dg.BackfillPolicy.single_run(),
        retry_policy=_NETWORK_RETRY,
        freshness_policy=dg.FreshnessPolicy.time_window(
            fail_window=timedelta(hours=26), warn_window=timedelta(hours=3)
        ),
        metadata={"dagster/table_name": CANDLES.full_name},
    )
    def candles(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        settings: dg.ResourceParam[Settings],
        feed: dg.ResourceParam[Any],
    ) -> dg.MaterializeResult:
        import polars as pl

        start, end = time_window(context)
        begin, stop = max(start, settings.first_moment), min(end, _end(settings, feed))
        reading = feed.candles(universe(settings), begin, max(begin, stop))
        frame = reading.frame.with_columns(
            pl.lit(int(settings.bar_duration.total_seconds()), pl.Int64).alias("bar_seconds"),
            pl.lit(feed.name).alias("source"),
        )
        rows = warehouse.replace_range(CANDLES, frame, "ts", start, end)
        _keep_findings(warehouse, CANDLES, reading)
        _note(context, warehouse, settings, feed, CANDLES)
        shown: dict[str, Any] = {"symbols": frame["symbol"].n_unique(), "noticed": len(reading.findings)}
        if rows:
            shown |= {"first bar": str(frame["ts"].min()), "last bar": str(frame["ts"].max())}
            shown["completeness"] = picture(_completeness(warehouse, settings))
        last = context.partition_key_range.end
        context.add_asset_metadata(shown, asset_key=asset_key(CANDLES.full_name), partition_key=last)
        return dg.MaterializeResult(
            metadata={"dagster/row_count": rows, "dagster/column_schema": column_schema(CANDLES)}
        )

    return candles


def _note(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: Settings, feed: Feed, table: Table
) -> None:
    warehouse.record(
        asset=table.full_name,
        code_version="1",
        inputs={"feed": feed.fingerprint()},
        settings_hash=settings.fingerprint(),
        run_id=context.run.run_id,
    )


def _completeness(warehouse: Warehouse, settings: Settings) -> bytes:
    """Share of the bars expected in each week that each symbol has."""
    from engine.plots import presence_map

    weekly = warehouse.frame(
        """
        WITH span AS (SELECT symbol, min(ts) AS listed, (SELECT max(ts) FROM raw.candles) AS newest
                      FROM raw.candles GROUP BY symbol),
             counted AS (SELECT symbol, date_trunc('week', ts)::TIMESTAMP AS week, count(*) AS bars
                         FROM raw.candles GROUP BY ALL)
        SELECT symbol, week,
               bars * $bar / (epoch(least(newest + to_seconds($bar), week + INTERVAL 7 DAY))
                              - epoch(greatest(listed, week))) AS share
        FROM counted JOIN span USING (symbol) ORDER BY week, symbol
        """,
        {"bar": int(settings.bar_duration.total_seconds())},
    ).pivot(on="week", index="symbol", values="share")
    weeks = [datetime.fromisoformat(name) for name in weekly.columns[1:]]
    return presence_map(
        weekly["symbol"].to_list(), weeks, weekly.drop("symbol").to_numpy(), "Share of bars present, by week"
    )


def _observation_asset(table: Table) -> dg.AssetsDefinition:
    name = table.name
    daily = name in _DAILY

    @dg.asset(
        key=asset_key(table.full_name),
        group_name="raw",
        kinds={"duckdb", "polars"},
        owners=["team:data"],
        code_version="1",
        description=table.description,
        retry_policy=_NETWORK_RETRY,
        freshness_policy=dg.FreshnessPolicy.time_window(
            fail_window=timedelta(hours=72 if daily else 26), warn_window=timedelta(hours=30 if daily else 10)
        ),
        metadata={"dagster/table_name": table.full_name},
    )
    def observations(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        settings: dg.ResourceParam[Settings],
        feed: dg.ResourceParam[Any],
    ) -> dg.MaterializeResult:
        end = _end(settings, feed)
        if settings.source == "exchange":
            reading = _append_vintages(warehouse, table, settings, feed, end)
        else:
            reading = feed.observations(name, universe(settings), settings.first_moment, end)
            warehouse.replace(table, reading.frame)
        _keep_findings(warehouse, table, reading)
        _note(context, warehouse, settings, feed, table)
        return dg.MaterializeResult(
            metadata={
                "dagster/column_schema": column_schema(table),
                "noticed": len(reading.findings),
                **_observation_facts(warehouse.frame(f"SELECT * FROM {table.full_name}")),  # noqa: S608
            }
        )

    return observations


def _append_vintages(
    warehouse: Warehouse, table: Table, settings: Settings, feed: Feed, end: datetime
) -> "Reading":
    """Ask for what is new and for the last days again, and keep each differing value as a vintage."""
    from engine.alternative.vintages import new_vintages

    stored = (
        warehouse.frame(f"SELECT * FROM {table.full_name}")  # noqa: S608
        if warehouse.exists(table.full_name)
        else table.empty()
    )
    start = settings.first_moment
    if stored.height:
        newest = stored["ts"].max()
        assert isinstance(newest, datetime)  # noqa: S101  the declared type of the column
        start = max(start, newest - _REVISION_WINDOW)
    reading = feed.observations(table.name, universe(settings), start, end)
    now = datetime.now(UTC).replace(tzinfo=None)
    warehouse.append_new(table, new_vintages(stored, reading.frame, now))
    return reading


def _observation_facts(stored: "pl.DataFrame") -> dict[str, Any]:
    import polars as pl

    facts: dict[str, Any] = {"dagster/row_count": stored.height}
    if stored.is_empty():
        return {**facts, "note": "the source has no such series"}
    from engine.plots import line_panels

    periods = stored.select(pl.struct("series", "symbol", "ts").n_unique()).item()
    facts |= {"last period": str(stored["ts"].max()), "revised share": 1 - periods / stored.height}
    latest = (
        stored.sort("available_at")
        .group_by("series", "symbol", "ts")
        .agg(pl.col("value").last())
        .group_by("series", pl.col("ts").dt.truncate("1d"))
        .agg(pl.col("value").mean())
        .pivot(on="series", index="ts", values="value")
        .sort("ts")
    )
    panels = {name: latest[name].to_numpy() for name in sorted(latest.columns[1:])}
    facts["daily mean over symbols"] = picture(line_panels(latest["ts"].to_list(), panels, ""))
    return facts


def observation_assets() -> list[dg.AssetsDefinition]:
    """Build one asset for each raw table of alternative data."""
    return [_observation_asset(table) for table in OBSERVATIONS.values()]


@dg.asset(
    key=asset_key(TRUTH.full_name),
    group_name="raw",
    kinds={"duckdb"},
    owners=["team:data"],
    code_version="1",
    description=TRUTH.description + " Empty for recorded markets.",
    metadata={"dagster/table_name": TRUTH.full_name},
)
def truth(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    settings: dg.ResourceParam[Settings],
    feed: dg.ResourceParam[Any],
) -> dg.MaterializeResult:
    """Store the simulator's regimes beside the observations."""
    if settings.source == "simulated":
        frame = TRUTH.of(feed.truth(settings.first_moment, _end(settings, feed)))
    else:
        frame = TRUTH.empty()
    rows = warehouse.replace(TRUTH, frame)
    _note(context, warehouse, settings, feed, TRUTH)
    return dg.MaterializeResult(
        metadata={"dagster/row_count": rows, "dagster/column_schema": column_schema(TRUTH)}
    )
