"""Real processes at one parameter store, forked from one that has the imports behind it.

Run as a script it reads one JSON object a line, ``{"role": ..., "report": path, ...}``, forks a process that
plays the role and prints its number. A role appends one JSON line to its report for each thing it says.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

from alembic import command  # noqa: F401  imported before the fork, like all else

from engine.tuning.parameters import PARAMETERS, ParameterSet
from resources.parameter_store import ParameterStore, StaleBaseline

Say = Callable[..., None]


def made(number: int) -> ParameterSet:
    """A set that differs from its neighbours in every value, so that half of one would be seen."""
    share = (number % 97) / 96
    return ParameterSet(**{p.attribute: p.low + share * (p.high - p.low) for p in PARAMETERS.values()})


def work_on(say: Say, address: str, scope: str) -> None:
    """Commit, apply through the journal and roll back for ever; say every version."""
    store = ParameterStore(address)
    store.recover()
    while True:
        before = store.baseline(scope).version
        number = store.head()[0]
        about: dict[str, Any] = {"actor": "worker", "reason": f"after row {number}"}
        if number % 3 == 0:
            version = store.commit(
                scope, made(number), expected=before, evidence={"made": number}, **about
            ).version
        else:
            key = f"{os.getpid()}-{number}"
            store.journal.propose(
                key, scope, made(number), expected=before, evidence={"made": number}, **about
            )
            applied = store.journal.apply(key, actor="worker").version
            assert applied is not None
            version = applied
            if number % 3 == 2:
                version = store.rollback(scope, before, expected=version, **about).version
        say(version)


def contend(say: Say, address: str, name: str, rounds: int) -> None:
    """Try to be the first to commit on every version; say who won."""
    store = ParameterStore(address)
    for expected in range(rounds):
        while store.baseline("global").version < expected:
            time.sleep(0.001)
        try:
            store.commit("global", made(expected), expected=expected, actor=name, reason="first", evidence={})
            say("won", expected)
        except StaleBaseline as error:
            found = error.found
            say("told", expected, error.expected, found.version if found else 0, str(error))


def open_new(say: Say, address: str) -> None:
    """Use an address for the first time."""
    say(ParameterStore(address).in_force().version)


def fork_while_open(say: Say, address: str) -> None:
    """Go on in a child with a store that its parent has used."""
    store = ParameterStore(address)
    store.in_force()
    if os.fork() == 0:
        say(store.commit("global", made(1), expected=0, actor="child", reason="forked", evidence={}).version)
        os._exit(0)
    os.wait()
    say(store.in_force().version)


ROLES = {role.__name__: role for role in (work_on, contend, open_new, fork_while_open)}


def _serve() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel then buries the dead at once
    for line in sys.stdin:
        task = json.loads(line)
        role, report = ROLES[task.pop("role")], task.pop("report")
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _play(role, report, task)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def _play(role: Callable[..., None], report: str, task: dict[str, Any]) -> NoReturn:
    file = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(*words: object) -> None:
        os.write(file, json.dumps(words).encode() + b"\n")

    try:
        role(say, **task)
    except BaseException as error:
        say("error", type(error).__name__, str(error))
    finally:
        os._exit(0)


if __name__ == "__main__":
    _serve()
