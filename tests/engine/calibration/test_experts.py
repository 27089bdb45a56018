from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.calibration.adaptive import AdaptiveThresholds
from engine.calibration.experts import DTACI_STEPS, learning_rate, sharing_rate

ALPHA, WINDOW = 0.1, 250


def pinball(beta, theta):
    return ALPHA * (beta - theta) - min(0.0, beta - theta)


def dtaci_of_the_paper(scores, steps, interval, delay=1):
    """Gibbs and Candes 2024, algorithm 1, with the mean of the alphas as output; lists, one step at a time.

    The first `WINDOW` scores are known before the start; later ones `delay` steps after their decision.
    """
    experts = len(steps)
    eta, sigma = learning_rate(ALPHA, experts, interval), sharing_rate(interval)
    alphas, weights = [ALPHA] * experts, [1.0] * experts
    history = {"threshold": [], "alpha": [], "beta": [], "alphas": [], "losses": [], "weights": []}
    pending, past = [], list(scores[:WINDOW])
    for t, score in enumerate(scores[WINDOW:]):
        while pending and pending[0][0] + delay <= t:
            _, old_score, beta, given = pending.pop(0)
            weights = [w * np.exp(-eta * pinball(beta, a)) for w, a in zip(weights, given, strict=True)]
            total = sum(weights)
            weights = [((1 - sigma) * w + sigma * total / experts) / total for w in weights]
            missed = [a >= beta - 1e-12 for a in given]
            alphas = [a + g * (ALPHA - m) for a, g, m in zip(alphas, steps, missed, strict=True)]
            past = [*past, old_score][-WINDOW:]
        mean = sum(w * a for w, a in zip(weights, alphas, strict=True)) / sum(weights)
        rank = int(np.ceil((len(past) + 1) * (1 - mean) - 1e-9))
        limit = np.inf if rank > len(past) else (sorted(past)[rank - 1] if rank >= 1 else -np.inf)
        beta = 1 - sum(s < score for s in past) / (len(past) + 1)
        pending.append((t, score, beta, list(alphas)))
        history["threshold"].append(limit)
        history["alpha"].append(mean)
        history["beta"].append(beta)
        history["alphas"].append(list(alphas))
        history["weights"].append(np.array(weights) / sum(weights))
        history["losses"].append([pinball(beta, a) for a in alphas])
    return {name: np.array(values) for name, values in history.items()}


def walk(scores, steps, interval=250.0, delay=1):
    running = AdaptiveThresholds.start(
        scores[:WINDOW], np.zeros(WINDOW, np.int64), 1,
        level=1 - ALPHA, steps=steps, interval=interval, window=WINDOW, overlap=1.0, least=30,
    )  # fmt: skip
    later = scores[WINDOW:]
    clock = np.arange(later.size)
    return running.walk(later, np.zeros(later.size, np.int64), clock, clock + delay)


def jumpy(seed: int, n: int = 900) -> np.ndarray:
    """Scores as an adversary would send them: jumps, trends, ties."""
    rng = np.random.default_rng(seed)
    scale = np.exp(np.cumsum(rng.standard_normal(n) * (rng.random(n) < 0.01) * 1.5))
    return np.round(np.abs(rng.standard_normal(n)) * scale, int(rng.integers(1, 4)))


def test_learning_rate_by_hand():
    square_loss = 0.1**2 * 0.9**3 + 0.1**3 * 0.9**2
    assert square_loss == pytest.approx(0.0081)
    by_hand = np.sqrt(3 / 500) * np.sqrt((np.log(8 * 500) + 2) / 0.0081)
    assert learning_rate(0.1, 8, 500) == pytest.approx(by_hand, rel=1e-12)
    assert by_hand == pytest.approx(2.76, abs=0.01)
    assert sharing_rate(500) == 0.001


