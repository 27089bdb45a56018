from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from engine.errors import DataError
from engine.tuning.trigger import Trigger

DAY = timedelta(days=1)
START = datetime(2024, 1, 1)
TRIGGER = Trigger(horizon=30, alpha=0.05, fall=0.1, bound=0.006, worst=0.02)


def accounts(rng: np.random.Generator, days: int, worse: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Account of new parameters and of those before; the new ones are `worse` a day."""
    market = 0.008 * rng.standard_t(5, days)
    own = 0.002 * rng.standard_t(5, (2, days))
    return market + own[0] - worse, market + own[1]


def trigger_of(rng: np.random.Generator, **settings) -> Trigger:
    candidate, baseline = accounts(rng, 365)
    evidence = SimpleNamespace(candidate=candidate, baseline=baseline)
    return Trigger.of(evidence, draws=199, **settings)


def test_it_rarely_fires_where_nothing_is_wrong():
    """Each time another evidence and other months from the same law, nothing better or worse."""
    rng, fired = np.random.default_rng(1), {"fall": 0, "worse": 0}
    repetitions = 300
    for _ in range(repetitions):
        found = trigger_of(rng, seed=int(rng.integers(1 << 30))).verdict(*accounts(rng, 60))
        if found.fired:
            fired[found.alarm] += 1
    assert sum(fired.values()) / repetitions <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / repetitions)


def test_a_daily_t_test_would_fire_far_too_often():
    """The wrong way: an ordinary test of the same level after every day."""
    rng, fired = np.random.default_rng(2), 0
    for _ in range(300):
        live, previous = accounts(rng, 90)
        lead = previous - live
        counts = np.arange(1, 91)
        mean = np.cumsum(lead) / counts
        error = np.sqrt(np.maximum(np.cumsum(lead**2) / counts - mean**2, 1e-18) / counts)
        fired += bool((mean[9:] > 1.645 * error[9:]).any())
    assert fired / 300 > 0.2


def test_worse_parameters_go_back():
    rng, days = np.random.default_rng(3), []
    for _ in range(50):
        found = trigger_of(rng, horizon=60).verdict(*accounts(rng, 60, worse=0.003))
        days += [found.day] if found.fired else []
    assert len(days) >= 40
    assert np.median(days) < 40


def test_a_fall_deeper_than_the_evidence_rings_on_its_day():
    live = np.full(20, 0.001)
    live[11] = -0.11
    found = TRIGGER.verdict(live, live)
    assert (found.fired, found.alarm, found.day) == (True, "fall", 12)
    assert found.fall == pytest.approx(0.11)
    assert found.ratio == pytest.approx(1.1)
    assert "fell 11.00% below the high; 10.00% is the limit" in found.reasons
    assert not TRIGGER.verdict(live[:11], live[:11]).fired
    # Recovered since: what has rung is not taken back.
    assert TRIGGER.verdict(np.append(live, [0.5]), np.append(live, [0.5])).day == 12
    assert TRIGGER.verdict([-0.11], [-0.11]).day == 1


def test_a_fall_just_at_the_limit_does_not_ring():
    """It is beyond the limit that it rings; an eighth is exact in binary."""
    eighth = replace(TRIGGER, fall=0.125)
    at = eighth.verdict([-0.125], [-0.125])
    assert (at.ratio, at.fired, at.alarm) == (1.0, False, None)
    assert eighth.verdict([-0.1251], [-0.1251]).fired


def test_the_bet_rings_at_the_capital_that_half_of_the_probability_allows():
    live, previous = accounts(np.random.default_rng(5), 30, worse=0.006)
    daily = [replace(TRIGGER, fall=0.9).verdict(live[:days], previous[:days]) for days in range(1, 31)]
    for found in daily:
        assert found.ratio == pytest.approx(max(found.fall / 0.9, np.log(found.capital) / np.log(2.0 / 0.05)))
        assert found.fired == (found.capital > 2.0 / 0.05)
    assert {found.fired for found in daily} == {False, True}


def test_the_limit_is_no_less_than_the_evidence_showed():
    rng = np.random.default_rng(4)
    candidate, baseline = accounts(rng, 365)
    # A slow fall all year long: no two months show much of it.
    candidate -= 0.003
    found = Trigger.of(SimpleNamespace(candidate=candidate, baseline=baseline), draws=399)
    equity = np.append(1.0, np.cumprod(1.0 + candidate))
    assert found.fall == pytest.approx(1.0 - (equity / np.maximum.accumulate(equity)).min())
    assert found.worst >= 2 * found.bound


def test_asked_every_day_it_says_the_same_as_asked_once():
    live, previous = accounts(np.random.default_rng(5), 30, worse=0.006)
    once = TRIGGER.verdict(live, previous)
    assert once.fired
    daily = [TRIGGER.verdict(live[:days], previous[:days]) for days in range(1, 31)]
    assert [found.fired for found in daily].index(True) + 1 == once.day
    assert daily[-1] == once
    assert [found.ratio for found in daily] == sorted(found.ratio for found in daily)


def test_days_beyond_the_horizon_are_not_looked_at():
    live = np.append(np.zeros(30), -0.9)
    found = TRIGGER.verdict(live, np.zeros(31))
    assert (found.fired, found.over, found.days) == (False, True, 30)
    assert TRIGGER.verdict([], []).ratio == 0.0


def test_a_better_account_never_feeds_the_bet():
    found = TRIGGER.verdict(np.full(30, 0.004), np.zeros(30))
    assert found.capital == 1.0
    assert found.ratio == 0.0


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="one return a day"):
        TRIGGER.verdict([0.1, 0.2], [0.1])
    with pytest.raises(DataError, match="row 2, column 'previous'"):
        TRIGGER.verdict([0.1, 0.2], [0.1, np.nan])
    for name in ("fall", "bound", "worst"):
        with pytest.raises(ValueError, match=f"{name} = nan"):
            replace(TRIGGER, **{name: np.nan})
    with pytest.raises(ValueError, match="horizon = 0"):
        replace(TRIGGER, horizon=0)
    same = SimpleNamespace(candidate=np.zeros(300), baseline=np.zeros(300))
    with pytest.raises(ValueError, match="never differ"):
        Trigger.of(same)
    with pytest.raises(ValueError, match="draw more often"):
        Trigger.of(same, draws=19)


def test_plain_values():
    assert Trigger.from_dict(json.loads(json.dumps(TRIGGER.to_dict()))) == TRIGGER
