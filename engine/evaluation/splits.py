"""Walk-forward splits: which rows may be fitted on, calibrated on and judged, cut once for every stage."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from engine.errors import NotEnoughDataError

__all__ = ["Split", "Window", "fit_dates", "require_positive", "select", "walk_forward"]

_ZERO = timedelta(0)


def _as_utc(moment: datetime) -> datetime:
    """Naive UTC, as every frame holds it; an aware moment is converted."""
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


@dataclass(frozen=True)
class Window:
    """A half-open stretch of time ``[start, end)``.

    Parameters
    ----------
    start, end : datetime
        UTC. A zone-aware moment is converted; both are held without zone, as frames hold them.

    Raises
    ------
    ValueError
        If the window is empty.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", _as_utc(self.start))
        object.__setattr__(self, "end", _as_utc(self.end))
        if self.end <= self.start:
            raise ValueError(f"window ends at {self.end}, which is not after its start {self.start}")

    def mask(self, column: str = "ts") -> pl.Expr:
        """Expression that is true for the rows whose `column` lies inside."""
        return pl.col(column).is_between(self.start, self.end, closed="left")

    def contains(self, moment: datetime) -> bool:
        """Whether a moment lies inside."""
        return self.start <= _as_utc(moment) < self.end

    @property
    def days(self) -> float:
        """Length in days."""
        return (self.end - self.start) / timedelta(days=1)


@dataclass(frozen=True)
class Split:
    """One step of a walk forward: ``train | purge, embargo | calibrate | purge, embargo | test``.

    Parameters
    ----------
    number : int
        Position in the walk, from 0.
    train, calibrate, test : Window
        Rows to fit on, to calibrate on, and to judge. `ts` decides which window a row is in.
    purge : timedelta
        Span of a label, from the open of the decision bar to the price that ends it. No label that starts
        in a window can reach into the next one.
    embargo : timedelta
        Further distance, after the purge, against correlation that outlives the label.

    Raises
    ------
    ValueError
        If the windows are out of order or closer than purge and embargo demand, or the purge is not positive.
    """

    number: int
    train: Window
    calibrate: Window
    test: Window
    purge: timedelta
    embargo: timedelta

    def __post_init__(self) -> None:
        if self.purge <= _ZERO:
            raise ValueError(
                f"purge was {self.purge}; it must be at least the span of a label, which is positive"
            )
        if self.embargo < _ZERO:
            raise ValueError(f"embargo was {self.embargo}; it must not be negative")
        for name, before, after in (
            ("train and calibrate", self.train, self.calibrate),
            ("calibrate and test", self.calibrate, self.test),
        ):
            if after.start - before.end < self.purge + self.embargo:
                raise ValueError(
                    f"{name} are {after.start - before.end} apart; purge {self.purge} and embargo "
                    f"{self.embargo} need {self.purge + self.embargo}"
                )


def walk_forward(
    start: datetime,
    end: datetime,
    *,
    train: timedelta,
    calibrate: timedelta,
    test: timedelta,
    horizon: timedelta,
    embargo: timedelta = _ZERO,
    expanding: bool = False,
    step: timedelta | None = None,
) -> tuple[Split, ...]:
    """Cut ``[start, end)`` into splits that follow each other in time.

    Parameters
    ----------
    start, end : datetime
        First bar and one past the last, UTC.
    train, calibrate, test : timedelta
        Length of each window.
    horizon : timedelta
        Span of a label from the open of its decision bar: the execution bar plus the holding time. It is the
        purge on both sides of the calibration window and has no default, because a forgotten purge leaks.
    embargo : timedelta
        Distance added after each purge.
    expanding : bool
        Keep the beginning of the first training window instead of letting it roll.
    step : timedelta, optional
        From one test window to the next; `test` unless given, so that test windows tile the time they cover.

    Returns
    -------
    tuple of Split
        At least one. The last test window may be shorter, down to half of `test`.

    Raises
    ------
    NotEnoughDataError
        If not even one split fits; says how much time one needs.
    ValueError
        If a length is not positive, or test windows would overlap and count rows twice.

    References
    ----------
    Lopez de Prado (2018), chapter 7: purging and embargo.
    """
    require_positive(train=train, calibrate=calibrate, test=test, horizon=horizon)
    step = test if step is None else step
    if step < test:
        raise ValueError(f"step was {step}; below test = {test} the test windows would overlap")

    start, end = _as_utc(start), _as_utc(end)
    gap = horizon + embargo
    needed = train + gap + calibrate + gap + test / 2
    if end - start < needed:
        raise NotEnoughDataError(
            f"{(end - start) / timedelta(days=1):.2f} days of data; one split of train {train}, calibrate "
            f"{calibrate}, test at least {test / 2} and twice {gap} between them needs "
            f"{needed / timedelta(days=1):.2f} days"
        )

    splits: list[Split] = []
    while end - start >= needed + len(splits) * step:
        shift = len(splits) * step
        calibrate_start = start + shift + train + gap
        test_start = calibrate_start + calibrate + gap
        splits.append(
            Split(
                number=len(splits),
                train=Window(start if expanding else start + shift, start + shift + train),
                calibrate=Window(calibrate_start, calibrate_start + calibrate),
                test=Window(test_start, min(test_start + test, end)),
                purge=horizon,
                embargo=embargo,
            )
        )
    return tuple(splits)


def select(frame: pl.DataFrame, window: Window, label_end: str | None = None) -> pl.DataFrame:
    """Rows of a window; with `label_end`, only those whose label is known when the window ends.

    Parameters
    ----------
    frame : DataFrame
        With a column `ts`.
    window : Window
        Which rows.
    label_end : str, optional
        Column with the moment at which the label of a row is known. Name it for rows that a model is fitted
        or calibrated on; rows without a label are then dropped too. Leave it out for rows to be judged.
    """
    inside = window.mask()
    if label_end is not None:
        inside &= (pl.col(label_end) <= window.end).fill_null(value=False)
    return frame.filter(inside)


def require_positive(**lengths: timedelta) -> None:
    """Raise ValueError, by its name, if a length of time is not positive."""
    for name, length in lengths.items():
        if length <= _ZERO:
            raise ValueError(f"{name} was {length}; it must be positive")


def fit_dates(ts: pl.Series, refit: timedelta, warmup: timedelta) -> list[datetime]:
    """Dates at which a model that is refitted on schedule is fitted, the first after a warm-up.

    Counted from the first bar on, so that a longer history moves none of them; none for an empty one.
    """
    beginning, end = ts.min(), ts.max()
    if not isinstance(beginning, datetime) or not isinstance(end, datetime):
        return []
    first = beginning + warmup
    return [first + k * refit for k in range((end - first) // refit + 1)]
