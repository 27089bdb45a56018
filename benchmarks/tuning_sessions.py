"""Whole sessions of parameter training, from search to gate: how often they promote, and what.

Run from the project root: ``python -m benchmarks.tuning_sessions STUDY --count 200 --workers 2``, where STUDY
is one of

- ``null``: prices are martingales and nothing is charged, so that no setting is better than another and every
  promotion is a false one; the scenarios by turns, each session on a market of its own
- ``planted``: strong news moves prices, and what is in force is deaf to it; costs are the usual ones
- ``nights``: sixty nights on one market without an edge, the level of each from the ledger of attempts; a
  repetition ends with its first promotion
- ``recorded``: every scenario on Bitcoin and on Ether as recorded, each coin with a ledger of its own

What was promoted in a simulated market is measured again on fresh ones of the same kind (``true``). Each
repetition is a line of JSON in the file that ``--out`` names, and is not run again. Intervals of shares are
Clopper and Pearson's.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import datetime, timedelta
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tuning_markets import (
    BEGIN,
    DEAF,
    DRIFT,
    EVERY,
    FREE,
    HOLDS,
    MARKET,
    PLANTED_AT,
    SYMBOLS,
    null_tape,
    planted_tape,
    recorded_tape,
)
from engine.calibration.binomial import clopper_pearson
from engine.evaluation.attempts import Attempt, append, attempt_of, empty, next_alpha
from engine.evaluation.costs import Costs
from engine.evaluation.metrics import sharpe
from engine.evaluation.seed_effects import paired_effect
from engine.evaluation.splits import Window
from engine.market.simulator import VERSION
from engine.tuning.evidence import EvidenceWindows
from engine.tuning.kernel import evaluate
from engine.tuning.market_state import WARMUP, StateTape
from engine.tuning.parameters import DEFAULTS, ParameterSet
from engine.tuning.scenarios import SCENARIOS
from engine.tuning.session import SessionResult, run_session
from engine.tuning.session_config import SessionConfig
from engine.tuning.stressed_markets import KINDS

DAY = timedelta(days=1)
ALPHA, NIGHTS = 0.05, 60
SEARCHED, EVIDENCE, PLANTED_EVIDENCE = 180 * DAY, 250 * DAY, 365 * DAY
AROUND = 2 * WARMUP + SEARCHED + 2 * DAY
"""What a market needs beside the evidence."""
FRESH, FRESH_SEED = 40, 1_000_000
RECORDED_SEARCHED, RECORDED_EVIDENCE = 3 * 365 * DAY, 365 * DAY


def session(
    tape: StateTape,
    name: str,
    incumbent: ParameterSet,
    windows: EvidenceWindows,
    costs: Costs | None,
    *,
    alpha: float,
    seed: int,
) -> tuple[SessionResult, dict[str, Any]]:
    """Run one session; return its result and what is kept of it."""
    config = SessionConfig.of(name, windows, alpha=alpha, seed=seed)
    found = run_session(tape, config, incumbent, costs=costs)
    kept = {"scenario": name, "stage": found.stage, "alpha": alpha, "p": None, "reason": found.reason}
    if found.evidence is not None:
        told = found.evidence
        kept |= {name: told[name] for name in ("searched", "tested", "changes", "statistic", "windows")}
        kept |= {name: told["figures"][name] for name in ("baseline", "improvement", "low", "high")}
        kept |= {"p": told["figures"]["p_value"], "reasons": told["reasons"], "trades": told["trades"]}
        kept |= {"stress": told["stress"], "by_ensemble": judged_ensemble(found)}
    return found, kept


def judged_ensemble(found: SessionResult) -> bool:
    """Whether the set that was promoted or came nearest is the mean of the best variants."""
    if found.judged is None:
        return False
    searched = int(found.episodes["searched"].max())  # type: ignore[arg-type]
    return found.judged.decision.verdict.candidate == f"set {searched}"


def windows_until(end: datetime, evidence: timedelta = EVIDENCE) -> EvidenceWindows:
    """Both windows of a simulated market, at the end of some day."""
    start = end - evidence
    border = start - WARMUP
    return EvidenceWindows(Window(border - SEARCHED, border), Window(start, end))


def null(seed: int) -> list[dict[str, Any]]:
    """One session on a market without an edge."""
    name = list(SCENARIOS)[seed % len(SCENARIOS)]
    days = (AROUND + EVIDENCE) // DAY
    windows = windows_until(BEGIN + days * DAY)
    found, kept = session(null_tape(seed, days), name, DEFAULTS, windows, FREE, alpha=ALPHA, seed=seed)
    return [kept | true_improvement(found, null_tape, FREE)]


def planted(seed: int) -> list[dict[str, Any]]:
    """One session on a market in which news pays."""
    days = (AROUND + PLANTED_EVIDENCE) // DAY
    windows = windows_until(BEGIN + days * DAY, PLANTED_EVIDENCE)
    tape = planted_tape(seed, days)
    found, kept = session(tape, "news_sentiment_pro", DEAF, windows, None, alpha=ALPHA, seed=seed)
    heard = found.promoted is not None and found.promoted.social_go < DEAF.social_go
    return [kept | {"heard": heard} | true_improvement(found, planted_tape, None)]


def nights(seed: int) -> list[dict[str, Any]]:
    """Sixty sessions on one market, a day apart, until one promotes."""
    days = (AROUND + EVIDENCE) // DAY
    tape, ledger, kept = null_tape(seed, days + NIGHTS), empty(), []
    for night in range(NIGHTS):
        end = BEGIN + (days + night + 1) * DAY
        alpha = next_alpha(ledger, "live")
        name = list(SCENARIOS)[(seed + night) % len(SCENARIOS)]
        found, row = session(
            tape, name, DEFAULTS, windows_until(end), FREE, alpha=alpha, seed=NIGHTS * seed + night
        )
        short = {key: row[key] for key in ("scenario", "stage", "alpha", "p")}
        kept.append(short | true_improvement(found, null_tape, FREE))
        ledger = append(ledger, attempt(found, alpha, end))
        if found.promoted is not None:
            break
    return kept


def recorded(seed: int) -> list[dict[str, Any]]:
    """All scenarios on one coin."""
    symbol, ledger, kept = SYMBOLS[seed], empty(), []
    tape = recorded_tape(symbol)
    windows = EvidenceWindows.latest(tape, evidence=RECORDED_EVIDENCE, search=RECORDED_SEARCHED)
    for name in SCENARIOS:
        alpha = next_alpha(ledger, symbol)
        found, row = session(tape, name, DEFAULTS, windows, None, alpha=alpha, seed=0)
        kept.append({"symbol": symbol} | row)
        ledger = append(ledger, attempt(found, alpha, windows.evidence.end, symbol))
    return kept


STUDIES: Mapping[str, Callable[[int], list[dict[str, Any]]]] = {
    study.__name__: study for study in (null, planted, nights, recorded)
}


def attempt(found: SessionResult, alpha: float, moment: datetime, subject: str = "live") -> Attempt:
    """Put a session into the words of the ledger."""
    if found.judged is not None:
        return attempt_of(found.judged.decision, moment=moment, subject=subject)
    return Attempt(moment, subject, "search", 1, promoted=False, reason=found.reason, alpha=alpha)


def true_improvement(
    found: SessionResult, market: Callable[[int, int], StateTape], costs: Costs | None
) -> dict[str, Any]:
    """Measure what was promoted against what was in force, on markets that no session has seen."""
    if found.promoted is None or found.evidence is None:
        return {}
    sets = np.array([found.incumbent.vector(), found.promoted.vector()])
    days = (WARMUP + EVIDENCE) // DAY
    values = []
    for fresh in range(FRESH):
        returns = evaluate(_fresh(market, fresh, days), sets, costs).returns
        ratio = found.evidence["statistic"] == "sharpe"
        values.append(np.nan_to_num(sharpe(returns, 1.0)) if ratio else returns.mean(axis=1))
    before, after = np.array(values).T
    effect = paired_effect(after, before)
    return {"true": {"value": effect.value, "low": effect.low, "high": effect.high}}


@cache
def _fresh(market: Callable[[int, int], StateTape], number: int, days: int) -> StateTape:
    return market(FRESH_SEED + number, days).between(BEGIN + WARMUP, BEGIN + days * DAY)


def repetition(study: str, seed: int) -> dict[str, Any]:
    """Run one repetition; a line of the file."""
    began = time.process_time()
    sessions = STUDIES[study](seed)
    spent = round(time.process_time() - began, 2)
    return {
        "study": study,
        "setup": setup(),
        "seed": seed,
        "cpu_s": spent,
        "load": os.getloadavg()[0],
        "sessions": sessions,
    }


def setup() -> dict[str, Any]:
    """Return what the result of a seed depends on, the code aside."""
    return {
        "simulator": VERSION,
        "searched_days": SEARCHED.days,
        "evidence_days": [EVIDENCE.days, PLANTED_EVIDENCE.days],
        "planted": {"from": PLANTED_AT, "drift": DRIFT, "hours": HOLDS, "every_hours": EVERY},
        "recorded_days": [RECORDED_SEARCHED.days, RECORDED_EVIDENCE.days],
        "episodes": {name: of.episodes for name, of in SCENARIOS.items()},
        "stress": list(KINDS),
    }


def share(count: int, of: int) -> str:
    """Write a share with its exact interval."""
    low, high = clopper_pearson(count, of)
    return f"{count} of {of} = {count / of:.1%} [{low:.1%}, {high:.1%}]"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay rows out as Markdown."""
    names = list(rows[0])
    lines = [" | ".join(str(row[name]) for name in names) for row in rows]
    return "\n".join(f"| {line} |" for line in (" | ".join(names), " | ".join("---" for _ in names), *lines))


