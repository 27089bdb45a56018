"""Scaling of features by statistics of the training window alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
import polars as pl

from engine.errors import DataError, NotEnoughDataError
from engine.evaluation.splits import Window

__all__ = ["Scaler", "scalable"]

_FEWEST = 2
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  moments are UTC without zone everywhere
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, eq=False)
class Scaler:
    """Frozen statistics of a training window, applied to any frame.

    Made by `fit`, which cuts the window itself: rows outside it cannot reach the statistics.

    Parameters
    ----------
    columns : tuple[str, ...]
        Features in order.
    center, scale : numpy.ndarray
        What is subtracted and divided by, one value per column, in the column's unit.
    clip : float
        Scaled values are cut to ``[-clip, clip]``.
    window : Window
        The window that was fitted on.
    """

    columns: tuple[str, ...]
    center: np.ndarray
    scale: np.ndarray
    clip: float
    window: Window

    @classmethod
    def fit(
        cls,
        frame: pl.DataFrame,
        columns: Sequence[str],
        window: Window,
        method: Literal["robust", "standard"] = "robust",
        clip: float = 5.0,
        time_column: str = "ts",
    ) -> Scaler:
        """Take the statistics of the rows inside ``window``, whatever else the frame holds.

        ``robust``: median and interquartile range over 1.349, which is the standard deviation of a normal
        distribution; where more than half of the values are equal the standard deviation takes its place.
        ``standard``: mean and standard deviation. A constant column has scale 1, hence is 0 after scaling.

        Raises
        ------
        DataError
            If a column is missing from the frame.
        NotEnoughDataError
            If a column has fewer than two finite values inside the window.
        ValueError
            If ``clip`` is not positive or the method is unknown.
        """
        if not clip > 0.0:
            raise ValueError(f"clip is {clip}, it must be positive")
        if method not in ("robust", "standard"):
            raise ValueError(f"method is {method!r}, known are 'robust' and 'standard'")
        _require(frame, (time_column, *columns))
        values = frame.filter(window.mask(time_column)).select(columns).cast(pl.Float64)
        moments = [_center_and_scale(values[name], method, window) for name in columns]
        center, scale = np.array(moments, dtype=np.float64).reshape(-1, 2).T
        return cls(tuple(columns), center, scale, float(clip), window)

    def transform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Replace the columns by their scaled values, null where they are missing or not finite."""
        _require(frame, self.columns)
        return frame.with_columns(
            pl.when(value.is_finite())
            .then(((value - center) / scale).clip(-self.clip, self.clip))
            .alias(name)
            for name, center, scale in zip(self.columns, self.center, self.scale, strict=True)
            for value in [pl.col(name).cast(pl.Float64)]
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the scaler as plain arrays, as they are stored beside a model's weights."""
        bounds = [(moment - _EPOCH) // _MICROSECOND for moment in (self.window.start, self.window.end)]
        names = "\n".join(self.columns).encode()
        return {
            "columns": np.frombuffer(names, dtype=np.uint8).copy(),
            "center": self.center.copy(),
            "scale": self.scale.copy(),
            "clip": np.array([self.clip]),
            "window_us": np.array(bounds, dtype=np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Scaler:
        """Rebuild a scaler from `to_arrays`."""
        start, end = (_EPOCH + int(bound) * _MICROSECOND for bound in arrays["window_us"])
        names = arrays["columns"].astype(np.uint8).tobytes().decode()
        return cls(
            columns=tuple(names.split("\n")) if names else (),
            center=np.asarray(arrays["center"], dtype=np.float64),
            scale=np.asarray(arrays["scale"], dtype=np.float64),
            clip=float(arrays["clip"][0]),
            window=Window(start, end),
        )

    def fingerprint(self) -> str:
        """SHA-256 over everything that the transformation depends on."""
        digest = hashlib.sha256()
        for name, array in sorted(self.to_arrays().items()):
            digest.update(name.encode() + array.tobytes())
        return digest.hexdigest()


def scalable(frame: pl.DataFrame, columns: Sequence[str], window: Window) -> tuple[str, ...]:
    """Leave out columns that have too few finite values inside the window for `Scaler.fit`."""
    counts = pl.col(columns).cast(pl.Float64).is_finite().sum()
    known = frame.filter(window.mask()).select(counts).row(0, named=True)
    return tuple(name for name in columns if known[name] >= _FEWEST)


def _center_and_scale(values: pl.Series, method: str, window: Window) -> tuple[float, float]:
    known = values.filter(values.is_finite()).to_numpy()
    if len(known) < _FEWEST:
        raise NotEnoughDataError(
            f"{values.name} has {len(known)} finite values in {window.start} to {window.end}, needed are "
            f"{_FEWEST}; leave the column out or widen the window"
        )
    if method == "standard":
        return float(known.mean()), _or_one(float(known.std(ddof=1)), known)
    lower, median, upper = np.quantile(known, (0.25, 0.5, 0.75))
    spread = float(upper - lower) / 1.349
    return float(median), spread if spread > 0.0 else _or_one(float(known.std(ddof=1)), known)


def _or_one(spread: float, known: np.ndarray) -> float:
    """Return the spread, or 1 where the values differ by no more than rounding."""
    return spread if spread > 1e-12 * max(1.0, float(np.abs(known).max())) else 1.0


def _require(frame: pl.DataFrame, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in frame.columns:
            raise DataError(f"missing; the frame has {frame.columns}", source="features", column=column)
