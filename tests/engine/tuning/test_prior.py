"""Priors: the moments of what was found, weights by gain and age, and the evaluations that they spare."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from engine.tuning.parameters import DEFAULTS, PARAMETERS, ParameterSet, highs, lows
from engine.tuning.prior import Finding, finding, learn_prior
from engine.tuning.scenarios import HIGH
from engine.tuning.search import EPISODES, Objective, SearchConfig, SearchResult, search

NOW = datetime(2024, 6, 1)
HALF = timedelta(days=100)
TARGETS = ("tpBreakout", "slBreakout")


def told(share: float, gain: float = 1.0, age: timedelta = timedelta(0), spread: float = 0.1) -> Finding:
    return Finding({"tpBreakout": share}, {"tpBreakout": spread}, gain, NOW - age)


def test_one_finding_is_its_own_prior() -> None:
    prior = learn_prior([told(0.4)], NOW)
    assert prior is not None
    assert prior.mean == {"tpBreakout": pytest.approx(0.5 + 0.4 * 14.5)}
    assert prior.spread == {"tpBreakout": pytest.approx(0.1)}


def test_findings_count_by_gain_and_by_age() -> None:
    """0.2 three times as heavy as 0.6: a mean of 0.3, and 0.16 * 3 / 16 of variance between them."""
    by_gain = learn_prior([told(0.2, gain=3.0), told(0.6, gain=1.0)], NOW)
    by_age = learn_prior([told(0.2), told(0.6, age=HALF * np.log2(3.0))], NOW, half_life=HALF)
    for prior in (by_gain, by_age):
        assert prior is not None
        assert prior.mean["tpBreakout"] == pytest.approx(0.5 + 0.3 * 14.5, abs=0.051)
        assert prior.spread["tpBreakout"] == pytest.approx((0.1**2 + 0.16 * 3 / 16) ** 0.5, rel=1e-6)


def test_where_findings_disagree_the_prior_is_wide_and_never_wider_or_narrower_than_is_sane() -> None:
    apart = learn_prior([told(0.0, spread=0.0), told(1.0, spread=0.0)], NOW)
    alike = learn_prior([told(0.5, spread=0.0), told(0.5, spread=0.0)], NOW)
    assert apart is not None
    assert apart.spread == {"tpBreakout": 0.25}
    assert alike is not None
    assert alike.spread == {"tpBreakout": 0.05}


def test_what_found_nothing_says_nothing() -> None:
    assert learn_prior([], NOW) is None
    assert learn_prior([told(0.9, gain=0.0)], NOW) is None
    prior = learn_prior([told(0.9, gain=0.0), told(0.2)], NOW)
    assert prior is not None
    assert prior.mean == {"tpBreakout": pytest.approx(0.5 + 0.2 * 14.5)}


def test_a_search_is_summed_up_by_its_best() -> None:
    values = np.linspace(0.5, 15.0, 146)
    sets = np.array([ParameterSet.from_mapping({"tpBreakout": each}).vector() for each in values])
    scores = -np.abs(values - 6.0)
    searched = SearchResult(ParameterSet.from_vector(sets[55]), sets, scores, EPISODES.to_frame())
    one = finding(searched, TARGETS, NOW, "BTC/USDT")
    assert one.mean["tpBreakout"] == pytest.approx((6.0 - 0.5) / 14.5, abs=0.01)
    assert one.mean["slBreakout"] == pytest.approx((1.5 - 0.3) / 7.7)
    assert one.spread["slBreakout"] == pytest.approx(0.0)
    assert one.gain == pytest.approx((0.0 - scores[0]) / scores.std())
    flat = SearchResult(DEFAULTS, sets, np.zeros(146), EPISODES.to_frame())
    assert finding(flat, TARGETS, NOW).gain == 0.0


def test_a_related_finding_spares_evaluations() -> None:
    """A hill nearby: with its neighbour's prior a search gets as high in fewer episodes, for each seed."""
    columns = [list(PARAMETERS).index(name) for name in TARGETS]

    def hill(peak: list[float]) -> Objective:
        def climb(sets: np.ndarray) -> np.ndarray:
            return -((((sets - lows()) / (highs() - lows()))[:, columns] - peak) ** 2).sum(axis=1)

        return climb

    for seed in range(5):
        config = SearchConfig(TARGETS, 12, "pgpe", HIGH, 4, seed)
        neighbour = search(hill([0.75, 0.7]), config, DEFAULTS)
        prior = learn_prior([finding(neighbour, TARGETS, NOW)], NOW)
        episodes = [search(hill([0.8, 0.65]), config, DEFAULTS, start).episodes for start in (None, prior)]
        needed = [int((each["best_so_far"].to_numpy() > -0.01).argmax()) for each in episodes]
        assert needed[1] < needed[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gain": -1.0}, "gain"),
        ({"gain": float("nan")}, "gain"),
        ({"mean": {"tpBreakout": 1.2}}, "share of the range"),
        ({"mean": {"takeProfit": 0.2}}, "not a parameter"),
        ({"mean": {}}, "same parameters"),
    ],
)
def test_a_finding_that_cannot_be_is_refused(change: dict, message: str) -> None:
    given = {"mean": {"tpBreakout": 0.2}, "spread": {"tpBreakout": 0.1}, "gain": 1.0, "found_at": NOW}
    with pytest.raises(ValueError, match=message):
        Finding(**{**given, **change})


def test_the_future_and_a_life_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="is from after"):
        learn_prior([told(0.2, age=-HALF)], NOW)
    with pytest.raises(ValueError, match="half_life"):
        learn_prior([told(0.2)], NOW, half_life=timedelta(0))
