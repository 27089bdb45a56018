import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.regimes.run_length import (
    EXACT,
    KNOWN_MEAN,
    PARTS,
    RunLengths,
    SegmentPrior,
    absorb,
    empty_runs,
    most_probable,
    short_mass,
)
from engine.regimes.run_length_exact import run_length_matrix

SCALE_ONLY = SegmentPrior(kappa=KNOWN_MEAN, alpha=5.0, beta=50.0)


def changing(n: int, seed: int = 3) -> np.ndarray:
    """Segments of 60 and more observations that move in mean, scale or both."""
    rng, x, t, mean, scale = np.random.default_rng(seed), np.empty(n), 0, 0.0, 1.0
    while t < n:
        end = min(n, t + 60 + int(rng.exponential(190)))
        x[t:end] = mean + scale * rng.standard_normal(end - t)
        mean, scale, t = rng.normal(0, 2), float(rng.choice([0.33, 1.0, 2.5])), end
    return x


def rows(stream: RunLengths, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lengths, posteriors = np.empty(x.size, np.int64), np.empty((x.size, x.size + 1))
    for t in range(x.size):
        lengths[t] = stream.update(x[t : t + 1])[0]
        posteriors[t] = stream.posterior(x.size)
    return lengths, posteriors


@pytest.mark.parametrize("prior", [SegmentPrior(), SCALE_ONLY])
def test_is_exact_while_there_is_room(prior: SegmentPrior) -> None:
    x = changing(600)
    lengths, found = rows(RunLengths(prior, most=600), x)
    expected = run_length_matrix(x, prior)
    assert np.abs(found - expected).max() < 1e-10
    assert np.array_equal(lengths, expected.argmax(axis=1))


def test_bounded_rows_agree_with_exact_ones() -> None:
    x = changing(1_600)
    expected = run_length_matrix(x, SegmentPrior())
    lengths, found = rows(RunLengths(SegmentPrior(), most=256), x)
    assert np.abs(found - expected).max() < 1e-3
    assert np.array_equal(lengths, expected.argmax(axis=1))
    assert np.abs(found.sum(axis=1) - 1.0).max() < 1e-8


@pytest.mark.parametrize("stationary", [False, True])
def test_the_default_bound_keeps_the_mass_of_short_segments(stationary: bool) -> None:
    x = np.random.default_rng(5).normal(size=1_200) if stationary else changing(1_200, 6)
    expected = run_length_matrix(x, SegmentPrior())
    lengths, found = rows(RunLengths(SegmentPrior()), x)
    assert np.abs(found[:, 2:11].sum(axis=1) - expected[:, 2:11].sum(axis=1)).max() < 1e-3
    assert (lengths == expected.argmax(axis=1)).mean() > 0.999


def test_places_without_a_run_length_change_nothing() -> None:
    x = changing(90, 4)
    narrow, wide = RunLengths(SegmentPrior(), most=96), RunLengths(SegmentPrior(), most=400)
    assert np.array_equal(narrow.update(x), wide.update(x))
    assert np.abs(narrow.posterior(90) - wide.posterior(90)).max() < 1e-12
    assert abs(wide.posterior(90).sum() - 1.0) < 1e-12


def test_a_bound_that_fills_no_vector_is_kept_to() -> None:
    x = changing(1_000, 5)
    expected = run_length_matrix(x, SegmentPrior())
    lengths, found = rows(RunLengths(SegmentPrior(), most=131), x)
    assert np.abs(found.sum(axis=1) - 1.0).max() < 1e-8
    assert (np.count_nonzero(found, axis=1) <= 131).all()
    assert (lengths == expected.argmax(axis=1)).mean() > 0.99


def test_two_hundred_thousand_observations_neither_underflow_nor_grow() -> None:
    stream = RunLengths(SegmentPrior(), most=48)
    x = changing(200_000, 7)
    stream.update(x)
    row = stream.posterior(x.size)
    assert np.isfinite(row).all()
    assert abs(row.sum() - 1.0) < 1e-8
    assert np.count_nonzero(row) <= 49
    densities = np.exp(-0.5 * x[:2_000] ** 2) / np.sqrt(2 * np.pi)
    assert np.prod(densities) == 0.0  # what a product that is never normalised comes to


def test_survives_what_no_segment_expects() -> None:
    stream = RunLengths(SegmentPrior())
    stream.update(np.zeros(5_000))
    for x in (1e8, -1e100, 0.0, 1e-300):
        assert stream.update(np.array([x]))[0] >= 1
        assert abs(stream.posterior(6_000).sum() - 1.0) < 1e-9


def joined(n: np.ndarray, mass: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Join `count` pairs, one after another by their loss, none of which has a part in two."""
    loss = ((mass[:-1] * mass[1:]) ** 2 * (n[:-1] - n[1:]) / n[1:])[: n.size - EXACT - 1]
    taken = np.zeros(n.size, bool)
    younger: list[int] = []
    n, mass = n.copy(), mass.copy()
    for at in np.argsort(loss, kind="stable"):
        if len(younger) < count and not taken[at : at + 2].any():
            taken[at : at + 2] = True
            total = mass[at] + mass[at + 1]
            n[at] += mass[at + 1] / max(total, 1e-300) * (n[at + 1] - n[at])
            mass[at] = total
            younger.append(int(at) + 1)
    return np.delete(n, younger), np.delete(mass, younger)


@pytest.mark.parametrize("alike", [0, 20, 40])
@pytest.mark.parametrize("most", [2 * EXACT, 131])
def test_joins_the_pairs_that_lose_least(most: int, alike: int) -> None:
    rng = np.random.default_rng(most)
    runs, prior = empty_runs(most=most), SegmentPrior()
    runs[0] = np.sort(rng.choice(np.arange(1, 5 * most), most, replace=False))[::-1]
    runs[1] = rng.dirichlet(np.full(most, 0.3))
    runs[1, rng.choice(most, alike, replace=False)] = 0.0
    n, mass = joined(runs[0], runs[1], most // 8)
    kept = absorb(0.3, most, runs, prior.as_array(), 0.01)
    assert kept == most - most // 8 + 1
    assert np.allclose(runs[0, :kept], np.append(n + 1, 1.0), rtol=1e-12)
    assert np.array_equal(runs[1, : kept - 1] > 0, mass > 0)
    assert (runs[1, kept:] == 0).all()


def test_of_equally_probable_run_lengths_the_longest_counts() -> None:
    runs = empty_runs(most=48)
    runs[0, :4], runs[1, :4] = [70, 40, 8, 1], [0.1, 0.4, 0.4, 0.1]
    assert most_probable(4, runs) == 40
    runs[1, :4] = [0.3, 0.1, 0.3, 0.3]
    assert most_probable(4, runs) == 70
    runs[1, :4] = [0.0, 0.0, 0.0, 1.0]
    assert most_probable(4, runs) == 1


def test_one_observation_is_no_segment_yet() -> None:
    runs = np.zeros((PARTS, 5))
    runs[0, :4], runs[1, :4] = [90, 11, 10, 1], [0.1, 0.2, 0.3, 0.4]
    assert short_mass(4, runs, 10) == pytest.approx(0.3)
    assert most_probable(4, runs) == 1
    outlier = RunLengths(SegmentPrior())
    outlier.update(np.random.default_rng(9).normal(size=300))
    outlier.update(np.array([30.0]))
    assert outlier.posterior(400)[1] > 0.9
    assert outlier.posterior(400)[2:11].sum() < 0.1


def test_finds_a_change_where_it_is() -> None:
    rng = np.random.default_rng(8)
    lengths = RunLengths(SegmentPrior()).update(np.r_[rng.normal(0, 1, 500), rng.normal(5, 1, 100)])
    assert abs(lengths[499] - 500) <= 2
    assert abs(lengths[-1] - 100) <= 2


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=120), st.floats(1e-4, 0.05))
def test_is_a_distribution_whatever_comes(x: list[float], hazard: float) -> None:
    stream = RunLengths(SegmentPrior(), hazard, most=2 * EXACT)
    stream.update(np.array(x))
    row = stream.posterior(len(x))
    assert (row >= 0).all()
    assert abs(row.sum() - 1.0) < 1e-9


def test_refuses_what_it_cannot_use() -> None:
    with pytest.raises(ValueError, match="finite"):
        RunLengths(SegmentPrior()).update(np.array([0.0, np.nan]))
    with pytest.raises(ValueError, match="hazard"):
        RunLengths(SegmentPrior(), 1.0)
    with pytest.raises(ValueError, match="most"):
        RunLengths(SegmentPrior(), most=EXACT)
    for bad in ({"kappa": 0.0}, {"alpha": -1.0}, {"beta": np.inf}, {"mean": np.nan}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            SegmentPrior(**bad)