def rates(study: str, lines: Sequence[Mapping[str, Any]]) -> str:
    """Shares of repetitions that promoted, beside what is required of them."""
    every = [each for line in lines for each in line["sessions"]]
    promoted = [each for each in every if "true" in each]
    required = {"null": "<= 5 % + 2 se", "planted": ">= 80 %", "nights": "<= 9 %"}[study]
    rows = [
        {"what": "promoted", "share": share(len(promoted), len(lines)), "required": required},
        {
            "what": "within the level by the test alone, whatever the guardrails say",
            "share": share(
                sum(any(_passes(each) for each in line["sessions"]) for line in lines), len(lines)
            ),
            "required": "",
        },
    ]
    if study == "planted":
        heard = f"promoted, with socialGo below {DEAF.social_go:g} (news pays from {PLANTED_AT:g})"
        rows.append(
            {"what": heard, "share": share(sum(each["heard"] for each in every), len(lines)), "required": ""}
        )
    said = {
        "let pass by the gate, refused under stress": sum(
            bool(each.get("stress")) and "true" not in each for each in every
        ),
        "promoted: the mean of the best variants": sum(each.get("by_ensemble", False) for each in promoted),
    }
    rows += [
        {"what": what, "share": share(count, len(lines)), "required": ""} for what, count in said.items()
    ]
    if promoted:
        better = sum(each["true"]["low"] > 0.0 for each in promoted)
        rows.append(
            {
                "what": f"of the promoted: surely better on {FRESH} fresh markets",
                "share": share(better, len(promoted)),
                "required": "",
            }
        )
    if study == "null":
        for name in SCENARIOS:
            own = [each for each in every if each["scenario"] == name]
            if own:
                count = sum("true" in each for each in own)
                rows.append({"what": f"promoted by {name}", "share": share(count, len(own)), "required": ""})
    return table(rows)


