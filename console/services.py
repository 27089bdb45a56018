"""Processes that are started together, answer before they count as started, and end together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from engine.errors import EngineError

__all__ = ["PortInUseError", "Service", "ServiceError", "Services", "check_free"]

_GRACE_S = 15.0
_POLL_S = 0.1
_TAIL_LINES = 20


class ServiceError(EngineError):
    """A process of several ended, or never answered."""


class PortInUseError(EngineError):
    """Somebody else listens on a port that is needed."""


@dataclass(frozen=True)
class Service:
    """One process.

    Parameters
    ----------
    name : str
        What it is called in messages; its log is ``NAME.log``.
    command : sequence of str
    answers : callable
        Tells whether it is ready. It is asked again and again and must not raise.
    environment : mapping
        Added to this process's own.
    """

    name: str
    command: Sequence[str]
    answers: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)


class Services:
    """Processes that live as long as this context, and no longer than this process.

    Each is the leader of a process group of its own, so that Ctrl-C on the terminal reaches it only through
    here, and all that it started ends with it (see `console.leash`). What they print goes to files.

    Parameters
    ----------
    services : sequence of Service
    logs : Path
        Folder of their logs; those of the last start are overwritten.
    grace : float
        Seconds between asking a process to end and killing it.
    """

    def __init__(self, services: Sequence[Service], logs: Path, *, grace: float = _GRACE_S) -> None:
        self.services, self.logs, self._grace = tuple(services), logs, grace
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Services:
        self.logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def log(self, service: Service) -> Path:
        """File that a service prints to."""
        return self.logs / f"{service.name}.log"

    def start(self, *, within: float) -> None:
        """Start all of them at once, and wait until each answers.

        Raises
        ------
        ServiceError
            If one ended meanwhile, or does not answer within so many seconds.
        """
        deadline = time.monotonic() + within
        for service in self.services:
            self._start(service)
        for service in self.services:
            while not service.answers():
                self.check()
                if time.monotonic() > deadline:
                    raise ServiceError(
                        f"{service.name} did not answer within {within:g} s{self._tail(service)}"
                    )
                time.sleep(_POLL_S)

    def check(self) -> None:
        """Do nothing while all run.

        Raises
        ------
        ServiceError
            If one has ended; with its exit status and the end of its log.
        """
        for service in self.services:
            status = self._started[service.name].poll()
            if status is not None:
                raise ServiceError(f"{service.name} {_ended(status)}{self._tail(service)}")

    def stop(self) -> None:
        """End all that still run, all at once, and wait for it."""
        for process in self._started.values():
            if process.stdin is not None:
                process.stdin.close()
        for process in self._started.values():
            process.wait()
        self._started.clear()

    def _start(self, service: Service) -> None:
        leash = [sys.executable, "-m", "console.leash", str(self._grace)]
        with self.log(service).open("wb") as log:
            self._started[service.name] = subprocess.Popen(  # noqa: S603  commands are this package's own
                [*leash, *service.command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **service.environment},
                start_new_session=True,
            )

    def _tail(self, service: Service) -> str:
        lines = self.log(service).read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        said = "".join(f"\n  {line}" for line in lines)
        return f"; the end of {self.log(service)}:{said}" if lines else " and printed nothing"


def check_free(host: str, port: int, advice: str) -> None:
    """Do nothing where a port can be listened on.

    Raises
    ------
    PortInUseError
        If not; with the advice.
    """
    family, _, _, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do it: what the last start left in TIME_WAIT is no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise PortInUseError(
                f"port {port} on {host} cannot be used: {error.strerror}. {advice}"
            ) from None


def _ended(status: int) -> str:
    """Say how a process ended."""
    number = -status if status < 0 else status - 128
    if number > 0:
        try:
            return f"was ended by {signal.Signals(number).name}"
        except ValueError:
            pass
    return f"ended with exit status {status}"
