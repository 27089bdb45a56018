"""Group ``live``: the live algorithm on the bars that have come, with the parameters in force, on paper."""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from engine_assets.live import LIVE
from engine_assets.live_ab import ab_tests
from engine_assets.live_market import live_tape
from engine_assets.live_tables import (
    LIVE_DECISIONS,
    LIVE_EQUITY,
    LIVE_LEDGER,
    TABLES,
    live_frames,
    stored_accounts,
)
from engine_assets.live_trigger import watch_changes
from engine_assets.parameters_in_use import KnownRegimes, ParametersInUse
from engine_assets.regimes import MARKET_REGIMES
from engine_assets.table_asset import asset_key, picture, shown_rows, stored, table_specs
from engine_assets.tuning_experiments import follow_experiments
from engine_assets.tuning_inputs import costs_of, open_store
from resources.parameter_store import ParameterStore
from resources.settings import Settings
from resources.table import Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from engine.tuning.live_account import LiveAccount
    from engine.tuning.live_walk import LiveWalk

__all__ = ["CHECKS", "TABLES", "decides_every_bar", "live_decisions", "names_what_was_in_force"]

_CODE_VERSION = "2"
_DAY = timedelta(days=1)
_BARS = ("staging.candles", "staging.alternative")
_INPUTS = (*_BARS, MARKET_REGIMES.full_name, LIVE.full_name)
_LAST_SQL = """
SELECT symbol, ts, action, kind, side, size, confidence, version, scope, waits, reasons
FROM trading.live_decisions QUALIFY row_number() OVER (PARTITION BY symbol ORDER BY ts DESC) = 1
ORDER BY symbol
"""


@dg.multi_asset(
    name="live_decisions",
    specs=table_specs(
        TABLES, deps=_INPUTS, group="live", code_version=_CODE_VERSION, kinds={"polars", "sqlalchemy"}
    ),
    pool="live_loop",
)
def live_decisions(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult]:
    """Decide the bars that are new, each with the parameters in force at it, and carry the accounts on.

    What was decided stays. A live market begins with the day of the newest bar; a recorded or simulated one
    is replayed from as many days back as the profile tests on, and anew where the settings are others. Then
    the triggers of changed parameters are asked, and what runs beside the algorithm is brought up to date.
    """
    store, stored_tables = open_store(settings), set(warehouse.tables())
    inputs = warehouse.versions(name for name in _INPUTS if name in stored_tables)
    is_live, name = settings.source == "exchange", _market_name(settings)
    accounts = stored_accounts(warehouse, name)
    walk = _walk(warehouse, settings, store, accounts)
    context.log.info("%s decisions, %s lines in the ledger", len(walk.decisions), len(walk.ledger))

    def facts() -> dict[Table, dict[str, Any]]:
        # Asked once all is stored: what is done to the parameters now counts from the next bar on.
        watched = watch_changes(store, warehouse, settings)
        beside, _ = follow_experiments(store, warehouse, settings)
        for told in (*watched, *beside):
            context.log.info(told)
        return _shown(warehouse, walk, watched, beside)

    history = TABLES[:3] if accounts or is_live else ()
    yield from stored(
        context,
        warehouse,
        settings,
        live_frames(walk, name),
        inputs,
        _CODE_VERSION,
        facts,
        append_only=history,
    )


def _market_name(settings: Settings) -> str:
    """Name of what the accounts were walked in: a replay of other settings has nothing to go on from."""
    if settings.source == "exchange":
        return "live"
    settled = settings.model_copy(update={"end": None}).fingerprint()
    return f"{settings.source}-{hashlib.sha256((settled + _CODE_VERSION).encode()).hexdigest()[:8]}"


def _walk(
    warehouse: Warehouse, settings: Settings, store: ParameterStore, accounts: "dict[str, LiveAccount]"
) -> "LiveWalk":
    """Walk all accounts through the bars that they have not seen."""
    from engine.tuning.live_walk import LiveWalk, live_walk
    from engine.tuning.rules import MAX_GAP

    bar = settings.bar_duration
    now = datetime.now(UTC).replace(tzinfo=None) if settings.source == "exchange" else None
    newest = dict(warehouse.frame("SELECT symbol, max(ts) FROM staging.candles GROUP BY symbol").rows())
    walked = LiveWalk(accounts)
    if not newest:
        return walked
    days = 0 if now else settings.work.test_days
    start = max(newest.values()).replace(hour=0, minute=0, second=0, microsecond=0) - days * _DAY
    # One that was delisted has nothing to be read for; should it come back, that is a bar like any other.
    clocks = [account.ts + bar for account in accounts.values() if account.missing <= MAX_GAP]
    since = min([*clocks, start] if newest.keys() - accounts.keys() or not clocks else clocks)
    tape = live_tape(warehouse, settings, since)
    if tape is None:
        return walked
    after = None if now else max(clocks, default=start)
    tests = ab_tests(store, sorted(newest), bar, after)
    ask = ParametersInUse(store, KnownRegimes(warehouse, since), tests, bar, now)
    return live_walk(tape, accounts, ask, costs_of(settings), start=start)


