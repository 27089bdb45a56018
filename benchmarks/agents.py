"""Whether the agents earn more than what they have to beat: buy-and-hold, LightGBM, plain PPO, net of costs.

Run from the project root: ``python -m benchmarks.agents --mode regimes --seeds 10``. A seed is a simulated
market and the training on it: about three years to learn from, a purge, three to be judged on. ``--mode
null`` takes markets in which nothing can be predicted. ``--recorded`` takes BTC and ETH as recorded, one test
year after another, each with the three years before it to learn from; there a seed is a training alone, and
beside the interval over trainings stands one over blocks of days, of the mean account of all trainings.

Everyone is settled by the environment's rules at 6 basis points a fill, with funding.

- ``full agent``: `RLTrainingPipeline` with its default config: a warm-up by the exact gradient, then experts,
  options, curriculum, replay and scheduled learning rate. Its inputs are those of the nightly job
  (`benchmarks.agents_inputs`): the strongest features, what followed the windows of the past that look alike,
  how the market as a whole stands, and the regimes' probabilities. Synthetic windows are left out.
- ``full agent, market's state alone``: the same without the features and what followed the like.
- ``plain PPO``: the same pipeline with warm-up and all improvements off, as many updates at the constant
  learning rate that suits it, on the catalogue's features.
- ``plain PPO on the same inputs``: which tells the two kinds of difference apart.
- ``LightGBM path``: follows the forecasts of each symbol by rule, sized by strength, with a threshold and a
  no-trade band that were best where agents are validated; once more with their mean over the symbols.

Shown are means over seeds, and each full agent less each rival with Student's interval over seeds, p-values
after Holm over the rivals. Finished seeds are kept as lines of JSON in the file that ``--out`` names and are
not run again; the markets in the folder that ``--cache`` names.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from benchmarks.agents_contest import AGENTS, PURGE, RIVALS, Traded, contest
from benchmarks.agents_inputs import BAR, RECIPE
from engine.agents.market_rows import market_rows, simulated_market_rows
from engine.agents.pipeline_config import PipelineConfig
from engine.evaluation.metrics import paired_intervals
from engine.evaluation.seed_effects import FEWEST_SEEDS, holm, paired_effect
from engine.evaluation.splits import Window
from engine.market.simulator import VERSION

MARKET = Path(__file__).resolve().parents[2] / "shared" / "data" / "market"
SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT")
RECORDED, RECORDED_SYMBOLS = "recorded", ("BTC/USDT", "ETH/USDT")
FROM, YEARS = datetime(2019, 6, 1), (2022, 2023, 2024)  # noqa: DTZ001  moments are UTC without zone
TRAIN_YEARS = 3
SCORES = ("net return per year", "Sharpe ratio")
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class Setup:
    """What the result of a seed depends on.

    Parameters
    ----------
    mode : {"regimes", "null", "recorded"}
    days, test_days, symbols : int
        Size of a simulated market, and how many days at its end are held out.
    updates : int
        Of each training; 0 for the pipeline's default.
    """

    mode: str = "regimes"
    days: int = 2_230
    test_days: int = 1_095
    symbols: int = 4
    updates: int = 0

    def pipeline(self, seed: int) -> PipelineConfig:
        """Default pipeline with this seed and number of updates."""
        config = PipelineConfig()
        config = replace(config, agent=replace(config.agent, seed=seed))
        if not self.updates:
            return config
        stages = config.curriculum
        evaluations = len(stages.order) * stages.stage_evaluations + stages.final_evaluations
        return replace(config, updates_per_evaluation=max(1, self.updates // evaluations))

    @property
    def fingerprint(self) -> str:
        """Identifies the setup, the simulator, the pipeline's defaults and what agents look at."""
        parts = (asdict(self), VERSION, asdict(self.pipeline(0)), RECIPE)
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def market(setup: Setup, seed: int, cache: Path) -> pl.DataFrame:
    """Rows of a seed's market, computed once."""
    name = f"{VERSION}-{setup.mode}-{seed}-{setup.days}-{setup.symbols}"
    path = cache / f"agents-{RECORDED if setup.mode == RECORDED else name}.parquet"
    if not path.is_file():
        if setup.mode == RECORDED:
            rows = recorded_rows()
        else:
            rows = simulated_market_rows(SYMBOLS[: setup.symbols], setup.days, seed, setup.mode).rows  # type: ignore[arg-type]
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        rows.write_parquet(part)
        part.rename(path)
    return pl.read_parquet(path)


