import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.patterns.embedding_quality import effective_rank, uniformity
from engine.patterns.nearest import Neighbours
from engine.patterns.outcomes import OUTCOME_COLUMNS, outcome_features
from engine.patterns.projection import CompactProjection


def test_known_answers():
    outcome = [0.01, -0.02, 0.03, 0.0, 0.5]
    index = np.array([[0, 1, 2, 3], [4, 0, -1, -1], [-1, -1, -1, -1]])
    distance = np.array([[0.1, 0.2, 0.3, 0.4], [0.1, 0.2, np.inf, np.inf], [np.inf] * 4])
    made = outcome_features(Neighbours(index, distance), outcome)
    assert made.columns == list(OUTCOME_COLUMNS)
    first = made.row(0)
    assert first == pytest.approx((0.005, np.std([0.01, -0.02, 0.03, 0.0], ddof=1), 0.625, 0.25, 4))
    assert made.row(1) == (None, None, None, None, 2)
    assert made.row(2) == (None, None, None, None, 0)
    assert outcome_features(Neighbours(index, distance), outcome, least=2)["pattern_mean"][
        1
    ] == pytest.approx(0.255)
    with pytest.raises(ValueError, match="least = 1"):
        outcome_features(Neighbours(index, distance), outcome, least=1)


def test_an_empty_memory_gives_no_opinion():
    nothing = Neighbours(np.full((2, 3), -1), np.full((2, 3), np.inf))
    assert outcome_features(nothing, [])["pattern_count"].to_list() == [0, 0]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_features_are_the_moments_of_the_neighbours(seed):
    random = np.random.default_rng(seed)
    outcome = random.normal(size=30)
    index = np.array([random.permutation(30)[:8] for _ in range(5)])
    index[1, 5:] = -1
    distance = np.where(index >= 0, random.random((5, 8)), np.inf)
    made = outcome_features(Neighbours(index, distance), outcome)
    for row, picked in zip(made.iter_rows(named=True), index, strict=True):
        values = outcome[picked[picked >= 0]]
        assert row["pattern_mean"] == pytest.approx(values.mean())
        assert row["pattern_sd"] == pytest.approx(values.std(ddof=1))
        assert row["pattern_up"] == pytest.approx((values > 0).mean())


def test_effective_rank_of_known_tables():
    assert effective_rank(np.eye(9)) == pytest.approx(9.0)
    assert effective_rank(np.ones((50, 7))) == pytest.approx(1.0)
    p = np.array([3.0, 1.0]) / 4.0
    assert effective_rank(np.diag([3.0, 1.0])) == pytest.approx(np.exp(-(p * np.log(p)).sum()))
    with pytest.raises(ValueError, match="other than 0"):
        effective_rank(np.zeros((3, 3)))


def test_uniformity_of_known_points():
    assert uniformity(np.ones((5, 4)) / 2.0) == pytest.approx(0.0)
    assert uniformity(np.eye(6)) == pytest.approx(-4.0)


def test_projection_is_white_on_the_training_window_and_only_shifted_elsewhere():
    random = np.random.default_rng(0)
    points = (random.normal(size=(500, 12)) @ random.normal(size=(12, 12))).astype(np.float32)
    projection = CompactProjection.fit(points, 4)
    made = projection.apply(points)
    np.testing.assert_allclose(np.cov(made.T), np.eye(4), atol=1e-3)
    np.testing.assert_allclose(made.mean(axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(projection.apply(points[:3]), made[:3], atol=1e-5)
    centred = points - points.mean(axis=0)
    first = np.linalg.svd(centred, full_matrices=False)[2][0]
    assert abs(np.corrcoef(made[:, 0], centred @ first)[0, 1]) == pytest.approx(1.0, abs=1e-4)
    with pytest.raises(ValueError, match="width = 13"):
        CompactProjection.fit(points, 13)
    with pytest.raises(ValueError, match="too few"):
        CompactProjection.fit(points[:4], 4)
