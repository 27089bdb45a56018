"""AdaptiveLRScheduler: warm restarts, plateaus of a noisy win rate, boosts in new regimes, restoration."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts

from engine.agents.learning_rate import AdaptiveLRScheduler, LearningRateConfig
from engine.agents.win_rates import pooled_gain


def optimizer(*rates: float) -> SGD:
    return SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates])


def scheduler(*rates: float, **config: Any) -> AdaptiveLRScheduler:
    return AdaptiveLRScheduler(optimizer(*(rates or (1.0,))), LearningRateConfig(**config))


FLAT = {"cycle": 1000, "floor": 0.0, "patience": 10}


def test_warm_restarts_at_known_steps() -> None:
    s = scheduler(cycle=8, growth=2, floor=0.0)
    rates = [s.learning_rate] + [s.step() for _ in range(56)]
    expected = {
        0: 1,
        4: 0.5,
        7: 0.0380602,
        8: 1,
        16: 0.5,
        23: 0.0096074,
        24: 1,
        40: 0.5,
        56: 1,
    }
    assert {t: rates[t] for t in expected} == pytest.approx(expected, abs=1e-6)


@given(cycle=st.integers(1, 9), growth=st.integers(1, 3), floor=st.floats(0, 0.9), high=st.floats(1e-4, 10))
def test_without_evidence_it_is_torchs_cosine(cycle: int, growth: int, floor: float, high: float) -> None:
    s = scheduler(high, cycle=cycle, growth=growth, floor=floor)
    theirs = optimizer(high)
    cosine = CosineAnnealingWarmRestarts(theirs, cycle, growth, eta_min=floor * high)
    for _ in range(40):
        theirs.step()
        cosine.step()
        assert s.step() == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12, abs=1e-12 * high)


def best_so_far_reduces(rates: np.ndarray, patience: int = 10) -> bool:
    """The wrong test: no new best for `patience` evaluations."""
    best = np.maximum.accumulate(rates)
    last = np.maximum.accumulate(np.where(rates == best, np.arange(len(rates)), 0))
    return bool((np.arange(len(rates)) - last >= patience).any())


def evaluations(start: float, end: float, n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).binomial(n, np.linspace(start, end, 60)) / n


def final_scale(rates: np.ndarray, n: int, **config: Any) -> float:
    s = scheduler(**FLAT | config)
    for rate in rates:
        s.step(float(rate), trades=n)
    return s.scale


@pytest.mark.parametrize("seed", range(10))
def test_constant_rate_is_a_plateau(seed: int) -> None:
    assert final_scale(evaluations(0.5, 0.5, 4000, seed), 4000) <= 0.5


@pytest.mark.parametrize("seed", range(10))
def test_rising_rate_is_none(seed: int) -> None:
    assert final_scale(evaluations(0.45, 0.63, 4000, seed), 4000) == 1.0


def test_slow_rise_in_noise_is_seldom_taken_for_a_plateau_and_best_so_far_often_does() -> None:
    series = [evaluations(0.48, 0.66, 400, seed) for seed in range(60)]
    ours = np.mean([final_scale(rates, 400) < 1.0 for rates in series])
    assert ours <= 0.40
    assert np.mean([best_so_far_reduces(rates) for rates in series]) > 0.50


def test_too_few_trades_conclude_nothing() -> None:
    rates = evaluations(0.5, 0.5, 4, 0)
    assert final_scale(rates, 4) == 1.0
    assert final_scale(rates, 4, least_trades=1) < 1.0, "without a minimum, luck is taken for a plateau"


def test_windows_grow_until_they_have_enough_trades() -> None:
    s = scheduler(**FLAT | {"patience": 2, "least_trades": 500})
    for _ in range(9):
        s.step(0.5, trades=100)
        assert math.isnan(s.history[-1].gain)
    s.step(0.5, trades=100)
    assert s.history[-1].gain == 0.0
    assert s.history[-1].reduced


def test_no_more_is_remembered_than_is_compared() -> None:
    s = scheduler(**FLAT)
    for rate in evaluations(0.45, 0.63, 4000, 0):
        s.step(float(rate), trades=4000)
    assert len(s.state_dict()["window"]) == 20


def test_windows_are_pooled_by_trades() -> None:
    gain, error = pooled_gain(np.array([[0.4, 100], [0.6, 300]]), np.array([[0.7, 100], [0.7, 100]]))
    rate = (40 + 180 + 140) / 600
    assert gain == pytest.approx(0.7 - 220 / 400)
    assert error == pytest.approx(math.sqrt(rate * (1 - rate) * (1 / 400 + 1 / 200)))


def test_a_plateau_needs_fresh_evidence_for_each_reduction() -> None:
    s = scheduler(**FLAT)
    for _ in range(60):
        s.step(0.5, trades=4000)
    assert [step.step for step in s.history if step.reduced] == [20, 40, 60]
    assert s.scale == 0.125


def test_expectancy_stands_beside_the_win_rate() -> None:
    s = scheduler(**FLAT)
    for k in range(20):
        s.step(0.4 + 0.01 * k, trades=1000, expectancy=2.0 - 0.1 * k)
    last = s.history[-1]
    assert last.gain == pytest.approx(0.1)
    assert last.expectancy_gain == pytest.approx(-1.0), "more wins, less profit"
    assert last.expectancy == pytest.approx(0.1)


def test_unknown_win_rates_are_no_evidence() -> None:
    s = scheduler(**FLAT)
    for rate in (None, math.nan) * 30:
        s.step(rate)
    s.step(0.5, trades=0)
    assert s.scale == 1.0
    assert s.state_dict()["window"] == []


def test_a_new_regime_boosts_once_and_leaves_the_phase() -> None:
    s = scheduler(cycle=100, floor=0.0, patience=10, boost=1.5)
    plain = scheduler(cycle=100, floor=0.0)
    for t in range(1, 60):
        rate, without = s.step(None, "PANIC" if t >= 30 else None), plain.step()
        boosted = 30 <= t < 40
        assert s.boosted is boosted
        assert rate == pytest.approx(min(1.5 * without, 1.0) if boosted else without)


def test_staying_in_a_regime_does_not_boost_again() -> None:
    s = scheduler(**FLAT)
    for _ in range(100):
        s.step(None, True)
    assert sum(step.boosted for step in s.history) == 10


def test_regimes_that_flip_neither_compound_nor_pass_the_cap() -> None:
    s = scheduler(0.3, cycle=7, floor=0.0, boost=1.8)
    for t in range(400):
        assert s.step(None, ("TREND", "PANIC")[t % 2]) <= 0.3
        assert s.scale in (1.0, 1.8), "boosts do not multiply"
    assert sum(step.boosted for step in s.history) == 200


def test_flipping_regimes_do_not_starve_the_plateau_test() -> None:
    s = scheduler(**FLAT)
    for t in range(100):
        s.step(0.5, ("TREND", "PANIC")[t % 2], trades=4000)
    assert any(step.reduced for step in s.history)


def test_a_boost_forgets_the_win_rates_of_the_old_regime() -> None:
    s = scheduler(**FLAT)
    for _ in range(15):
        s.step(0.6, "TREND", trades=4000)
    s.step(0.4, "PANIC", trades=4000)
    for _ in range(15):
        s.step(0.4, "PANIC", trades=4000)
    assert not any(step.reduced for step in s.history[:19])
    fresh = scheduler(**FLAT)
    for _ in range(22):
        fresh.step(0.6, None, trades=4000)
    fresh.step(0.4, "PANIC", trades=4000)
    assert fresh.state_dict()["window"] == []


def test_groups_keep_their_own_rates() -> None:
    s = scheduler(1.0, 0.1, cycle=8, floor=0.05)
    for t in range(50):
        s.step(0.5, t % 3 == 0, trades=4000)
        first, second = (group["lr"] for group in s.optimizer.param_groups)
        assert second == pytest.approx(0.1 * first)
        assert 0.05 <= first <= 1.0


def test_reductions_stop_at_the_floor() -> None:
    s = scheduler(cycle=10, floor=0.1, patience=1)
    for _ in range(60):
        s.step(0.5, trades=4000)
    assert s.scale == 0.1
    assert s.learning_rate == pytest.approx(0.1)


def test_restored_it_goes_on_identically() -> None:
    regimes = [None] * 34 + ["PANIC"] * 26 + ["TREND"] * 30
    rates = np.random.default_rng(3).normal(0.5, 0.003, 90)
    inputs = [(float(rate), regime, 4000) for rate, regime in zip(rates, regimes, strict=True)]

    def run(s: AdaptiveLRScheduler, part: list[tuple[float, str | None, int]]) -> list[float]:
        return [s.step(rate, regime, trades=n) for rate, regime, n in part]

    config = {"cycle": 8, "patience": 4, "factor": 0.9}
    whole = scheduler(0.2, 0.1, **config)
    expected = run(whole, inputs)
    assert any(step.reduced for step in whole.history[37:])
    assert any(step.boosted for step in whole.history[37:])
    first = scheduler(0.2, 0.1, **config)
    run(first, inputs[:37])
    saved = json.loads(json.dumps(first.state_dict()))
    second = scheduler(9.0, 9.0)
    second.load_state_dict(saved)
    assert [group["lr"] for group in second.optimizer.param_groups] == [
        group["lr"] for group in first.optimizer.param_groups
    ]
    assert run(second, inputs[37:]) == expected[37:]
    assert json.dumps(second.state_dict()) == json.dumps(whole.state_dict())
    for part in ("phase", "reduction", "window", "since_boost"):
        lost = scheduler(0.2, 0.1, **config)
        lost.load_state_dict(saved | {part: scheduler(**config).state_dict()[part]})
        assert run(lost, inputs[37:]) != expected[37:], f"without its {part} it goes on otherwise"


def test_state_of_other_groups_is_refused() -> None:
    with pytest.raises(ValueError, match="2 parameter groups"):
        scheduler(1.0).load_state_dict(scheduler(1.0, 0.1).state_dict())


@pytest.mark.parametrize(
    "config",
    [
        {"cycle": 0},
        {"growth": 0},
        {"patience": 0},
        {"least_trades": 0},
        {"trades": 0},
        {"floor": 1.0},
        {"floor": -0.1},
        {"factor": 1.0},
        {"factor": 0.0},
        {"boost": 0.9},
        {"errors": math.nan},
    ],
)
def test_parameters_out_of_bounds_are_refused(config: dict) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(config))}.* must|must.*{next(iter(config))}|errors"):
        LearningRateConfig(**config)


@pytest.mark.parametrize(("rate", "trades"), [(1.1, 10), (-0.1, 10), (0.5, -1)])
def test_impossible_evidence_is_refused(rate: float, trades: int) -> None:
    with pytest.raises(ValueError, match=r"win_rate|trades"):
        scheduler().step(rate, trades=trades)
