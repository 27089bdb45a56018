"""Transition risk and Fear & Greed: skill, calibration and what each input adds, simulated and recorded.

Run from the project root: ``python -m benchmarks.transitions`` runs every part, ``python -m
benchmarks.transitions PART ...`` only those named. Each part prints tables; the last line is JSON.

- ``simulated``, ``recorded``: Brier skill, AUC and calibration error of the walk-forward risk with 95 %
  intervals over blocks of days; its reliability; and what change points, early warnings and each other
  source add to the regime's own course, as the Brier score saved in the same bars
- ``calibrators``: the score uncalibrated, recalibrated, by isotonic regression and by Venn-Abers, and a
  boosted score, all fitted and judged on the same rows
- ``sentiment``: rank correlation of the Fear & Greed index with the next 24 hours' return, plain and given
  past returns and volatility
- ``speed``: seconds of features, labels and walk forward

Recorded data are looked for beside the project; parts that need them say so where they are absent.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import lightgbm
import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import rankdata
from sklearn.isotonic import IsotonicRegression

from engine.alternative.features import alternative_features
from engine.calibration.calibration_error import adaptive_calibration_error
from engine.calibration.venn_abers import fit_venn_abers, merged
from engine.errors import NotEnoughDataError
from engine.evaluation.bootstrap import (
    automatic_block_length,
    bootstrap_interval,
    stationary_bootstrap_indices,
)
from engine.evaluation.skill import Estimate, auc, skill
from engine.evaluation.splits import Window
from engine.market.segments import segments
from engine.market.simulator import MarketSimulator
from engine.regimes.anticipator import (
    AnticipatorConfig,
    independent_outcomes,
    train_and_calibrate,
    walk_forward_transitions,
)
from engine.regimes.bocd import detect_changepoints
from engine.regimes.history import walk_forward_regimes
from engine.regimes.transition_features import TRANSITION_FEATURES, transition_features
from engine.regimes.transition_model import fit_recalibration, fit_score, usable_sources
from engine.regimes.transition_skill import RISKS, judged_risks, transition_reliability, transition_skill
from engine.regimes.transitions import transition_labels

MARKET = Path(__file__).resolve().parents[2] / "shared" / "data" / "market"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SEEDS = (1, 2, 3)
SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "BNB/USDT")
BARS = 12_960
REFIT, LOOKBACK = 30 * DAY, 365 * DAY
ADDED = {
    "regime": ("regime",),
    "regime + change points": ("regime", "change points"),
    "regime + early warnings": tuple(s for s in TRANSITION_FEATURES if s != "change points"),
    "everything": tuple(TRANSITION_FEATURES),
}
Floats = NDArray[np.float64]


class Market(NamedTuple):
    """One market: its regimes, the features of its transitions, and the time before a first fit."""

    regimes: pl.DataFrame
    features: pl.DataFrame
    warmup: timedelta

    def walk(self, sources: tuple[str, ...] = tuple(TRANSITION_FEATURES)) -> pl.DataFrame:
        """Risks of the whole history, read from some sources."""
        return walk_forward_transitions(
            reading(self.features, sources),
            HOUR,
            refit=REFIT,
            warmup=self.warmup,
            lookback=LOOKBACK,
        ).rows


@cache
def simulated(seed: int) -> Market:
    """Four symbols over a year and a half, as long as a demo."""
    market = MarketSimulator(SYMBOLS, HOUR, seed).simulate(datetime(2024, 1, 1, tzinfo=UTC), BARS)
    return _market(market.candles, market.observations, 60 * DAY, 240 * DAY, 120 * DAY)


@cache
def recorded() -> Market:
    """Eleven spot markets since 2018, with funding and Fear & Greed from when they were recorded."""
    return _market(recorded_candles(), recorded_observations(), 90 * DAY, 730 * DAY, 240 * DAY)


def recorded_candles() -> pl.DataFrame:
    """Hourly spot candles of eleven symbols."""
    if not MARKET.is_dir():
        raise FileNotFoundError(f"recorded market data is not at {MARKET}")
    files = sorted((MARKET / "candles" / "spot_1h").glob("*.parquet"))
    columns = ["symbol", "ts", "open", "high", "low", "close", "volume"]
    return (
        pl.concat([pl.read_parquet(path).select(columns) for path in files])
        .with_columns(_naive("ts"))
        .filter(pl.min_horizontal("open", "high", "low", "close") > 0.0)
        .unique(["symbol", "ts"], keep="first", maintain_order=True)
        .sort("symbol", "ts")
    )


def recorded_observations() -> pl.DataFrame:
    """Funding at its stamps; the index a quarter of an hour after midnight of the day it is for."""
    funding = (
        pl.read_parquet(MARKET / "funding" / "binance_usdm.parquet")
        .with_columns(_naive("ts"), pl.col("symbol").str.split(":").list.first())
        .sort("symbol", "ts")
        .with_columns(hours=(pl.col("ts").diff().over("symbol") / HOUR).round())
    )
    index = pl.read_parquet(MARKET / "fear_greed" / "alternative_me.parquet").with_columns(_naive("ts"))
    parts = [
        funding.select(
            pl.lit(series).alias("series"), "symbol", "ts", available_at="ts", value=pl.col(column)
        )
        for series, column in (("funding_rate", "funding_rate"), ("funding_interval_hours", "hours"))
    ]
    parts.append(
        index.select(
            pl.lit("fear_greed").alias("series"),
            pl.lit("*").alias("symbol"),
            "ts",
            available_at=pl.col("ts") + timedelta(minutes=15),
            value=pl.col("value").cast(pl.Float64),
        )
    )
    return pl.concat(parts).unique(["series", "symbol", "ts"], keep="first", maintain_order=True)


def _naive(column: str) -> pl.Expr:
    return pl.col(column).dt.replace_time_zone(None).cast(pl.Datetime("us"))


def with_returns(candles: pl.DataFrame) -> pl.DataFrame:
    """Add the segments and the log returns inside them."""
    change = (pl.col("close") / pl.col("close").shift(1)).log().over("symbol", "segment")
    return candles.with_columns(segment=segments(candles, HOUR)).with_columns(log_return=change)


def _market(
    candles: pl.DataFrame,
    observations: pl.DataFrame,
    refit: timedelta,
    lookback: timedelta,
    warmup: timedelta,
) -> Market:
    """Detect regimes, refitted on their own schedule, and change points."""
    candles = with_returns(candles)
    alternative = alternative_features(candles.select("symbol", "ts"), observations, HOUR)
    regimes = walk_forward_regimes(
        candles, HOUR, refit=refit, warmup=45 * DAY, lookback=lookback, alternative=alternative
    ).rows.sort("symbol", "ts")
    features = transition_features(regimes, detect_changepoints(candles), candles, alternative)
    return Market(regimes, features, warmup)


def reading(features: pl.DataFrame, sources: tuple[str, ...]) -> pl.DataFrame:
    """Features of some sources; all others missing throughout."""
    hidden = [
        name for source, names in TRANSITION_FEATURES.items() if source not in sources for name in names
    ]
    return features.with_columns(pl.lit(None, pl.Float64).alias(name) for name in hidden)


def ablation(market: Market, title: str) -> dict[str, Any]:
    """Skill of each set of sources, its gain over the regime alone, and the reliability of everything."""
    risks = {name: market.walk(sources) for name, sources in ADDED.items()}
    out: dict[str, Any] = {}
    for outcome in RISKS:
        judged = {name: judged_risks(rows, market.regimes, outcome, HOUR) for name, rows in risks.items()}
        alone = judged["regime"]
        out[outcome] = {"rate": round(float(alone["outcome"].to_numpy().mean()), 4), "rows": alone.height}
        print(f"\n{title}, {outcome}: {alone.height} bars, {out[outcome]['rate']:.1%} of them true")
        for name, rows in judged.items():
            figures = transition_skill(rows)
            both = rows.join(alone.select("symbol", "ts", other="p"), on=["symbol", "ts"])
            paired = skill(both.select("ts", "p", "outcome", base="other"))["gain in Brier score"]
            figures["Brier score saved beyond the regime alone"] = paired
            out[outcome][name] = {figure: stated(value) for figure, value in figures.items()}
            for figure, value in figures.items():
                print(f"  {name:24s} {figure:42s} {value.value:+.4f} [{value.low:+.4f}, {value.high:+.4f}]")
        horizon = AnticipatorConfig().horizon
        table = transition_reliability(judged["everything"], horizon)
        inside = float(table.select(pl.col("stated").is_between("low", "high").mean()).item())
        out[outcome]["bins in their interval"] = round(inside, 3)
        print(f"  stated inside the interval of the realised: {inside:.0%} of {table.height} bins")
        for row in table.filter(pl.col("regime") == "ALL").iter_rows(named=True):
            print(
                f"    stated {row['stated']:.3f}, realised {row['realised']:.3f} "
                f"[{row['low']:.3f}, {row['high']:.3f}] of {row['n']}"
            )
    return out


def stated(estimate: Estimate) -> list[float]:
    """Value and interval, to four digits."""
    return [round(figure, 4) for figure in (estimate.value, estimate.low, estimate.high)]


def run_simulated() -> dict[str, Any]:
    """Ablation on simulated markets."""
    return {f"seed {seed}": ablation(simulated(seed), f"simulated, seed {seed}") for seed in SEEDS}


def run_recorded() -> dict[str, Any]:
    """Ablation on the recorded markets."""
    return ablation(recorded(), "recorded")


def calibrated(
    score: Floats, happened: NDArray[np.bool_], weight: float, new: Floats
) -> Iterator[tuple[str, Floats]]:
    """Probabilities of new scores by each way to calibrate on old ones."""
    yield "uncalibrated", expit(new)
    yield "recalibrated", fit_recalibration(score, happened, weight)(new)
    yield "isotonic", IsotonicRegression(out_of_bounds="clip").fit(score, happened).predict(new)
    yield "Venn-Abers", merged(*fit_venn_abers(score, happened)(new))
    yield "Venn-Abers, overlap", merged(*fit_venn_abers(score, happened, overlap=1.0 / weight)(new))


def boosted(train: pl.DataFrame, outcome: str, features: tuple[str, ...]) -> Callable[[pl.DataFrame], Floats]:
    """Log-odds by a small gradient-boosted model."""
    codes = {name: float(i) for i, name in enumerate(("TREND", "RANGE", "PANIC"))}

    def matrix(rows: pl.DataFrame) -> Floats:
        regime = rows["regime"].replace_strict(codes, return_dtype=pl.Float64)
        return np.column_stack([regime.to_numpy(), rows.select(features).to_numpy().astype(np.float64)])

    settings = {
        "objective": "binary", "num_leaves": 8, "learning_rate": 0.05, "min_data_in_leaf": 200,
        "lambda_l2": 10.0, "verbose": -1, "num_threads": 1, "seed": 0, "deterministic": True,
    }  # fmt: skip
    data = lightgbm.Dataset(matrix(train), train[outcome].to_numpy().astype(float))
    booster = lightgbm.train(settings, data, 100)
    return lambda rows: np.asarray(booster.predict(matrix(rows), raw_score=True))


def compared(market: Market, title: str) -> dict[str, Any]:
    """Each score with each calibration, on the folds of the walk forward."""
    config, outcomes = AnticipatorConfig(), tuple(RISKS)
    labels = transition_labels(market.regimes, HOUR, config.horizon, config.hold)
    rows = market.features.with_columns(labels.select(outcomes)).drop_nulls(TRANSITION_FEATURES["regime"])
    first = market.features["ts"].min()
    assert isinstance(first, datetime)
    date, last = first + market.warmup, market.features["ts"].max()
    assert isinstance(last, datetime)
    found: dict[str, list[pl.DataFrame]] = {outcome: [] for outcome in outcomes}
    while date <= last:
        window = Window(date - LOOKBACK, date)
        judged = rows.filter(Window(date, date + REFIT).mask())
        date += REFIT
        try:
            train, calibrate = train_and_calibrate(market.features, window, config)
        except NotEnoughDataError:
            continue
        sources = usable_sources(train)
        for outcome in outcomes:
            seen, held, new = (part.drop_nulls(outcome) for part in (train, calibrate, judged))
            fit = seen.filter(pl.col("ts").dt.hour() % config.thinning == 0)
            if new.is_empty() or fit[outcome].n_unique() < 2 or held[outcome].n_unique() < 2:
                continue
            weight = config.thinning * independent_outcomes(seen, outcome, config.horizon)
            scores: dict[str, Callable[[pl.DataFrame], Floats]] = {
                "logistic": fit_score(fit, outcome, sources, weight, config.warning_prior),
                "boosted": boosted(fit, outcome, sources.features),
            }
            stated = new.select("ts", "symbol", outcome)
            for name, score in scores.items():
                old, now = score(held), score(new)
                known = np.isfinite(old)
                past = held[outcome].to_numpy().astype(bool)[known]
                each = independent_outcomes(held, outcome, config.horizon)
                stated = stated.with_columns(
                    pl.Series(f"{name}, {way}", p).fill_nan(None)
                    for way, p in calibrated(old[known], past, each, np.nan_to_num(now))
                )
            found[outcome].append(stated)
    return {outcome: _table(pl.concat(parts), outcome, title) for outcome, parts in found.items() if parts}


def _table(stated: pl.DataFrame, outcome: str, title: str) -> dict[str, dict[str, float]]:
    happened = stated[outcome].to_numpy().astype(float)
    print(f"\n{title}, {outcome}: {happened.size} bars")
    out = {}
    for name in stated.columns[3:]:
        p = stated[name].to_numpy()
        edges = np.unique(np.quantile(p, np.linspace(0, 1, 513)[1:-1]))
        place = np.searchsorted(edges, p, side="right")
        wins, losses = (
            np.bincount(place[happened == kind], minlength=edges.size + 1).astype(float) for kind in (1, 0)
        )
        out[name] = {
            "Brier": round(float(np.mean((p - happened) ** 2)), 5),
            "AUC": round(float(auc(wins, losses)), 4),
            "calibration error": round(adaptive_calibration_error(p, happened.astype(bool)), 4),
        }
        print(f"  {name:32s} {out[name]}")
    return out


def run_calibrators() -> dict[str, Any]:
    """Compare calibrations on simulated markets and, where there are some, recorded ones."""
    out = {f"seed {seed}": compared(simulated(seed), f"simulated, seed {seed}") for seed in SEEDS}
    return out | ({"recorded": compared(recorded(), "recorded")} if MARKET.is_dir() else {})


def run_sentiment(draws: int = 999) -> dict[str, Any]:
    """Correlate the index, at its publication, with the next day's return of an equal-weighted market."""
    candles = with_returns(recorded_candles())
    market = (
        candles.group_by("ts").agg(r=pl.col("log_return").mean()).sort("ts").upsample("ts", every="1h")
    ).with_columns(pl.col("r").fill_null(0.0))
    known = alternative_features(
        market.select(pl.lit("BTC/USDT").alias("symbol"), "ts"), recorded_observations(), HOUR
    )
    sums = {f"past {bars}": pl.col("r").rolling_sum(bars) for bars in (24, 72, 168, 720)}
    rows = (
        market.with_columns(index=known["fear_greed"])
        .with_columns(
            *(past.alias(name) for name, past in sums.items()),
            volatility=pl.col("r").rolling_std(168).log(),
            volatility_month=pl.col("r").rolling_std(720).log(),
            ahead=pl.col("r").rolling_sum(24).shift(-24),
        )
        .filter(pl.col("ts").dt.hour() == 0)
        .drop_nulls()
    )
    columns = ["ahead", "index", *sums, "volatility", "volatility_month"]
    ranks = np.column_stack([rankdata(rows[name].to_numpy()) for name in columns])
    block = max(automatic_block_length(ranks[:, 0]), 30.0)  # the index itself stays for weeks
    indices = stationary_bootstrap_indices(len(ranks), block, draws, np.random.default_rng(0))
    out: dict[str, Any] = {"days": len(ranks), "block": round(block, 1)}
    figures: dict[str, Callable[[Floats], float]] = {
        "index with the past 24 hours": lambda x: _partial(x[:, [2, 1]]),
        "index with the next 24 hours": lambda x: _partial(x[:, :2]),
        "index with the next 24 hours, given past returns": lambda x: _partial(x[:, : 2 + len(sums)]),
        "index with the next 24 hours, given past returns and volatility": _partial,
    }
    for name, figure in figures.items():
        drawn = np.array([figure(ranks[draw]) for draw in indices])
        low, high = bootstrap_interval(drawn)
        out[name] = [round(float(v), 4) for v in (figure(ranks), low, high)]
        print(f"  {name:66s} {out[name][0]:+.4f} [{out[name][1]:+.4f}, {out[name][2]:+.4f}]")
    return out


