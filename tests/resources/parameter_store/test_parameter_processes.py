"""Several processes at one store, and processes that die at the worst moment."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from resources.parameter_store import ParameterStore

ROUNDS = 30


def test_of_two_appliers_one_wins_and_the_other_is_told(
    either_address: str, parameter_nursery: Any, parameter_processes: ModuleType
) -> None:
    store = ParameterStore(either_address)
    store.in_force()
    workers = [
        parameter_nursery.start(parameter_processes.contend, address=either_address, name=name, rounds=ROUNDS)
        for name in ("left", "right")
    ]
    said = [worker.join() for worker in workers]
    winners: dict[int, list[int]] = {number: [] for number in range(ROUNDS)}
    for who, words in enumerate(said):
        for word, expected, *rest in words:
            if word == "won":
                winners[expected].append(who)
                continue
            assert word == "told", (word, expected, rest)
            asked, found, message = rest
            assert asked == expected < found
            assert f"version {found} is in force since" in message
    assert all(len(names) == 1 for names in winners.values())
    for version in store.versions(limit=ROUNDS):
        who = winners[version.replaces][0]
        assert version.actor == ("left", "right")[who]
        assert version.parameters == parameter_processes.made(version.replaces)
    report = store.verify()
    # Every version, and every refusal.
    assert (report.intact, report.rows) == (True, 2 * ROUNDS)
    store.close()


@pytest.mark.parametrize(("kind", "deaths"), [("sqlite", 36), ("postgres", 12)])
def test_a_worker_killed_at_any_moment_leaves_a_valid_version(
    new_store_address: Callable[[str], str],
    kind: str,
    deaths: int,
    parameter_nursery: Any,
    parameter_processes: ModuleType,
) -> None:
    address = new_store_address(kind)
    store = ParameterStore(address, timeout_s=30)
    store.in_force()
    first = parameter_nursery.start(parameter_processes.work_on, address=address, scope="global")
    first.wait_for_words(1)
    started = time.monotonic()
    first.wait_for_words(4)
    span = time.monotonic() - started
    first.kill()
    rng, last, written = random.Random(31), 0, 0
    head = store.head()[1]
    for _ in range(deaths):
        worker = parameter_nursery.start(parameter_processes.work_on, address=address, scope="global")
        worker.wait_for_words(1)
        time.sleep(rng.uniform(0.0, span))
        worker.kill()
        said = worker.said()
        assert all(len(words) == 1 for words in said), said
        report = store.verify(head)
        assert report.intact, report
        head = report.head
        found = store.in_force("BTC/USDT")
        # What was said was kept, and nothing that was kept is half of a set.
        assert found.version >= max([last, *(words[0] for words in said)])
        last = found.version
        if last:
            version = store.version(last)
            if version.kind == "apply":
                assert version.parameters == parameter_processes.made(version.evidence["made"])
            assert found.parameters == version.parameters
        written += len(said)
    store.recover()
    assert store.journal.pending() == []
    assert store.recover() == []
    by_key: dict[str, list[int]] = {}
    for version in store.versions(limit=10_000):
        if "journal" in version.evidence:
            by_key.setdefault(version.evidence["journal"], []).append(version.version)
    for key, made in by_key.items():
        entry = store.journal.entry(key)
        assert entry.state in ("applied", "rolled back")
        assert made == [entry.version]
    assert store.verify(head).intact
    assert written > deaths, "the workers were killed before they had written anything more"
    store.close()


def test_a_first_use_that_is_killed_is_made_good_by_the_next(
    tmp_path: Path, parameter_nursery: Any, parameter_processes: ModuleType
) -> None:
    rng = random.Random(32)
    for number in range(10):
        address = f"sqlite:///{tmp_path}/{number}/parameters.sqlite"
        worker = parameter_nursery.start(parameter_processes.open_new, address=address)
        time.sleep(rng.uniform(0.0, 0.15))
        worker.kill()
        store = ParameterStore(address)
        assert store.in_force().version == 0
        assert store.verify().intact
        store.close()


def test_many_use_a_new_address_at_once(
    either_address: str, parameter_nursery: Any, parameter_processes: ModuleType
) -> None:
    workers = [
        parameter_nursery.start(parameter_processes.open_new, address=either_address) for _ in range(6)
    ]
    for worker in workers:
        assert worker.join() == [[0]]


def test_a_child_goes_on_with_its_parents_store(
    either_address: str, parameter_nursery: Any, parameter_processes: ModuleType
) -> None:
    worker = parameter_nursery.start(parameter_processes.fork_while_open, address=either_address)
    assert worker.join() == [[1], [1]]
