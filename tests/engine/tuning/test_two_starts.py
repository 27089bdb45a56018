"""Two starts: the better half of the first generation decides, and a prior that misleads costs no more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.tuning.parameters import DEFAULTS, PARAMETERS, highs, lows
from engine.tuning.proposers import METHODS, Method
from engine.tuning.scenarios import HIGH
from engine.tuning.search import Objective, SearchConfig, SearchPrior, search

TARGETS = ("tpBreakout", "slBreakout")
COLUMNS = [list(PARAMETERS).index(name) for name in TARGETS]
CONFIG = SearchConfig(TARGETS, 12, "pgpe", HIGH, 6, seed=2)
GOOD = SearchPrior({"tpBreakout": 11.5, "slBreakout": 5.5}, dict.fromkeys(TARGETS, 0.1))
BAD = SearchPrior({"tpBreakout": 15.0, "slBreakout": 8.0}, dict.fromkeys(TARGETS, 0.05))


def hill(top: tuple[float, float]) -> Objective:
    def climb(sets: np.ndarray) -> np.ndarray:
        at = ((sets - lows()) / (highs() - lows()))[:, COLUMNS]
        return -((at - top) ** 2).sum(axis=1)

    return climb


def proposed(config: SearchConfig, objective: Objective, prior: SearchPrior | None) -> list[np.ndarray]:
    """All that is proposed, generation by generation."""
    seen: list[np.ndarray] = []

    def watched(sets: np.ndarray) -> np.ndarray:
        seen.append(sets[-2 * config.pairs :])
        return objective(sets)

    search(watched, config, DEFAULTS, prior)
    return seen


def test_half_of_the_first_generation_is_drawn_about_each_start() -> None:
    first = proposed(replace(CONFIG, pairs=400), hill((0.5, 0.5)), GOOD)[0]
    for half, start, spread in (
        (first[:400], DEFAULTS.to_dict(), HIGH.spread),
        (first[400:], GOOD.mean, 0.1),
    ):
        # What lies beyond the bounds is drawn at them, so that the median tells more than the mean.
        for column, name in zip(COLUMNS, TARGETS, strict=True):
            row = PARAMETERS[name]
            assert np.median(half[:, column]) == pytest.approx(start[name], abs=0.15 * spread * row.high)
    spreads = first[400:, COLUMNS].std(axis=0) / (highs() - lows())[COLUMNS]
    np.testing.assert_allclose(spreads, 0.1, rtol=0.12)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_what_misleads_costs_one_generation_and_nothing_else(method: Method) -> None:
    """The peak lies where the search begins without a prior, far from what it is told."""
    config = replace(CONFIG, method=method)
    near = hill((0.2, 0.2))
    without, misled = proposed(config, near, None), proposed(config, near, BAD)
    for ours, theirs in zip(misled[1:], without, strict=False):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("method", ["pgpe", "cma-es"])
def test_what_leads_right_is_gone_on_from(method: Method) -> None:
    found, needed = hill((0.75, 0.67)), []
    for prior in (None, GOOD):
        for seed in range(6):
            config = replace(CONFIG, method=method, seed=seed)
            best = search(found, config, DEFAULTS, prior).episodes["best_so_far"].to_numpy()
            needed.append(int((best > -0.003).argmax()) if (best > -0.003).any() else CONFIG.episodes)
    without, told = np.array(needed).reshape(2, 6)
    assert told.mean() < without.mean()


def test_a_prior_of_other_parameters_is_no_prior() -> None:
    other = SearchPrior({"tpNews": 5.0})
    for ours, theirs in zip(
        proposed(CONFIG, hill((0.5, 0.5)), other), proposed(CONFIG, hill((0.5, 0.5)), None), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
