"""The option-critic's equations, and what they learn on a market whose trends are announced once."""

from __future__ import annotations

import itertools

import numba as nb
import numpy as np
import pytest

from engine.agents.option_critic import (
    draw,
    end_probability,
    intra_option_step,
    sarsa_step,
    softmax,
    termination_step,
    upon_arrival,
    value_over_options,
)

STEPS, SEEDS = 60_000, range(5)
START, STOP, COST, NOISE = 0.05, 1.0 / 12.0, 2.0, 0.5
NONE, UP, DOWN, END = range(4)


@pytest.mark.parametrize(
    ("logit", "q", "v", "cost", "rate", "expected"),
    [
        (1.0, 0.3, 0.5, 0.0, 1.0, 1.039322),
        (1.0, 0.3, 0.5, 0.2, 1.0, 1.0),
        (1.0, 0.3, 0.5, 0.5, 1.0, 0.941016),
        (-2.0, 1.0, 0.0, 0.0, 0.5, -2.052497),
    ],
)
def test_a_step_of_the_termination_gradient(
    logit: float, q: float, v: float, cost: float, rate: float, expected: float
) -> None:
    assert termination_step(logit, q, v, cost, rate) == pytest.approx(expected, abs=1e-6)


def test_the_step_is_the_derivative_of_what_arrival_is_worth() -> None:
    logit, q, v, cost, h = 0.7, 0.4, 1.1, 0.3, 1e-6

    def worth(x: float) -> float:
        return upon_arrival(q, v - cost, end_probability(x))

    slope = (worth(logit + h) - worth(logit - h)) / (2 * h)
    assert termination_step(logit, q, v, cost, 1.0) - logit == pytest.approx(slope, abs=1e-8)


def test_value_over_options_counts_explorations() -> None:
    q = np.array([1.0, 2.0, 6.0])
    assert value_over_options(q, 0.0) == 6.0
    assert value_over_options(q, 0.3) == pytest.approx(0.7 * 6.0 + 0.3 * 3.0)
    assert upon_arrival(2.0, 5.0, 0.25) == pytest.approx(2.75)


def test_a_maximum_as_value_ends_options_that_should_go_on() -> None:
    # The best option is in force: going on is worth more than choosing anew with explorations.
    q = np.array([1.0, 0.0])
    right = termination_step(0.0, q[0], value_over_options(q, 0.2), 0.0, 1.0)
    wrong = termination_step(0.0, q[0], q.max(), 0.0, 1.0)
    assert right < 0.0
    assert wrong == 0.0


def test_an_intra_option_step_follows_the_gradient_of_the_log_probability() -> None:
    logits, temperature, h = np.array([0.2, -0.4, 1.0]), 0.7, 1e-6

    def log_p(x: np.ndarray) -> float:
        return float(np.log(softmax(x, temperature)[1]))

    slope = [(log_p(logits + h * e) - log_p(logits - h * e)) / (2 * h) for e in np.eye(3)]
    moved = logits.copy()
    intra_option_step(moved, 1, 2.0, temperature, 0.1)
    np.testing.assert_allclose(moved - logits, 0.1 * 2.0 * np.array(slope), atol=1e-8)


def test_draws_have_the_probabilities_asked_for() -> None:
    p = np.array([0.2, 0.0, 0.5, 0.3])
    uniform = (np.arange(10_000) + 0.5) / 10_000
    counts = np.bincount([draw(p, u) for u in uniform], minlength=4)
    np.testing.assert_allclose(counts / 10_000, p, atol=1e-4)
    assert draw(p, 1.0) == 3


def test_traces_credit_what_was_done_before() -> None:
    q, traces = np.zeros((2, 2)), np.zeros((2, 2))
    sarsa_step(q, traces, 0, 1, 1.0, 0.5, 0.1)
    sarsa_step(q, traces, 1, 0, 2.0, 0.5, 0.1)
    np.testing.assert_allclose(q, [[0.0, 0.1 + 0.1 * 2.0 * 0.5], [0.2, 0.0]])


@nb.njit
def _mean_end_probability(cost: float, updates: int, seed: int) -> float:
    np.random.seed(seed)  # noqa: NPY002 - a compiled loop has this generator only
    logit, total = 0.0, 0.0
    for _ in range(updates):
        logit = min(max(termination_step(logit, 0.2 * np.random.randn(), 0.0, cost, 0.5), -6.0), 6.0)  # noqa: NPY002
        total += end_probability(logit)
    return total / updates


