"""All cells of an ablation: which they are, what their scores depend on, and how they are run and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from engine.ablation.setup import CODE_VERSION, AblationSetup
from engine.ablation.system import run
from engine.ablation.world_files import SIMULATOR, content_of
from engine.evaluation.ablation import design
from engine.evaluation.ablation_cells import Cell, CellFolder, Outcomes, run_cells
from engine.evaluation.improvements import IMPROVEMENTS, Improvement

__all__ = ["AblationStudy"]


@dataclass(frozen=True)
class AblationStudy:
    """What is compared, in which worlds, how often.

    Parameters
    ----------
    seeds : tuple of int
        At least five for any claim, better ten.
    improvements : tuple of str
        Keys, at least two.
    worlds : tuple of str
        ``simulator``, ``recorded`` or both.
    setup : AblationSetup
    """

    seeds: tuple[int, ...]
    improvements: tuple[str, ...] = tuple(IMPROVEMENTS)
    worlds: tuple[str, ...] = (SIMULATOR,)
    setup: AblationSetup = field(default_factory=AblationSetup)

    @property
    def table(self) -> Mapping[str, Improvement]:
        """Improvements compared, with what was claimed for them."""
        return {key: IMPROVEMENTS[key] for key in self.improvements}

    @property
    def cells(self) -> list[Cell]:
        """Every run; all seeds of a variant, then the next, so that worlds are prepared side by side."""
        return [
            Cell(variant, world, seed)
            for world in self.worlds
            for variant in design(self.improvements)
            for seed in self.seeds
        ]

    def version(self, folder: Path) -> str:
        """All that scores depend on besides a cell: code, setup, and recorded data where it takes part."""
        return "-".join([CODE_VERSION, self.setup.fingerprint, *(content_of(folder, w) for w in self.worlds)])

    def run(
        self, folder: Path, *, workers: int = 1, progress: Callable[[int, int, Cell], None] | None = None
    ) -> Outcomes:
        """Run what is not finished yet.

        Parameters
        ----------
        folder : Path
            Keeps finished cells in ``cells`` and prepared worlds in ``worlds``; a recorded market is handed
            in as ``worlds/recorded.parquet``.
        workers : int
            Processes at a time.
        progress : callable, optional
            As `engine.evaluation.ablation_cells.run_cells` has it.
        """
        worlds = folder / "worlds"
        worlds.mkdir(parents=True, exist_ok=True)
        return run_cells(
            self.cells,
            partial(run, setup=self.setup, folder=str(worlds)),
            CellFolder(folder / "cells"),
            version=self.version(worlds),
            workers=workers,
            progress=progress,
        )