def _partial(x: Floats) -> float:
    """Correlation of the first two columns given the others."""
    given = np.column_stack([np.ones(len(x)), x[:, 2:]])
    rest = x[:, :2] - given @ np.linalg.lstsq(given, x[:, :2], rcond=None)[0]
    return float(np.corrcoef(rest.T)[0, 1])


def run_speed() -> dict[str, Any]:
    """Wall and CPU seconds of each step."""
    out: dict[str, Any] = {}
    markets = {"simulated": simulated(SEEDS[0])} | ({"recorded": recorded()} if MARKET.is_dir() else {})
    for name, market in markets.items():
        out[name] = {
            "rows": market.features.height,
            "labels": _seconds(partial(transition_labels, market.regimes, HOUR)),
            "walk forward": _seconds(market.walk),
        }
    print(out)
    return out


def _seconds(call: Callable[[], object]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return {
        "wall_s": round(time.perf_counter() - wall, 2),
        "cpu_s": round(time.process_time() - cpu, 2),
    }


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "simulated": run_simulated,
    "recorded": run_recorded,
    "calibrators": run_calibrators,
    "sentiment": run_sentiment,
    "speed": run_speed,
}


def main() -> None:
    """Run the parts that are named, or all."""
    result: dict[str, Any] = {"benchmark": "transitions", "cpus": os.cpu_count()}
    for name in sys.argv[1:] or PARTS:
        try:
            result[name] = PARTS[name]()
        except FileNotFoundError as error:
            result[name] = {"skipped": str(error)}
        result[name]["load_1min"] = round(os.getloadavg()[0], 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
