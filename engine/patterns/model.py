"""All that turns unscaled features into embeddings, as one artefact of a training window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import polars as pl
import torch

from engine.errors import DataError
from engine.evaluation.splits import Window
from engine.features.scaling import Scaler
from engine.patterns.contrastive import ContrastiveConfig, Progress, TrainingReport, train_encoder
from engine.patterns.encoder import TransformerPatternMatcher
from engine.patterns.projection import CompactProjection
from engine.patterns.windows import CANDLE_CHANNELS, PatternWindows, fit_scaler
from engine.tensors import pack, unpack

__all__ = ["PatternModel", "train_pattern_model"]

_KIND = "pattern model"
_WEIGHT, _SCALER, _PROJECTION = "encoder.", "scaler.", "projection."
# Windows a few bars apart say the same about the axes of an embedding.
_STRIDE = 5


@dataclass(frozen=True, eq=False)
class PatternModel:
    """An encoder with the scaler in whose units it sees and the projection fitted beside it.

    Parameters
    ----------
    scaler : Scaler
        Fitted on the training window, whose window it names.
    encoder : TransformerPatternMatcher
    projection : CompactProjection
    metadata : mapping
        Plain JSON: seed, losses, whatever tells where it comes from.
    """

    scaler: Scaler
    encoder: TransformerPatternMatcher
    projection: CompactProjection
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def windows(self, rows: pl.DataFrame, bar: timedelta) -> PatternWindows:
        """Scale unscaled features, ``symbol, ts`` and those of the scaler, sorted by symbol and ts."""
        return PatternWindows.from_frame(rows, self.scaler, bar)

    def to_bytes(self) -> bytes:
        """Write as safetensors: same model, same bytes."""
        header = {
            "sizes": self.encoder.sizes,
            "channels": list(self.encoder.channels),
            "metadata": dict(self.metadata),
        }
        arrays = {_WEIGHT + name: value.cpu().numpy() for name, value in self.encoder.state_dict().items()}
        arrays |= {_SCALER + name: value for name, value in self.scaler.to_arrays().items()}
        arrays |= {_PROJECTION + name: getattr(self.projection, name) for name in ("center", "axes")}
        return pack(_KIND, header, arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> PatternModel:
        """Read what `to_bytes` wrote.

        Raises
        ------
        DataError
            If the bytes are something else, or the weights do not fit the sizes.
        """
        header, arrays = unpack(_KIND, data)

        def part(prefix: str) -> dict[str, Any]:
            return {name.removeprefix(prefix): v for name, v in arrays.items() if name.startswith(prefix)}

        encoder = TransformerPatternMatcher(**header["sizes"], channels=header["channels"])
        try:
            encoder.load_state_dict({name: torch.from_numpy(value) for name, value in part(_WEIGHT).items()})
        except RuntimeError as error:
            raise DataError(
                f"weights do not fit the sizes {header['sizes']}: {error}", source=_KIND
            ) from error
        encoder.eval()
        projection = CompactProjection(**part(_PROJECTION))
        return cls(Scaler.from_arrays(part(_SCALER)), encoder, projection, header["metadata"])


def train_pattern_model(
    rows: pl.DataFrame,
    window: Window,
    bar: timedelta,
    config: ContrastiveConfig | None = None,
    *,
    compact: int = 16,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[PatternModel, TrainingReport]:
    """Fit scaler, encoder and projection on a training window, from unscaled features of the catalogue.

    Parameters
    ----------
    rows : pl.DataFrame
        ``symbol, ts`` and the features of the catalogue, sorted by symbol and ts; what lies outside of the
        window is not looked at.
    window : Window
    bar : timedelta
    config : ContrastiveConfig, optional
    compact : int
        Coordinates of the projection.
    seed : int
    progress : callable, optional

    Raises
    ------
    NotEnoughDataError
        If the window is too short.
    """
    inside = rows.filter(window.mask())
    scaler = fit_scaler(inside, window, bar)
    windows = PatternWindows.from_frame(inside, scaler, bar)
    encoder = TransformerPatternMatcher(len(scaler.columns), channels=CANDLE_CHANNELS, seed=seed)
    report = train_encoder(encoder, windows, windows.ends, config, seed=seed, progress=progress)
    projection = CompactProjection.fit(encoder.encode_all(windows, windows.every(_STRIDE)), compact)
    metadata = {
        "seed": seed,
        "window": [window.start.isoformat(), window.end.isoformat()],
        "symbols": sorted(windows.symbols),
        "validation_loss": dict(report.checks).get(report.best_step, report.start),
        "chance": report.chance,
        "best_step": report.best_step,
    }
    return PatternModel(scaler, encoder, projection, metadata), report
