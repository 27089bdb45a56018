"""The runs of an ablation: one cell for each variant, world and seed, run in parallel and kept one by one.

A cell that was finished is never run again for the same code, so an ablation that is interrupted goes on
where it stopped. A cell that fails leaves its error beside the results of the others, and is tried again next
time.
"""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import tempfile
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl

from engine.errors import DataError
from engine.evaluation.ablation import SCORES, Variant

__all__ = ["Cell", "CellFolder", "CellStore", "Failure", "Outcomes", "Scores", "run_cells", "scores_frame"]

Scores = Mapping[str, Mapping[str, float]]
"""Score by metric and scope; scopes are regimes and `engine.evaluation.improvements.ALL`."""

_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS"),
    "1",
)


@dataclass(frozen=True)
class Cell:
    """One run of an ablation.

    Parameters
    ----------
    variant : Variant
    world : str
        The market it lives in.
    seed : int
        The same seed draws the same paths in every variant.
    """

    variant: Variant
    world: str
    seed: int

    @property
    def name(self) -> str:
        """Variant, world and seed in words."""
        return f"{self.variant.name}, {self.world}, seed {self.seed}"

    def key(self, version: str) -> str:
        """Hash of all that the scores depend on: what is switched on, the world, the seed and the code."""
        parts = [sorted(self.variant.enabled), self.world, self.seed, version]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Failure:
    """A cell that gave no scores, why in one line, and where."""

    cell: Cell
    reason: str
    trace: str


@dataclass(frozen=True)
class Outcomes:
    """What came of the cells: scores of those that ran now or before, and those that failed."""

    scores: Mapping[Cell, Scores]
    failures: tuple[Failure, ...]


class CellStore(Protocol):
    """Where finished cells are kept between runs."""

    def load(self, cell: Cell, version: str) -> Scores | None:
        """Scores of a cell under this version of the code, None if it was not finished."""

    def save(self, cell: Cell, version: str, scores: Scores) -> None:
        """Keep the scores; a process that is killed meanwhile leaves all of them or none."""


@dataclass(frozen=True)
class CellFolder:
    """Finished cells as JSON files of a folder, one each, named by the cell's key."""

    folder: Path

    def load(self, cell: Cell, version: str) -> Scores | None:
        """Read a cell's scores.

        Raises
        ------
        DataError
            If the file is not what `save` wrote.
        """
        path = self._path(cell, version)
        try:
            scores: Scores = json.loads(path.read_text())["scores"]
            return _checked(scores)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise DataError(
                f"is not a finished cell ({problem}); delete it to run it again", source=str(path)
            ) from problem

    def save(self, cell: Cell, version: str, scores: Scores) -> None:
        """Write a cell's scores, in one step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(
            {
                "variant": cell.variant.name,
                "enabled": cell.variant.enabled,
                "world": cell.world,
                "seed": cell.seed,
                "version": version,
                "scores": scores,
            },
            indent=1,
            allow_nan=False,
        )
        with tempfile.NamedTemporaryFile("w", dir=self.folder, suffix=".part", delete=False) as part:
            part.write(text)
            part.flush()
            os.fsync(part.fileno())
        Path(part.name).replace(self._path(cell, version))

    def _path(self, cell: Cell, version: str) -> Path:
        return self.folder / f"{cell.key(version)}.json"


def run_cells(
    cells: Sequence[Cell],
    run: Callable[[Cell], Scores],
    store: CellStore,
    *,
    version: str,
    workers: int = 1,
    progress: Callable[[int, int, Cell], None] | None = None,
) -> Outcomes:
    """Run all cells that are not in the store yet, each in a fresh interpreter's single thread.

    Parameters
    ----------
    cells : sequence of Cell
    run : callable
        From a cell to its scores, all finite; a function of a module or a partial of one, because it is sent
        to other processes. That all variants get the same budget, paths and capacity is its job.
    store : CellStore
    version : str
        Of the code and settings behind `run`; scores of other versions are not used.
    workers : int
        Processes at a time. A script that calls this needs the ``if __name__ == "__main__"`` guard.
    progress : callable, optional
        Told after each cell how many are done, of how many, and which it was.

    Returns
    -------
    Outcomes
        A cell fails if `run` raises or gives scores that are not finite, or if its process dies: then all
        cells that ran beside it are run again one by one to see which it was.

    Raises
    ------
    ValueError
        If a cell is listed twice or `workers` is below 1.
    """
    if workers < 1:
        raise ValueError(f"workers={workers} must be at least 1")
    if len(set(cells)) < len(cells):
        raise ValueError("a cell is listed twice; each variant, world and seed is run once")
    scores = {cell: found for cell in cells if (found := store.load(cell, version)) is not None}
    failures: list[Failure] = []
    for cell, future in _finished([cell for cell in cells if cell not in scores], run, workers):
        try:
            result = _checked(future.result())
        except Exception as problem:
            trace = "".join(traceback.format_exception(problem))
            failures.append(Failure(cell, f"{cell.name}: {type(problem).__name__}: {problem}", trace))
        else:
            store.save(cell, version, result)
            scores[cell] = result
        if progress:
            progress(len(scores) + len(failures), len(cells), cell)
    return Outcomes({cell: scores[cell] for cell in cells if cell in scores}, tuple(failures))


def scores_frame(scores: Mapping[Cell, Scores]) -> pl.DataFrame:
    """Scores of cells as rows, columns `engine.evaluation.ablation.SCORES`."""
    rows = [
        (cell.variant.name, cell.world, cell.seed, metric, scope, score)
        for cell, by_metric in scores.items()
        for metric, by_scope in by_metric.items()
        for scope, score in by_scope.items()
    ]
    return pl.DataFrame(rows, schema=SCORES, orient="row")


def _checked(scores: Scores) -> Scores:
    plain = {
        str(metric): {str(scope): float(score) for scope, score in by_scope.items()}
        for metric, by_scope in scores.items()
    }
    for metric, by_scope in plain.items():
        for scope, score in by_scope.items():
            if not math.isfinite(score):
                raise DataError(f"{metric} in {scope} is {score}; leave out what is not defined")
    return plain


def _finished(
    cells: Sequence[Cell], run: Callable[[Cell], Scores], workers: int
) -> Iterator[tuple[Cell, Future[Scores]]]:
    """Cells as they finish. When a process dies, its pool is lost with all cells that were running in it."""
    waiting, suspects = deque(cells), deque[Cell]()
    spawn = multiprocessing.get_context("spawn")
    while waiting or suspects:
        alone = bool(suspects)
        queue, size = (deque([suspects.popleft()]), 1) if alone else (waiting, workers)
        with ProcessPoolExecutor(size, spawn) as pool:
            running: dict[Future[Scores], Cell] = {}
            while queue or running:
                with _single_threads(), suppress(BrokenProcessPool):
                    while queue and len(running) < size:
                        future = pool.submit(run, queue[0])
                        running[future] = queue.popleft()
                future = wait(running, return_when=FIRST_COMPLETED).done.pop()
                cell = running.pop(future)
                if isinstance(future.exception(), BrokenProcessPool) and not alone:
                    suspects.extend((cell, *running.values()))
                    break
                yield cell, future


@contextmanager
def _single_threads() -> Iterator[None]:
    """Have processes started meanwhile use one thread each; libraries read this when they are loaded."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
