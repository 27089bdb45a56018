"""The things that the API works with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from console.api.dagster_runs import DagsterRuns
from console.api.events import Events
from console.api.reads.answers import Answers
from console.api.reads.health import Watch
from console.api.reads.versions import ContentVersions
from console.api.settings import ConsoleSettings
from engine_assets.tuning_inputs import open_store
from resources.parameter_store import ParameterStore
from resources.settings import Settings
from resources.warehouse import Warehouse

__all__ = ["Desk"]

LOCK_TIMEOUT_S = 3.0
"""A view that waits longer for a writer of the warehouse shows what it showed last."""


@dataclass
class Desk:
    """Settings, the parameter store, the warehouse and Dagster; nothing is opened before it is used.

    Parameters
    ----------
    settings : Settings
    access : ConsoleSettings
    store : ParameterStore
    warehouse : Warehouse
    runs : DagsterRuns
    answers : Answers
        What the views were answered last.
    launching : Lock
        Held from the look whether a scope is free until its run is launched.
    """

    settings: Settings
    access: ConsoleSettings
    store: ParameterStore
    warehouse: Warehouse
    runs: DagsterRuns
    answers: Answers = field(default_factory=Answers)
    launching: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.versions = ContentVersions(self.warehouse)
        self.watch = Watch(self)
        self.events = Events(self)

    @classmethod
    def open(cls, settings: Settings, access: ConsoleSettings) -> Desk:
        """Make what the settings name."""
        warehouse = Warehouse(address=settings.warehouse, lock_timeout_s=LOCK_TIMEOUT_S, threads=1)
        return cls(settings, access, open_store(settings), warehouse, DagsterRuns(access.dagster_url))

    def close(self) -> None:
        """End the event streams, and let go of connections and threads."""
        self.events.close()
        self.answers.close()
        self.runs.close()
        self.store.close()

    def version_of(
        self, tables: Sequence[str], more: Callable[[], Hashable] | None
    ) -> Callable[[], Hashable] | None:
        """Return what tells the version of tables and of something else; None where there is nothing."""
        if not tables:
            return more
        return lambda: (self.versions.of(tables), None if more is None else more())
