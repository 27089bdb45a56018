"""Self-supervised training of the encoder: two views of a moment attract, other moments repel."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.errors import NotEnoughDataError
from engine.patterns.encoder import TransformerPatternMatcher
from engine.patterns.windows import LENGTH, PatternWindows
from engine.synthetic.ctgan_threads import one_thread

__all__ = ["ContrastiveConfig", "TrainingReport", "augment", "nt_xent", "same_event", "train_encoder"]

Integers = NDArray[np.int64]
Progress = Callable[[int, float, float], None]
"""Called at each validation with the step, the mean loss since the last one, and the validation loss."""


@dataclass(frozen=True)
class ContrastiveConfig:
    """Settings of the training.

    Parameters
    ----------
    batch, steps : int
        Moments of a batch; updates at most.
    temperature : float
        Of the cosine similarities.
    learning_rate, weight_decay : float
        Of AdamW; the rate warms up over a tenth of the steps and falls as a cosine.
    jitter, scaling : float
        Standard deviation of noise added to each value (scaled units), and of the factor of each channel.
    mask_channels, mask_patches : float
        Probability that a channel, or a patch of bars, is set to its usual value, 0.
    other_symbol : float
        Probability that the second view is the window of another symbol at the same moment, which shares
        the state of the market and nothing else.
    horizon, embargo : int
        Bars; moments closer than 30 + horizon + embargo are never negatives of each other.
    validation : float
        Share of the moments, the last ones, that training stops by.
    check, patience : int
        Updates between validations, and validations without a new best before it stops.
    """

    batch: int = 192
    steps: int = 160
    temperature: float = 0.2
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    jitter: float = 0.1
    scaling: float = 0.1
    mask_channels: float = 0.3
    mask_patches: float = 0.15
    other_symbol: float = 1.0
    horizon: int = 24
    embargo: int = 6
    validation: float = 0.15
    check: int = 20
    patience: int = 4

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in ("steps", "horizon", "check", "patience")}
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"{name} = {value}: give at least 1")
        if self.batch < 2 or self.embargo < 0:
            raise ValueError(
                f"batch = {self.batch} must be at least 2 and embargo = {self.embargo} at least 0"
            )
        positive = {name: getattr(self, name) for name in ("temperature", "learning_rate")}
        for name, value in positive.items():
            if not value > 0.0:
                raise ValueError(f"{name} = {value} must be positive")
        for name in ("mask_channels", "mask_patches", "other_symbol"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} = {getattr(self, name)} must lie between 0 and 1")
        if not 0.0 < self.validation < 1.0:
            raise ValueError(f"validation = {self.validation} must lie inside (0, 1)")

    @property
    def exclusion(self) -> int:
        """Bars within which two moments tell of the same event."""
        return LENGTH + self.horizon + self.embargo


@dataclass(frozen=True)
class TrainingReport:
    """How the training went.

    Parameters
    ----------
    loss : tuple of float
        Of each update.
    checks : tuple of (int, float)
        Update and validation loss; the best one's weights are kept.
    start, chance : float
        Validation loss before training; loss of an encoder that maps all windows to one point, ln(2B - 1).
    best_step : int
        Update after which the weights were kept.
    """

    loss: tuple[float, ...]
    checks: tuple[tuple[int, float], ...]
    start: float
    chance: float
    best_step: int


def nt_xent(first: Tensor, second: Tensor, temperature: float, ignore: Tensor | None = None) -> Tensor:
    """Normalised temperature-scaled cross entropy (Chen et al. 2020).

    Mean over 2B anchors of ``-log(exp(s_pos/tau) / sum of exp(s/tau) over the 2B - 1 others)``, s the cosine.

    Parameters
    ----------
    first, second : Tensor, shape (B, D)
        Row i of both is one pair.
    temperature : float
        Positive.
    ignore : Tensor of bool, shape (2B, 2B), optional
        Pairs, in the order first then second, that are no negatives; a positive pair always counts.
    """
    pairs = len(first)
    points = nn.functional.normalize(torch.cat([first, second]), dim=1)
    similarity = points @ points.T / temperature
    left_out = torch.eye(2 * pairs, dtype=torch.bool, device=first.device)
    partner = torch.arange(2 * pairs, device=first.device).roll(pairs)
    if ignore is not None:
        left_out = left_out | ignore
        left_out[torch.arange(2 * pairs, device=first.device), partner] = False
    return nn.functional.cross_entropy(similarity.masked_fill(left_out, -torch.inf), partner)


def same_event(moment: Tensor, exclusion: int) -> Tensor:
    """Mark pairs of moments (in bars) less than `exclusion` apart, which must not repel; shape (n, n)."""
    return (moment[:, None] - moment[None, :]).abs() < exclusion


def augment(windows: Tensor, config: ContrastiveConfig, patch: int, generator: torch.Generator) -> Tensor:
    """Change windows (B, 30, F) in ways that keep what they show: noise, scale of channels, missing parts.

    Time is never reversed and no sign flipped: falls are not mirrored rises (the leverage effect).
    """
    moments, _, channels = windows.shape

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def kept(p: float, *shape: int) -> Tensor:
        return (torch.rand(shape, generator=generator) >= p).to(windows.dtype)

    noisy = windows + config.jitter * normal(*windows.shape)
    scaled = noisy * (1.0 + config.scaling * normal(moments, 1, channels))
    patches = kept(config.mask_patches, moments, LENGTH // patch, 1).repeat_interleave(patch, dim=1)
    return scaled * kept(config.mask_channels, moments, 1, channels) * patches


class _Moments:
    """Moments at which windows end, and the rows of all symbols at each."""

    def __init__(self, windows: PatternWindows, ends: Integers) -> None:
        self.windows = windows
        bar = windows.bar // timedelta(microseconds=1)
        numbers = windows.ts[ends].astype("datetime64[us]").astype(np.int64) // bar
        order = np.lexsort((windows.symbol[ends], numbers))
        self.rows = ends[order]
        self.number, self.first, self.count = np.unique(numbers[order], return_index=True, return_counts=True)

    def pairs(self, chosen: Integers, other: float, generator: torch.Generator) -> tuple[Integers, Integers]:
        """Draw a row at each of the moments chosen, and the row of its partner."""
        count = self.count[chosen]
        u = torch.rand((3, len(chosen)), generator=generator, dtype=torch.float64).numpy()
        one = np.minimum((u[0] * count).astype(np.int64), count - 1)
        # A step of 1 .. count - 1 around the symbols never comes back to the same one.
        step = 1 + np.minimum((u[1] * (count - 1)).astype(np.int64), np.maximum(count - 2, 0))
        two = np.where((u[2] < other) & (count > 1), (one + step) % count, one)
        return self.rows[self.first[chosen] + one], self.rows[self.first[chosen] + two]


def train_encoder(
    encoder: TransformerPatternMatcher,
    windows: PatternWindows,
    ends: Integers,
    config: ContrastiveConfig | None = None,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> TrainingReport:
    """Train an encoder in place on the windows that end at the rows given, and keep its best weights.

    The last moments are held out, at the distance of the exclusion, and scored on one fixed set of batches.

    Parameters
    ----------
    encoder : TransformerPatternMatcher
    windows : PatternWindows
    ends : ndarray of int64
        Rows of the training window alone.
    config : ContrastiveConfig, optional
    seed : int
        Same seed, same weights, whatever the number of threads: one is used.
    progress : callable, optional

    Raises
    ------
    NotEnoughDataError
        If one of the two parts has fewer moments than a batch.
    """
    with one_thread():
        return _train(encoder, windows, ends, config or ContrastiveConfig(), seed, progress)


def _train(
    encoder: TransformerPatternMatcher,
    windows: PatternWindows,
    ends: Integers,
    settings: ContrastiveConfig,
    seed: int,
    progress: Progress | None,
) -> TrainingReport:
    moments = _Moments(windows, ends)
    cut = int(len(moments.number) * (1.0 - settings.validation))
    last = moments.number[cut] - settings.exclusion if len(moments.number) else 0
    learn, judge = np.flatnonzero(moments.number < last), np.arange(cut, len(moments.number))
    if min(len(learn), len(judge)) < settings.batch:
        raise NotEnoughDataError(
            f"{len(learn)} moments to learn from and {len(judge)} to judge by; a batch needs "
            f"{settings.batch} of each: give a longer window or a smaller batch"
        )
    head = _head(encoder, seed)
    weights = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(weights, settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.steps + 1, pct_start=0.1
    )

    def loss_of(part: Integers, generator: torch.Generator) -> Tensor:
        chosen = part[torch.randperm(len(part), generator=generator)[: settings.batch].numpy()]
        pair = moments.pairs(chosen, settings.other_symbol, generator)
        views = [
            head(encoder(augment(torch.from_numpy(windows.batch(rows)), settings, encoder.patch, generator)))
            for rows in pair
        ]
        number = torch.from_numpy(moments.number[chosen])
        same = same_event(torch.cat([number, number]), settings.exclusion)
        return nt_xent(views[0], views[1], settings.temperature, same)

    def judged() -> float:
        generator = torch.Generator().manual_seed(seed + 1)
        with torch.inference_mode():
            return float(np.mean([loss_of(judge, generator).item() for _ in range(2)]))

    generator = torch.Generator().manual_seed(seed)
    start = judged()
    losses: list[float] = []
    checks: list[tuple[int, float]] = []
    best, best_step, kept = math.inf, 0, _weights(encoder)
    for step in range(1, settings.steps + 1):
        optimizer.zero_grad()
        loss = loss_of(learn, generator)
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % settings.check and step != settings.steps:
            continue
        checks.append((step, judged()))
        if progress is not None:
            progress(step, float(np.mean(losses[-settings.check :])), checks[-1][1])
        if checks[-1][1] < best:
            best, best_step, kept = checks[-1][1], step, _weights(encoder)
        elif (step - best_step) >= settings.patience * settings.check:
            break
    encoder.load_state_dict(kept)
    encoder.eval()
    return TrainingReport(tuple(losses), tuple(checks), start, math.log(2 * settings.batch - 1), best_step)


def _head(encoder: TransformerPatternMatcher, seed: int) -> nn.Module:
    """Make the projection that the loss is taken on, thrown away afterwards (Chen et al. 2020)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        width = encoder.embedding_dim
        return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 64))


def _weights(encoder: TransformerPatternMatcher) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in encoder.state_dict().items()}
