from datetime import datetime, timedelta

import numpy as np
import polars as pl

from engine.portfolio.daily_closes import daily_closes

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = datetime(2024, 1, 1)


def market(days: int, seed: int = 5) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    frames = []
    for i, symbol in enumerate(("A/USDT", "B/USDT", "C/USDT")):
        steps = rng.normal(0.0, 0.002 * (i + 1), 24 * days)
        ts = [START + h * HOUR for h in range(24 * days)]
        frames.append(pl.DataFrame({"symbol": symbol, "ts": ts, "close": 100 * np.exp(np.cumsum(steps))}))
    return pl.concat(frames).with_columns(pl.col("ts").cast(pl.Datetime("us")))


def test_the_close_of_a_day_is_that_of_its_last_bar() -> None:
    candles = market(3)
    closes = daily_closes(candles, HOUR)
    assert closes["day"].to_list() == [START + (d + 1) * DAY for d in range(3)]
    last_hour = candles.filter((pl.col("symbol") == "B/USDT") & (pl.col("ts") == START + 47 * HOUR))
    assert closes["B/USDT"][1] == last_hour["close"][0]


def test_a_day_without_its_last_bar_has_no_close_but_stays_on_the_clock() -> None:
    candles = market(3).filter(pl.col("ts") != START + 47 * HOUR)
    closes = daily_closes(candles, HOUR)
    assert closes.height == 3
    assert closes["A/USDT"][1] is None
