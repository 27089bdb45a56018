"""Checks in the graph: what a red one stops, what its page shows, and the check against history."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from engine_assets.quality_checks import QUALITY, anomaly_check, quality_check
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

A = Table(
    "raw", "a", "First table.", (Column("symbol", "VARCHAR", "Pair."), Column("x", "BIGINT", "Any.")), ("x",)
)
B = Table("raw", "b", "Second table.", A.columns, ("x",))
ORDER: list[str] = []


def rows(*symbols: str) -> pl.DataFrame:
    return pl.DataFrame({"symbol": symbols, "x": range(len(symbols))}, schema_overrides={"x": pl.Int64})


GOOD, BAD = rows("BTC/USDT", "ETH/USDT"), rows("BTC/USDT", "oops")


def asset(table: Table, frame: pl.DataFrame | None, deps: tuple[str, ...] = ()) -> dg.AssetsDefinition:
    """Asset that stores ``frame`` as the table, or nothing."""

    @dg.asset(key=[table.schema, table.name], deps=[dg.AssetKey(d.split(".")) for d in deps])
    def made(warehouse: Warehouse) -> None:
        ORDER.append(table.name)
        if frame is not None:
            warehouse.replace(table, frame)

    return made


def downstream(name: str, *deps: str) -> dg.AssetsDefinition:
    @dg.asset(key=["staging", name], deps=[dg.AssetKey(d.split(".")) for d in deps])
    def made() -> None:
        ORDER.append(name)

    return made


@pytest.fixture
def resources(tmp_path: Path) -> dict[str, Any]:
    ORDER.clear()
    settings = Settings(reports=tmp_path / "reports")
    return {"warehouse": Warehouse(address=str(tmp_path / "t.duckdb")), "settings": settings}


def run(resources: dict[str, Any], *definitions: Any, **more: Any) -> dg.ExecuteInProcessResult:
    return dg.materialize([*definitions], resources=resources, raise_on_error=False, **more)


def outcomes(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {e.asset_key.to_user_string(): e.passed for e in result.get_asset_check_evaluations()}


GROUP = {"raw.a": A, "raw.b": B}


def test_green_group_lets_everything_pass(resources: dict[str, Any]) -> None:
    result = run(
        resources,
        asset(A, GOOD),
        asset(B, GOOD),
        quality_check("raw", GROUP),
        downstream("d", "raw.a", "raw.b"),
    )
    assert result.success
    assert outcomes(result) == {"raw/a": True, "raw/b": True}
    assert ORDER[-1] == "d"


@pytest.mark.parametrize("red", ["a", "b"])
def test_red_check_stops_all_that_depends_on_the_group_in_the_same_run(
    resources: dict[str, Any], red: str
) -> None:
    result = run(
        resources,
        asset(A, BAD if red == "a" else GOOD),
        asset(B, BAD if red == "b" else GOOD),
        quality_check("raw", GROUP),
        downstream("of_a", "raw.a"),
        downstream("of_b", "raw.b"),
        downstream("of_none"),
    )
    assert not result.success
    assert outcomes(result) == {"raw/a": red != "a", "raw/b": red != "b"}
    assert not {"of_a", "of_b"} & set(ORDER)
    assert "of_none" in ORDER


def test_check_that_does_not_block_warns(resources: dict[str, Any]) -> None:
    result = run(
        resources, asset(A, BAD), quality_check("raw", {"raw.a": A}, blocking=False), downstream("d", "raw.a")
    )
    assert result.success
    assert "d" in ORDER
    (evaluation,) = result.get_asset_check_evaluations()
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)


def test_run_of_one_table_checks_that_table_only(resources: dict[str, Any]) -> None:
    chosen = dg.AssetSelection.assets(["raw", "a"])
    result = run(resources, asset(A, GOOD), asset(B, BAD), quality_check("raw", GROUP), selection=chosen)
    assert result.success
    assert outcomes(result) == {"raw/a": True}


def test_table_made_from_another_of_its_group_waits_for_that_check(resources: dict[str, Any]) -> None:
    result = run(resources, asset(A, BAD), asset(B, GOOD, ("raw.a",)), quality_check("raw", GROUP))
    assert not result.success
    assert ORDER == ["a"]


def test_table_that_is_not_stored_is_red(resources: dict[str, Any]) -> None:
    result = run(resources, asset(A, None), quality_check("raw", {"raw.a": A}))
    (evaluation,) = result.get_asset_check_evaluations()
    assert not evaluation.passed
    assert "materialize it first" in str(evaluation.metadata["note"].value)


def test_result_shows_the_rules_and_links_the_page(resources: dict[str, Any], tmp_path: Path) -> None:
    result = run(resources, asset(A, BAD), quality_check("raw", {"raw.a": lambda: A}))
    (evaluation,) = result.get_asset_check_evaluations()
    assert evaluation.check_name == QUALITY
    assert "| ❌ | the symbol is BASE/QUOTE" in str(evaluation.metadata["rules"].value)
    assert evaluation.metadata["broken"].value == 1
    page = Path(str(evaluation.metadata["data docs"].value))
    assert page == tmp_path / "reports" / "data_docs" / "raw.a.html"
    assert "oops" in page.read_text(encoding="utf-8")


def test_universe_of_the_settings_is_demanded(resources: dict[str, Any], tmp_path: Path) -> None:
    settings = Settings(reports=tmp_path, universe=("BTC/USDT",))
    result = run({**resources, "settings": settings}, asset(A, GOOD), quality_check("raw", {"raw.a": A}))
    assert outcomes(result) == {"raw/a": False}


def test_checks_share_a_step_in_their_own_pool() -> None:
    check = quality_check("raw", GROUP)
    assert check.op.name == "raw_quality"
    assert check.op.pool == "gx"
    assert len(list(check.check_specs)) == 2


def counted(height: int) -> dg.AssetsDefinition:
    @dg.asset(key=["raw", "a"])
    def made() -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata={"dagster/row_count": height})

    return made


def test_anomaly_is_judged_by_the_assets_own_history() -> None:
    check = anomaly_check(dg.AssetKey(["raw", "a"]))
    seen = []
    with dg.DagsterInstance.ephemeral() as instance:
        for height in (100, 102, 99, 101, 100, 98, 101, 10, 103):
            result = dg.materialize([counted(height), check], instance=instance)
            (evaluation,) = result.get_asset_check_evaluations()
            seen.append(evaluation.passed)
    assert evaluation.check_name == "row_count_anomaly"
    assert evaluation.severity == dg.AssetCheckSeverity.WARN
    assert seen == [True] * 7 + [False, True]


def test_anomaly_check_says_when_history_is_too_short() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([counted(5), anomaly_check(dg.AssetKey(["raw", "a"]))], instance=instance)
    (evaluation,) = result.get_asset_check_evaluations()
    assert evaluation.metadata["note"].value == "not enough history"


def test_importing_the_factories_imports_nothing_heavy() -> None:
    code = "import engine_assets.quality_checks, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"great_expectations", "pandas", "polars", "duckdb"} & set(loaded.split())