def test_a_deliberation_cost_lengthens_options() -> None:
    means = [
        np.mean([_mean_end_probability(cost, 40_000, seed) for seed in SEEDS]) for cost in (0.0, 0.02, 0.1)
    ]
    assert means[0] > 2.0 * means[1]
    assert means[1] > 2.0 * means[2]


@nb.njit
def _next_bar(direction: int) -> tuple[int, int]:
    """Direction of the move under way, 0 for none, and what is shown of it."""
    uniform = np.random.random()  # noqa: NPY002
    if direction != 0:
        return (0, END) if uniform < STOP else (direction, NONE)
    if uniform < START:
        return (1, UP) if uniform < START / 2 else (-1, DOWN)
    return 0, NONE


@nb.njit
def _hold_market(seed: int, steps: int, tested: int, decay: float, end_logit: float) -> float:
    """Learn for so many steps, then return the mean reward per bar without exploration.

    Option w holds position w - 1. The state is what is shown and the position; credit is by Sarsa(lambda).
    """
    np.random.seed(seed)  # noqa: NPY002
    q, traces = np.zeros((12, 3)), np.zeros((12, 3))
    logits = np.full((12, 3), end_logit)
    direction, position, state, option, total = 0, 0, 4, 1, 0.0
    for t in range(steps + tested):
        learning = t < steps
        epsilon = 0.01 ** (t / steps) if learning else 0.0
        held = position
        position = option - 1
        reward = position * (direction + NOISE * np.random.randn()) - COST * abs(position - held)  # noqa: NPY002
        total += 0.0 if learning else reward
        direction, shown = _next_bar(direction)
        after = shown + 4 * (position + 1)
        value = value_over_options(q[after], epsilon)
        following = option
        if np.random.random() < end_probability(logits[after, option]):  # noqa: NPY002
            explores = np.random.random() < epsilon  # noqa: NPY002
            following = np.random.randint(3) if explores else int(np.argmax(q[after]))  # noqa: NPY002
        if learning:
            delta = reward + 0.95 * q[after, following] - q[state, option]
            sarsa_step(q, traces, state, option, delta, decay, 0.02)
            if end_logit < 6.0:
                step = termination_step(logits[after, option], q[after, option], value, 0.02, 0.1)
                logits[after, option] = min(max(step, -6.0), 6.0)
        state, option = after, following
    return total / tested


def _hold_reward(positions: tuple[int, ...]) -> float:
    """Expected reward per bar of a policy that sees only what is shown."""
    cycle = 1.0 / START + 1.0 / STOP
    none, up, down, end = positions
    reward = 0.0
    for direction, first in ((1, up), (-1, down)):
        later = 1.0 / STOP - 1.0
        reward += 0.5 * direction * (first + later * none)
        # A move of one bar goes from what is shown first to the end at once.
        single = STOP
        turns = single * abs(end - first) + (1.0 - single) * (abs(none - first) + abs(end - none))
        # The bar after the end is a start at once, or it is not.
        to_start = 0.5 * (abs(up - end) + abs(down - end))
        from_none = 0.5 * (abs(up - none) + abs(down - none))
        turns += START * to_start + (1.0 - START) * (abs(none - end) + from_none)
        reward -= 0.5 * COST * turns
    return reward / cycle


def test_options_hold_what_is_shown_once() -> None:
    oracle = (1.0 / STOP - 2.0 * COST) / (1.0 / START + 1.0 / STOP)
    assert oracle == pytest.approx(0.25)
    reached = [_hold_market(seed, STEPS, STEPS, 0.95 * 0.95, -2.4) for seed in SEEDS]
    memoryless = max(_hold_reward(policy) for policy in itertools.product((-1, 0, 1), repeat=4))
    assert memoryless == pytest.approx(0.0)
    assert np.median(reached) >= 0.75 * oracle


def test_without_traces_options_do_not_learn_to_hold() -> None:
    reached = [_hold_market(seed, STEPS, STEPS, 0.0, -2.4) for seed in SEEDS]
    assert np.median(reached) < 0.025


def test_a_flat_agent_that_sees_its_position_learns_to_hold_too() -> None:
    # Options that end at every bar are plain actions: what options gain here is not the ability to hold.
    reached = [_hold_market(seed, STEPS, STEPS, 0.95 * 0.95, 40.0) for seed in SEEDS]
    assert np.median(reached) > 0.1
