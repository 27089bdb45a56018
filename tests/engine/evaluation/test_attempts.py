from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import DataError
from engine.evaluation.attempts import (
    ATTEMPTS,
    Attempt,
    append,
    attempt_of,
    empty,
    head,
    level_of,
    next_alpha,
    trials,
    verify,
)
from engine.evaluation.promotion_gate import PromotionGate

NIGHT = datetime(2025, 1, 1, 3)


def attempt(k=0, subject="algorithm", kind="search", **changes):
    given = {
        "moment": NIGHT + timedelta(days=k),
        "subject": subject,
        "kind": kind,
        "searched": 10,
        "promoted": False,
        "reason": "within luck",
        "alpha": 0.03,
        "statistic": 1.25,
        "p_value": 0.2,
        "sharpe_mean": 0.01,
        "sharpe_variance": 0.0004,
    }
    return Attempt(**{**given, **changes})


def ledger(count=5):
    attempts = empty()
    for k in range(count):
        attempts = append(attempts, attempt(k))
    return attempts


def test_rows_follow_each_other():
    attempts = ledger()
    verify(attempts, last=head(attempts))
    assert attempts.schema == ATTEMPTS
    assert attempts["number"].to_list() == [1, 2, 3, 4, 5]
    assert attempts["previous_hash"][1:].to_list() == attempts["hash"][:-1].to_list()


CHANGES = {
    "moment": NIGHT - timedelta(hours=1),
    "subject": "another",
    "kind": "manual",
    "searched": 1,
    "statistic": 9.0,
    "p_value": 0.001,
    "alpha": 0.05,
    "promoted": True,
    "reason": "a real improvement",
    "sharpe_mean": 0.2,
    "sharpe_variance": None,
}


@pytest.mark.parametrize("column", CHANGES)
@pytest.mark.parametrize("row", [1, 3, 5])
def test_a_changed_field_is_found_in_its_row(column, row):
    attempts = ledger()
    here = pl.col("number") == row
    changed = attempts.with_columns(
        pl.when(here).then(pl.lit(CHANGES[column], ATTEMPTS[column])).otherwise(pl.col(column)).alias(column)
    )
    with pytest.raises(DataError, match=f"row {row}.*changed"):
        verify(changed)


def test_a_row_that_was_rewritten_with_a_new_hash_breaks_the_next():
    attempts = ledger(2)
    other = append(empty(), attempt(0, reason="nothing happened"))
    with pytest.raises(DataError, match=r"row 2.*row before"):
        verify(pl.concat([other, attempts[1:]]))


def test_removed_moved_and_cut_rows_are_found():
    attempts = ledger()
    with pytest.raises(DataError, match="row 3"):
        verify(pl.concat([attempts[:2], attempts[3:]]))
    with pytest.raises(DataError, match="row 2"):
        verify(attempts[[0, 2, 1, 3, 4]])
    verify(attempts[:4])
    with pytest.raises(DataError, match="cut off"):
        verify(attempts[:4], last=head(attempts))


def test_nothing_is_added_to_a_broken_chain():
    broken = ledger().with_columns(promoted=pl.lit(value=True))
    with pytest.raises(DataError):
        append(broken, attempt(9))


def test_nothing_is_added_before_the_last_row():
    with pytest.raises(ValueError, match="before the last"):
        append(ledger(), attempt(-1))


def test_a_stored_ledger_still_verifies(tmp_path):
    attempts = append(ledger(), attempt(7, kind="failed", statistic=None, p_value=None))
    attempts.write_parquet(tmp_path / "attempts.parquet")
    verify(pl.read_parquet(tmp_path / "attempts.parquet"), last=head(attempts))


@settings(max_examples=40, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(0, 1), st.text(max_size=20))
def test_any_content_can_be_chained(statistic, p_value, reason):
    attempts = append(empty(), attempt(statistic=statistic, p_value=p_value, reason=reason))
    verify(append(attempts, attempt(1)))


def test_levels_follow_the_budget_and_count_every_kind_of_attempt():
    attempts = empty()
    levels = []
    for k, kind in enumerate(["search", "manual", "failed", "search"]):
        levels.append(next_alpha(attempts, "algorithm"))
        attempts = append(attempts, attempt(k, kind=kind))
        attempts = append(attempts, attempt(k, subject="another"))
    np.testing.assert_allclose(levels, 0.05 * 6 / np.pi**2 / np.arange(1, 5) ** 2)
    assert levels == [level_of(k) for k in range(1, 5)]
    assert sum(0.05 * 6 / np.pi**2 / k**2 for k in range(1, 100_000)) < 0.05


def test_trials_pool_what_was_searched():
    """As if all candidates of all nights had been kept in one list."""
    rng = np.random.default_rng(0)
    nights = [0.02 * rng.standard_normal(size) + shift for size, shift in ((20, 0.0), (5, 0.1), (60, -0.03))]
    attempts = empty()
    for k, sharpes in enumerate(nights):
        attempts = append(
            attempts,
            attempt(k, searched=sharpes.size, sharpe_mean=sharpes.mean(), sharpe_variance=sharpes.var()),
        )
    found = trials(attempts, "algorithm")
    assert found.count == 85
    assert found.sharpe_variance == pytest.approx(np.concatenate(nights).var())
    failed = append(attempts, attempt(9, kind="failed", searched=7, sharpe_mean=None, sharpe_variance=None))
    assert trials(failed, "algorithm").count == 92
    assert trials(failed, "algorithm").sharpe_variance == pytest.approx(found.sharpe_variance)
    assert np.isnan(trials(attempts, "another").sharpe_variance)
    assert trials(attempts, "another").count == 0


def test_a_decision_becomes_an_attempt():
    rng = np.random.default_rng(1)
    baseline = 0.01 * rng.standard_normal(300)
    better = baseline + 0.003 + 0.001 * rng.standard_normal(300)
    decision = PromotionGate(draws=199).decide(baseline, {"c": better}, searched=12, alpha=0.01)
    made = attempt_of(decision, moment=NIGHT, subject="algorithm", sharpes=np.array([0.1, 0.3]))
    assert (made.promoted, made.searched, made.alpha) == (True, 12, 0.01)
    assert made.p_value == decision.p_value
    assert made.sharpe_variance == pytest.approx(0.01)
    verify(append(empty(), made))


def test_a_decision_without_a_test_becomes_an_attempt_too():
    decision = PromotionGate(draws=199).decide(np.zeros(300), {"c": np.zeros(300)})
    made = attempt_of(decision, moment=NIGHT, subject="algorithm", kind="manual")
    assert made.p_value is None
    assert "identical" in made.reason
    verify(append(empty(), made))


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "shadow"},
        {"moment": datetime.fromisoformat("2025-01-01T00:00:00+00:00")},
        {"searched": 0},
        {"alpha": 1.0},
        {"p_value": float("nan")},
        {"kind": "failed", "promoted": True},
    ],
)
def test_impossible_attempts_are_refused(wrong):
    with pytest.raises(ValueError, match=r"must|cannot"):
        attempt(**wrong)


def test_a_frame_with_other_columns_is_not_a_ledger():
    with pytest.raises(DataError, match="columns"):
        verify(ledger().drop("reason"))
