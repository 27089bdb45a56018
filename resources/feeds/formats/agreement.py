"""Two sources that claim to be one series: whether they are, and in which stretches they are not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

__all__ = ["Comparison", "Stretch", "compare"]

# A stretch of this many shared rows is judged as one.
_STRETCH_ROWS = 24
_MAJORITY = 0.5


@dataclass(frozen=True)
class Stretch:
    """Rows of a source that belong to another series; ``unlike`` of them were seen to differ."""

    first: datetime
    last: datetime
    rows: int
    unlike: int


@dataclass(frozen=True)
class Comparison:
    """What a source looks like beside a better one.

    Parameters
    ----------
    inside : int
        Periods of the source within the time that the better one covers.
    shared : int
        Stamps that both have.
    agreeing : int
        Shared stamps on which they agree.
    foreign : tuple of Stretch
        Stretches of the source that disagree with the better one.
    apart : dict
        For each column the median ratio, source over better, on the rows that disagree.
    """

    inside: int
    shared: int
    agreeing: int
    foreign: tuple[Stretch, ...]
    apart: dict[str, float | None]

    @property
    def off_grid(self) -> bool:
        """Whether most of the source's stamps are none of the better one's."""
        return self.inside > 0 and self.shared < _MAJORITY * self.inside

    @property
    def same(self) -> bool:
        """Whether both are the same series, as far as they overlap."""
        return not self.off_grid and (self.shared == 0 or self.agreeing >= _MAJORITY * self.shared)


def compare(better: pl.DataFrame, other: pl.DataFrame, tolerances: dict[str, float]) -> Comparison:
    """Compare a source with a better one on the stamps that they share.

    Parameters
    ----------
    better, other : DataFrame
        ``ts`` and the columns to compare, one row for each stamp, sorted.
    tolerances : dict
        For each column the relative difference that still counts as agreement.

    Returns
    -------
    Comparison
        A finer source is brought to the period of the coarser one by its mean, so that daily and four-hour
        figures of the same thing agree.
    """
    columns = list(tolerances)
    period = max(_period(better), _period(other))
    ours, theirs = (_at_period(frame, period, columns) for frame in (better, other))
    within = (
        theirs.filter(pl.col("ts").is_between(ours["ts"].min(), ours["ts"].max()))
        if ours.height
        else theirs.clear()
    )
    distinct = within.select(pl.col("ts").dt.truncate(period).n_unique()).item() if period else within.height
    both = within.join(ours, on="ts", suffix="_better").sort("ts")
    agrees = pl.all_horizontal(_near(c, tolerance) for c, tolerance in tolerances.items())
    both = both.with_columns(agrees.alias("agrees"))
    unlike = both.filter(~pl.col("agrees"))
    apart = {c: unlike.select((pl.col(c) / pl.col(f"{c}_better")).median()).item() for c in columns}
    return Comparison(distinct, both.height, int(both["agrees"].sum()), _stretches(both, theirs), apart)


def _near(column: str, tolerance: float) -> pl.Expr:
    """Whether both values are equal within a relative tolerance."""
    a, b = pl.col(column), pl.col(f"{column}_better")
    return (a - b).abs() <= tolerance * pl.max_horizontal(a.abs(), b.abs())


def _period(frame: pl.DataFrame) -> timedelta:
    """Most frequent distance between stamps."""
    steps = frame["ts"].unique().sort().diff().drop_nulls()
    return steps.mode().min() if steps.len() else timedelta(0)  # type: ignore[return-value]  # a duration


def _at_period(frame: pl.DataFrame, period: timedelta, columns: list[str]) -> pl.DataFrame:
    """Mean of the columns in each period, where the frame is finer than that; the frame itself otherwise."""
    own = _period(frame)
    if not own or own >= period or period % own:
        return frame.select("ts", *columns)
    whole = frame.group_by_dynamic("ts", every=period).agg(pl.col(columns).mean(), pl.len().alias("parts"))
    return whole.filter(pl.col("parts") == period // own).select("ts", *columns)


def _stretches(both: pl.DataFrame, other: pl.DataFrame) -> tuple[Stretch, ...]:
    """Find runs of shared rows in most of which the sources disagree, by blocks and then trimmed to rows.

    A run that reaches an end of the overlap extends to that end of the source: nothing shows where it stops.
    """
    if not both.height:
        return ()
    block = (pl.int_range(pl.len()) // _STRETCH_ROWS).alias("block")
    judged = both.with_columns(block, pl.col("agrees").rle_id().alias("streak"))
    foreign = judged.group_by("block", maintain_order=True).agg(
        (pl.col("agrees").mean() < _MAJORITY).alias("foreign")
    )
    runs = judged.join(foreign.with_columns(pl.col("foreign").rle_id().alias("run")), on="block").filter(
        "foreign"
    )
    found = []
    for _, part in runs.group_by("run", maintain_order=True):
        streaks = part.filter(~pl.col("agrees"))["streak"]
        unlike = judged.filter(pl.col("streak").is_between(streaks.min(), streaks.max()))
        first = other["ts"].min() if streaks.min() == 0 else unlike["ts"].min()
        last = other["ts"].max() if streaks.max() == judged["streak"].max() else unlike["ts"].max()
        rows = other.filter(pl.col("ts").is_between(first, last)).height
        found.append(Stretch(first, last, rows, int((~unlike["agrees"]).sum())))  # type: ignore[arg-type]  # stamps
    return tuple(found)
