import math
from datetime import datetime, timedelta

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import NotEnoughDataError
from engine.patterns.contrastive import (
    ContrastiveConfig,
    augment,
    nt_xent,
    same_event,
    train_encoder,
)
from engine.patterns.encoder import TransformerPatternMatcher
from engine.patterns.windows import LENGTH, PatternWindows

HOUR = timedelta(hours=1)
SMALL = ContrastiveConfig(
    batch=24, steps=40, learning_rate=5e-3, check=10, horizon=5, embargo=1, validation=0.2, mask_channels=0.1
)


def by_definition(first, second, temperature, ignore=None):
    """NT-Xent one anchor after the other."""
    points = [p / np.linalg.norm(p) for p in np.concatenate([first, second])]
    n, total = len(points), 0.0
    for i in range(n):
        partner = (i + n // 2) % n
        s = {j: math.exp(float(points[i] @ points[j]) / temperature) for j in range(n) if j != i}
        total -= math.log(
            s[partner]
            / sum(v for j, v in s.items() if j == partner or ignore is None or not bool(ignore[i, j]))
        )
    return total / n


def market(n=700, symbols=2, seed=0, width=6):
    """Symbols that share two channels and have noise of their own in the others."""
    random = np.random.default_rng(seed)
    shared = np.repeat(random.normal(size=(n // 10, 2)), 10, axis=0)
    x = np.concatenate(
        [np.hstack([shared, random.normal(size=(n, width - 2))]) for _ in range(symbols)]
    ).astype(np.float32)
    ts = np.datetime64(datetime(2024, 1, 1), "us") + np.arange(n) * np.timedelta64(HOUR)
    names = tuple("ABCD"[:symbols])
    return PatternWindows(
        names, np.repeat(np.arange(symbols), n).astype(np.int16), np.tile(ts, symbols), x, HOUR
    )


def small_encoder(seed=0, width=6):
    return TransformerPatternMatcher(width, 16, width=16, heads=2, layers=1, seed=seed)


def test_closed_forms_of_the_loss():
    """A8.1."""
    pair = torch.eye(2)
    assert nt_xent(pair, pair, 0.5).item() == pytest.approx(math.log(1.0 + 2.0 * math.exp(-2.0)), abs=1e-6)
    assert math.log(1.0 + 2.0 * math.exp(-2.0)) == pytest.approx(0.239545, abs=1e-6)
    same = torch.ones(64, 8)
    assert nt_xent(same, same, 0.5).item() == pytest.approx(4.844187, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.sampled_from([0.1, 0.5, 1.0]))
def test_loss_equals_its_definition(seed, pairs, temperature):
    random = np.random.default_rng(seed)
    first, second = random.normal(size=(2, pairs, 5))
    moment = random.integers(0, 40, pairs)
    ignore = same_event(torch.from_numpy(np.tile(moment, 2)), 10)
    for mask in (None, ignore):
        got = nt_xent(torch.from_numpy(first), torch.from_numpy(second), temperature, mask).item()
        assert got == pytest.approx(by_definition(first, second, temperature, mask), abs=1e-9)


def test_windows_of_one_event_do_not_repel_and_would_without_the_mask():
    """Four pairs of two moments one bar apart: alike, so that as negatives they cost ln 3 and more."""
    points = torch.eye(4)[[0, 0, 1, 1]]
    moment = torch.tensor([0, 1, 500, 501])
    masked = nt_xent(points, points, 0.1, same_event(torch.cat([moment, moment]), 60))
    assert masked.item() == pytest.approx(math.log(1.0 + 4.0 * math.exp(-10.0)), abs=1e-6)
    assert nt_xent(points, points, 0.1).item() > math.log(3.0)


def test_moments_are_one_event_below_the_exclusion():
    config = ContrastiveConfig(horizon=24, embargo=6)
    assert config.exclusion == 60
    moment = torch.tensor([0, 59, 60])
    assert same_event(moment, config.exclusion).tolist() == [
        [True, True, False],
        [True, True, True],
        [False, True, True],
    ]


def test_augmentations_keep_time_and_sign():
    """A reversed or flipped window correlates with the original as no augmented one does."""
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(-2.0, 2.0, LENGTH)[None, :, None].repeat(400, 1, 8)
    config = ContrastiveConfig(mask_channels=0.0, mask_patches=0.0)
    changed = augment(ramp, config, 5, generator)
    alike = torch.nn.functional.cosine_similarity(changed, ramp, dim=1)
    assert alike.min() > 0.9
    assert torch.nn.functional.cosine_similarity(ramp.flip(1), ramp, dim=1).max() < -0.9
    noise = changed - ramp
    assert noise[:, LENGTH // 2].std().item() == pytest.approx(config.jitter, rel=0.2)


def test_masks_hide_whole_channels_and_whole_patches_as_often_as_stated():
    generator = torch.Generator().manual_seed(1)
    config = ContrastiveConfig(jitter=0.0, scaling=0.0, mask_channels=0.3, mask_patches=0.2)
    kept = augment(torch.ones(3000, LENGTH, 10), config, 5, generator)
    channels = (kept == 0).all(dim=1).float().mean().item()
    patches = (kept.reshape(3000, 6, 5, 10) == 0).all(dim=(2, 3)).float().mean().item()
    assert channels == pytest.approx(0.3, abs=0.02)
    assert patches == pytest.approx(0.2, abs=0.02)
    assert set(kept.unique().tolist()) == {0.0, 1.0}


def test_training_lowers_the_loss_below_that_of_a_collapsed_encoder():
    windows = market()
    encoder, seen = small_encoder(), []
    report = train_encoder(
        encoder,
        windows,
        windows.ends,
        SMALL,
        progress=lambda step, mean, held: seen.append((step, mean, held)),
    )
    assert report.chance == pytest.approx(math.log(47.0))
    assert min(loss for _, loss in report.checks) < min(report.chance, report.start) - 1.0
    assert dict(report.checks)[report.best_step] == min(loss for _, loss in report.checks)
    assert [(step, held) for step, _, held in seen] == list(report.checks)
    assert not encoder.training


def test_same_seed_same_weights_bit_for_bit():
    windows = market()
    made = []
    for seed in (3, 3, 4):
        encoder = small_encoder(seed)
        report = train_encoder(encoder, windows, windows.ends, SMALL, seed=seed)
        made.append((report, encoder.encode_all(windows)))
    assert made[0][0] == made[1][0]
    np.testing.assert_array_equal(made[0][1], made[1][1])
    assert not np.array_equal(made[0][1], made[2][1])


def test_training_sees_the_ends_given_alone():
    """Another future, the same weights."""
    windows = market()
    ends = windows.ends[windows.ends % 700 < 500]
    later = windows.x.copy()
    later[np.arange(len(later)) % 700 >= 500] = 9.0
    changed = PatternWindows(windows.symbols, windows.symbol, windows.ts, later, HOUR)
    made = []
    for source in (windows, changed):
        encoder = small_encoder()
        train_encoder(encoder, source, ends, SMALL)
        made.append(encoder.encode_all(windows))
    np.testing.assert_array_equal(made[0], made[1])


def test_training_stops_when_the_held_out_part_gets_no_better():
    """Noise has nothing to learn across symbols."""
    random = np.random.default_rng(0)
    windows = market()
    noise = PatternWindows(
        windows.symbols,
        windows.symbol,
        windows.ts,
        random.normal(size=windows.x.shape).astype(np.float32),
        HOUR,
    )
    config = ContrastiveConfig(
        batch=24, steps=400, learning_rate=5e-3, check=5, patience=2, horizon=5, embargo=1, validation=0.2
    )
    report = train_encoder(small_encoder(), noise, noise.ends, config)
    assert len(report.loss) < 400
    assert len(report.loss) - report.best_step == 10


def test_one_symbol_is_enough():
    windows = market(symbols=1)
    report = train_encoder(small_encoder(), windows, windows.ends, SMALL)
    assert min(loss for _, loss in report.checks) < report.chance


def test_too_few_moments_are_refused():
    windows = market(n=80)
    with pytest.raises(NotEnoughDataError, match="smaller batch"):
        train_encoder(small_encoder(), windows, windows.ends, SMALL)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch", 1),
        ("steps", 0),
        ("temperature", 0.0),
        ("mask_channels", 1.5),
        ("validation", 1.0),
        ("embargo", -1),
    ],
)
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=name):
        ContrastiveConfig(**{name: value})
