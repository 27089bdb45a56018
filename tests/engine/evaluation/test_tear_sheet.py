from __future__ import annotations

import base64
import io
import re
from datetime import timedelta
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from engine.errors import NotEnoughDataError
from engine.evaluation import baselines
from engine.evaluation.backtest import backtest
from engine.evaluation.panel import Panel
from engine.evaluation.tear_sheet import tear_sheet

NAMES = ("BTC/USDT", "<b>$X$</b>")


def results(days=130, seed=0):
    rng = np.random.default_rng(seed)
    shape = (24 * days, 2)
    opens = 100 * np.exp(np.cumsum(0.005 * rng.standard_normal(shape), axis=0))
    times = np.datetime64("2023-11-05", "us") + np.arange(shape[0]) * np.timedelta64(3_600_000_000, "us")
    panel = Panel(times, NAMES, timedelta(hours=1), opens, opens, np.full(shape, 1e6))
    targets = np.full(shape, np.nan)
    targets[::30] = rng.normal(0, 0.3, targets[::30].shape) * (rng.random(targets[::30].shape) < 0.5)
    return backtest(panel, targets), backtest(panel, baselines.buy_and_hold(panel))


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.links = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "srcset", "href")]


@pytest.fixture(scope="module")
def page() -> str:
    strategy, hold = results()
    return tear_sheet(strategy, "A <script> & co", baselines={"hold": hold}, draws=199)


def test_the_page_loads_nothing_and_its_pictures_come_for_light_and_dark(page):
    found = Page(page)
    assert all(link.startswith("data:image/png;base64,") for link in found.links)
    assert "script" not in found.tags
    assert "url(" not in page
    assert "@import" not in page
    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(link.split(",")[1]))).convert("RGB"))
        for link in found.links
    ]
    assert len(pictures) == 2 * found.tags.count("picture") == 10
    for dark, light in zip(pictures[::2], pictures[1::2], strict=True):
        assert dark.shape == light.shape
        assert dark.mean() < 90 < 180 < light.mean()


def test_text_is_escaped(page):
    assert "A &lt;script&gt; &amp; co" in page
    assert "<script>" not in page


def test_figures_and_their_intervals_stand_in_the_tables(page):
    rows = re.findall(r"<tr><td>(.*?)</td>(.*?)</tr>", page)
    assert [label for label, _ in rows][:3] == ["Annual return (CAGR)", "Volatility per year", "Sharpe ratio"]
    assert {"Profit factor", "Turnover per day", "Exposure", "Holding time, hours"} <= {r[0] for r in rows}
    assert all(cells.count("<td>") == 3 for _, cells in rows)
    assert "<th>2.5 %</th><th>97.5 %</th>" in page


def test_the_same_seed_writes_the_same_page(page):
    strategy, hold = results()
    assert tear_sheet(strategy, "A <script> & co", baselines={"hold": hold}, draws=199) == page


def test_a_strategy_without_trades_has_a_page_too():
    _, hold = results(40)
    still = backtest(
        Panel(
            hold.equity["ts"].to_numpy(),
            ("A",),
            timedelta(hours=1),
            *(np.full((960, 1), 9.0) for _ in range(3)),
        ),
        np.full((960, 1), np.nan),
    )
    text = tear_sheet(still, "flat", draws=99, confidence=0.9)
    assert "0 closed trades in 0 symbols" in text
    assert "<td>–</td>" in text


def test_too_few_days_are_refused():
    strategy, _ = results(8)
    with pytest.raises(NotEnoughDataError, match="9 days"):
        tear_sheet(strategy, "short")
