"""Group ``tuning``: sessions that train the parameters of the live algorithm, and what they led to."""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from engine_assets.table_asset import asset_key, picture, shown_rows, stored, table_specs
from engine_assets.tuning_experiments import follow_experiments
from engine_assets.tuning_frames import (
    episodes_frame,
    experiments_frame,
    history_frame,
    live_frame,
    runs_frame,
)
from engine_assets.tuning_inputs import INPUTS, open_store, stored_versions
from engine_assets.tuning_order import TuneOrder
from engine_assets.tuning_sessions import Conducted, conduct
from engine_assets.tuning_tables import AB_RESULTS, EPISODES, HISTORY, LIVE_PARAMETERS, RUNS, TABLES
from resources.parameter_store.sessions import SessionRecord
from resources.settings import Settings
from resources.table import Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

__all__ = ["SESSION_TAG", "TABLES", "TUNING_OP", "chain_verifies", "parameter_tables", "tuning_runs"]

TUNING_OP = "tuning_session"
"""Op that takes a `TuneOrder` as its config."""
SESSION_TAG = "engine/session"
"""Tag of a run that says which session it holds."""
_CODE_VERSION = "1"
_SESSION_TABLES = (RUNS, EPISODES)
_STORE_TABLES = (LIVE_PARAMETERS, HISTORY, AB_RESULTS)
_SHOWN = 20


@dg.multi_asset(
    name=TUNING_OP,
    specs=table_specs(
        _SESSION_TABLES, deps=INPUTS, group="tuning", code_version=_CODE_VERSION, kinds={"numba"}
    ),
    pool="train",
)
def tuning_runs(
    context: dg.AssetExecutionContext,
    config: TuneOrder,
    warehouse: Warehouse,
    settings: dg.ResourceParam[Settings],
) -> Iterator[dg.MaterializeResult]:
    """Run one session of one scenario: search, ask the gate, and apply, shadow or test what it lets pass.

    A run that is terminated leaves the parameters in force as they were; one whose process dies is taken up
    by the next run of the same order.
    """
    store, key = open_store(settings), asset_key(RUNS.full_name)

    def started(record: SessionRecord) -> None:
        context.instance.add_run_tags(context.run.run_id, {SESSION_TAG: record.id})
        context.log.info("session %s of %s for %s", record.id, record.scenario, record.scope)

    def progress(event: Mapping[str, Any]) -> None:
        shown = {
            name: event[name] for name in ("episode", "mean_score", "best_score", "best_so_far", "searched")
        }
        context.log.info("episode %(episode)s: best so far %(best_so_far).4g, mean %(mean_score).4g", shown)
        context.log_event(dg.AssetObservation(key, metadata=shown))

    inputs = stored_versions(warehouse, INPUTS)
    done = conduct(config, store, warehouse, settings, progress=progress, started=started)
    context.log.info("%s: %s", done.status, done.reason)
    made = {RUNS: runs_frame(store), EPISODES: episodes_frame(store)}
    facts = {RUNS: _page(done, made[RUNS])}
    yield from stored(context, warehouse, settings, made, inputs, _CODE_VERSION, facts)


def _page(done: Conducted, runs: "pl.DataFrame") -> dict[str, Any]:
    """Show the session that has just ended."""
    shown = ("scenario", "scope", "verdict", "improvement", "low", "high", "alpha", "reasons")
    return {
        "session": done.session,
        "verdict": done.status,
        "reasons": done.reason,
        **{name: picture(png) for name, png in _pictures(done).items()},
        **shown_rows("newest", runs.head(_SHOWN).select(shown)),
    }


def _pictures(done: Conducted) -> dict[str, bytes]:
    from engine.tuning.evidence_plots import evidence_interval
    from engine.tuning.search_plots import parameter_paths, reward_by_episode
    from engine.tuning.stress_plots import stress_picture

    result, config = done.result, done.config
    if done.front is None:
        return {}
    drawn = {
        "reward by episode": reward_by_episode(result.episodes, done.state["history"][0][0]),
        "parameter paths": parameter_paths(result.episodes, result.incumbent, config.search.targets),
        "front": done.front.picture(result.promoted),
    }
    if result.judged is not None:
        drawn["evidence"] = evidence_interval(result.judged)
        if result.judged.stress is not None:
            drawn["stress"] = stress_picture(result.judged.stress)
    return drawn


@dg.multi_asset(
    name="parameter_tables",
    specs=table_specs(
        _STORE_TABLES,
        deps=(RUNS.full_name,),
        group="tuning",
        code_version=_CODE_VERSION,
        kinds={"sqlalchemy"},
    ),
)
def parameter_tables(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult]:
    """Show what the parameter store holds: what is in force, how it came to be, and what runs beside it.

    Before that, what a crash left half done is resolved, and shadow runs and A/B tests are brought up to date
    and judged where their horizon is over.
    """
    store = open_store(settings)
    for entry in store.recover():
        context.log.warning("%s: %s after an interruption", entry.key, entry.state)
    told, drawn = follow_experiments(store, warehouse, settings)
    for line in told:
        context.log.info(line)
    known = warehouse.exists("staging.candles")
    symbols = warehouse.frame("SELECT DISTINCT symbol FROM staging.candles")["symbol"] if known else ()
    made = {
        LIVE_PARAMETERS: live_frame(store, symbols),
        HISTORY: history_frame(store),
        AB_RESULTS: experiments_frame(store),
    }
    inputs = stored_versions(warehouse, (RUNS.full_name,))
    yield from stored(
        context,
        warehouse,
        settings,
        made,
        inputs,
        _CODE_VERSION,
        {table: _shown(table, rows, drawn) for table, rows in made.items()},
        # A history that was cut off in the store is still whole here: the check below finds it.
        append_only=(HISTORY,),
    )


def _shown(table: Table, rows: "pl.DataFrame", drawn: Mapping[str, bytes]) -> dict[str, Any]:
    if table is HISTORY:
        newest = rows.tail(_SHOWN).reverse().select("number", "at", "kind", "scope", "actor", "reason")
        return {**shown_rows("newest", newest), "last hash": rows["hash"][-1] if rows.height else "none yet"}
    if table is LIVE_PARAMETERS:
        return shown_rows("in force", rows.drop("step", "held_by", "held_until"))
    newest = rows.head(_SHOWN).drop("experiment", "session", "candidate", "baseline", "started_at")
    return {**shown_rows("newest", newest), **{name: picture(png) for name, png in drawn.items()}}


@dg.asset_check(
    asset=asset_key(HISTORY.full_name),
    name="chain_verifies",
    description="No row of the audit trail was changed, removed, inserted or cut off.",
)
def chain_verifies(warehouse: Warehouse, settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    """Walk along the chain in the store, up to the last row that the warehouse knows."""
    head = None
    if warehouse.exists(HISTORY.full_name):
        head = warehouse.frame("SELECT arg_max(hash, number) FROM trading.parameter_history").item()
    report = open_store(settings).verify(head)
    return dg.AssetCheckResult(
        passed=report.intact,
        description="" if report.intact else report.reason,
        metadata={"rows": report.rows, "last hash": report.head},
    )
