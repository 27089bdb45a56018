"""Jobs: which groups of the graph are made together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from engine_assets import live_decisions

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

__all__ = ["JOB_GROUPS", "STUDY_GROUPS", "build_jobs"]

# In the order in which a full run goes through them.
JOB_GROUPS: dict[str, tuple[str, ...]] = {
    "ingest": ("raw", "staging", "changepoints"),
    "nightly_retraining": (
        "alternative",
        "regimes",
        "features",
        "synthetic",
        "patterns",
        "training",
        "calibration",
        "alpha",
    ),
    "daily_rebalance": ("portfolio",),
    "evaluation": ("evaluation", "marts"),
}
# What no other job waits for, on its own schedule: hours of work, and a few seconds every hour.
STUDY_GROUPS: dict[str, tuple[str, ...]] = {
    "ablation": ("ablation",),
    "live_loop": ("live",),
    "optimize_parameters": ("tuning",),
}
_DESCRIPTIONS = {
    "ingest": "Fetch what is new, audit it, stage it, and notice whether the market has just changed.",
    "nightly_retraining": "From staged data to agents and calibrated predictions, walked forward.",
    "daily_rebalance": "From fresh prices to orders: predict the new bars, decide, trade the paper account.",
    "evaluation": "What the decisions earned beside simple alternatives, and whether anything beats them.",
    "ablation": "What each improvement is worth: the system with and without it, on the same paths.",
    "live_loop": "The live algorithm on the newest bars, with the parameters that are in force.",
    "optimize_parameters": "One scenario of parameter training: search, gate, then apply, shadow or test.",
    "quality_checks": "Every asset check on what is stored, without making anything anew.",
}
# A chain of small steps: a process for each would take longer than the steps.
_IN_ONE_PROCESS: dict[str, Any] = {"execution": {"config": {"in_process": {}}}}
_MAX_RUNTIME_S = {
    "ingest": 1_800,
    "nightly_retraining": 7_200,
    "daily_rebalance": 1_800,
    "evaluation": 3_600,
    "ablation": 86_400,
    "live_loop": 900,
    # The longest scenario takes an hour; laying out the market and the gate come on top.
    "optimize_parameters": 7_200,
    "quality_checks": 1_800,
}


def _selection(name: str, groups: tuple[str, ...]) -> dg.AssetSelection:
    """Choose what a job makes; the hourly loop leaves checks that take longer than it to `quality_checks`."""
    chosen = dg.AssetSelection.groups(*groups)
    if name == "live_loop":
        return chosen.without_checks() | dg.AssetSelection.checks(*live_decisions.CHECKS)
    return chosen


def build_jobs() -> list[UnresolvedAssetJobDefinition]:
    """Define all jobs. Those that make partitioned assets take one month, or a range of months as tags."""
    jobs = [
        dg.define_asset_job(
            name,
            selection=_selection(name, groups),
            description=_DESCRIPTIONS[name],
            tags={"dagster/max_runtime": str(_MAX_RUNTIME_S[name])},
            config=_IN_ONE_PROCESS if name in ("daily_rebalance", "live_loop") else None,
        )
        for name, groups in (JOB_GROUPS | STUDY_GROUPS).items()
    ]
    checks = dg.define_asset_job(
        "quality_checks",
        selection=dg.AssetSelection.all_asset_checks(),
        description=_DESCRIPTIONS["quality_checks"],
        tags={"dagster/max_runtime": str(_MAX_RUNTIME_S["quality_checks"])},
    )
    return [*jobs, checks]
