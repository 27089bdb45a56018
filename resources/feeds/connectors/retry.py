"""How long to persist with a source that does not answer: retries, waits, deadline, spacing."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

from engine.errors import EngineError

if TYPE_CHECKING:
    from tenacity import RetryCallState

__all__ = ["TRANSIENT", "FetchError", "MinimumInterval", "Patience", "Refusal", "persist", "retry_after"]

TRANSIENT = frozenset({408, 418, 425, 429, *range(500, 600)})
"""Statuses after which the same request may succeed. 418 is what Binance sends to those who ignored 429."""

T = TypeVar("T")
log = logging.getLogger(__name__)


class FetchError(EngineError):
    """A source did not give what it was asked for.

    Parameters
    ----------
    reason : str
        What went wrong, without secrets.
    url : str
        Address that was asked, without secrets.
    status : int or None
        HTTP status of the last answer; None if none arrived.
    attempts : int
        How often it was tried.
    transient : bool
        Whether trying again later can help.
    """

    def __init__(self, reason: str, *, url: str, status: int | None, attempts: int, transient: bool) -> None:
        self.reason, self.url, self.status = reason, url, status
        self.attempts, self.transient = attempts, transient
        answered = f"status {status}" if status is not None else "no answer"
        tries = f"{attempts} attempt{'s' if attempts != 1 else ''}"
        super().__init__(f"{url}: {answered} after {tries}: {reason}")


class Refusal(Exception):  # noqa: N818 - one failed attempt, which may yet be followed by a good one
    """One attempt that failed: whether another can help, and how long the source asks to wait for it."""

    def __init__(
        self, reason: str, *, url: str, transient: bool, status: int | None = None, wait: float = 0.0
    ) -> None:
        self.reason, self.url, self.transient = reason, url, transient
        self.status, self.wait = status, wait
        super().__init__(reason)


@dataclass(frozen=True)
class Patience:
    """How persistently a request is repeated.

    Parameters
    ----------
    attempts : int
        Most tries of one request.
    first_wait, longest_wait : float
        Seconds before the second try, doubling with each further one, and their bound. Up to ``first_wait``
        seconds of chance are added, so that many clients do not come back at once.
    deadline : float
        Seconds after which one request is given up, its waits included. Where the source asks for a
        longer wait than is left, the request fails at once.
    sleep : callable
        Waits for a number of seconds.
    """

    attempts: int = 6
    first_wait: float = 1.0
    longest_wait: float = 60.0
    deadline: float = 300.0
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        for name in ("attempts", "first_wait", "longest_wait", "deadline"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")


def persist(attempt: Callable[[], T], patience: Patience) -> T:
    """Call ``attempt`` until it succeeds, a `Refusal` says that trying again is no use, or patience ends.

    Raises
    ------
    FetchError
        With the address, the last status and the number of attempts.
    """
    from tenacity import Retrying, retry_if_exception, wait_exponential, wait_random

    first = patience.first_wait
    backoff = wait_exponential(multiplier=first, max=patience.longest_wait) + wait_random(0, first)

    def wait(state: RetryCallState) -> float:
        return max(backoff(state), _refusal(state).wait)

    def stop(state: RetryCallState) -> bool:
        spent = max(state.seconds_since_start or 0.0, state.idle_for)
        return state.attempt_number >= patience.attempts or spent + state.upcoming_sleep > patience.deadline

    def report(state: RetryCallState) -> None:
        refusal = _refusal(state)
        log.warning(
            "%s: %s; attempt %d of %d, next in %.1f s",
            refusal.url,
            refusal.reason,
            state.attempt_number,
            patience.attempts,
            state.upcoming_sleep,
        )

    retrying = Retrying(
        sleep=patience.sleep,
        retry=retry_if_exception(lambda error: isinstance(error, Refusal) and error.transient),
        wait=wait,
        stop=stop,
        before_sleep=report,
        reraise=True,
    )
    try:
        return retrying(attempt)
    except Refusal as refusal:
        asked = f"; it asks to wait {refusal.wait:.0f} s" if refusal.wait else ""
        raise FetchError(
            refusal.reason + asked,
            url=refusal.url,
            status=refusal.status,
            attempts=int(retrying.statistics["attempt_number"]),
            transient=refusal.transient,
        ) from refusal


def _refusal(state: RetryCallState) -> Refusal:
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, Refusal):
        raise TypeError(f"only a Refusal is waited for, not {error!r}")
    return error


def retry_after(header: str | None, now: float) -> float:
    """Seconds that a ``Retry-After`` header asks to wait: a number, or an HTTP date; 0 if unreadable.

    Parameters
    ----------
    header : str or None
        Value of the header.
    now : float
        Seconds since the epoch.
    """
    if header is None:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - now
        except ValueError:
            return 0.0
    return max(0.0, seconds)


@dataclass
class MinimumInterval:
    """Keeps requests to one source at least ``seconds`` apart, from whichever thread they come."""

    seconds: float
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _free_at: float = field(default=float("-inf"), init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def wait(self) -> None:
        """Return when the next request may be sent."""
        with self._lock:
            now = self.clock()
            turn = max(now, self._free_at)
            self._free_at = turn + self.seconds
        if turn > now:
            self.sleep(turn - now)
