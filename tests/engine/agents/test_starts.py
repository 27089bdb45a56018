from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from engine.agents.starts import regime_start_weights, start_distribution, startable
from engine.agents.tape import MarketTape
from engine.errors import NotEnoughDataError

REGIME = np.array([0, 0, 0, 0, 1, 1, 2, -1, -1, 2], dtype=np.int8)


def test_shares_by_regime() -> None:
    weights = regime_start_weights(REGIME, {"TREND": 1.0, "RANGE": 2.0, "PANIC": 1.0})
    assert weights.tolist() == [0.0625] * 4 + [0.25] * 2 + [0.125, 0.0, 0.0, 0.125]
    weights = regime_start_weights(REGIME, {"PANIC": 0.3}, unknown=0.1)
    assert weights.tolist() == pytest.approx([0.0] * 6 + [0.375, 0.125, 0.125, 0.375])


def test_rows_that_cannot_host_an_episode_have_no_weight() -> None:
    eligible = np.array([1, 0, 0, 1, 1, 1, 0, 1, 1, 1], dtype=bool)
    weights = regime_start_weights(REGIME, {"TREND": 0.5, "PANIC": 0.5}, eligible)
    assert weights.tolist() == [0.25, 0.0, 0.0, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5]


def test_refuses_shares_that_cannot_be_had() -> None:
    with pytest.raises(NotEnoughDataError, match=r"50\.0% of the episodes are to start in PANIC.*2 rows"):
        regime_start_weights(REGIME, {"TREND": 1.0, "PANIC": 1.0}, REGIME != 2)
    with pytest.raises(NotEnoughDataError, match="unknown regime"):
        regime_start_weights(REGIME, {"TREND": 1.0}, REGIME >= 0, unknown=0.5)
    bad: list[Any] = [{}, {"TREND": 0.0}, {"TREND": -1.0, "PANIC": 2.0}, {"TREND": np.nan}]
    for shares in bad:
        with pytest.raises(ValueError, match="must be finite"):
            regime_start_weights(REGIME, shares)
    with pytest.raises(ValueError, match="BULL"):
        regime_start_weights(REGIME, {"BULL": 1.0})  # type: ignore[dict-item]


def test_start_distribution_keeps_proportions_over_startable_rows() -> None:
    n = 7
    rows = pl.DataFrame({"symbol": ["A"] * n, "segment": [0] * n, "open": [1.0] * n, "volatility": [0.1] * n})
    ts = pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 1, 7), "1d", eager=True)
    tape = MarketTape.from_frame(rows.with_columns(ts=ts, p_trend=1.0, p_range=0.0, p_panic=0.0), [])
    assert tape.decisions_left.tolist() == [5, 4, 3, 2, 1, 0, 0]
    assert startable(tape, 3).tolist() == [True] * 3 + [False] * 4
    assert start_distribution(tape, 4).tolist() == [0.5, 0.5] + [0.0] * 5
    assert start_distribution(tape, 2, [0, 3, 0, 1, 9, 9, 9]).tolist() == [0, 0.75, 0, 0.25, 0, 0, 0]
