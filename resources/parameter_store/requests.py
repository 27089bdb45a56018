"""Requests of programs that may send one twice: it is executed once, and answered twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select, update

from resources.parameter_store.ledger import Ledger
from resources.parameter_store.models import requests
from resources.parameter_store.moments import from_text, to_text

__all__ = ["KEPT", "KnownRequest", "Requests"]

KEPT = timedelta(hours=24)
"""How long a request is remembered."""


@dataclass(frozen=True)
class KnownRequest:
    """A request that was sent before.

    Parameters
    ----------
    fingerprint : str
        Hash of all that was asked for.
    at : datetime
    status : int or None
        Of the answer; ``None`` while there is none: it is being executed, or its process has died.
    headers : mapping
    body : bytes
    """

    fingerprint: str
    at: datetime
    status: int | None
    body: bytes
    headers: Mapping[str, str] = field(hash=False)


@dataclass(frozen=True)
class Requests:
    """All requests of the last day that came with a key."""

    ledger: Ledger

    def begin(self, caller: str, key: str, fingerprint: str) -> KnownRequest | None:
        """Note that a request is about to be executed, or return what is known of it.

        Parameters
        ----------
        caller : str
            Keys of different callers have nothing to do with one another.
        key : str
            Chosen by the caller.
        fingerprint : str

        Returns
        -------
        KnownRequest or None
            ``None`` if the key is new: it is the caller's to execute, and then to `finish` or to `release`.
        """
        with self.ledger.write() as transaction:
            connection, now = transaction.connection, transaction.now
            connection.execute(delete(requests).where(requests.c.at <= to_text(now - KEPT)))
            mine = (requests.c.caller == caller) & (requests.c.key == key)
            row = connection.execute(select(requests).where(mine)).one_or_none()
            if row is None:
                values = {"caller": caller, "key": key, "fingerprint": fingerprint, "at": to_text(now)}
                connection.execute(insert(requests).values(values))
                return None
            return KnownRequest(
                row.fingerprint,
                from_text(row.at),
                row.status,
                row.body or b"",
                json.loads(row.headers or "{}"),
            )

    def finish(self, caller: str, key: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Keep the answer."""
        with self.ledger.write() as transaction:
            mine = (requests.c.caller == caller) & (requests.c.key == key)
            values = {"status": status, "headers": json.dumps(dict(headers)), "body": body}
            transaction.connection.execute(update(requests).where(mine).values(values))

    def release(self, caller: str, key: str) -> None:
        """Forget a request that was refused: nothing was done, and it may be sent again."""
        with self.ledger.write() as transaction:
            mine = (requests.c.caller == caller) & (requests.c.key == key)
            transaction.connection.execute(delete(requests).where(mine, requests.c.status.is_(None)))
