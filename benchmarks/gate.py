"""Error rates of the promotion gate, measured, beside those of what is commonly done instead.

Run from the project root: ``python -m benchmarks.gate``; ``python -m benchmarks.gate 0.1`` with a tenth of
the repetitions. Prints one line of JSON, then the table: each claim with its Clopper-Pearson 95 % interval
and the limit required of it. A full run also writes the table into the README. Everything goes through the
public `PromotionGate.decide`, at its defaults.

Baselines are market noise with t(4) tails; candidates differ from it by an AR(phi) with t(5) shocks, half as
volatile. An edge is planted in standard errors of the mean difference.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import t as student

from engine.calibration.binomial import clopper_pearson
from engine.evaluation.attempts import Attempt, append, empty, next_alpha
from engine.evaluation.decision import Decision
from engine.evaluation.e_process import EProcess
from engine.evaluation.promotion_gate import PromotionGate

Floats = NDArray[np.float64]

README = Path(__file__).resolve().parents[1] / "README.md"
OPENED, CLOSED = "<!-- measured by benchmarks.gate -->", "<!-- end of benchmarks.gate -->"

PERIODS, NIGHT_PERIODS, NIGHTS, LOOKS = 500, 250, 60, 1000
DEVIATION = 0.005
START = np.datetime64("2025-01-01", "us")


@dataclass(frozen=True)
class Claim:
    """Share of repetitions that promoted, and what is required of it."""

    name: str
    promoted: int
    repetitions: int
    limit: str

    def row(self) -> tuple[str, str, str, str]:
        """Return the cells of the table."""
        low, high = clopper_pearson(self.promoted, self.repetitions)
        share = self.promoted / self.repetitions
        return self.name, f"{share:.3f}", f"{low:.3f} to {high:.3f} ({self.repetitions})", self.limit


def market(rng: np.random.Generator, periods: int) -> Floats:
    """Draw a baseline's returns."""
    return 0.0005 + 0.01 * rng.standard_t(4, periods)


def differences(rng: np.random.Generator, phi: float, shape: tuple[int, int]) -> Floats:
    """Draw differences of candidates from the baseline, without an edge."""
    shocks = rng.standard_t(5, (shape[0] + 200, shape[1])) / np.sqrt(5 / 3) * np.sqrt(1 - phi**2)
    return DEVIATION * lfilter([1.0], [1.0, -phi], shocks, axis=0)[200:]


def standard_error(phi: float) -> float:
    """Of the mean difference over `PERIODS`."""
    return float(DEVIATION * np.sqrt((1 + phi) / (1 - phi) / PERIODS))


