"""History as a chain: every row carries the hash of the one before it.

Whoever changes, removes or inserts a row would have to write every later row anew, and then the hash of the
last row is not the one that was noted elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from resources.parameter_store.canonical import canonical
from resources.parameter_store.errors import ChainBrokenError
from resources.parameter_store.models import events
from resources.parameter_store.moments import from_text, to_text

__all__ = ["GENESIS", "LONGEST_REASON", "ChainReport", "Event", "append", "event_of", "head", "verify"]

GENESIS = "0" * 64
"""What the first row follows."""

LONGEST_REASON = 4_000
"""Characters; of a text that the store composes, the rest is cut off."""

_AT_ONCE = 1_000


@dataclass(frozen=True)
class Event:
    """A row of the history.

    Parameters
    ----------
    seq : int
        Number of the row, from 1 on without a gap.
    at : datetime
    kind : str
        What happened, such as ``version.apply`` or ``session.started``.
    scope : str or None
    version : int or None
        Where the row is a version of the parameters.
    subject : str or None
        Session, journal key or experiment that it is about.
    actor, reason : str
        Who, and why.
    content : mapping
        All the rest.
    hash : str
        SHA-256 of the row and of the hash before it.
    """

    seq: int
    at: datetime
    kind: str
    scope: str | None
    version: int | None
    subject: str | None
    actor: str
    reason: str
    hash: str
    content: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True)
class ChainReport:
    """What a walk along the chain found.

    Parameters
    ----------
    intact : bool
    rows : int
        Rows that were found to be as they were written.
    head : str
        Hash of the last of them; note it elsewhere to find out later if rows were cut off.
    broken_row : int or None
        Number of the first row that is not as it was written, or is missing.
    reason : str
    """

    intact: bool
    rows: int
    head: str
    broken_row: int | None
    reason: str


def append(
    connection: Connection,
    kind: str,
    *,
    at: datetime,
    actor: str,
    reason: str,
    scope: str | None = None,
    version: int | None = None,
    subject: str | None = None,
    content: Mapping[str, Any] | None = None,
) -> Event:
    """Write the next row, in a transaction that has the database alone.

    Raises
    ------
    ValueError
        If nobody is named or no reason is given, or a text is too long.
    TypeError, ValueError
        If the content has no form in JSON; the place is named.
    """
    _check_text("actor", actor, 200)
    _check_text("reason", reason, LONGEST_REASON)
    last = connection.execute(_LAST).one_or_none()
    seq, previous = (last.seq + 1, last.hash) if last is not None else (1, GENESIS)
    row = {
        "seq": seq,
        "at": to_text(at),
        "kind": kind,
        "scope": scope,
        "version": version,
        "subject": subject,
        "actor": actor,
        "reason": reason,
        "content": canonical(content or {}),
        "previous": previous,
    }
    row["hash"] = _hash(row)
    connection.execute(insert(events).values(row))
    return _event(row)


def event_of(row: Row[Any]) -> Event:
    """Return a row that was read, having made sure that it is as it was written.

    Raises
    ------
    ChainBrokenError
        If it is not.
    """
    values = dict(row._mapping)
    if _hash(values) != values["hash"]:
        raise ChainBrokenError(
            f"row {values['seq']} of the history was changed after it was written ({values['kind']}, "
            f"{values['scope'] or 'no scope'}); nothing is taken from it. Verify the chain and restore a copy"
        )
    return _event(values)


def head(connection: Connection) -> tuple[int, str]:
    """Return the number and the hash of the last row."""
    last = connection.execute(_LAST).one_or_none()
    return (last.seq, last.hash) if last is not None else (0, GENESIS)


def verify(connection: Connection, known_head: str | None = None) -> ChainReport:
    """Walk along the chain from the first row.

    Parameters
    ----------
    connection : Connection
    known_head : str, optional
        Hash that the last row had at some earlier time. Without it nobody can tell that rows were cut off
        at the end, or that all rows from one on were written anew.
    """
    seq, previous, seen = 0, GENESIS, known_head in (None, GENESIS)
    rows = connection.execution_options(yield_per=_AT_ONCE).execute(select(events).order_by(events.c.seq))
    for row in rows:
        values = dict(row._mapping)
        if values["seq"] != seq + 1:
            return ChainReport(False, seq, previous, seq + 1, f"row {seq + 1} is missing")
        if _hash(values) != values["hash"]:
            return ChainReport(False, seq, previous, seq + 1, f"row {seq + 1} was changed")
        if values["previous"] != previous:
            # The row is as it was written, so it is the one before that is not.
            wrong = max(seq, 1)
            why = f"row {seq + 1} was written after another row than row {seq}, which is not the original"
            return ChainReport(False, wrong - 1, values["previous"], wrong, why)
        seq, previous = values["seq"], values["hash"]
        seen = seen or previous == known_head
    if not seen:
        why = f"no row has the hash {known_head}: rows were cut off after row {seq}, or written anew"
        return ChainReport(False, seq, previous, seq + 1, why)
    return ChainReport(True, seq, previous, None, f"{seq} rows, each as it was written")


_LAST = select(events.c.seq, events.c.hash).order_by(events.c.seq.desc()).limit(1)


def _hash(row: Mapping[str, Any]) -> str:
    content = {name: value for name, value in row.items() if name != "hash"}
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def _event(values: Mapping[str, Any]) -> Event:
    columns = {name: value for name, value in values.items() if name not in ("at", "content", "previous")}
    return Event(**columns, at=from_text(values["at"]), content=json.loads(values["content"]))


def _check_text(name: str, text: object, longest: int) -> None:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(
            f"{name} = {text!r} must be text: the history says of every change who made it and why"
        )
    if len(text) > longest or "\x00" in text:
        raise ValueError(
            f"{name} must have at most {longest} characters and no zero byte, and has {len(text)}"
        )