@pytest.mark.parametrize("delay", [1, 24])
@pytest.mark.parametrize("steps", [DTACI_STEPS, (0.02,)])
@pytest.mark.parametrize("seed", range(3))
def test_compiled_walk_equals_the_paper(seed, steps, delay):
    scores = jumpy(seed)
    expected = dtaci_of_the_paper(scores, steps, 250.0, delay)
    np.testing.assert_array_equal(walk(scores, steps, delay=delay), expected["threshold"])


def test_one_step_is_aci():
    """alpha moves by gamma (alpha - err), nothing else."""
    scores = jumpy(5)
    limits = walk(scores, (0.03,))
    missed = scores[WINDOW:] > limits
    alpha = ALPHA + 0.03 * np.concatenate([[0.0], np.cumsum(ALPHA - missed)[:-1]])
    np.testing.assert_allclose(dtaci_of_the_paper(scores, (0.03,), 250.0)["alpha"], alpha, atol=1e-12)


@given(st.integers(0, 10_000), st.floats(0.005, 0.2))
@settings(max_examples=40, deadline=None)
def test_miss_rate_of_aci_obeys_the_bound_for_any_data(seed, gamma):
    """Gibbs and Candes 2021, proposition 4.1."""
    scores = jumpy(seed, 1250)
    missed = scores[WINDOW:] > walk(scores, (gamma,))
    bound = (0.9 + gamma) / (gamma * missed.size)
    assert abs(missed.mean() - ALPHA) <= bound + 1e-12


@given(
    st.integers(0, 10_000),
    st.integers(0, 500),
    st.sampled_from([20, 60, 150]),
    st.sampled_from([50.0, 250.0]),
)
@settings(max_examples=8, deadline=None)
def test_dtaci_is_as_good_as_the_best_expert_over_any_stretch(seed, start, length, interval):
    """The regret bound behind Gibbs and Candes 2024, theorem 3, for any data, stretch and expert.

    sum loss(mean alpha) <= sum loss(expert) + eta/2 sum E_w loss^2 + (ln(K/sigma) - n ln(1 - sigma)) / eta.
    """
    walked = dtaci_of_the_paper(jumpy(seed, WINDOW + 650), DTACI_STEPS, interval)
    here = slice(start, start + length)
    eta, sigma = learning_rate(ALPHA, len(DTACI_STEPS), interval), sharing_rate(interval)
    losses, weights = walked["losses"][here], walked["weights"][here]
    own = sum(pinball(b, a) for b, a in zip(walked["beta"][here], walked["alpha"][here], strict=True))
    second = (weights * losses**2).sum()
    price = (np.log(len(DTACI_STEPS) / sigma) - length * np.log(1 - sigma)) / eta
    assert own <= losses.sum(axis=0).min() + eta / 2 * second + price + 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_dtaci_tracks_a_shift_without_a_step_being_chosen(seed):
    rng = np.random.default_rng(seed)
    scores = np.abs(rng.standard_normal(6250)) * np.where(np.arange(6250) < 3250, 1.0, 2.5)
    covered = scores[WINDOW:] <= walk(scores, DTACI_STEPS)
    worst = np.convolve(covered, np.ones(250) / 250, "valid").min()
    assert covered[3000:].mean() == pytest.approx(0.90, abs=0.015)
    assert worst >= 0.80
    slow = scores[WINDOW:] <= walk(scores, (0.001,))
    assert covered[3000:3300].mean() > slow[3000:3300].mean()


def test_weight_goes_to_the_steps_that_the_data_ask_for():
    """Quick experts gain after jumps, slow ones on still data."""
    rng = np.random.default_rng(0)
    still = np.abs(rng.standard_normal(2250))
    moving = np.abs(rng.standard_normal(2250)) * np.exp(2 * np.sin(np.arange(2250) / 60))
    mean_step = {
        name: (dtaci_of_the_paper(s, DTACI_STEPS, 250.0)["weights"][200:] @ np.array(DTACI_STEPS)).mean()
        for name, s in (("still", still), ("moving", moving))
    }
    assert mean_step["moving"] > 1.5 * mean_step["still"]