def decisions(
    repetitions: int, phi: float, *, candidates: int = 1, edge: float = 0.0, statistic: str = "mean"
) -> Iterator[tuple[Decision, Floats, Floats]]:
    """Yield decisions with their baseline and differences; an edge goes to the candidate in the middle."""
    for seed in range(repetitions):
        rng = np.random.default_rng([seed, candidates, round(10 * phi)])
        baseline, change = market(rng, PERIODS), differences(rng, phi, (PERIODS, candidates))
        change[:, candidates // 2] += edge * standard_error(phi)
        gate = PromotionGate(seed=seed, statistic="sharpe" if statistic == "sharpe" else "mean")
        yield gate.decide(baseline, baseline[:, None] + change), baseline, change


def t_test(change: Floats) -> bool:
    """Judge a difference as if its periods were independent."""
    statistic = change.mean() / change.std(ddof=1) * np.sqrt(change.size)
    return bool(statistic > student.isf(0.05, change.size - 1))


def null_candidate(repetitions: int) -> Iterator[Claim]:
    """One candidate without an edge, two dependences and both statistics."""
    for phi in (0.0, 0.4):
        gate, naive, point = 0, 0, 0
        for decision, _, change in decisions(repetitions, phi):
            gate += decision.promote
            naive += t_test(change[:, 0])
            point += decision.verdict.relative_improvement >= 0.02
        yield Claim(f"null candidate, phi = {phi}: gate", gate, repetitions, "<= 0.064")
        yield Claim(f"null candidate, phi = {phi}: t-test as if independent", naive, repetitions, "")
        yield Claim(f"null candidate, phi = {phi}: point estimate >= 2 %", point, repetitions, "")
    sharpe = sum(d.promote for d, _, _ in decisions(repetitions, 0.4, statistic="sharpe"))
    yield Claim("null candidate, phi = 0.4: gate on the Sharpe ratio", sharpe, repetitions, "<= 0.064")


def fifty_candidates(repetitions: int) -> Iterator[Claim]:
    """Fifty candidates without an edge: all handed in, or only the best of them."""
    family, alone, counted = 0, 0, 0
    for seed, (decision, baseline, change) in enumerate(decisions(repetitions, 0.0, candidates=50)):
        best = baseline + change[:, change.mean(axis=0).argmax()]
        gate = PromotionGate(seed=seed)
        family += decision.promote
        alone += gate.decide(baseline, {"best": best}).promote
        counted += gate.decide(baseline, {"best": best}, searched=50).promote
    yield Claim("50 null candidates: gate", family, repetitions, "<= 0.086")
    yield Claim("50 null candidates: best one handed in, 50 stated", counted, repetitions, "<= 0.086")
    yield Claim("50 null candidates: best one tested alone", alone, repetitions, "")


def sixty_nights(repetitions: int) -> Iterator[Claim]:
    """Null candidates on sixty nights with fresh data, at the ledger's level and at 5 % each."""
    attempts = empty()
    for night in range(NIGHTS):
        attempt = Attempt(
            moment=(START + np.timedelta64(night, "D")).item(),
            subject="algorithm",
            kind="search",
            searched=1,
            promoted=False,
            reason="null night",
            alpha=next_alpha(attempts, "algorithm"),
        )
        attempts = append(attempts, attempt)
    ledger, naive = 0, 0
    for seed in range(repetitions):
        rng = np.random.default_rng([seed, NIGHTS])
        promoted = []
        for alpha in attempts["alpha"]:
            baseline = market(rng, NIGHT_PERIODS)
            candidate = baseline[:, None] + differences(rng, 0.4, (NIGHT_PERIODS, 1))
            decision = PromotionGate(seed=seed).decide(baseline, candidate, alpha=alpha)
            promoted.append((decision.promote, decision.p_value <= 0.05))
        by_ledger, at_five = np.any(promoted, axis=0)
        ledger, naive = ledger + int(by_ledger), naive + int(at_five)
    yield Claim("60 nights, any false promotion: ledger's level", ledger, repetitions, "<= 0.090")
    yield Claim("60 nights, any false promotion: 5 % each night", naive, repetitions, "")


def every_observation(repetitions: int) -> Iterator[Claim]:
    """Look after each of a thousand observations: e-process and t-test, and the e-process with an edge."""
    rng = np.random.default_rng(LOOKS)
    x = differences(rng, 0.0, (LOOKS, repetitions))
    n = np.arange(1, LOOKS + 1)[:, None]
    mean = x.cumsum(axis=0) / n
    variance = np.maximum((x**2).cumsum(axis=0) / n - mean**2, 1e-18)
    crossed = (mean * np.sqrt((n - 1) / variance))[9:] > student.isf(0.05, n[9:] - 1)

    def found(series: Floats) -> int:
        process = EProcess(bound=4 * DEVIATION)
        for row in series:
            process.update(row)
        return int(process.promote.sum())

    yield Claim("a look after each of 1000 periods: e-process", found(x), repetitions, "<= 0.072")
    yield Claim("a look after each of 1000 periods: t-test", int(crossed.any(axis=0).sum()), repetitions, "")
    edge = found(x + 0.25 * DEVIATION)
    yield Claim("edge of 0.25 sd found within 1000: e-process", edge, repetitions, ">= 0.85")


def planted(repetitions: int) -> Iterator[Claim]:
    """Edges that must be found."""
    for edge, least in ((3.0, ">= 0.75"), (4.0, ">= 0.93")):
        gate = sum(d.promote for d, _, _ in decisions(repetitions, 0.4, edge=edge))
        yield Claim(f"edge of {edge:.0f} standard errors, phi = 0.4: gate", gate, repetitions, least)
    few = max(repetitions // 4, 1)
    right = sum(d.chosen == "25" for d, _, _ in decisions(few, 0.4, candidates=50, edge=6.0))
    yield Claim("the one of 50 with 6 standard errors, phi = 0.4: gate", right, few, ">= 0.85")


def decision_seconds() -> dict[str, float]:
    """Median wall seconds of a decision among 50 candidates over 1250 periods with 999 draws."""
    rng = np.random.default_rng(0)
    baseline = market(rng, 1250)
    candidates = baseline[:, None] + differences(rng, 0.0, (1250, 50))
    out = {}
    for statistic in ("mean", "sharpe"):
        gate = PromotionGate(statistic="sharpe" if statistic == "sharpe" else "mean")
        seconds = []
        for _ in range(6):
            started = time.perf_counter()
            gate.decide(baseline, candidates)
            seconds.append(time.perf_counter() - started)
        out[statistic] = round(float(np.median(seconds[1:])), 3)
    return out


STUDIES: dict[Callable[[int], Iterator[Claim]], int] = {
    null_candidate: 1000,
    fifty_candidates: 300,
    sixty_nights: 300,
    every_observation: 4000,
    planted: 400,
}


def main() -> None:
    """Run every study and print the table."""
    share = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    load, started, claims = os.getloadavg()[0], time.perf_counter(), []
    for study, repetitions in STUDIES.items():
        claims += list(study(max(round(share * repetitions), 1)))
    result = {
        "benchmark": "gate",
        "decision_seconds": decision_seconds(),
        "seconds": round(time.perf_counter() - started),
        "cpu_seconds": round(time.process_time()),
        "load_1min": [round(load, 1), round(os.getloadavg()[0], 1)],
        "promoted": {claim.name: [claim.promoted, claim.repetitions] for claim in claims},
    }
    print(json.dumps(result))
    lines = ["| claim | promoted | 95 % interval (repetitions) | required |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(claim.row()) + " |" for claim in claims]
    print("\n".join(lines))
    if share == 1.0:
        before, _, after = README.read_text(encoding="utf-8").partition(f"{OPENED}\n")
        _, _, rest = after.partition(CLOSED)
        README.write_text("\n".join([before + OPENED, *lines, CLOSED]) + rest, encoding="utf-8")


if __name__ == "__main__":
    main()
