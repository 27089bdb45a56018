from datetime import datetime, timedelta

import numpy as np
import pytest
import torch
from torch import nn

from engine.patterns.encoder import TransformerPatternMatcher, positions
from engine.patterns.memory import MemoryStore
from engine.patterns.windows import LENGTH, PatternWindows

HOUR = timedelta(hours=1)
START = np.datetime64(datetime(2024, 1, 1), "us")


def bars(n, seed=0, width=50):
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


def windows(x):
    ts = START + np.arange(len(x)) * np.timedelta64(HOUR)
    return PatternWindows(("A",), np.zeros(len(x), np.int16), ts, x, HOUR)


def test_shapes_and_unit_length():
    matcher = TransformerPatternMatcher(feature_dim=50, embedding_dim=128)
    one = matcher.encode_pattern(bars(LENGTH))
    assert one.shape == (128,)
    many = matcher.encode(bars(90).reshape(3, LENGTH, 50))
    assert many.shape == (3, 128)
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1.0, atol=1e-6)
    assert matcher.encode(np.empty((0, LENGTH, 50), np.float32)).shape == (0, 128)


def test_the_embedding_of_a_bar_does_not_depend_on_later_bars():
    """A8.2, truncation."""
    matcher, x = TransformerPatternMatcher(), bars(200)
    whole, cut = windows(x), windows(x[:120])
    later = x.copy()
    later[120:] = 7.0
    n = len(cut.ends)
    np.testing.assert_array_equal(matcher.encode_all(windows(later))[:n], matcher.encode_all(whole)[:n])
    np.testing.assert_allclose(matcher.encode_all(cut), matcher.encode_all(whole)[:n], atol=1e-5)


def test_one_by_one_equals_batch_and_batch_statistics_would_not():
    """A8.2. The wrong version normalises over the batch."""
    matcher, made = TransformerPatternMatcher(), windows(bars(100))
    batch = made.batch(made.ends)
    together = matcher.encode(batch)
    np.testing.assert_allclose([matcher.encode_pattern(w) for w in batch], together, atol=1e-3)
    wrong = TransformerPatternMatcher()
    wrong.out = nn.Sequential(wrong.out, nn.BatchNorm1d(128, track_running_stats=False))
    assert np.abs(wrong.encode(batch[:2]) - wrong.encode(batch)[:2]).max() > 1e-2
    assert not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in matcher.modules())


def test_order_in_time_matters():
    """Without positions a transformer sees a bag of patches: the mean over tokens would be the same."""
    matcher = TransformerPatternMatcher()
    window = bars(LENGTH)
    assert np.abs(matcher.encode_pattern(window) - matcher.encode_pattern(window[::-1].copy())).max() > 1e-2
    swapped = window.reshape(6, 5, 50)[[1, 0, 2, 3, 4, 5]].reshape(LENGTH, 50)
    assert np.abs(matcher.encode_pattern(window) - matcher.encode_pattern(swapped)).max() > 1e-3
    matcher.position.zero_()
    np.testing.assert_allclose(matcher.encode_pattern(window), matcher.encode_pattern(swapped), atol=1e-5)


def test_positions_are_sinusoids():
    table = positions(6, 8).numpy()
    np.testing.assert_allclose(table[0], [0, 1] * 4, atol=1e-7)
    np.testing.assert_allclose(table[:, 0], np.sin(np.arange(6)), atol=1e-6)
    np.testing.assert_allclose(table[3, 3], np.cos(3 * 10_000 ** (-2 / 8)), atol=1e-6)


def test_channels_left_out_change_nothing():
    matcher, window = TransformerPatternMatcher(channels=range(31)), bars(LENGTH)
    other = window.copy()
    other[:, 31:] = 4.0
    np.testing.assert_array_equal(matcher.encode_pattern(window), matcher.encode_pattern(other))
    other[:, 30] = 4.0
    assert np.abs(matcher.encode_pattern(window) - matcher.encode_pattern(other)).max() > 1e-3


def test_same_seed_same_weights_and_the_global_generator_is_left_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, two, other = (TransformerPatternMatcher(seed=s).encode_pattern(bars(LENGTH)) for s in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_similar_patterns_of_the_past_with_what_followed():
    matcher, made = TransformerPatternMatcher(), windows(bars(300))
    horizon, points = 10, matcher.encode_all(made)
    ts = made.ts[made.ends]
    matcher.memory = MemoryStore(
        ("A",), np.zeros(len(ts), np.int16), ts, points, np.arange(len(ts), dtype=float),
        ts + (horizon + 1) * np.timedelta64(HOUR), HOUR, horizon, 0,
    )  # fmt: skip
    query = made.batch(np.array([120]))[0]
    matches = matcher.find_similar_patterns(query, top_k=3, at=ts[-1].item() + 50 * HOUR)
    assert matches[0].ts == made.ts[120].item()
    assert matches[0].distance == pytest.approx(0.0, abs=1e-3)
    assert matches[0].outcome == 120 - LENGTH + 1
    assert matches[0].known_at == matches[0].ts + 11 * HOUR
    past = matcher.find_similar_patterns(query, top_k=50, at=made.ts[120].item())
    assert past
    assert all(match.known_at <= made.ts[120].item() - (LENGTH - 1) * HOUR for match in past)
    newest = matcher.find_similar_patterns(query, top_k=50)
    assert max(match.ts for match in newest) <= ts[-1].item() - (LENGTH + horizon) * HOUR


def test_misuse_is_named():
    matcher = TransformerPatternMatcher()
    with pytest.raises(RuntimeError, match="no memory"):
        matcher.find_similar_patterns(bars(LENGTH))
    with pytest.raises(ValueError, match=r"expected \(B, 30, 50\)"):
        matcher.encode(bars(LENGTH))
    with pytest.raises(ValueError, match="not finite"):
        matcher.encode_pattern(np.full((LENGTH, 50), np.nan, np.float32))
    for wrong in ({"patch": 7}, {"heads": 5}, {"embedding_dim": 0}, {"channels": [50]}, {"channels": [1, 1]}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            TransformerPatternMatcher(**wrong)