def _shown(
    warehouse: Warehouse, walk: "LiveWalk", watched: list[str], beside: list[str]
) -> dict[Table, dict[str, Any]]:
    """Describe the walk on the pages of the tables."""
    last = warehouse.frame(_LAST_SQL)
    decided = {
        "new decisions": len(walk.decisions),
        "new entries": sum(decision.made.action == "enter" for decision in walk.decisions),
        **shown_rows("last decision", last.with_columns(_joined("waits"), _joined("reasons"))),
    }
    for title, told in {"changes that are watched": watched, "beside it": beside}.items():
        if told:
            decided[title] = dg.MetadataValue.json(told)
    equity: dict[str, Any] = {"equity": {a.symbol: a.value for a in walk.accounts.values()}}
    # The event log keeps every picture for good: one a day is enough.
    if any(decision.ts.date() != walk.decisions[-1].ts.date() for decision in walk.decisions):
        equity["account"] = picture(_drawn(warehouse))
    return {LIVE_DECISIONS: decided, LIVE_LEDGER: {"new lines": len(walk.ledger)}, LIVE_EQUITY: equity}


def _joined(name: str) -> "pl.Expr":
    import polars as pl

    return pl.col(name).list.join("; ")


def _drawn(warehouse: Warehouse) -> bytes:
    """Draw the account of all symbols with its entries and exits."""
    from engine.tuning.live_figures import account_curve
    from engine.tuning.live_plots import equity_with_trades

    points = warehouse.frame("SELECT symbol, ts, equity FROM trading.live_equity ORDER BY symbol, ts")
    trades = warehouse.frame(
        "SELECT ts, side, net_return FROM trading.live_ledger "
        "WHERE event = 'entry' OR net_return IS NOT NULL ORDER BY ts"
    )
    title = "Live account on paper, every symbol the same share, net of costs; newest trades marked"
    return equity_with_trades(account_curve(points), trades, title)


@dg.asset_check(
    asset=asset_key(LIVE_DECISIONS.full_name),
    name="names_what_was_in_force",
    blocking=True,
    description="Every decision was made with the whole set that it names: a version, what a person held, or "
    "the set of an A/B test; and the history of the parameters is unbroken.",
)
def names_what_was_in_force(
    warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> dg.AssetCheckResult:
    """Make each set anew from the store and compare its hash with that of the decisions."""
    store = open_store(settings)
    used = warehouse.frame(
        "SELECT version, overridden, held_values, experiment, arm, parameters_hash, count(*) AS decisions "
        "FROM trading.live_decisions GROUP BY ALL ORDER BY ALL"
    )
    wrong = []
    for row in used.iter_rows(named=True):
        why = _differs(store, row)
        if why:
            wrong.append(f"{row['decisions']} decisions of version {row['version']}: {why}")
    chain = store.verify()
    if not chain.intact:
        wrong.append(f"row {chain.broken_row} of the history: {chain.reason}")
    metadata: dict[str, Any] = {"sets used": used.height, "rows of the history": chain.rows}
    if wrong:
        metadata["wrong"] = dg.MetadataValue.json(wrong)
    return dg.AssetCheckResult(passed=not wrong, metadata=metadata)


def _differs(store: ParameterStore, row: dict[str, Any]) -> str:
    """Say how the set that decided differs from what the store knows under its name; empty if it does not."""
    from engine.tuning.parameters import DEFAULTS, ParameterSet
    from resources.parameter_store import StoreError

    try:
        if row["arm"] == "candidate":
            base = store.experiments.get(row["experiment"]).candidate
        else:
            base = store.version(row["version"]).parameters if row["version"] else DEFAULTS
    except StoreError as error:
        return str(error)
    held = dict(zip(row["overridden"], row["held_values"], strict=True))
    known = ParameterSet.from_mapping(held, base)
    if known.content_hash == row["parameters_hash"]:
        return ""
    return f"they were made with {row['parameters_hash'][:12]}, the store has {known.content_hash[:12]}"


@dg.asset_check(
    asset=asset_key(LIVE_DECISIONS.full_name),
    additional_deps=[asset_key("staging.candles")],
    name="decides_every_bar",
    description="The newest bar of every symbol, or the one before, was decided; on a live market it is new.",
)
def decides_every_bar(warehouse: Warehouse, settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    """Compare the newest decision of each symbol with its newest bar."""
    import polars as pl

    rows = warehouse.frame(
        "SELECT c.symbol, max(c.ts) AS newest_bar, max(d.ts) AS newest_decision FROM staging.candles AS c "
        "LEFT JOIN trading.live_decisions AS d USING (symbol, ts) GROUP BY ALL ORDER BY ALL"
    )
    lost = [symbol for symbol, account in stored_accounts(warehouse).items() if account.equity <= 0.0]
    behind = rows.filter(
        pl.col("newest_decision").is_null()
        | (pl.col("newest_decision") < pl.col("newest_bar") - settings.bar_duration),
        ~pl.col("symbol").is_in(lost),
    )
    metadata: dict[str, Any] = {"behind": behind.height, **shown_rows("symbols that are behind", behind)}
    passed = behind.is_empty()
    if settings.source == "exchange" and rows.height:
        newest: datetime = rows["newest_bar"].max()  # type: ignore[assignment]
        late = datetime.now(UTC).replace(tzinfo=None) - newest - settings.bar_duration
        metadata["hours since the newest close"] = late / timedelta(hours=1)
        passed = passed and late <= 3 * settings.bar_duration
    return dg.AssetCheckResult(passed=passed, severity=dg.AssetCheckSeverity.WARN, metadata=metadata)


CHECKS = (names_what_was_in_force, decides_every_bar)
