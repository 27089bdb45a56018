from datetime import datetime, timedelta

import numpy as np
import polars as pl

from engine.regimes.bocd import detect_changepoints
from engine.regimes.changepoint_alerts import changepoint_alerts

START, HOUR = datetime(2024, 1, 1), timedelta(hours=1)


def rows(actions: list[str | None], symbol: str = "A") -> pl.DataFrame:
    """A row for each action; None is a bar without a return."""
    p = {"hold": 0.1, "reduce": 0.8, "exit": 0.95, None: None}
    n = len(actions)
    return pl.DataFrame(
        {
            "symbol": [symbol] * n,
            "ts": [START + i * HOUR for i in range(n)],
            "p_mean": pl.Series([p[a] and 0.05 for a in actions], dtype=pl.Float64),
            "p_volatility": pl.Series([p[a] for a in actions], dtype=pl.Float64),
            "p_changepoint": pl.Series([p[a] for a in actions], dtype=pl.Float64),
            "run_length_mean": [90] * n,
            "run_length_volatility": [3] * n,
            "action": [a or "reduce" for a in actions],
        }
    )


def alerts(actions: list[str | None]) -> list[tuple[int, str]]:
    found = changepoint_alerts(rows(actions))
    return [((ts - START) // HOUR, action) for ts, action in found.select("ts", "action").iter_rows()]


def test_an_episode_is_told_once_and_its_escalation_once() -> None:
    assert alerts(["hold", "reduce", "reduce", "exit", "exit", "hold", "exit", "exit"]) == [
        (1, "reduce"),
        (3, "exit"),
        (6, "exit"),
    ]


def test_bars_without_a_return_raise_nothing_and_end_nothing() -> None:
    assert alerts([None, "hold", None, "hold"]) == []
    assert alerts(["hold", "exit", None, "exit", "hold"]) == [(1, "exit")]


def test_what_was_under_way_at_the_first_row_was_told_before() -> None:
    assert alerts(["exit", "exit", "hold", "reduce"]) == [(3, "reduce")]


def test_symbols_are_apart_and_rows_may_come_in_any_order() -> None:
    both = pl.concat([rows(["hold", "hold", "exit"], "B"), rows(["hold", "reduce", "exit"])])
    found = changepoint_alerts(both.reverse())
    assert found.select("symbol", "action").rows() == [("A", "reduce"), ("A", "exit"), ("B", "exit")]


def test_an_alert_says_when_it_is_known_and_when_it_began() -> None:
    (found,) = changepoint_alerts(rows(["hold"] * 5 + ["exit"])).to_dicts()
    assert found["known_at"] == START + 6 * HOUR
    assert found["changed_at"] == START + 3 * HOUR
    quarter = changepoint_alerts(rows(["hold"] * 5 + ["exit"]), timedelta(minutes=15))
    assert quarter["known_at"][0] == START + 5 * HOUR + timedelta(minutes=15)


def test_finds_the_beginning_of_a_real_change() -> None:
    rng = np.random.default_rng(3)
    path = np.r_[rng.normal(0, 1, 300), rng.normal(0, 6, 50)]
    frame = pl.DataFrame(
        {"symbol": ["A"] * 350, "ts": [START + i * HOUR for i in range(350)], "log_return": path}
    )
    found = changepoint_alerts(detect_changepoints(frame)).filter(pl.col("ts") >= START + 300 * HOUR)
    assert abs((found["changed_at"][0] - START) / HOUR - 300) <= 2
    assert changepoint_alerts(detect_changepoints(frame).clear()).height == 0
