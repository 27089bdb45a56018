"""A transformer from a window of bars to a point, near which are windows that look alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from engine.patterns.windows import LENGTH

if TYPE_CHECKING:
    from engine.patterns.memory import Match, MemoryStore
    from engine.patterns.windows import PatternWindows

__all__ = ["TransformerPatternMatcher", "positions"]

Floats = NDArray[np.float32]
_BATCH = 1024


def positions(tokens: int, width: int) -> Tensor:
    """Sinusoids of geometric wavelengths, shape (tokens, width) (Vaswani et al. 2017, section 3.5)."""
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    angle = torch.arange(tokens)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=2).reshape(tokens, width)


class TransformerPatternMatcher(nn.Module):
    """Encode windows and find those of the past that look alike.

    Patches of bars (Nie et al. 2023) are projected, given their position, and pass through a transformer that
    normalises before each block; the last token and the mean of all make the embedding. Layer normalisation
    is over the channels of a token alone, so that an embedding does not depend on the rest of its batch.

    Parameters
    ----------
    feature_dim : int
        Channels of a bar.
    embedding_dim : int
    width, heads, layers : int
        Of the transformer.
    patch : int
        Bars of a token; divides the window.
    channels : sequence of int, optional
        Positions of the channels that it looks at, all unless given; see `windows.CANDLE_CHANNELS`.
    seed : int
        Of the initial weights.

    Raises
    ------
    ValueError
        If a size is under 1, the patch does not divide the window, the heads the width, the width is
        odd, or a channel is out of range.
    """

    memory: MemoryStore | None = None
    """Where `find_similar_patterns` looks."""
    position: Tensor
    seen: Tensor

    def __init__(
        self,
        feature_dim: int = 50,
        embedding_dim: int = 128,
        *,
        width: int = 64,
        heads: int = 4,
        layers: int = 2,
        patch: int = 5,
        channels: Sequence[int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        sizes = {
            "feature_dim": feature_dim, "embedding_dim": embedding_dim, "width": width, "heads": heads,
            "layers": layers, "patch": patch,
        }  # fmt: skip
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} = {size}: give at least 1")
        if LENGTH % patch:
            raise ValueError(f"patch = {patch} must divide the window of {LENGTH} bars")
        if width % heads or width % 2:
            raise ValueError(f"width = {width} must be even and a multiple of heads = {heads}")
        seen = tuple(range(feature_dim)) if channels is None else tuple(channels)
        if not seen or len(set(seen)) < len(seen) or not all(0 <= k < feature_dim for k in seen):
            raise ValueError(f"channels = {seen} must be different positions below {feature_dim}")
        self.sizes, self.channels = sizes, seen
        self.feature_dim, self.embedding_dim, self.patch = feature_dim, embedding_dim, patch
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed = nn.Linear(patch * len(seen), width)
            block = nn.TransformerEncoderLayer(
                width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            self.blocks = nn.TransformerEncoder(
                block, layers, nn.LayerNorm(width), enable_nested_tensor=False
            )
            self.out = nn.Linear(2 * width, embedding_dim)
        self.register_buffer("seen", torch.tensor(seen), persistent=False)
        self.register_buffer("position", positions(LENGTH // patch, width), persistent=False)

    def forward(self, windows: Tensor) -> Tensor:
        """Embeddings (B, embedding_dim) of windows (B, 30, feature_dim), not yet of unit length."""
        seen = windows[..., self.seen].reshape(-1, LENGTH // self.patch, self.embed.in_features)
        tokens = self.blocks(self.embed(seen) + self.position)
        return self.out(torch.cat([tokens[:, -1], tokens.mean(dim=1)], dim=1))

    @torch.inference_mode()
    def encode(self, windows: ArrayLike | Tensor) -> Floats:
        """Embed windows as points of the unit sphere.

        Parameters
        ----------
        windows : array of float32, shape (B, 30, feature_dim)
            Scaled as in training.

        Returns
        -------
        ndarray of float32, shape (B, embedding_dim)
            Of length 1, so that the squared distance of two is twice one less their cosine.

        Raises
        ------
        ValueError
            If the shape is another or a value is not finite.
        """
        array = windows if isinstance(windows, Tensor) else torch.from_numpy(np.array(windows, np.float32))
        if array.ndim != 3 or tuple(array.shape[1:]) != (LENGTH, self.feature_dim):
            raise ValueError(f"windows are {tuple(array.shape)}, expected (B, {LENGTH}, {self.feature_dim})")
        if not bool(torch.isfinite(array).all()):
            raise ValueError("windows hold values that are not finite; set missing ones to 0 after scaling")
        training = self.training
        self.eval()
        parts = [self(part.to(self.position.device)) for part in array.split(_BATCH)]
        self.train(training)
        return nn.functional.normalize(torch.cat(parts), dim=1).cpu().numpy()

    def encode_pattern(self, window: ArrayLike | Tensor) -> Floats:
        """Embed one window (30, feature_dim) as a point (embedding_dim,) of the unit sphere."""
        array = window if isinstance(window, Tensor) else torch.from_numpy(np.array(window, np.float32))
        return self.encode(array[None])[0]

    def encode_all(self, windows: PatternWindows, ends: NDArray[np.int64] | None = None) -> Floats:
        """Embed the windows that end at the rows given, or all; shape (M, embedding_dim)."""
        rows = windows.ends if ends is None else ends
        out = np.empty((len(rows), self.embedding_dim), np.float32)
        for k in range(0, len(rows), _BATCH):
            out[k : k + _BATCH] = self.encode(windows.batch(rows[k : k + _BATCH]))
        return out

    def find_similar_patterns(
        self, query: ArrayLike | Tensor, top_k: int = 10, at: datetime | None = None
    ) -> list[Match]:
        """Find the most similar windows of the past, with what followed each.

        Parameters
        ----------
        query : array of float32, shape (30, feature_dim)
            Scaled as in training.
        top_k : int
            At most so many, nearest first; fewer where the past has no more that are far enough apart.
        at : datetime, optional
            Open of the query's last bar, UTC. Unless given, that of the newest window in memory: the most
            careful reading.

        Raises
        ------
        RuntimeError
            If no memory is attached.
        """
        if self.memory is None:
            raise RuntimeError("no memory to search: set `matcher.memory` to a MemoryStore first")
        if at is None and not len(self.memory):
            return []
        moment = self.memory.ts.max() if at is None else np.datetime64(at, "us")
        return self.memory.matches(self.encode_pattern(query), moment, top_k)
