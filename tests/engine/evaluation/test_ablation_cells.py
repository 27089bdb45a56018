from __future__ import annotations

import json
import os
from functools import partial

import pytest

from engine.errors import DataError
from engine.evaluation.ablation import Variant, ablation_table, design
from engine.evaluation.ablation_cells import Cell, CellFolder, Outcomes, run_cells, scores_frame
from engine.evaluation.improvements import IMPROVEMENTS

RUNS = '''
import os
from pathlib import Path


def run(cell, folder):
    """Scores by what is switched on; notes that it ran, and where."""
    names = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS")
    threads = ",".join(os.environ[name] for name in names)
    (Path(folder) / f"{cell.variant.name}.{cell.seed}.{os.getpid()}").write_text(threads)
    if cell.seed == 66:
        raise RuntimeError("the market is closed")
    if cell.seed == 77:
        os._exit(1)
    score = len(cell.variant.enabled) + 0.1 * cell.seed + 0.01 * (hash_of(cell) % 7)
    return {"net_return": {"all": float("nan") if cell.seed == 88 else score, "PANIC": score - 1.0}}


def hash_of(cell):
    return sum(map(ord, cell.variant.name)) * (cell.seed + 3)
'''


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A function that other processes can import, with the folder in which it leaves its marks."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "ablation_runs_of_tests.py").write_text(RUNS)
    marks = folder / "marks"
    marks.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        import ablation_runs_of_tests  # type: ignore[import-not-found]

        yield partial(ablation_runs_of_tests.run, folder=str(marks)), marks


@pytest.fixture
def started(run):
    """Names of the cells that ran since, and of their processes."""
    for mark in run[1].iterdir():
        mark.unlink()
    return lambda: sorted(mark.name.rsplit(".", 1) for mark in run[1].iterdir())


def cells(seeds, keys=("bandit", "options")):
    return [Cell(variant, "simulator", seed) for variant in design(keys)[:3] for seed in seeds]


def test_finished_cells_are_kept_and_only_the_missing_ones_run(run, started, tmp_path):
    seen = []
    store = CellFolder(tmp_path / "cells")
    first = run_cells(cells([0, 1])[:4], run[0], store, version="v1", workers=2)
    assert len(started()) == 4
    assert str(os.getpid()) not in {process for _, process in started()}
    assert all(mark.read_text() == "1,1,1" for mark in run[1].iterdir())
    again = run_cells(
        cells([0, 1]),
        run[0],
        store,
        version="v1",
        progress=lambda done, of, cell: seen.append((done, of, cell.name)),
    )
    assert len(started()) == 6
    assert [step[:2] for step in seen] == [(5, 6), (6, 6)]
    assert seen[0][2] == "full - bandit, simulator, seed 0"
    assert [*again.scores] == cells([0, 1])
    assert not again.failures
    assert {cell: again.scores[cell] for cell in first.scores} == first.scores


def test_one_cells_failure_or_death_leaves_the_others(run, started, tmp_path):
    store = CellFolder(tmp_path)
    listed = cells([66, 88, 77, 0])[:4]
    outcomes = run_cells(listed, run[0], store, version="v1", workers=2)
    assert [cell.seed for cell in outcomes.scores] == [0]
    reasons = {failure.cell.seed: failure for failure in outcomes.failures}
    assert set(reasons) == {66, 77, 88}
    assert reasons[66].reason == "full, simulator, seed 66: RuntimeError: the market is closed"
    assert "ablation_runs_of_tests.py" in reasons[66].trace
    assert reasons[77].reason.startswith("full, simulator, seed 77: BrokenProcessPool")
    assert "net_return in all is nan" in reasons[88].reason
    assert len([*tmp_path.iterdir()]) == 1


def saved(tmp_path, **changes):
    cell = Cell(Variant("full", ("bandit", "options")), "simulator", 3)
    store = CellFolder(tmp_path)
    store.save(cell, "v1", {"net_return": {"all": 0.1 + 0.2}})
    return store, cell


def test_scores_come_back_bit_for_bit_and_say_what_they_are(tmp_path):
    store, cell = saved(tmp_path)
    assert store.load(cell, "v1") == {"net_return": {"all": 0.1 + 0.2}}
    (file,) = tmp_path.iterdir()
    assert file.name == f"{cell.key('v1')}.json"
    written = json.loads(file.read_text())
    assert (written["variant"], written["world"], written["seed"]) == ("full", "simulator", 3)


@pytest.mark.parametrize(
    ("other", "version"),
    [
        (Cell(Variant("full", ("bandit",)), "simulator", 3), "v1"),
        (Cell(Variant("full", ("bandit", "options")), "recorded", 3), "v1"),
        (Cell(Variant("full", ("bandit", "options")), "simulator", 4), "v1"),
        (Cell(Variant("full", ("bandit", "options")), "simulator", 3), "v2"),
    ],
)
def test_results_of_anything_else_are_not_used(tmp_path, other, version):
    store, _ = saved(tmp_path)
    assert store.load(other, version) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"scores": {"net_return": {"all": NaN}}}', '{"scores": [1]}']
)
def test_files_that_are_no_finished_cell_are_refused_by_name(tmp_path, text):
    store, cell = saved(tmp_path)
    file = tmp_path / f"{cell.key('v1')}.json"
    file.write_text(text)
    with pytest.raises(DataError, match=rf"{file.name}.*delete it"):
        store.load(cell, "v1")


def test_a_write_that_is_interrupted_leaves_the_old_file(tmp_path, monkeypatch):
    store, cell = saved(tmp_path)

    def killed(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        store.save(cell, "v1", {"net_return": {"all": 9.0}})
    assert store.load(cell, "v1") == {"net_return": {"all": 0.1 + 0.2}}


def test_impossible_requests_are_refused(tmp_path):
    with pytest.raises(ValueError, match="twice"):
        run_cells(cells([0, 0]), dict, CellFolder(tmp_path), version="v1")
    with pytest.raises(ValueError, match="workers=0"):
        run_cells(cells([0]), dict, CellFolder(tmp_path), version="v1", workers=0)


def test_scores_of_cells_go_straight_into_the_table():
    every = [
        Cell(variant, "simulator", seed) for variant in design(("bandit", "options")) for seed in range(6)
    ]
    outcomes = Outcomes(
        {
            cell: {
                "net_return": {"all": ("options" in cell.variant.enabled) + cell.seed + 0.01 * (n * n % 11)}
            }
            for n, cell in enumerate(every)
        },
        (),
    )
    frame = scores_frame(outcomes.scores)
    assert frame.height == 36
    table = ablation_table(frame, {key: IMPROVEMENTS[key] for key in ("bandit", "options")})
    assert dict(table.select("improvement", "verdict").iter_rows()) == {
        "bandit": "no effect shown",
        "options": "helps",
    }
