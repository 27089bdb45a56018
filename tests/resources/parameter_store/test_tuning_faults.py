"""Whole sessions of parameter training that are killed at random instants."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.tuning_faults import run

KILLS = 21


@pytest.mark.slow
def test_sessions_killed_at_any_instant_end_as_if_nobody_had_killed_them(tmp_path: Path) -> None:
    found = run(tmp_path, KILLS, seed=3)
    assert not found.harm, found
    assert found.kills == KILLS
    # The kills came in many phases, what they left was taken up, and sessions came into force meanwhile.
    assert len(found.by_phase) >= 5
    assert found.resumed >= KILLS // 3
    assert min(found.sessions, found.applied, found.versions_read) >= 3
    assert found.reads > KILLS
