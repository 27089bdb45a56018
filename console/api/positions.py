"""Where somebody stands in what happened: the cursor of the event stream."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from console.api.reads.sessions import episode_row
from console.api.schemas.events import ExperimentEvent, ParametersEvent, SessionEvent
from console.api.schemas.wire import Wire
from resources.parameter_store import ParameterStore
from resources.parameter_store.chain import Event

__all__ = ["MOST", "Happened", "Position", "TooFarError", "happened", "present"]

MOST = 1_000
"""Whoever missed more than so many rows reads everything anew."""

_FORM = re.compile(r"(\d{1,18})((?:,[0-9a-f]{32}\.\d{1,9})*)")
_STAGES = {
    "started": "started",
    "stop_requested": "stop requested",
    "taken_over": "taken over",
    "ended": "ended",
}


class TooFarError(Exception):
    """What happened in between is too much, or belongs to another store."""


@dataclass(frozen=True)
class Position:
    """A place in the history, and in the episodes of each session that ran then.

    Parameters
    ----------
    row : int
        Of the history.
    numbers : mapping
        By session: the last report on an episode.
    """

    row: int
    numbers: Mapping[str, int] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        return ",".join([str(self.row), *(f"{key}.{number}" for key, number in self.numbers.items())])

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """Read it; None where it is nothing that this wrote."""
        found = _FORM.fullmatch(text)
        if found is None:
            return None
        pairs = (pair.split(".") for pair in found[2].split(",")[1:])
        return cls(int(found[1]), {session: int(number) for session, number in pairs})


@dataclass(frozen=True)
class Happened:
    """An event, and the position after it."""

    kind: str
    data: Wire
    at: Position


def present(store: ParameterStore, since: Position) -> Position:
    """Return the newest position, as seen from an earlier one."""
    row, _ = store.head()
    numbers = dict(since.numbers)
    for event in store.since(since.row, limit=MOST + 1):
        if event.seq <= row:
            _track(numbers, event)
    for session in {*numbers, *(record.id for record in store.sessions.running())}:
        reported = store.sessions.progress(session, numbers.get(session, 0))
        numbers[session] = reported[-1].number if reported else numbers.get(session, 0)
    return Position(row, numbers)


def happened(store: ParameterStore, start: Position, end: Position) -> Iterator[Happened]:
    """Return what happened from one position to another, in order.

    Raises
    ------
    TooFarError
        If that is too much, or the first lies behind the second.
    """
    if not 0 <= end.row - start.row <= MOST:
        raise TooFarError(f"from row {start.row} to row {end.row}")
    at = start
    for event in store.since(start.row, limit=MOST):
        if event.seq > end.row:
            break
        if event.kind == "session.ended" and event.subject and event.subject in at.numbers:
            for told in _episodes(store, event.subject, at, end):
                yield told
                at = told.at
        numbers = dict(at.numbers)
        _track(numbers, event)
        at = Position(event.seq, numbers)
        data = _data(event)
        if data is not None:
            yield Happened(*data, at)
    for session in end.numbers:
        for told in _episodes(store, session, at, end):
            yield told
            at = told.at


def _track(numbers: dict[str, int], event: Event) -> None:
    """Follow a session while it runs."""
    if event.kind == "session.started" and event.subject:
        numbers.setdefault(event.subject, 0)
    elif event.kind == "session.ended" and event.subject:
        numbers.pop(event.subject, None)


def _episodes(store: ParameterStore, session: str, at: Position, end: Position) -> Iterator[Happened]:
    last = end.numbers.get(session)
    for said in store.sessions.progress(session, at.numbers.get(session, 0)):
        if last is not None and said.number > last:
            return
        at = replace(at, numbers={**at.numbers, session: said.number})
        yield Happened("episode", episode_row(session, said), at)


def _data(event: Event) -> tuple[str, Wire] | None:
    family, _, what = event.kind.partition(".")
    if family == "session" and what in _STAGES:
        verdict = event.content.get("status") if what == "ended" else None
        data = SessionEvent(
            session=event.subject or "",
            scenario=event.content.get("scenario"),
            scope=event.scope,
            stage=_STAGES[what],
            verdict=verdict,
            reason=event.reason,
            at=event.at,
        )
        return "session", data
    if family in ("version", "override"):
        return "parameters", ParametersEvent(
            scope=event.scope or "",
            kind=what if family == "version" else f"hold {what}",
            version=event.version,
            actor=event.actor,
            reason=event.reason,
            changes=event.content.get("changes", {}),
            at=event.at,
        )
    if family == "experiment":
        return "experiment", ExperimentEvent(
            experiment=event.subject or "", scope=event.scope, state=what, at=event.at
        )
    return None
