"""Ensembles: which variants are taken, and what they are combined to."""

from __future__ import annotations

import numpy as np
import pytest

from engine.tuning.ensemble import ensemble, variants, with_ensemble
from engine.tuning.parameters import DEFAULTS, PARAMETERS, ParameterSet
from engine.tuning.scenarios import HIGH
from engine.tuning.search import EPISODES, Objective, SearchConfig, SearchResult, search


def result(values: list[dict[str, float]], scores: list[float]) -> SearchResult:
    sets = np.array([ParameterSet.from_mapping(each).vector() for each in values])
    best = ParameterSet.from_vector(sets[int(np.argmax(scores))])
    return SearchResult(best, sets, np.array(scores), EPISODES.to_frame())


SEARCHED = result(
    [
        {},
        {"tpBreakout": 6.0},
        {"tpBreakout": 6.2},
        {"tpBreakout": 9.0},
        {"slBreakout": 3.1},
        {"socialGo": 0.5},
    ],
    [1.0, 5.0, 4.0, 3.0, 2.0, 0.5],
)


def test_variants_lie_apart_and_score_above_what_is_in_force() -> None:
    assert variants(SEARCHED, 5).tolist() == [1, 3, 4]
    assert variants(SEARCHED, 2).tolist() == [1, 3]
    assert variants(SEARCHED, 5, apart=0.0).tolist() == [1, 2, 3, 4]
    assert variants(SEARCHED, 5, apart=1.0).tolist() == [1]


def test_they_are_combined_by_what_they_gain() -> None:
    """(6 * 4 + 9 * 2 + 3 * 1) / 7 = 6.43 and (1.5 * 6 + 3.1) / 7 = 1.73, on steps of 0.1."""
    combined = ensemble(SEARCHED, variants(SEARCHED))
    assert DEFAULTS.changes(combined) == {"tpBreakout": (3.0, 6.4), "slBreakout": (1.5, 1.7)}
    assert ensemble(SEARCHED, np.array([1])) == ParameterSet.from_mapping({"tpBreakout": 6.0})


def test_what_no_member_moved_stays_even_off_the_grid() -> None:
    searched = result([{"slNews": 2.345}, {"slNews": 2.345, "tpNews": 4.0}], [0.0, 1.0])
    assert ensemble(searched, np.array([1])).sl_news == 2.345


def test_without_anything_better_what_is_in_force_stays() -> None:
    flat = result([{}, {"tpBreakout": 6.0}], [1.0, 1.0])
    assert variants(flat).size == 0
    assert ensemble(flat, variants(flat)) == DEFAULTS


def test_what_cannot_be_combined_is_refused() -> None:
    with pytest.raises(ValueError, match="above what is in force"):
        ensemble(SEARCHED, np.array([1, 5]))
    with pytest.raises(ValueError, match="k = 0"):
        variants(SEARCHED, 0)
    with pytest.raises(ValueError, match="apart"):
        variants(SEARCHED, 2, apart=1.5)


def test_it_joins_what_was_searched_as_one_more() -> None:
    family = with_ensemble(SEARCHED, lambda sets: np.full(len(sets), 7.0))
    assert np.array_equal(family.candidates[:-1], SEARCHED.candidates)
    assert np.array_equal(family.candidates[-1], ensemble(SEARCHED, variants(SEARCHED)).vector())
    assert family.scores.tolist() == [*SEARCHED.scores.tolist(), 7.0]
    assert family.best == ParameterSet.from_vector(family.candidates[-1])
    assert with_ensemble(SEARCHED, lambda sets: np.zeros(len(sets))).best == SEARCHED.best


def test_nothing_joins_where_it_would_be_nothing_new() -> None:
    def unasked(sets: np.ndarray) -> np.ndarray:
        raise AssertionError

    alone = result([{}, {"tpBreakout": 6.0}], [0.0, 1.0])
    assert with_ensemble(alone, unasked) is alone
    known = result([{}, {"tpBreakout": 6.0}, {"tpBreakout": 9.0}, {"tpBreakout": 7.5}], [0.0, 1.0, 1.0, -1.0])
    assert with_ensemble(known, unasked) is known


def test_under_noise_the_ensemble_lies_nearer_to_the_peak_than_the_best() -> None:
    """The best of noisy scores is the luckiest; over twenty searches the mean lies nearer in most."""
    columns = [list(PARAMETERS).index(name) for name in ("tpBreakout", "slBreakout")]
    lows = np.array([0.5, 0.3])
    ranges = np.array([14.5, 7.7])

    def away(sets: np.ndarray) -> np.ndarray:
        return (((sets[:, columns] - lows) / ranges - 0.5) ** 2).sum(axis=1)

    def noisy(rng: np.random.Generator) -> Objective:
        return lambda sets: -away(sets) + 0.1 * rng.standard_normal(len(sets))

    nearer = 0
    for seed in range(20):
        config = SearchConfig(("tpBreakout", "slBreakout"), 5, "random", HIGH, 10, seed)
        found = search(noisy(np.random.default_rng(seed)), config, DEFAULTS)
        together = ensemble(found, variants(found, 5))
        nearer += int(away(together.vector()[None])[0] < away(found.best.vector()[None])[0])
    assert nearer >= 14
