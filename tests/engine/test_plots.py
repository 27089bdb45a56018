import io
from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from PIL import Image

from engine import figures, plots

N = 40_000
TS = [datetime(2018, 1, 1) + timedelta(hours=i) for i in range(N)]
RNG = np.random.default_rng(3)
PATH = np.exp(np.cumsum(RNG.normal(0, 0.01, N)))
NAMES = [f"feature_{i}" for i in range(20)]
TABLE = pl.DataFrame(
    {
        "regime": ["ALL"] * 5 + ["PANIC"] * 5,
        "stated": [0.5, 0.6, 0.7, 0.8, 0.9] * 2,
        "realised": [0.5, 0.55, 0.7, 0.85, 0.9] * 2,
        "low": [0.45] * 10,
        "high": [0.95] * 10,
        "count": [100, 50, 30, 20, 10] * 2,
    }
)

PICTURES: dict[str, Callable[[], bytes]] = {
    "price": lambda: plots.price_with_regimes(TS, PATH, np.full((N, 3), 1 / 3), "price"),
    "unknown regimes": lambda: plots.price_with_regimes(TS, PATH, np.full((N, 3), np.nan), "price"),
    "panels": lambda: plots.line_panels(TS, {"a": PATH, "b": -PATH, "c": PATH * np.nan}, "series"),
    "bars": lambda: plots.bar_chart(NAMES, {"TREND": np.arange(20), "PANIC": np.arange(20)}, "bars", "share"),
    "histogram": lambda: plots.histogram(RNG.standard_t(3, N), "returns", "log return"),
    "empty histogram": lambda: plots.histogram([], "returns", "log return"),
    "reliability": lambda: plots.reliability_diagram(TABLE, "reliability"),
    "coverage": lambda: plots.coverage_over_time(TS, np.full(N, 0.9), 0.9, "coverage"),
    "equity": lambda: plots.equity_and_drawdown(TS, {"a": PATH, "b": np.ones(N)}, "equity"),
    "risk": lambda: plots.risk_contributions(NAMES, np.ones(20) / 20, np.ones(20) / 20, "risk"),
    "presence": lambda: plots.presence_map(NAMES, TS[::168], np.ones((20, len(TS[::168]))), "bars"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_readable_and_small_enough_for_the_event_log(name: str) -> None:
    png = PICTURES[name]()
    width, height = Image.open(io.BytesIO(png)).size
    assert width >= 600
    assert height >= 100
    assert len(png) < 60_000


def test_drawdown_is_drawn_from_the_highest_point_so_far() -> None:
    flat = plots.equity_and_drawdown(TS[:10], {"a": np.ones(10)}, "t")
    fallen = plots.equity_and_drawdown(TS[:10], {"a": np.r_[1, 2, np.ones(8)]}, "t")
    assert flat != fallen


def test_a_picture_goes_inline() -> None:
    assert figures.data_uri(b"\x89PNG").startswith("data:image/png;base64,iVBORw")
