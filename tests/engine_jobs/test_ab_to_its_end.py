"""An A/B test by the command line and the job of the live loop, in processes of which some are killed."""

from pathlib import Path

import pytest

from benchmarks.tuning_ab import HORIZON, REGISTERED, SYMBOLS, harm, run
from engine_assets.live_tables import LIVE_DECISIONS


@pytest.mark.slow
def test_a_promoted_set_is_tested_to_the_end_and_applied_as_if_nobody_had_killed_anything(
    tmp_path: Path,
) -> None:
    """Processes are killed amid the horizon, before, while and after they store, and while they judge."""
    disturbed, calm = run(tmp_path, kills=6, pieces=1)
    assert not harm(disturbed, calm)
    assert disturbed.killed >= 3
    assert disturbed.verdict == "promote"
    assert sum(disturbed.units.values()) == HORIZON * len(SYMBOLS)
    assert (disturbed.effect or 0.0) > 0.0
    assert disturbed.in_force == 1
    assert disturbed.parameters["socialGo"] > 0.8, "the candidate is deaf to the news that misleads"
    told = [kind for kind in disturbed.kinds if kind.startswith(("experiment", "session", "version"))]
    assert told == [
        "session.started", "experiment.started", "session.ended", "experiment.concluded", "version.apply"
    ]  # fmt: skip
    assert (disturbed.told["experiment"], disturbed.told["verdict"]) == ("concluded", "promote")
    assert disturbed.told["effect"] == disturbed.effect
    names = [column.name for column in LIVE_DECISIONS.columns]
    decided = [dict(zip(names, row, strict=True)) for row in disturbed.rows[LIVE_DECISIONS.full_name]]
    inside = [row for row in decided if row["experiment"] is not None]
    assert {row["arm"] for row in inside} == {"live", "candidate"}
    assert len(inside) == HORIZON * 6 * len(SYMBOLS)
    assert min(row["ts"] for row in inside) == REGISTERED
    versions = [row["version"] for row in sorted(decided, key=lambda row: row["ts"])]
    # From the bar after the application on it is in force.
    assert versions == sorted(versions)
    assert set(versions) == {0, 1}
