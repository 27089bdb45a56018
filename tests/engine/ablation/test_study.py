"""Worlds and cells on disk: made once, whole or not at all, and a cell that fails is shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from polars.testing import assert_frame_equal

from engine.ablation import agents, world_files
from engine.ablation.agents import load_decisions, save_decisions
from engine.ablation.study import AblationStudy
from engine.ablation.system import run, scores_of, trade
from engine.ablation.training import train_agent
from engine.ablation.world_files import RECORDED, load_world, save_world, world_of
from engine.errors import DataError, NotEnoughDataError
from engine.evaluation.ablation import Variant
from engine.evaluation.ablation_cells import Cell
from engine.evaluation.improvements import Improvements

SEED = 7


def test_a_world_is_made_once(world, market, setup, tmp_path, monkeypatch):
    made = []

    def prepare(handed, *_):
        made.append(handed)
        return world

    monkeypatch.setattr(world_files, "prepare_world", prepare)
    monkeypatch.setattr(world_files, "simulated_market_rows", lambda *_: market)
    first, second = (world_of(tmp_path, "simulator", SEED, setup) for _ in range(2))
    assert made == [market]
    for read in (first, second):
        assert_frame_equal(read.rows, world.rows)
        assert_frame_equal(read.synthetic, world.synthetic)
        assert replace(read, rows=world.rows, synthetic=world.synthetic) == world
    other = replace(setup, encoder_steps=3)
    world_of(tmp_path, "simulator", SEED, other)
    assert len(made) == 2


def test_a_recorded_world_is_made_anew_for_other_data(world, market, setup, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(world_files, "prepare_world", lambda *_: made.append(0) or world)
    for rows in (market.rows, market.rows, market.rows.head(10)):
        rows.write_parquet(tmp_path / f"{RECORDED}.parquet")
        world_of(tmp_path, RECORDED, SEED, setup)
    assert len(made) == 2
    study = AblationStudy((1,), worlds=(RECORDED,), setup=setup)
    version = study.version(tmp_path)
    market.rows.write_parquet(tmp_path / f"{RECORDED}.parquet")
    assert study.version(tmp_path) != version


def test_who_comes_second_leaves_a_world_as_it_is(world, tmp_path):
    place = tmp_path / "world"
    save_world(world, place)
    save_world(replace(world, note="later"), place)
    assert load_world(place).note == world.note
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


def test_a_broken_world_says_so(world, tmp_path):
    save_world(world, tmp_path / "world")
    (tmp_path / "world" / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="delete it to prepare it again"):
        load_world(tmp_path / "world")


def test_a_market_that_is_too_short_says_what_is_needed(market, setup):
    first = market.rows["ts"].min()
    with pytest.raises(NotEnoughDataError, match=f"need {setup.days}"):
        setup.split(first, first + setup.purge)


@pytest.fixture
def cell_scores(world, setup, tmp_path, monkeypatch):
    """Run a cell with some improvements in the prepared world."""
    monkeypatch.setattr(world_files, "prepare_world", lambda *_: world)
    monkeypatch.setattr(world_files, "simulated_market_rows", lambda *_: None)

    def scores(*enabled):
        return run(Cell(Variant(" ".join(enabled), enabled), "simulator", SEED), setup, str(tmp_path))

    return scores


def test_a_cell_runs_in_a_prepared_world(cell_scores):
    expected = {"net_return", "volatility", "calibration_error", "learning_speed", "training_speed"}
    assert expected <= set(cell_scores())


def test_an_agent_is_trained_once_for_all_systems_that_differ_in_what_follows(
    cell_scores, world, setup, base, tmp_path, monkeypatch
):
    trainings = []

    def train(*arguments):
        trainings.append(arguments[1].enabled)
        return train_agent(*arguments)

    monkeypatch.setattr(agents, "train_agent", train)
    of_the_system = ("bandit", "conformal", "changepoint_guard", "risk_budget", "sentiment_gate")
    plain, *others = (cell_scores(*on) for on in ((), *((key,) for key in of_the_system), ("curriculum",)))
    assert trainings == [(), ("curriculum",)]
    for key, scores in zip(of_the_system, others, strict=False):
        on = Improvements.only(key)
        alone = scores_of(world, base, trade(world, base, on, setup, SEED), on, setup)
        # A training's speed is that of the machine at its time; all else is as if trained for this cell.
        assert {**scores, "training_speed": None} == {**alone, "training_speed": None}
        assert scores["training_speed"] == plain["training_speed"]


def test_broken_decisions_say_so(base, tmp_path):
    save_decisions(base, tmp_path / "agent")
    kept = load_decisions(tmp_path / "agent")
    np.testing.assert_array_equal(kept.position, base.position)
    assert_frame_equal(kept.report, base.report)
    (tmp_path / "agent" / "report.parquet").unlink()
    with pytest.raises(DataError, match="delete it to train the agent again"):
        load_decisions(tmp_path / "agent")


def test_failed_cells_are_shown(setup, tmp_path):
    study = AblationStudy((1,), ("bandit", "options"), ("nowhere",), setup)
    told = []
    found = study.run(tmp_path, progress=lambda done, of, cell: told.append((done, of)))
    assert not found.scores
    assert len(found.failures) == len(study.cells) == 6
    assert "world='nowhere'" in found.failures[0].reason
    assert told[-1] == (6, 6)
