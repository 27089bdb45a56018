"""The change-point guard in eight real panics of BTC and ETH, and what it costs the rest of the time.

Run from the project root: ``python -m benchmarks.panics``; prints tables and one line of JSON. It needs the
recorded hourly candles of 2018 to 2025 beside the project.

The detector has its default settings, which were chosen on simulated series with known changes. Nothing here
was chosen by looking at what the guard does in these episodes.

- Onset of a panic: the first bar, from a day before the date it is known by to two days after, whose close
  is lower than that 24 hours before by two standard deviations of such changes in the year before.
- Delay: hours from the onset to the first alert at or after a day before it; negative where it came before.
- Quiet day: its absolute return and its realised volatility are both below their medians of the year before,
  and no panic's date is within ten days. An exit alert on one is false.
- Guard: a hold whose volatility is targeted once a day, halved on ``reduce`` and closed on ``exit``. Decided
  at the close, filled at the next open, 5 bp fee and 1 bp half spread.
- Drawdown in a panic: from a day before the onset to ten days after it. The interval is over episodes, of
  which both coins are one draw.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.evaluation.backtest import backtest
from engine.evaluation.bootstrap import bootstrap_interval, stationary_bootstrap_indices
from engine.evaluation.costs import Costs
from engine.evaluation.metrics import max_drawdown, paired_intervals, performance
from engine.evaluation.panel import panel_from_candles, weights_panel
from engine.market.segments import segments
from engine.regimes.bocd import detect_changepoints
from engine.regimes.changepoint_alerts import changepoint_alerts

Floats = NDArray[np.float64]

MARKET = Path(__file__).resolve().parents[2] / "shared" / "data" / "market" / "candles" / "spot_1h"
SYMBOLS = ("BTC_USDT", "ETH_USDT")
PANICS = tuple(
    datetime.fromisoformat(day)
    for day in (
        "2020-03-12",
        "2021-05-19",
        "2022-05-09",
        "2022-06-13",
        "2022-11-08",
        "2024-08-05",
        "2025-02-03",
        "2025-04-07",
    )
)
HOUR, DAY, YEAR = timedelta(hours=1), timedelta(days=1), timedelta(days=365)
AFTER, AWAY = timedelta(days=10), timedelta(days=10)
ONSET_DEVIATIONS = 2.0
TARGET_VOLATILITY, HALF_LIFE, LARGEST_WEIGHT = 0.40, 240, 1.0
LEFT = {"hold": 1.0, "reduce": 0.5, "exit": 0.0}
DRAWS = 4_999


def hourly() -> pl.DataFrame:
    """Read candles as the warehouse stages them: segments, and no return across a hole."""
    rows = pl.concat(pl.read_parquet(MARKET / f"{name}.parquet") for name in SYMBOLS)
    rows = rows.with_columns(pl.col("ts").dt.replace_time_zone(None)).sort("symbol", "ts")
    rows = rows.with_columns(segments(rows, HOUR).alias("segment"))
    return rows.with_columns(log_return=pl.col("close").log().diff().over("symbol", "segment"))


def onset(candles: pl.DataFrame, day: datetime) -> datetime | None:
    """Bar at which a panic has begun; None if no bar fell far enough."""
    # The past is looked up by time and not by row, for rows are missing where the venue was down.
    before = candles.select(pl.col("ts") + DAY, pl.col("close").alias("yesterday"))
    change = candles.join(before, on="ts").select("ts", change=(pl.col("close") / pl.col("yesterday")).log())
    past = change.filter(pl.col("ts").is_between(day - YEAR, day - DAY, closed="left"))["change"]
    usual = float(past.to_numpy().std())
    fell = change.filter(
        pl.col("ts").is_between(day - DAY, day + 3 * DAY, closed="left")
        & (pl.col("change") <= -ONSET_DEVIATIONS * usual)
    )
    return fell["ts"][0] if fell.height else None


def delay(alerts: pl.DataFrame, begins: datetime, actions: tuple[str, ...]) -> float | None:
    """Hours to the first alert that asks for one of the actions; None within three days."""
    near = alerts.filter(
        pl.col("ts").is_between(begins - DAY, begins + 3 * DAY) & pl.col("action").is_in(actions)
    )
    return (near["ts"][0] - begins) / HOUR if near.height else None


def quiet_days(candles: pl.DataFrame) -> pl.DataFrame:
    """``day`` of each quiet day."""
    days = candles.group_by(pl.col("ts").dt.truncate("1d").alias("day")).agg(
        change=pl.col("log_return").sum().abs(), volatility=pl.col("log_return").std()
    )
    days = days.sort("day").with_columns(
        pl.col("change", "volatility").rolling_median_by("day", "365d", closed="left").name.suffix("_usual")
    )
    first = days["day"][0] + YEAR
    away = pl.all_horizontal((pl.col("day") - panic).abs() > AWAY for panic in PANICS)
    return days.filter(
        (pl.col("day") >= first)
        & (pl.col("change") < pl.col("change_usual"))
        & (pl.col("volatility") < pl.col("volatility_usual"))
        & away
    ).select("day")


def hold(candles: pl.DataFrame, rows: pl.DataFrame, guarded: bool) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Hourly and daily accounts of the volatility-targeted hold of one symbol."""
    variance = (pl.col("log_return") ** 2).ewm_mean(half_life=HALF_LIFE, ignore_nulls=True)
    left = pl.col("action").replace_strict(LEFT) if guarded else pl.lit(1.0)
    new_day = pl.col("ts").dt.hour() == 23
    decisions = (
        candles.select("symbol", "ts", size=TARGET_VOLATILITY / (variance * 24 * 365).sqrt())
        .join(rows.select("ts", left.alias("left")), on="ts", maintain_order="left")
        .with_columns(size=pl.when(new_day).then(pl.col("size").clip(0.0, LARGEST_WEIGHT)).forward_fill())
        .filter(new_day | (pl.col("left") != pl.col("left").shift(1)))
        .select("symbol", "ts", weight=pl.col("size") * pl.col("left"))
        .drop_nulls()
    )
    panel = panel_from_candles(candles, HOUR)
    result = backtest(
        panel,
        weights_panel(decisions, panel),
        costs=Costs(fee_bps=5.0, half_spread_bps=1.0, impact_bps=0.0),
    )
    return result.equity, result.daily()


