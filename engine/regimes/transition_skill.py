"""Is the transition risk right? Skill beyond the base rate, and what comes of a stated 30 %."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl

from engine.calibration.calibration_error import bins_of_equal_count
from engine.calibration.coverage import reliability_table
from engine.evaluation.bootstrap import (
    automatic_block_length,
    bootstrap_interval,
    stationary_bootstrap_indices,
)
from engine.evaluation.skill import Estimate, skill
from engine.regimes.transitions import OUTCOMES, climatology, transition_labels

__all__ = ["RISKS", "judged_risks", "transition_reliability", "transition_skill"]

RISKS = dict(zip(OUTCOMES, ("p_transition", "p_panic_entry"), strict=True))
"""Column of the risk of each outcome."""


def judged_risks(
    risks: pl.DataFrame, regimes: pl.DataFrame, outcome: str, bar: timedelta, hold: int = 3
) -> pl.DataFrame:
    """Put beside each risk what came, and what the base rate would have said.

    Parameters
    ----------
    risks : DataFrame
        From `RegimeTransitionAnticipator.anticipate`, one row for each of `regimes`, all of one horizon.
    regimes : DataFrame
        ``symbol, ts, regime``, sorted by symbol and ts.
    outcome : str
        One of `OUTCOMES`.
    bar : timedelta
        Length of a bar.
    hold : int
        See `transition_labels`.

    Returns
    -------
    DataFrame
        ``symbol, ts, regime, p, base, regime_base, outcome``: the rows whose risk was stated, whose label is
        known, and for which there is a base rate. ``base`` is the share of all labels known at the bar,
        ``regime_base`` of those of the same present regime.
    """
    if risks.is_empty():
        horizon = 1
    else:
        (horizon,) = risks["horizon"].unique()
    labels = transition_labels(regimes, bar, horizon, hold).with_columns(regimes["regime"])
    return (
        regimes.select("symbol", "ts", "regime")
        .with_columns(
            outcome=labels[outcome],
            base=climatology(labels, outcome, bar),
            regime_base=climatology(labels, outcome, bar, by=("regime",)),
        )
        .join(
            risks.select("symbol", "ts", p=RISKS[outcome]),
            on=["symbol", "ts"],
            how="inner",
            maintain_order="left",
        )
        .drop_nulls()
        .select("symbol", "ts", "regime", "p", "base", "regime_base", "outcome")
    )


def transition_reliability(judged: pl.DataFrame, horizon: int, bins: int = 10) -> pl.DataFrame:
    """Stated risk against the share that came true, as `reliability_table` gives it.

    Intervals are on the effective number of outcomes: labels of neighbouring bars overlap, and symbols change
    together.
    """
    table = judged.select("ts", "regime", stated="p", correct="outcome")
    return reliability_table(table, bins=bins, overlap=float(horizon))


def transition_skill(
    judged: pl.DataFrame, *, bins: int = 10, draws: int = 999, confidence: float = 0.95, seed: int = 0
) -> dict[str, Estimate]:
    """Score stated risks, with intervals from whole days drawn in blocks.

    Parameters
    ----------
    judged : DataFrame
        From `judged_risks`.
    bins : int
        Bins of equally many rows for the calibration error.
    draws, confidence, seed
        Of the bootstrap.

    Returns
    -------
    dict of str to Estimate
        ``Brier skill`` and ``Brier skill beyond the regime``: share of the Brier score of ``base`` and of
        ``regime_base`` that is saved. ``AUC``. ``calibration error``: mean distance between stated and
        realised share over the bins; its interval is of the distances drawn, all of which chance lengthens.
        ``bias``: stated less realised share, over all.

    Raises
    ------
    NotEnoughDataError
        If fewer than ten days hold a risk.

    References
    ----------
    Murphy (1973); Politis and Romano (1994).
    """
    area = skill(judged, draws=draws, confidence=confidence, seed=seed)["AUC"]
    p, outcome = judged["p"].to_numpy(), judged["outcome"].cast(pl.Float64).to_numpy()
    days, day = np.unique(judged["ts"].to_numpy().astype("datetime64[D]"), return_inverse=True)
    place = bins_of_equal_count(p, bins)
    width = int(place.max()) + 1
    gaps = np.bincount(day * width + place, p - outcome, days.size * width).reshape(days.size, width)
    losses = np.stack(
        [
            np.bincount(day, (forecast - outcome) ** 2, days.size)
            for forecast in (p, judged["base"].to_numpy(), judged["regime_base"].to_numpy())
        ],
        axis=1,
    )
    counts = np.bincount(day, minlength=days.size).astype(np.float64)
    sums = np.column_stack([counts, losses, gaps])

    block = automatic_block_length((losses[:, 1] - losses[:, 0]) / counts)
    indices = stationary_bootstrap_indices(days.size, block, draws, np.random.default_rng(seed))
    weights = np.stack([np.bincount(row, minlength=days.size) for row in indices]).astype(np.float64)
    names = ("Brier skill", "Brier skill beyond the regime", "calibration error", "bias")
    values, drawn = _figures(sums.sum(axis=0)[None])[0], _figures(weights @ sums)
    low, high = bootstrap_interval(drawn, confidence)
    return {"AUC": area} | {
        name: Estimate(float(values[i]), float(low[i]), float(high[i]), judged.height)
        for i, name in enumerate(names)
    }


def _figures(sums: np.ndarray) -> np.ndarray:
    """Figures of each row of sums: count, three Brier losses, gaps per bin."""
    count, loss, base, regime_base, gaps = sums[:, 0], sums[:, 1], sums[:, 2], sums[:, 3], sums[:, 4:]
    return np.stack(
        [
            1.0 - loss / base,
            1.0 - loss / regime_base,
            np.abs(gaps).sum(axis=1) / count,
            gaps.sum(axis=1) / count,
        ],
        axis=1,
    )
