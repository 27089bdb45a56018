from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, asdict, fields

import pytest

from engine.evaluation.improvements import IMPROVEMENTS, METRICS, Claim, Improvements
from engine.regimes.names import REGIMES


def test_fifteen_switches_all_on_and_each_has_its_row():
    assert len(IMPROVEMENTS) == 15
    assert [*asdict(Improvements())] == [*IMPROVEMENTS] == [row.name for row in fields(Improvements)]
    assert Improvements().enabled == tuple(IMPROVEMENTS)
    assert all(row.key == key and row.title for key, row in IMPROVEMENTS.items())


@pytest.mark.parametrize("key", IMPROVEMENTS)
def test_without_and_only_turn_exactly_one(key):
    assert set(IMPROVEMENTS) - set(Improvements().without(key).enabled) == {key}
    assert Improvements.only(key).enabled == (key,)
    assert not getattr(Improvements().without(key), key)


def test_none_is_the_base_and_switches_cannot_be_changed():
    assert Improvements.none().enabled == ()
    assert Improvements.only(*IMPROVEMENTS) == Improvements()
    assert Improvements().without("bandit").without("options") == Improvements().without("bandit", "options")
    with pytest.raises(FrozenInstanceError):
        Improvements().bandit = False  # type: ignore[misc]


@pytest.mark.parametrize("make", [Improvements().without, Improvements.only])
def test_unknown_keys_are_refused(make):
    with pytest.raises(ValueError, match="momentum"):
        make("momentum")


def test_ranges_say_what_the_words_say():
    """The two percentages in the words are those of the range; calibration gained is error lost."""
    for row in IMPROVEMENTS.values():
        for claim in row.claims:
            low, high = map(float, re.search(r"(\d+)-(\d+) %", claim.text).groups())  # type: ignore[union-attr]
            assert sorted((abs(claim.low), abs(claim.high))) == pytest.approx([low / 100, high / 100])
            falls = claim.text.startswith("-") or claim.metric == "calibration_error"
            assert (claim.high < 0) == falls
            assert claim.metric in METRICS


def test_claims_of_regimes_and_absent_claims():
    assert [claim.scope for claim in IMPROVEMENTS["experts"].claims] == [*REGIMES]
    assert IMPROVEMENTS["experts"].claim == "+15-25 % per regime"
    assert IMPROVEMENTS["synthetic_panic"].claim == "+30-50 % in PANIC, -20-30 % tail drawdown"
    assert IMPROVEMENTS["fear_greed"].claim == IMPROVEMENTS["sentiment_gate"].claim == "none stated"


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.1), (-0.1, 0.1), (0.0, 0.1), (0.1, 0.1)])
def test_ranges_that_say_nothing_are_refused(low, high):
    with pytest.raises(ValueError, match="range"):
        Claim("about as good", "sharpe", low, high)


def test_claims_about_unknown_metrics_are_refused():
    with pytest.raises(ValueError, match="happiness"):
        Claim("+10-20 % happiness", "happiness", 0.1, 0.2)