def drawdown(equity: pl.DataFrame, begins: datetime) -> float:
    """Largest fall around one panic."""
    part = equity.filter(pl.col("ts").is_between(begins - DAY, begins + AFTER, closed="left"))
    return float(max_drawdown(part["net_return"].to_numpy(), 1.0))


def over_episodes(plain: Floats, guarded: Floats) -> dict[str, Any]:
    """Mean drawdowns [episodes, coins] and their paired difference, with intervals over episodes."""
    each = np.stack([plain.mean(axis=1), guarded.mean(axis=1)])
    draws = each[:, stationary_bootstrap_indices(each.shape[1], 1.0, DRAWS, np.random.default_rng(0))]
    means = draws.mean(axis=-1)
    low, high = bootstrap_interval(np.stack([means[1] - means[0], 1.0 - means[1] / means[0]], axis=-1))
    without, with_ = each.mean(axis=1)
    return {
        "episodes": each.shape[1],
        "drawdown_without": round(float(without), 4),
        "drawdown_with": round(float(with_), 4),
        "difference": [round(float(v), 4) for v in (with_ - without, low[0], high[0])],
        "share_less": [round(float(v), 4) for v in (1.0 - with_ / without, low[1], high[1])],
    }


def history(plain: pl.DataFrame, guarded: pl.DataFrame) -> dict[str, Any]:
    """Whole-history figures of daily returns, and the paired difference."""
    ours, theirs = guarded["net_return"].to_numpy(), plain["net_return"].to_numpy()
    differences = paired_intervals(ours, theirs).filter(
        pl.col("metric").is_in(["annual_return", "sharpe", "max_drawdown", "volatility"])
    )
    figures = {"without": performance(theirs), "with": performance(ours)}
    return {
        row["metric"]: {
            "without": round(figures["without"][row["metric"]], 4),
            "with": round(figures["with"][row["metric"]], 4),
            "difference": [round(row[k], 4) for k in ("value", "low", "high")],
        }
        for row in differences.iter_rows(named=True)
    } | {"turnover_a_day": [round(float(f["turnover"].to_numpy().mean()), 4) for f in (plain, guarded)]}


def main() -> None:
    """Measure both coins and print."""
    if not MARKET.is_dir():
        print(f"recorded candles are not at {MARKET}")
        return
    candles = hourly()
    found = detect_changepoints(candles)
    alerts = changepoint_alerts(found)
    result: dict[str, Any] = {"benchmark": "panics"}
    falls: dict[bool, list[list[float]]] = {False: [], True: []}
    print(f"{'symbol':10}{'panic':12}{'onset':18}{'reduce h':>9}{'exit h':>8}{'without':>9}{'with':>8}")
    for (symbol,), part in candles.group_by("symbol", maintain_order=True):
        rows, own = found.filter(pl.col("symbol") == symbol), alerts.filter(pl.col("symbol") == symbol)
        accounts = {guarded: hold(part, rows, guarded) for guarded in (False, True)}
        quiet = quiet_days(part)
        false = own.filter(pl.col("action") == "exit").join(
            quiet, left_on=pl.col("ts").dt.truncate("1d"), right_on="day", how="semi"
        )
        bars = part.join(quiet, left_on=pl.col("ts").dt.truncate("1d"), right_on="day", how="semi").height
        episodes = []
        for day in PANICS:
            begins = onset(part, day)
            at = begins or day
            for guarded, (equity, _) in accounts.items():
                falls[guarded].append([drawdown(equity, at)])
            episodes.append(
                {
                    "panic": f"{day:%Y-%m-%d}",
                    "onset": f"{begins:%Y-%m-%d %H:%M}" if begins else None,
                    "reduce_h": delay(own, at, ("reduce", "exit")),
                    "exit_h": delay(own, at, ("exit",)),
                    "without": round(falls[False][-1][0], 4),
                    "with": round(falls[True][-1][0], 4),
                }
            )
            print(f"{symbol!s:10}" + "".join(f"{v!s:>{w}}" for v, w in zip(episodes[-1].values(), (12, 18, 9, 8, 9, 8), strict=True)))  # fmt: skip  # noqa: E501
        result[str(symbol)] = {
            "episodes": episodes,
            "alerts": dict(own["action"].value_counts().sort("action").iter_rows()),
            "share_of_bars": {a: round((rows["action"] == a).sum() / rows.height, 4) for a in LEFT},
            "quiet_bars": bars,
            "false_exits_per_1000_quiet_bars": round(1000 * false.height / bars, 3),
            "history": history(accounts[False][1], accounts[True][1]),
        }
    coins = {guarded: np.array(v).reshape(len(SYMBOLS), -1).T for guarded, v in falls.items()}
    result["panics"] = over_episodes(coins[False], coins[True])
    print(json.dumps(result))


if __name__ == "__main__":
    main()
