"""Whole sessions of parameter training that are killed at random instants."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.tuning_faults import PHASES, Faults, run

KILLS = 21


def check(found: Faults, kills: int) -> None:
    """Nothing happened that must not, and the kills did come amid sessions."""
    assert not found.harm, found
    assert found.kills == kills
    # The kills came in many phases, what they left was taken up, and sessions came into force meanwhile.
    assert len(found.by_phase) >= min(5, kills // 2 + 1)
    assert found.resumed >= kills // 3
    assert min(found.sessions, found.applied, found.versions_read) >= 3
    assert found.reads > kills


@pytest.mark.slow
def test_sessions_killed_at_any_instant_end_as_if_nobody_had_killed_them(tmp_path: Path) -> None:
    check(run(tmp_path, KILLS, seed=3), KILLS)


@pytest.mark.slow
def test_sessions_killed_on_postgres_end_as_if_nobody_had_killed_them(
    tmp_path: Path, empty_postgres: str
) -> None:
    """One kill in each phase: what a client leaves in the server is not what it leaves in a file."""
    check(run(tmp_path, len(PHASES), seed=5, address=empty_postgres), len(PHASES))