def recorded_rows() -> pl.DataFrame:
    """Hourly bars of two coins as recorded, with funding and Fear & Greed as published."""
    files = [
        MARKET / "candles" / "spot_1h" / f"{symbol.replace('/', '_')}.parquet" for symbol in RECORDED_SYMBOLS
    ]
    candles = pl.concat([pl.read_parquet(file) for file in files]).with_columns(_naive("ts"))
    candles = candles.filter(pl.col("ts") >= FROM).sort("symbol", "ts")
    funding = pl.read_parquet(MARKET / "funding" / "binance_usdm.parquet").with_columns(_naive("ts"))
    spot = pl.col("symbol").str.replace(":USDT", "", literal=True)
    paid = [
        funding.filter(spot.is_in(RECORDED_SYMBOLS)).select(
            series=pl.lit(series), symbol=spot, ts="ts", available_at="ts", value=value
        )
        for series, value in (
            ("funding_rate", pl.col("funding_rate")),
            ("funding_interval_hours", pl.lit(8.0)),
        )
    ]
    greed = pl.read_parquet(MARKET / "fear_greed" / "alternative_me.parquet").with_columns(_naive("ts"))
    mood = greed.select(
        series=pl.lit("fear_greed"),
        symbol=pl.lit("*"),
        ts="ts",
        available_at=pl.col("ts") + timedelta(days=1),
        value=pl.col("value").cast(pl.Float64),
    )
    observations = pl.concat([*paid, mood]).with_columns(source=pl.lit("recorded"))
    return market_rows(candles, observations.sort("series", "symbol", "ts", "available_at"), BAR).rows


def _naive(column: str) -> pl.Expr:
    return pl.col(column).dt.replace_time_zone(None).cast(pl.Datetime("us"))


def windows(setup: Setup, rows: pl.DataFrame) -> list[tuple[Window, Window]]:
    """Training and test windows, the former ending a label's span before the latter."""
    if setup.mode == RECORDED:
        starts = [datetime(year, 9, 1) for year in YEARS]  # noqa: DTZ001
        return [
            (
                Window(start.replace(year=start.year - TRAIN_YEARS), start - PURGE),
                Window(start, start.replace(year=start.year + 1)),
            )
            for start in starts
        ]
    first, last = rows["ts"].min(), rows["ts"].max() + BAR  # type: ignore[operator]
    start = last - timedelta(days=setup.test_days)
    return [(Window(first, start - PURGE), Window(start, last))]  # type: ignore[arg-type]


