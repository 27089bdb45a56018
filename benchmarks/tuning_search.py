"""Searches of the live algorithm's parameters: methods at equal evaluations, priors, ensembles out of sample.

Run from the project root: ``python -m benchmarks.tuning_search``. Three years of hourly BTC and ETH as
recorded are searched with the scenario ``comprehensive_evolution``, and the year after, a purge later, is
what nothing was searched on; there a seed is a search alone. ``--simulated`` takes simulated markets, where a
seed is a market too and intervals tell of markets; it is what runs where no recorded ones are.

- ``methods``: best score found by policy gradients less that of each alternative, at equal evaluations
- ``prior``: evaluations that a search on ETH needs, with and without BTC's finding as its prior, until half
  and until 90 % of what one without gains in the end, on average; one that never gets there counts as all of
  its evaluations. The first generation is shared between the prior and what is in force
- ``ensemble``: score on the year after, of the mean of the five best diverse variants, and of an account
  shared among them, less that of the best single one

Intervals are Student's over seeds, paired. Finished seeds are kept as lines of JSON in the file that
``--out`` names and are not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.evaluation.seed_effects import paired_effect
from engine.evaluation.splits import Window
from engine.market.simulator import VERSION, MarketSimulator
from engine.tuning.ensemble import ensemble, variants
from engine.tuning.kernel import Evaluation, evaluate
from engine.tuning.market_state import WARMUP, StateTape, state_tape
from engine.tuning.objectives import score
from engine.tuning.parameters import DEFAULTS
from engine.tuning.prior import finding, learn_prior
from engine.tuning.scenarios import HIGH, scenario
from engine.tuning.search import METHODS, Objective, SearchConfig, SearchResult, search

MARKET = Path(__file__).resolve().parents[2] / "shared" / "data" / "market"
SYMBOLS, HOUR, YEAR = ("BTC/USDT", "ETH/USDT"), timedelta(hours=1), timedelta(days=365)
SCENARIO, SEARCHED, MEMBERS, SHARES = scenario("comprehensive_evolution"), 3 * YEAR, 5, (0.5, 0.9)
EVIDENCE_FROM = datetime(2024, 6, 1)  # noqa: DTZ001  moments are UTC without zone


@dataclass(frozen=True)
class Setup:
    """What the result of a seed depends on.

    Parameters
    ----------
    market : {"recorded", "simulated"}
    episodes, pairs : int
    methods : tuple of str
    simulator : str
        Version of its recipe.
    """

    market: str
    episodes: int
    pairs: int
    methods: tuple[str, ...]
    simulator: str = VERSION

    @property
    def evaluations(self) -> int:
        """Of one search, what is in force included."""
        return 1 + 2 * self.pairs * self.episodes


def recorded() -> StateTape:
    """Hourly bars of both coins with funding; no social or news scores are on record."""
    since = EVIDENCE_FROM - SEARCHED - 2 * WARMUP
    naive = pl.col("ts").dt.replace_time_zone(None)
    files = [MARKET / "candles" / "spot_1h" / f"{symbol.replace('/', '_')}.parquet" for symbol in SYMBOLS]
    candles = pl.concat([pl.read_parquet(file) for file in files]).with_columns(naive)
    rates = pl.read_parquet(MARKET / "funding" / "binance_usdm.parquet").with_columns(naive)
    paid = rates.select(
        series=pl.lit("funding_rate"), symbol="symbol", ts="ts", available_at="ts", value="funding_rate"
    )
    inside = pl.col("ts").is_between(since, EVIDENCE_FROM + YEAR, closed="left")
    return state_tape(candles.filter(inside), None, HOUR, funding=paid)


def simulated(seed: int) -> StateTape:
    """Return as many bars, and scores, of a simulated market."""
    start = EVIDENCE_FROM - SEARCHED - 2 * WARMUP
    bars = (EVIDENCE_FROM + YEAR - start) // HOUR
    made = MarketSimulator(SYMBOLS, HOUR, seed).simulate(start, bars)
    return state_tape(made.candles, made.observations, HOUR)


def run_seed(setup: Setup, seed: int) -> dict[str, Any]:
    """All searches of a seed."""
    began, load = time.process_time(), os.getloadavg()[0]
    tape = recorded() if setup.market == "recorded" else simulated(seed)
    window = Window(EVIDENCE_FROM - SEARCHED - WARMUP, EVIDENCE_FROM - WARMUP)
    inside, after = (
        tape.between(each.start, each.end) for each in (window, Window(EVIDENCE_FROM, EVIDENCE_FROM + YEAR))
    )
    config = SearchConfig(SCENARIO.targets, setup.episodes, "pgpe", HIGH, setup.pairs, seed)
    found, seconds = {}, {}
    for method in METHODS:
        if method in setup.methods:
            cpu = time.process_time()
            found[method] = search(objective(inside), replace(config, method=method), DEFAULTS)
            seconds[method] = round(time.process_time() - cpu, 2)
    bitcoin, ether = (objective(inside.of(symbol)) for symbol in SYMBOLS)
    told = finding(search(bitcoin, config, DEFAULTS), config.targets, window.end, SYMBOLS[0])
    # the same seed would draw the same deviations as the search that the prior comes from
    other = replace(config, seed=seed + 1_000)
    prior = learn_prior([told], window.end)
    paths = {
        "without": path(search(ether, other, DEFAULTS)),
        "with": path(search(ether, other, DEFAULTS, prior)),
    }
    return {
        "setup": asdict(setup) | {"methods": list(setup.methods)},
        "seed": seed,
        "in_force": float(found["pgpe"].scores[0]),
        "best": {method: float(each.scores.max()) for method, each in found.items()},
        "ether_in_force": float(ether(DEFAULTS.vector()[None])[0]),
        "ether": paths,
        "after": out_of_sample(found["pgpe"], after),
        "cpu_s": round(time.process_time() - began, 1),
        "search_cpu_s": seconds,
        "load": load,
    }


def objective(tape: StateTape) -> Objective:
    """Score by the scenario's goal."""
    return lambda sets: score(evaluate(tape, sets), SCENARIO.goal)


