"""How far two samples of windows lie apart: margins, dependence between channels, and behaviour in time.

Channel 0 is the log return. Each distance is zero for the same sample twice and grows with the difference;
how large it is between two samples of one law is for `engine.synthetic.validation` to find out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from scipy.stats import ks_2samp, rankdata

from engine.synthetic.window_generator import Floats

__all__ = [
    "DISTANCES",
    "clustering",
    "correlation_distance",
    "leverage",
    "margin_distance",
    "tail_ratio",
    "volatility_distance",
]

_AHEAD = 5


def _ks(a: Floats, b: Floats) -> float:
    return float(ks_2samp(a, b, method="asymp").statistic)


def margin_distance(a: Floats, b: Floats, channel: int) -> float:
    """Kolmogorov-Smirnov distance of a channel, over all bars. The distance, not its p-value."""
    return _ks(a[:, :, channel].ravel(), b[:, :, channel].ravel())


def _rank_correlation(windows: Floats) -> Floats:
    bars = windows.reshape(-1, windows.shape[2])
    return np.atleast_2d(np.corrcoef(rankdata(bars, axis=0), rowvar=False))


def correlation_distance(a: Floats, b: Floats) -> float:
    """Largest difference of a rank correlation (Spearman) of two channels in the same bar."""
    return float(np.abs(_rank_correlation(a) - _rank_correlation(b)).max())


def _relative_size(windows: Floats) -> Floats:
    """Absolute returns over their mean in the window.

    Windows that differ in volatility correlate the absolute returns of any two of their bars, in whatever
    order they stand. That difference has a test of its own; divided out, what is left depends on order.
    """
    size = np.abs(windows[:, :, 0])
    return size / np.maximum(size.mean(axis=1, keepdims=True), np.finfo(np.float64).tiny)


def clustering(windows: Floats, lag: int) -> float:
    """Autocorrelation of absolute returns inside windows, from all pairs of bars `lag` apart."""
    size = _relative_size(windows)
    return float(np.corrcoef(size[:, lag:].ravel(), size[:, :-lag].ravel())[0, 1])


def leverage(windows: Floats) -> float:
    """Correlation of a return with the mean absolute return of the five bars after it (Black 1976)."""
    size = _relative_size(windows)
    signed = np.sign(windows[:, :, 0]) * size
    after = np.lib.stride_tricks.sliding_window_view(size[:, 1:], _AHEAD, axis=1).mean(axis=2)
    return float(np.corrcoef(signed[:, : after.shape[1]].ravel(), after.ravel())[0, 1])


def tail_ratio(windows: Floats) -> float:
    """Logarithm of the 99.5 % quantile of absolute returns over their median: 1.43 for a normal law."""
    median, tail = np.quantile(np.abs(windows[:, :, 0]), [0.5, 0.995])
    return float(np.log(tail / median))


def volatility_distance(a: Floats, b: Floats) -> float:
    """Kolmogorov-Smirnov distance of the root mean square return of a window."""
    rms = [np.sqrt((w[:, :, 0] ** 2).mean(axis=1)) for w in (a, b)]
    return _ks(rms[0], rms[1])


def _difference(figure: Callable[[Floats], float]) -> Callable[[Floats, Floats], float]:
    return lambda a, b: abs(figure(a) - figure(b))


DISTANCES: Mapping[str, Callable[[Floats, Floats], float]] = MappingProxyType(
    {
        "correlation": correlation_distance,
        "clustering, lag 1": _difference(lambda windows: clustering(windows, 1)),
        "clustering, lag 3": _difference(lambda windows: clustering(windows, 3)),
        "leverage": _difference(leverage),
        "tail ratio": _difference(tail_ratio),
        "window volatility": volatility_distance,
    }
)
