"""The tapes of one training window: fitted on, stopped by, and nothing of what comes after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from engine.agents.tape import MarketTape
from engine.errors import NotEnoughDataError
from engine.evaluation.splits import Window
from engine.features.scaling import Scaler, scalable

__all__ = ["TrainingData", "learning_part", "published_features", "training_data"]


@dataclass(frozen=True)
class TrainingData:
    """What one agent is trained with.

    Parameters
    ----------
    train : MarketTape
        The first part of the window, and whatever is synthetic.
    validation : MarketTape
        The rest of it, a purge later: competence and early stopping are judged there.
    scaler : Scaler
        Fitted on the real rows of the first part alone.
    window : Window
        The whole training window.
    """

    train: MarketTape
    validation: MarketTape
    scaler: Scaler
    window: Window


def learning_part(window: Window, validation_share: float) -> Window:
    """First part of a training window, which is learned from; the rest is for validation.

    Raises
    ------
    ValueError
        If the share is not within 0 and 1.
    """
    if not 0.0 < validation_share < 1.0:
        raise ValueError(f"validation_share = {validation_share} must lie between 0 and 1")
    return Window(window.start, window.end - (window.end - window.start) * validation_share)


def published_features(rows: pl.DataFrame, features: Sequence[str], part: Window) -> tuple[str, ...]:
    """Leave out what was not published yet in the part that is learned from, and so cannot be scaled."""
    return scalable(rows.filter(pl.col("volatility").is_not_null()), features, part)


def training_data(
    rows: pl.DataFrame,
    features: Sequence[str],
    window: Window,
    *,
    purge: timedelta,
    validation_share: float,
    synthetic: pl.DataFrame | None = None,
) -> TrainingData:
    """Cut a training window into a part to learn from and a part to stop by.

    Parameters
    ----------
    rows : DataFrame
        As `MarketTape.from_frame` takes them; rows whose ``volatility`` is missing are left out.
    features : sequence of str
    window : Window
        Nothing outside of it is looked at.
    purge : timedelta
        Between the two parts.
    validation_share : float
        Share of the window that is the second part, in (0, 1).
    synthetic : DataFrame, optional
        Rows of the same kind that no market showed; they join the first part.

    Raises
    ------
    NotEnoughDataError
        If a part has no row, or the purge takes all of the second.
    ValueError
        If the share is out of its bounds.
    """
    known = rows.filter(window.mask() & pl.col("volatility").is_not_null())
    first = learning_part(window, validation_share)
    if first.end + purge >= window.end:
        raise NotEnoughDataError(
            f"nothing is left to validate on between {first.end}, a purge of {purge} and {window.end}: "
            "give a longer training window"
        )
    rest = Window(first.end + purge, window.end)
    for name, part in (("learn from", first), ("validate on", rest)):
        if known.filter(part.mask()).is_empty():
            raise NotEnoughDataError(
                f"no row to {name} from {part.start} to {part.end}: give a longer training window"
            )
    scaler = Scaler.fit(known, features, first)
    tape = MarketTape.from_frame(known, features, scaler)
    train = tape.between(first.start, first.end)
    if synthetic is not None and not synthetic.is_empty():
        train = train.join(MarketTape.from_frame(synthetic, features, scaler))
    validation = tape.between(rest.start, rest.end)
    if not (validation.decisions_left > 0).any():
        raise NotEnoughDataError(
            f"no position can be held from {rest.start} to {rest.end}: give a longer training window"
        )
    return TrainingData(train, validation, scaler, window)
