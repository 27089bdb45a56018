import json
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from engine_assets.graph import TABLES
from engine_jobs.definitions import defs
from engine_jobs.jobs import JOB_GROUPS, STUDY_GROUPS

SNAPSHOT = Path(__file__).with_name("definitions.json")
HEAVY = {
    "ccxt",
    "ctgan",
    "duckdb",
    "great_expectations",
    "hmmlearn",
    "lightgbm",
    "matplotlib",
    "numba",
    "pandas",
    "polars",
    "shap",
    "skfolio",
    "torch",
}


def described() -> dict[str, object]:
    """Keys, dependencies, groups, checks, jobs and crons: what others rely on."""
    graph = defs.resolve_asset_graph()
    assets = {
        key.to_user_string(): {
            "group": graph.get(key).group_name,
            "deps": sorted(dep.to_user_string() for dep in graph.get(key).parent_keys),
            "partitioned": graph.get(key).is_partitioned,
        }
        for key in graph.materializable_asset_keys
    }
    return {
        "assets": dict(sorted(assets.items())),
        "checks": sorted(f"{k.asset_key.to_user_string()}:{k.name}" for k in graph.asset_check_keys),
        "jobs": sorted(job.name for job in defs.resolve_all_job_defs() if not job.name.startswith("__")),
        "schedules": {s.name: s.cron_schedule for s in defs.schedules or ()},
        "sensors": sorted(s.name for s in defs.sensors or ()),
    }


def test_definitions_load() -> None:
    dg.Definitions.validate_loadable(defs)


def test_definitions_are_the_recorded_ones() -> None:
    """A changed key, group or cron loses stored state: change the record knowingly.

    `python tests/engine_jobs/test_definitions.py` writes it anew.
    """
    assert described() == json.loads(SNAPSHOT.read_text())


def test_every_asset_says_what_it_is_and_who_answers_for_it() -> None:
    graph = defs.resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        assert node.description, key
        prose = node.description.split("```")[0]
        assert "\n    " not in prose, f"{key}: Dagster shows indented lines as code"
        assert node.owners, key
        assert node.kinds, key
        assert node.code_version, key
        assert node.metadata["dagster/table_name"] == ".".join(key.path)


def test_every_table_is_checked_and_every_decision_for_lookahead() -> None:
    graph = defs.resolve_asset_graph()
    checks = {(".".join(k.asset_key.path), k.name) for k in graph.asset_check_keys}
    for tables in TABLES.values():
        for name in tables:
            assert (name, "great_expectations") in checks
    leaky = {name for name, check in checks if check == "no_lookahead"}
    assert leaky == {
        "alternative.alternative_features",
        "features.matrix",
        "regimes.changepoints",
        "regimes.market_regimes",
        "regimes.transition_risk",
        "predictions.calibrated",
        "portfolio.target_positions",
        "features.market_state",
        "features.pattern_memory",
        "trading.agent_decisions",
        "trading.live_decisions",
    }


def test_every_group_belongs_to_one_job() -> None:
    graph = defs.resolve_asset_graph()
    groups = [group for groups in (JOB_GROUPS | STUDY_GROUPS).values() for group in groups]
    assert len(groups) == len(set(groups))
    assert {graph.get(key).group_name for key in graph.materializable_asset_keys} == set(groups)


def test_raw_assets_have_a_freshness_policy() -> None:
    graph = defs.resolve_asset_graph()
    raw = [key for key in graph.materializable_asset_keys if graph.get(key).group_name == "raw"]
    stale_by_nature = {"raw.truth", "raw.audit"}
    for key in raw:
        if ".".join(key.path) not in stale_by_nature:
            assert graph.get(key).freshness_policy is not None, key


def test_heavy_libraries_are_not_imported_when_definitions_load_and_nobody_is_warned() -> None:
    code = "import engine_jobs.definitions, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(loaded.stdout.split())
    assert not loaded.stderr


@pytest.mark.parametrize("name", [*JOB_GROUPS, *STUDY_GROUPS, "quality_checks"])
def test_jobs_resolve(name: str) -> None:
    job = defs.resolve_job_def(name)
    assert job.description


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(described(), indent=1) + "\n")
