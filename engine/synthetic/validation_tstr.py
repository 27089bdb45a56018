"""Train on synthetic, test on real: what a model learns from the windows must hold in the market."""

from __future__ import annotations

import numpy as np

from engine.synthetic.window_generator import Floats

__all__ = ["forecast_skill", "volatility_task"]

_TARGET_BARS = 5
_RIDGE = 1.0


def volatility_task(windows: Floats, unit: float) -> tuple[Floats, Floats]:
    """Forecast the logarithm of the mean absolute return of a window's last five bars from the bars before.

    Parameters
    ----------
    windows : ndarray, shape (n, length, channels)
    unit : float
        Usual absolute return; a twentieth of it is added before taking logarithms.

    Returns
    -------
    features : ndarray, shape (n, 7 + channels)
        Logarithms of the mean absolute return of the last 1, 3, 8 bars and of all; sum of the last 8 returns,
        of all, and of the falls alone; mean of each channel over the last 8 bars.
    target : ndarray, shape (n,)
    """
    past, returns = windows[:, :-_TARGET_BARS], windows[:, :, 0]
    before = past[:, :, 0]
    size = np.abs(before)

    def log_mean(values: Floats) -> Floats:
        found: Floats = np.log(values.mean(axis=1) / unit + 0.05)
        return found

    features = np.column_stack(
        [
            *(log_mean(size[:, -bars:]) for bars in (1, 3, 8)),
            log_mean(size),
            before[:, -8:].sum(axis=1),
            before.sum(axis=1),
            np.minimum(before, 0.0).sum(axis=1),
            past[:, -8:].mean(axis=1),
        ]
    )
    return features, log_mean(np.abs(returns[:, -_TARGET_BARS:]))


def forecast_skill(train: Floats, test: Floats) -> float:
    """Share of the target's variance in `test` that a ridge regression fitted on `train` explains.

    References
    ----------
    Esteban, Hyland and Raetsch (2017), "train on synthetic, test on real".
    """
    unit = float(np.abs(test[:, :, 0]).mean())
    x, y = volatility_task(train, unit)
    centre, spread = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-12)
    z = (x - centre) / spread
    weights = np.linalg.solve(z.T @ z + _RIDGE * np.eye(z.shape[1]), z.T @ (y - y.mean()))
    x_test, y_test = volatility_task(test, unit)
    left = y_test - y.mean() - ((x_test - centre) / spread) @ weights
    return 1.0 - float((left**2).mean() / y_test.var())