def run_seed(setup: Setup, seed: int, cache: str) -> dict[str, Any]:
    """Run the contest of one seed over all its windows."""
    torch.set_num_threads(1)
    began, cpu = time.time(), time.process_time()
    rows = market(setup, seed, Path(cache))
    contests = [contest(rows, train, test, setup.pipeline(seed)) for train, test in windows(setup, rows)]
    results, agents = zip(*contests, strict=True)
    scores = {name: _joined([result[name] for result in results]) for name in (*AGENTS, *RIVALS)}
    return {
        "setup": setup.fingerprint,
        "mode": setup.mode,
        "seed": seed,
        "updates": sum(each.agent.learner.updates for trained in agents for each in trained.values()),
        "kept": {name: [trained[name].kept for trained in agents] for name in AGENTS},
        "wall_s": round(time.time() - began, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
        "load": os.getloadavg()[0],
        "contestants": scores,
    }


def _joined(parts: list[Traded]) -> dict[str, Any]:
    """One record of the test windows in a row."""
    days = [len(part.daily) for part in parts]
    return {
        "turnover": float(np.average([part.turnover for part in parts], weights=days)),
        "exposure": float(np.average([part.exposure for part in parts], weights=days)),
        "daily": [round(float(value), 10) for part in parts for value in part.daily],
    }


def scored(daily: list[float]) -> tuple[float, float]:
    """Net return per year, without compounding, and Sharpe ratio, 0 where nothing was held."""
    values = np.array(daily)
    deviation = values.std(ddof=1)
    year = 365.0 * float(values.mean())
    return year, year / (float(deviation) * 365.0**0.5) if deviation > 0.0 else 0.0


def run_seeds(setup: Setup, seeds: list[int], cache: str, out: Path, workers: int) -> list[dict[str, Any]]:
    """Results of all seeds, those that are not in the file yet run now."""
    done = {line["seed"]: line for line in _lines(out) if line["setup"] == setup.fingerprint}
    due = [seed for seed in seeds if seed not in done]
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1") | {"OMP_WAIT_POLICY": "passive"})
    with ProcessPoolExecutor(max(1, min(workers, len(due))), get_context("spawn")) as pool:
        for future in as_completed([pool.submit(run_seed, setup, seed, cache) for seed in due]):
            line = future.result()
            done[line["seed"]] = line
            out.parent.mkdir(parents=True, exist_ok=True)
            with out.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(f"{setup.mode} seed {line['seed']}: {line['cpu_s']} s", file=sys.stderr, flush=True)
    return [done[seed] for seed in seeds]


def _lines(out: Path) -> Iterator[dict[str, Any]]:
    if out.is_file():
        yield from map(json.loads, out.read_text().splitlines())


def level_table(results: list[dict[str, Any]]) -> pl.DataFrame:
    """Mean over seeds of what each contestant earned, turned over and held."""
    table = []
    for name in (*AGENTS, *RIVALS):
        own = [result["contestants"][name] for result in results]
        year, ratio = np.mean([scored(each["daily"]) for each in own], axis=0)
        turnover, exposure = (float(np.mean([each[key] for each in own])) for key in ("turnover", "exposure"))
        table.append((name, float(year), float(ratio), turnover, exposure))
    return pl.DataFrame(table, ("contestant", *SCORES, "turnover per day", "mean position"), orient="row")


def paired_table(results: list[dict[str, Any]], agent: str) -> pl.DataFrame:
    """Subtract each rival from an agent over seeds, per score; p-values are adjusted over the rivals."""
    rows = []
    for column, score in enumerate(SCORES):
        values = {
            name: [scored(result["contestants"][name]["daily"])[column] for result in results]
            for name in (agent, *RIVALS)
        }
        effects = [paired_effect(values[agent], values[rival]) for rival in RIVALS]
        adjusted = holm([effect.p_value for effect in effects])
        rows += [
            (score, rival, effect.value, effect.low, effect.high, float(p))
            for rival, effect, p in zip(RIVALS, effects, adjusted, strict=True)
        ]
    return pl.DataFrame(
        rows, ("score", f"{agent}, less", "difference", "low", "high", "p (Holm)"), orient="row"
    )


def by_days_table(results: list[dict[str, Any]], agent: str) -> pl.DataFrame:
    """Mean account of all trainings less that of each rival, with intervals over blocks of days."""
    mean = {
        name: np.mean([result["contestants"][name]["daily"] for result in results], axis=0)
        for name in (agent, *RIVALS)
    }
    rows = []
    for rival in RIVALS:
        found = paired_intervals(mean[agent], mean[rival])
        for metric in ("annual_return", "sharpe"):
            value, low, high = found.row(by_predicate=pl.col("metric") == metric)[1:]
            rows.append((metric.replace("_", " "), rival, value, low, high))
    return pl.DataFrame(rows, ("score", f"{agent}, less", "difference", "low", "high"), orient="row").sort(
        "score", maintain_order=True
    )


def markdown(table: pl.DataFrame) -> str:
    """Table as Markdown, numbers with three places."""
    body = [
        [f"{cell:+.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in table.rows()
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in (table.columns, ["---"] * table.width, *body))


def main() -> None:
    """Run the seeds and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mode", choices=("regimes", "null"), default="regimes")
    parser.add_argument("--recorded", action="store_true", help="recorded markets instead of simulated ones")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=1)
    for name in ("days", "test_days", "symbols", "updates"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(Setup, name))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cache", default="data/benchmarks")
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/agents.jsonl"))
    given = parser.parse_args()
    if given.recorded and not MARKET.is_dir():
        sys.exit(f"skipped: recorded market data is not at {MARKET}")
    mode = RECORDED if given.recorded else given.mode
    setup = Setup(mode, given.days, given.test_days, given.symbols, given.updates)
    began, load = time.time(), os.getloadavg()[0]
    seeds = list(range(given.first_seed, given.first_seed + given.seeds))
    if given.recorded:
        market(setup, 0, Path(given.cache))
    results = run_seeds(setup, seeds, given.cache, given.out, given.workers)
    tables = [level_table(results)]
    if len(results) >= FEWEST_SEEDS:
        tables += [paired_table(results, agent) for agent in AGENTS]
    if given.recorded:
        tables += [by_days_table(results, agent) for agent in AGENTS]
    print(f"## {setup.mode}, {len(seeds)} seeds\n\n" + "\n\n".join(map(markdown, tables)))
    facts = {
        "setup": asdict(setup),
        "seeds": seeds,
        "wall_s": round(time.time() - began),
        "cpu_s_per_seed": round(float(np.mean([result["cpu_s"] for result in results]))),
        "kept": {
            name: Counter(kept for result in results for kept in result["kept"][name]) for name in AGENTS
        },
        "updates_per_seed": round(float(np.mean([result["updates"] for result in results]))),
        "load": [load, os.getloadavg()[0]],
    }
    print(f"\n{json.dumps(facts)}")


if __name__ == "__main__":
    main()
