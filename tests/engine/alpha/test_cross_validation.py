"""Cross-validation finds skill where there is some, and none where there is none."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.alpha.boosting import BoostingConfig
from engine.alpha.cross_validation import cross_validate
from engine.alpha.walk_forward import FEATURES
from engine.errors import NotEnoughDataError

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1)
CONFIG = BoostingConfig(rounds=30, learning_rate=0.1, least_in_leaf=50, row_stride=1)


def rows(hours: int, edge: float, seed: int = 0) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    x = random.standard_normal((hours, len(FEATURES)))
    label = 0.01 * (edge * x[:, 0] + random.standard_normal(hours))
    return pl.DataFrame(x, schema=list(FEATURES)).with_columns(
        symbol=pl.lit("A/USDT"),
        ts=pl.Series([START + k * HOUR for k in range(hours)]),
        label_end=pl.Series([START + (k + 3) * HOUR for k in range(hours)]),
        label=pl.Series(label),
        scale=pl.lit(0.01),
    )


@pytest.mark.parametrize(("edge", "skilled"), [(1.0, True), (0.0, False)])
def test_each_path_shows_the_skill_that_is_there(edge: float, skilled: bool) -> None:
    found = cross_validate(rows(4_000, edge), CONFIG, HOUR, embargo=24 * HOUR)
    assert found["path"].to_list() == [0, 1, 2, 3, 4]
    assert ((found["gain"] > 0.05) == skilled).all()
    assert ((found["auc"] > 0.6) == skilled).all()


def test_a_history_too_short_for_its_groups_is_refused() -> None:
    with pytest.raises(NotEnoughDataError):
        cross_validate(rows(40, 1.0), CONFIG, HOUR, embargo=24 * HOUR)
