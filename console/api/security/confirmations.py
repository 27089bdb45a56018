"""A change that counts is shown first and confirmed: once, within a minute, exactly as it was shown."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from console.api.problems import Problem
from console.api.security.callers import Caller
from resources.parameter_store.canonical import canonical
from resources.parameter_store.moments import Clock, utc_now

__all__ = ["LIFETIME", "Change", "Confirmation", "Confirmations"]

LIFETIME = timedelta(seconds=60)
_MOST = 1_000


@dataclass(frozen=True)
class Change:
    """What is to be confirmed.

    Parameters
    ----------
    action : str
        Name of the route, such as ``rollback``.
    request : mapping
        The body that is posted, with its defaults.
    before : mapping
        Versions and holds that the change would replace; while they stand, a confirmation holds.
    """

    action: str
    request: Mapping[str, Any]
    before: Mapping[str, Any]


@dataclass(frozen=True)
class Confirmation:
    """A token that is good for one change, and until when."""

    token: str
    expires_at: datetime


@dataclass(frozen=True)
class _Issued:
    caller: Caller
    asked: str
    before: str
    expires_at: datetime


class Confirmations:
    """Issues confirmations and takes them in. They are kept in memory: a restart forgets them.

    Parameters
    ----------
    clock : callable, optional
        Returns the present moment, with a zone.
    """

    def __init__(self, clock: Clock = utc_now) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._issued: dict[str, _Issued] = {}

    def issue(self, change: Change, caller: Caller) -> Confirmation:
        """Return a confirmation that this caller can use once, for this change, within a minute."""
        token, now = secrets.token_urlsafe(32), self._clock()
        issued = _Issued(caller, _asked(change), _digest(change.before), now + LIFETIME)
        with self._lock:
            alive = {key: one for key, one in self._issued.items() if one.expires_at > now}
            for key in list(alive)[: max(0, len(alive) - _MOST + 1)]:
                del alive[key]
            self._issued = {**alive, _key(token): issued}
        return Confirmation(token, issued.expires_at)

    def consume(self, token: str | None, change: Change, caller: Caller) -> None:
        """Use a confirmation up.

        Raises
        ------
        Problem
            428 without a token; 403 for one that is unknown, used, expired, somebody else's or for another
            change; 409 if what it would replace is no longer what it was.
        """
        if token is None:
            raise Problem(
                428,
                "confirmation-required",
                f"{change.action} needs a confirmation: post the action and its body to confirmations, and "
                "send the confirmation that comes back in the header Confirmation",
                title="Confirmation required",
                action=change.action,
            )
        with self._lock:
            # Whatever is wrong with the rest of the request, nobody gets a second try with it.
            issued = self._issued.pop(_key(token), None)
        if (
            issued is None
            or issued.expires_at <= self._clock()
            or issued.caller != caller
            or issued.asked != _asked(change)
        ):
            raise Problem(
                403,
                "confirmation-invalid",
                "the confirmation is unknown, used, older than 60 seconds, or was given for another change "
                "or another caller; ask for a new one",
                title="Confirmation not valid",
                action=change.action,
            )
        if issued.before != _digest(change.before):
            raise Problem(
                409,
                "state-moved",
                f"what {change.action} would replace has changed since it was shown; nothing was changed. "
                "Look at it again, and ask for a new confirmation",
                title="The state has moved",
                action=change.action,
            )


def _key(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def _asked(change: Change) -> str:
    return _digest({"action": change.action, "request": change.request})
