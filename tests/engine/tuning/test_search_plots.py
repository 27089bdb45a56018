from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from engine.tuning.parameters import DEFAULTS
from engine.tuning.scenarios import scenario
from engine.tuning.search import SearchConfig, search
from engine.tuning.search_plots import parameter_paths, reward_by_episode

TARGETS = scenario("comprehensive_evolution").targets


@pytest.fixture(scope="module")
def episodes() -> pl.DataFrame:
    def objective(sets: np.ndarray) -> np.ndarray:
        return -np.abs(sets - 5.0).sum(axis=1)

    return search(objective, SearchConfig(TARGETS, 5, pairs=4), DEFAULTS).episodes


def test_pictures_are_small_pngs_that_show_what_they_are_given(episodes: pl.DataFrame) -> None:
    rewards = [reward_by_episode(episodes, level) for level in (-100.0, -50.0)]
    paths = [parameter_paths(episodes, DEFAULTS, names) for names in (TARGETS, TARGETS[:1])]
    for drawn in (*rewards, *paths):
        assert drawn.startswith(b"\x89PNG")
        assert len(drawn) < 100_000
    assert rewards[0] != rewards[1]
    assert paths[0] != paths[1]


def test_what_cannot_be_drawn_is_refused(episodes: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="not a parameter"):
        parameter_paths(episodes, DEFAULTS, ["takeProfit"])
    with pytest.raises(ValueError, match="no parameter"):
        parameter_paths(episodes, DEFAULTS, [])