def _passes(each: Mapping[str, Any]) -> bool:
    return each["p"] is not None and each["p"] <= each["alpha"]


def evidence_table(lines: Sequence[Mapping[str, Any]]) -> str:
    """One row per session on recorded markets."""
    return table([_evidence_row(each) for line in lines for each in line["sessions"]])


def _evidence_row(each: Mapping[str, Any]) -> dict[str, str]:
    changes = each.get("changes", {}).items()
    figures = [each.get(name) for name in ("baseline", "improvement", "low", "high", "p")]
    baseline, improvement, low, high, p = ("unknown" if of is None else f"{of:.3g}" for of in figures)
    return {
        "symbol": each["symbol"],
        "scenario": each["scenario"],
        "searched (tested)": f"{each.get('searched', 1)} ({each.get('tested', 0)})",
        "nearest, or promoted": ", ".join(f"{name} {old:g} to {new:g}" for name, (old, new) in changes),
        "statistic": f"{each.get('statistic', 'none')} per day",
        "in force": baseline,
        "improvement [interval]": f"{improvement} [{low}, {high}]",
        "p": p,
        "alpha": f"{each['alpha']:.4f}",
        "promoted": "no" if each["stage"] == "refused" else "yes",
        "reasons": "; ".join(each.get("reasons", [each["reason"]])),
    }


def report(study: str, lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of a study."""
    return evidence_table(lines) if study == "recorded" else rates(study, lines)


def run(study: str, seeds: Sequence[int], out: Path, workers: int) -> list[dict[str, Any]]:
    """Lines of all seeds, those that are not in the file yet run now."""
    key = json.loads(json.dumps(setup()))
    kept = [line for line in _lines(out) if line["study"] == study and line["setup"] == key]
    done = {line["seed"]: line for line in kept}
    due = [seed for seed in seeds if seed not in done]
    for line in _results(study, due, workers):
        done[line["seed"]] = line
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        stages = {each["stage"] for each in line["sessions"]}
        print(
            f"{study} {line['seed']}: {line['cpu_s']} s, {', '.join(sorted(stages))}",
            file=sys.stderr,
            flush=True,
        )
    return [done[seed] for seed in seeds]


def _results(study: str, seeds: Sequence[int], workers: int) -> Iterator[dict[str, Any]]:
    if workers == 1:
        yield from (repetition(study, seed) for seed in seeds)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for future in as_completed([pool.submit(repetition, study, seed) for seed in seeds]):
            yield future.result()


def _lines(out: Path) -> Iterator[dict[str, Any]]:
    if out.is_file():
        yield from map(json.loads, out.read_text().splitlines())


def main() -> None:
    """Run what is not there yet and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", choices=tuple(STUDIES))
    parser.add_argument("--count", type=int, default=200, help="repetitions; recorded coins are two")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/tuning_sessions.jsonl"))
    given = parser.parse_args()
    if given.study == "recorded" and not MARKET.is_dir():
        parser.error(f"recorded market data is not at {MARKET}")
    count = len(SYMBOLS) if given.study == "recorded" else given.count
    lines = run(given.study, range(count), given.out, given.workers)
    print(f"## {given.study}\n\n{report(given.study, lines)}\n")
    sessions = sum(len(line["sessions"]) for line in lines)
    cpu = sum(line["cpu_s"] for line in lines)
    loads = [line["load"] for line in lines]
    facts = {"sessions": sessions, "cpu_s": round(cpu, 1), "load": [min(loads), max(loads)], "setup": setup()}
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
