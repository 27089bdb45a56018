"""The job that trains the parameters, by itself: what it is asked for, and definitions of it alone."""

from __future__ import annotations

from typing import Any

import dagster as dg

from engine_assets.tuning import TUNING_OP, chain_verifies, parameter_tables, tuning_runs
from engine_assets.tuning_order import TuneOrder
from engine_jobs.jobs import build_jobs
from resources.settings import Settings
from resources.warehouse import Warehouse

__all__ = ["OPTIMIZE", "run_config", "tuning_defs"]

OPTIMIZE = "optimize_parameters"


def run_config(order: TuneOrder) -> dict[str, Any]:
    """Return the run config that asks for an order; without any the job runs the defaults of `TuneOrder`."""
    return {"ops": {TUNING_OP: {"config": order.model_dump(exclude_none=True)}}}


def tuning_defs(settings: Settings) -> dg.Definitions:
    """Assemble the job without the rest of the graph, as the command line runs it."""
    return dg.Definitions(
        assets=[tuning_runs, parameter_tables],
        asset_checks=[chain_verifies],
        jobs=[job for job in build_jobs() if job.name == OPTIMIZE],
        resources={"warehouse": Warehouse(address=settings.warehouse), "settings": settings},
        executor=dg.in_process_executor,
    )