def path(found: SearchResult) -> list[float]:
    """Best score after each episode."""
    return [float(value) for value in found.episodes["best_so_far"]]


def out_of_sample(found: SearchResult, tape: StateTape) -> dict[str, float]:
    """Scores on bars that were not searched."""
    members = variants(found, MEMBERS)
    sets = np.array([DEFAULTS.vector(), found.best.vector(), ensemble(found, members).vector()])
    in_force, single, together = score(evaluate(tape, sets), SCENARIO.goal)
    chosen = found.candidates[members] if members.size else sets[:1]
    shared = score(_shared(evaluate(tape, chosen)), SCENARIO.goal)[0]
    named = {"in force": in_force, "best single": single, "mean of variants": together}
    return {name: float(value) for name, value in {**named, "shared account": shared}.items()}


def _shared(members: Evaluation) -> Evaluation:
    """One account that gives each set the same share, every day anew."""

    def mean(values: NDArray) -> NDArray:
        return values.mean(axis=0, keepdims=True)

    values = {
        name: mean(value) for name, value in vars(members).items() if name not in ("periods", "trades", "won")
    }
    counts = {name: getattr(members, name).sum(keepdims=True) for name in ("trades", "won")}
    return Evaluation(members.periods, **values, **counts)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay rows out as Markdown."""
    names = list(rows[0])
    lines = [" | ".join(str(row[name]) for name in names) for row in rows]
    return "\n".join(f"| {line} |" for line in (" | ".join(names), " | ".join("---" for _ in names), *lines))


def compared(what: str, ours: Sequence[float], theirs: Sequence[float]) -> dict[str, str]:
    """One row: two means over seeds and their paired difference."""
    effect = paired_effect(ours, theirs)
    return {
        "compared": what,
        "first": f"{np.mean(ours):.3f}",
        "second": f"{np.mean(theirs):.3f}",
        "difference [95 %]": f"{effect.value:+.3f} [{effect.low:+.3f}, {effect.high:+.3f}]",
        "p": f"{effect.p_value:.3f}",
    }


def report(results: list[dict[str, Any]], setup: Setup) -> str:
    """Return the three tables."""
    best = {method: [each["best"][method] for each in results] for method in setup.methods}
    methods = [compared(f"pgpe, {rival}", best["pgpe"], best[rival]) for rival in best if rival != "pgpe"]
    prior = [
        compared(
            f"evaluations until {share:.0%} of the gain with, without prior", *_needed(results, setup, share)
        )
        for share in SHARES
    ]
    last = ([each["ether"][name][-1] for each in results] for name in ("with", "without"))
    prior.append(compared("best score with, without prior", *last))
    after = {name: [each["after"][name] for each in results] for name in results[0]["after"]}
    pairs = [(name, "best single") for name in ("mean of variants", "shared account", "in force")]
    together = [compared(f"{name}, {than}", after[name], after[than]) for name, than in pairs]
    return "\n\n".join(
        f"### {title}\n\n{table(rows)}"
        for title, rows in (("methods", methods), ("prior", prior), ("ensemble", together))
        if rows
    )


def _needed(results: list[dict[str, Any]], setup: Setup, share: float) -> tuple[list[float], list[float]]:
    """Count evaluations until a share of the gain, with and without a prior.

    Recorded seeds share the target, each simulated market has its own: what the search without a prior gained
    there itself, which favours it.
    """
    gains = np.array([each["ether"]["without"][-1] - each["ether_in_force"] for each in results])
    if setup.market == "recorded":
        gains[:] = gains.mean()
    targets = [each["ether_in_force"] + share * gain for each, gain in zip(results, gains, strict=True)]

    def until(name: str) -> list[float]:
        reached = [
            np.append(np.flatnonzero(np.array(each["ether"][name]) >= target), setup.episodes - 1)[0]
            for each, target in zip(results, targets, strict=True)
        ]
        return [float(1 + 2 * setup.pairs * (episode + 1)) for episode in reached]

    return until("with"), until("without")


def _lines(out: Path) -> Iterator[dict[str, Any]]:
    if out.is_file():
        yield from map(json.loads, out.read_text().splitlines())


def main() -> None:
    """Run the seeds that are not there yet and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--simulated", action="store_true", help="a simulated market per seed")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--episodes", type=int, default=SCENARIO.episodes)
    parser.add_argument("--pairs", type=int, default=SearchConfig.pairs)
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=tuple(METHODS))
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/tuning_search.jsonl"))
    given = parser.parse_args()
    market = "simulated" if given.simulated or not MARKET.is_dir() else "recorded"
    chosen = tuple(method for method in METHODS if method == "pgpe" or method in given.methods)
    setup = Setup(market, given.episodes, given.pairs, chosen)
    key = json.loads(json.dumps(asdict(setup)))
    done = {line["seed"]: line for line in _lines(given.out) if line["setup"] == key}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(given.seeds):
        if seed not in done:
            done[seed] = run_seed(setup, seed)
            with given.out.open("a") as file:
                file.write(json.dumps(done[seed]) + "\n")
            print(f"{market} seed {seed}: {done[seed]['cpu_s']} s", file=sys.stderr, flush=True)
    results = [done[seed] for seed in range(given.seeds)]
    print(
        f"## {market}, {given.seeds} seeds, {setup.evaluations} evaluations each\n\n{report(results, setup)}"
    )
    facts = {
        "setup": asdict(setup),
        "cpu_s_per_seed": round(float(np.mean([each["cpu_s"] for each in results])), 1),
        "search_cpu_s": {
            method: round(float(np.mean([each["search_cpu_s"][method] for each in results])), 2)
            for method in chosen
        },
        "load": [min(each["load"] for each in results), max(each["load"] for each in results)],
    }
    print(f"\n{json.dumps(facts)}")


if __name__ == "__main__":
    main()
