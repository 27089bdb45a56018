"""The ablation in the graph: runs what is missing, keeps what is there, stores the tables, shows failures."""

from __future__ import annotations

import dagster as dg
import numpy as np
import pytest

from engine.ablation.world_files import SIMULATOR, place_of
from engine.evaluation.ablation_cells import CellFolder
from engine.evaluation.improvements import IMPROVEMENTS
from engine.regimes.names import REGIMES
from engine_assets.ablation import ABLATION, CLAIMS, SCORES, TABLES, VARIANTS, ablation, study_of
from engine_assets.agent_rows import ROW_TABLES
from resources.settings import PROFILES, AblationWork, Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

INPUTS = (*ROW_TABLES, "alternative.alternative_features")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(profile="smoke", reports=tmp_path_factory.mktemp("ablation"))


@pytest.fixture(scope="module")
def made(settings: Settings) -> tuple[Warehouse, dg.ExecuteInProcessResult]:
    """All cells of the smoke profile are finished but two: one is run, one fails over a broken world."""
    study, folder = study_of(settings), settings.reports / "ablation"
    store, version = CellFolder(folder / "cells"), study.version(folder / "worlds")
    rng = np.random.default_rng(3)
    (missing,) = [cell for cell in study.cells if cell.variant.name == "base" and cell.seed == settings.seed]
    for cell in study.cells:
        score = len(cell.variant.enabled) + 0.1 * float(rng.standard_normal())
        if cell != missing:
            by_scope = dict.fromkeys(("all", *REGIMES), score)
            store.save(cell, version, {"net_return": by_scope, "sharpe": {"all": 1.0 + score}})
    broken = next(
        cell for cell in study.cells if cell.variant.name == "full" and cell.seed == settings.seed + 1
    )
    (folder / "cells" / f"{broken.key(version)}.json").unlink()
    warehouse = Warehouse(address=str(settings.reports / "t.duckdb"))
    for name in INPUTS:
        schema, table = name.split(".")
        stand_in = Table(schema, table, "Stand-in.", (Column("symbol", "VARCHAR", "Pair."),), ("symbol",))
        warehouse.replace(stand_in, stand_in.empty())
    _break_the_world_of(settings, settings.seed + 1)
    return warehouse, dg.materialize([ablation], resources={"warehouse": warehouse, "settings": settings})


def _break_the_world_of(settings: Settings, seed: int) -> None:
    worlds = settings.reports / "ablation" / "worlds"
    place_of(worlds, SIMULATOR, seed, study_of(settings).setup).mkdir(parents=True)


def test_the_tables_are_stored(settings: Settings, made: tuple[Warehouse, dg.ExecuteInProcessResult]) -> None:
    warehouse, result = made
    assert result.success
    keys = settings.work.ablation.improvements
    stored = {table: warehouse.frame(f"FROM {table.full_name}") for table in TABLES}
    assert set(stored[ABLATION]["improvement"]) == set(keys)
    assert set(stored[ABLATION]["verdict"]) == {"helps"}
    assert stored[CLAIMS].height == 2 * sum(len(IMPROVEMENTS[key].claims) for key in keys)
    assert stored[VARIANTS].height == 2 + 2 * len(keys)
    runs = stored[SCORES].select("variant", "seed").unique()
    assert runs.height == len(study_of(settings).cells) - 1
    ran = stored[SCORES].filter(variant="base", seed=settings.seed)
    assert {"volatility", "training_speed", "calibration_error"} <= set(ran["metric"])


def test_the_page_shows_the_picture_and_the_failure(
    made: tuple[Warehouse, dg.ExecuteInProcessResult],
) -> None:
    shown = {
        event.asset_key.path[-1]: event.step_materialization_data.materialization.metadata  # type: ignore[union-attr]
        for event in made[1].get_asset_materialization_events()
    }
    assert "data:image/png" in str(shown["ablation"]["effects, simulator"].value)
    assert shown["ablation_scores"]["failed"].value == 1
    assert "is not a whole world" in str(shown["ablation_scores"]["failures"].value)


def test_profiles_name_improvements_that_exist() -> None:
    for profile in PROFILES.values():
        assert set(profile.ablation.improvements) <= set(IMPROVEMENTS)
        assert profile.ablation.seeds >= 5
    standard = Settings(profile="standard")
    assert study_of(standard).improvements == tuple(IMPROVEMENTS)
    assert PROFILES["full"].ablation == AblationWork(worlds=("simulator", "recorded"))
