"""Searches: what may move and how far, candidate zero, equal evaluations, resuming, priors, bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.tuning.parameters import DEFAULTS, PARAMETERS, ParameterSet, highs, lows
from engine.tuning.scenarios import HIGH, LOW, Aggressiveness, scenario
from engine.tuning.search import METHODS, Method, Search, SearchConfig, SearchPrior, search

TARGETS = ("volPctBreakout", "tpBreakout", "slBreakout")
CONFIG = SearchConfig(TARGETS, episodes=3, aggressiveness=HIGH, pairs=3, seed=5)
PEAK = np.array([0.8, 0.3, 0.6])
COLUMNS = [list(PARAMETERS).index(name) for name in TARGETS]


def shares(sets: np.ndarray) -> np.ndarray:
    return ((sets - lows()) / (highs() - lows()))[:, COLUMNS]


def parabola(sets: np.ndarray) -> np.ndarray:
    return -((shares(sets) - PEAK) ** 2).sum(axis=1)


every_method = pytest.mark.parametrize("method", METHODS)


@every_method
def test_only_targets_move_on_the_grid_of_steps_within_reach(method: Method) -> None:
    """From a value off the grid too: snapping leads inside of the reach, never beyond."""
    start = replace(DEFAULTS, vol_pct_breakout=70.37, tp_breakout=0.533, sl_news=2.345)
    narrow = Aggressiveness("narrow", 0.04, 0.043)
    found = search(parabola, replace(CONFIG, method=method, aggressiveness=narrow), start)
    proposed = found.candidates[1:]
    assert len(np.unique(proposed[:, COLUMNS[0]])) > 1
    for column, row in enumerate(PARAMETERS.values()):
        values = proposed[:, column]
        if row.name not in TARGETS:
            assert (values == start.to_dict()[row.name]).all()
            continue
        steps = (values - row.low) / row.step
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-6)
        assert ((values >= row.low) & (values <= row.high)).all()
        away = np.abs(values - start.to_dict()[row.name])
        assert away.max() <= 0.043 * (row.high - row.low) + 1e-9


@every_method
def test_what_is_in_force_comes_first_and_stays_unless_something_is_better(method: Method) -> None:
    config = replace(CONFIG, method=method)
    flat = search(lambda sets: np.ones(len(sets)), config, DEFAULTS)
    assert flat.best == DEFAULTS
    np.testing.assert_array_equal(flat.candidates[0], DEFAULTS.vector())
    away = search(lambda sets: np.abs(sets - DEFAULTS.vector()).sum(axis=1), config, DEFAULTS)
    assert away.best != DEFAULTS
    np.testing.assert_array_equal(away.candidates[0], DEFAULTS.vector())
    np.testing.assert_array_equal(away.best.vector(), away.candidates[away.scores.argmax()])
    assert len(np.unique(away.candidates, axis=0)) == len(away.candidates)


@every_method
def test_all_methods_get_the_same_evaluations_and_one_more_for_what_is_in_force(method: Method) -> None:
    asked: list[int] = []

    def counted(sets: np.ndarray) -> np.ndarray:
        asked.append(len(sets))
        return parabola(sets)

    found = search(counted, replace(CONFIG, method=method), DEFAULTS)
    assert asked == [7, 6, 6]
    assert found.episodes["episode"].to_list() == [1, 2, 3]
    assert found.episodes["best_so_far"].is_sorted()
    assert found.episodes["searched"][-1] == len(found.scores)


@every_method
def test_the_seed_decides(method: Method) -> None:
    first, again, other = (
        search(parabola, replace(CONFIG, method=method, seed=seed), DEFAULTS) for seed in (5, 5, 6)
    )
    assert first.candidates.tobytes() == again.candidates.tobytes()
    assert first.episodes.equals(again.episodes)
    assert first.candidates.tobytes() != other.candidates.tobytes()


@every_method
def test_a_search_goes_on_from_its_history_bit_for_bit(method: Method) -> None:
    config, prior = replace(CONFIG, method=method, episodes=5), SearchPrior({"tpBreakout": 6.0})
    whole = search(parabola, config, DEFAULTS, prior)
    first, second = (Search(config, DEFAULTS, prior) for _ in range(2))
    for _ in range(2):
        first.episode(parabola)
    second.replay(first.history)
    while not second.finished:
        second.episode(parabola)
    assert second.result().candidates.tobytes() == whole.candidates.tobytes()
    assert second.result().scores.tobytes() == whole.scores.tobytes()
    assert second.result().episodes.equals(whole.episodes)


def test_an_objective_that_failed_is_asked_about_the_same_candidates_again() -> None:
    asked: list[np.ndarray] = []

    def failing(sets: np.ndarray) -> np.ndarray:
        asked.append(sets)
        raise OSError

    whole, one = search(parabola, CONFIG, DEFAULTS), Search(CONFIG, DEFAULTS)
    one.episode(parabola)
    for _ in range(2):
        with pytest.raises(OSError):  # noqa: PT011  only its passing through matters
            one.episode(failing)
    assert asked[0].tobytes() == asked[1].tobytes()
    while not one.finished:
        one.episode(parabola)
    assert one.result().candidates.tobytes() == whole.candidates.tobytes()


@pytest.mark.parametrize("method", [method for method in METHODS if method != "random"])
def test_a_prior_moves_the_start(method: Method) -> None:
    told = ParameterSet.from_mapping({"volPctBreakout": 86.0, "tpBreakout": 5.0, "slBreakout": 5.0})
    prior = SearchPrior({name: told.to_dict()[name] for name in TARGETS}, dict.fromkeys(TARGETS, 0.01))
    config = replace(CONFIG, method=method, episodes=1, pairs=10)
    first = search(parabola, config, DEFAULTS, prior).candidates[1:]
    nearest = np.abs(shares(first) - shares(told.vector()[None])).max(axis=1).min()
    assert nearest < 0.02
    assert np.abs(shares(first) - shares(DEFAULTS.vector()[None])).max() > 0.1


def test_a_prior_beyond_reach_begins_at_the_border() -> None:
    config = replace(CONFIG, aggressiveness=LOW, episodes=1)
    prior = SearchPrior({"tpBreakout": 15.0}, {"tpBreakout": 0.01})
    values = search(parabola, config, DEFAULTS, prior).candidates[1:, COLUMNS[1]]
    border, told = 3.0 + LOW.reach * (15.0 - 0.5), values[config.pairs :]
    assert border - 0.7 < told.min()
    assert values.max() <= border


def test_policy_gradients_and_cma_es_beat_random_search_on_a_parabola() -> None:
    """At equal evaluations in the seven parameters of the widest scenario, over ten seeds."""
    targets = scenario("comprehensive_evolution").targets
    columns = [list(PARAMETERS).index(name) for name in targets]
    peak = np.linspace(0.2, 0.8, 7)

    def hill(sets: np.ndarray) -> np.ndarray:
        return -((((sets - lows()) / (highs() - lows()))[:, columns] - peak) ** 2).sum(axis=1)

    scores = {
        method: np.array(
            [
                search(
                    hill, SearchConfig(targets, 15, method, HIGH, pairs=8, seed=seed), DEFAULTS
                ).scores.max()
                for seed in range(10)
            ]
        )
        for method in ("pgpe", "cma-es", "random")
    }
    assert (scores["pgpe"] > scores["random"]).sum() >= 9
    assert (scores["cma-es"] > scores["random"]).sum() >= 9


def test_policy_gradients_leave_a_plateau_that_nothing_is_learned_from() -> None:
    """Most sets lose, those that never trade score 0, and one corner pays: plain PGPE comes to rest at 0."""

    def trap(sets: np.ndarray) -> np.ndarray:
        first, second, _ = shares(sets).T
        paying = (first > 0.8) & (second > 0.6)
        return np.where(paying, first + second, np.where(first > 0.3, -first, 0.0))

    config = SearchConfig(TARGETS, 30, aggressiveness=HIGH, pairs=6)
    found = [search(trap, replace(config, seed=seed), DEFAULTS) for seed in range(10)]
    assert sum(each.scores.max() > 1.5 for each in found) >= 9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": ()}, "at least one"),
        ({"targets": ("tpBreakout", "tpBreakout")}, "different"),
        ({"targets": ("takeProfit",)}, "not a parameter"),
        ({"method": "annealing"}, "pgpe, cma-es, tpe, random"),
        ({"episodes": 0}, "episodes = 0"),
        ({"pairs": 0}, "pairs = 0"),
        ({"method": "cma-es", "pairs": 1}, "at least 2"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_a_config_that_cannot_be_searched_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)


def test_a_reach_shorter_than_a_step_is_refused() -> None:
    with pytest.raises(ValueError, match="volPctBreakout nowhere to go"):
        Search(replace(CONFIG, aggressiveness=Aggressiveness("none", 0.001, 0.002)), DEFAULTS)


@pytest.mark.parametrize(
    ("mean", "spread", "message"),
    [
        ({"takeProfit": 1.0}, {}, "not a parameter"),
        ({}, {"takeProfit": 0.1}, "not a parameter"),
        ({"tpBreakout": 99.0}, {}, "between 0.5 and 15"),
        ({"tpBreakout": float("nan")}, {}, "between 0.5 and 15"),
        ({}, {"tpBreakout": 0.0}, "spread of tpBreakout"),
        ({}, {"tpBreakout": float("nan")}, "spread of tpBreakout"),
    ],
)
def test_a_prior_that_cannot_be_is_refused(mean: dict, spread: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SearchPrior(mean, spread)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused_and_leave_nothing_behind(bad: float) -> None:
    one = Search(CONFIG, DEFAULTS)
    with pytest.raises(ValueError, match="finite scores"):
        one.episode(lambda sets: np.where(np.arange(len(sets)) == 4, bad, 0.0))
    with pytest.raises(ValueError, match="finite scores"):
        one.episode(lambda sets: np.zeros(len(sets) - 1))
    assert one.history == []
    with pytest.raises(ValueError, match="nothing was searched"):
        one.result()


def test_a_search_that_is_over_asks_for_no_more() -> None:
    one = Search(replace(CONFIG, episodes=1), DEFAULTS)
    one.episode(parabola)
    with pytest.raises(ValueError, match="all 1 episodes are over"):
        one.episode(parabola)
