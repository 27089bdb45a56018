"""Two accounts on the same bars, judged by the gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.agents.contest import CHALLENGER, contest
from engine.agents.environment import LEVELS
from engine.agents.tape import MarketTape
from engine.agents.trading_agents import DecidedTape, even_account
from engine.evaluation.promotion_gate import PromotionGate

Decide = Callable[..., DecidedTape]
MakeTape = Callable[..., MarketTape]

GATE = PromotionGate(draws=199, min_periods=250, seed=0)
FLAT, SHORTEST, LONGEST = LEVELS.index(0.0), 0, len(LEVELS) - 1
START = datetime(2024, 1, 1)


def two(tapes: tuple[MarketTape, ...], decide: Decide, level: NDArray[np.int64]) -> list[DecidedTape]:
    """The same levels on every tape."""
    return [decide(tape, level[: len(tape)]) for tape in tapes]


@pytest.fixture(scope="module")
def tapes(leaning_tape: MakeTape) -> tuple[MarketTape, ...]:
    """Two symbols on the same bars, whose next return leans on the first feature."""
    first, second = (leaning_tape((500, 300), seed=seed, lean=0.6) for seed in (1, 2))
    return first, replace(second, symbols=("B/USDT",))


@pytest.fixture(scope="module")
def at_random() -> NDArray[np.int64]:
    return np.random.default_rng(3).integers(0, len(LEVELS), 800)


def leaning(tape: MarketTape) -> NDArray[np.int64]:
    """What one does who knows the law of the market."""
    return np.where(tape.x[:, 0] > 0.5, LONGEST, np.where(tape.x[:, 0] < -0.5, SHORTEST, FLAT))


def test_while_there_is_no_champion_plain_holding_takes_its_place(
    tapes: tuple[MarketTape, ...], decided_tape: Decide, at_random: NDArray[np.int64]
) -> None:
    ours = two(tapes, decided_tape, at_random)
    alone = contest(ours, None, alpha=0.05, gate=GATE).decision.verdict
    held = two(tapes, decided_tape, np.full(800, LONGEST))
    assert alone.baseline == pytest.approx(even_account(held)["net_return"].to_numpy().mean(), rel=1e-12)
    assert alone.value == pytest.approx(even_account(ours)["net_return"].to_numpy().mean(), rel=1e-12)
    assert alone == contest(ours, held, alpha=0.05, gate=GATE).decision.verdict
    flat = contest(ours, two(tapes, decided_tape, np.full(800, FLAT)), alpha=0.05, gate=GATE)
    assert alone.improvement != pytest.approx(flat.decision.verdict.improvement)


def test_a_challenger_identical_to_the_champion_is_refused_without_an_error(
    tapes: tuple[MarketTape, ...], decided_tape: Decide, at_random: NDArray[np.int64]
) -> None:
    ours = two(tapes, decided_tape, at_random)
    held = contest(ours, ours, alpha=0.05, gate=GATE)
    assert not held.decision.promote
    assert held.decision.chosen is None
    assert "it is identical to the baseline" in held.decision.verdict.refused_because
    assert held.sharpe is not None
    holding = contest(two(tapes, decided_tape, np.full(800, LONGEST)), None, alpha=0.05, gate=GATE)
    assert "it is identical to the baseline" in holding.decision.verdict.refused_because


@pytest.mark.parametrize("against_holding", [True, False])
def test_a_large_improvement_is_promoted_and_its_reverse_is_not(
    tapes: tuple[MarketTape, ...], decided_tape: Decide, at_random: NDArray[np.int64], against_holding: bool
) -> None:
    good = [decided_tape(tape, leaning(tape)) for tape in tapes]
    poor = two(tapes, decided_tape, at_random)
    found = contest(good, None if against_holding else poor, alpha=0.05, gate=GATE)
    assert found.decision.promote, found.decision.reasons
    assert found.decision.chosen == CHALLENGER
    returns = even_account(good)["net_return"].to_numpy()
    ratio = returns.mean() / returns.std()
    assert ratio > 0.2
    assert found.sharpe == pytest.approx(ratio, rel=1e-12)
    assert not contest(poor, good, alpha=0.05, gate=GATE).decision.promote


def test_the_level_and_the_number_of_trades_reach_the_gate(
    tapes: tuple[MarketTape, ...], decided_tape: Decide
) -> None:
    good = [decided_tape(tape, leaning(tape)) for tape in tapes]
    held = contest(good, None, alpha=1e-3, gate=GATE).decision
    changes = sum(
        int((one.outcomes.turnover[one.tape.decisions_left > 0] > 0).sum()) for one in good
    )  # of all symbols
    assert held.alpha == 1e-3
    assert held.verdict.trades == changes
    strict = PromotionGate(draws=199, min_periods=250, min_trades=changes + 1)
    assert not contest(good, None, alpha=0.05, gate=strict).decision.promote


def test_sides_on_different_bars_are_refused(
    tapes: tuple[MarketTape, ...], decided_tape: Decide, at_random: NDArray[np.int64]
) -> None:
    ours = two(tapes, decided_tape, at_random)
    shorter = [one.between(START, START + timedelta(hours=400)) for one in ours]
    with pytest.raises(ValueError, match="let both decide on the same"):
        contest(ours, shorter, alpha=0.05, gate=GATE)
    later = replace(tapes[0], ts=tapes[0].ts + np.timedelta64(1, "h"))
    as_many = [decided_tape(later, at_random)]
    with pytest.raises(ValueError, match="decided on 796 bars"):
        contest(as_many, ours[:1], alpha=0.05, gate=GATE)


def test_an_account_that_never_moved_has_no_sharpe_ratio(
    tapes: tuple[MarketTape, ...], decided_tape: Decide
) -> None:
    idle = contest(two(tapes, decided_tape, np.full(800, FLAT)), None, alpha=0.05, gate=GATE)
    assert idle.sharpe is None
    assert idle.decision.verdict.trades == 0
    assert not idle.decision.promote
