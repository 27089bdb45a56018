"""The lookahead check: nothing computed for a moment may change when what came after it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np
import polars as pl

from engine.errors import NotEnoughDataError

__all__ = ["Compute", "Leak", "LookaheadReport", "check_lookahead"]

Compute = Callable[[Mapping[str, pl.DataFrame]], pl.DataFrame]
ONE_ROW_TOLERANCE = 1e-12
Method = Literal["truncate", "perturb", "repeat"]


@dataclass(frozen=True)
class Leak:
    """A column whose past changed.

    Parameters
    ----------
    column : str
        The guilty column; ``(row)`` where whole rows appear or vanish.
    method : Method
        What was done to the future: ``truncate`` removed it, ``perturb`` changed its values. ``repeat``
        means that nothing was done: two runs on the same inputs differ.
    cut : datetime
        What became known after this moment was touched.
    key : dict[str, object]
        Key of the first row that differs.
    full, recomputed : object
        Its values from everything and from the touched inputs.
    rows : int
        Number of rows that differ.
    """

    column: str
    method: Method
    cut: datetime
    key: dict[str, Any]
    full: Any
    recomputed: Any
    rows: int


@dataclass(frozen=True)
class LookaheadReport:
    """What the check compared and what it found.

    Parameters
    ----------
    leaks : tuple[Leak, ...]
        One per guilty column, method and cut.
    cuts : tuple[datetime, ...]
        The moments at which the future was cut off.
    rows_compared : int
        Rows compared, over all cuts and methods.
    columns : tuple[str, ...]
        Columns compared.
    """

    leaks: tuple[Leak, ...]
    cuts: tuple[datetime, ...]
    rows_compared: int
    columns: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing changed."""
        return not self.leaks

    @property
    def guilty(self) -> list[str]:
        """Names of the columns that changed."""
        return sorted({leak.column for leak in self.leaks})

    def describe(self) -> str:
        """Say in one line per guilty column where its past first changed."""
        if self.passed:
            return f"{len(self.columns)} columns the same in {self.rows_compared} rows, {len(self.cuts)} cuts"
        first = {leak.column: leak for leak in reversed(self.leaks)}
        return "\n".join(
            f"{leak.column}: {leak.full!r} becomes {leak.recomputed!r} at {leak.key} "
            f"({leak.method} after {leak.cut}, {leak.rows} rows)"
            for leak in first.values()
        )


def check_lookahead(
    compute: Compute,
    inputs: Mapping[str, pl.DataFrame],
    *,
    known_at: Mapping[str, str | pl.Expr],
    decided_at: str | pl.Expr,
    cuts: Sequence[datetime] | int = 3,
    key: Sequence[str] = ("symbol", "ts"),
    tolerance: float = 0.0,
    history: timedelta | None = None,
    seed: int = 0,
) -> LookaheadReport:
    """Recompute with the future removed and with the future changed; whatever was decided before must stay.

    For each cut the output rows decided at or before it are compared with those of the full computation:
    values, missing values, and the presence of the rows. *Truncate* drops the input rows that were not
    known at the cut, *perturb* multiplies every floating value that was not known by a random factor, one
    per row. Where the computation refuses what is left with `NotEnoughDataError`, every value decided by
    then must be missing from the full one too.

    Parameters
    ----------
    compute : Callable[[Mapping[str, pl.DataFrame]], pl.DataFrame]
        The computation under test: named frames in, one row per key out. It must be deterministic.
    inputs : Mapping[str, pl.DataFrame]
        Its inputs.
    known_at : Mapping[str, str | pl.Expr]
        For each input the column or expression of the moment at which a row became known: ``pl.col("ts") +
        bar`` of candles, ``"available_at"`` of observations.
    decided_at : str | pl.Expr
        Column or expression over the output of the moment for which a row is meant: ``pl.col("ts") + bar``.
    cuts : Sequence[datetime] or int
        Moments, or how many to choose. Chosen ones are spread over the moments at which rows of the *first*
        input become known (give the bars first), each the last of them before a row of one of the inputs in
        turn becomes known: there a leak of whatever length must show. The very first moment comes on top:
        there a warm-up that was filled from the future must show.
        (Of single rows 1e-12 is tolerated: Polars rounds the division of one row otherwise than of many.)
    key : Sequence[str]
        Columns that identify an output row.
    tolerance : float
        Floating values a, b count as equal where ``|a - b| <= tolerance * max(1, |a|)``; 0 asks for the
        same bits.
    history : timedelta, optional
        Check on this much of the inputs on either side of each cut alone, for speed: the full computation
        is then over ``cut - history`` to ``cut + history``. Choose it well over the longest memory of the
        computation.
    seed : int
        Of the random factors.

    Raises
    ------
    ValueError
        If an input has no ``known_at`` or an output's key repeats.
    NotEnoughDataError
        If there is nothing to compare at a cut.
    """
    if missing := sorted(set(inputs) - set(known_at)):
        raise ValueError(
            f"known_at says nothing of the inputs {missing}; every input must say when a row was known"
        )
    known = {name: _moment(known_at[name]) for name in inputs}
    check = _Check(compute, _moment(decided_at), tuple(key))
    chosen = _choose_cuts(inputs, known, cuts) if isinstance(cuts, int) else tuple(cuts)
    full = None if history is not None else check.run(inputs)
    random = np.random.default_rng(seed)
    leaks: list[Leak] = []
    compared = 0
    columns: list[str] = []
    for cut in chosen:
        near, everything, tolerated = inputs, full, tolerance
        if history is not None:
            near = {
                name: frame.filter(known[name].is_between(cut - history, cut + history))
                for name, frame in inputs.items()
            }
        if everything is None:
            everything = check.run(near)
        columns = [name for name in everything.columns if name not in (*key, "_decided")]
        past = everything.filter(pl.col("_decided") <= cut)
        if past["_decided"].n_unique() == 1:
            tolerated = max(tolerance, ONE_ROW_TOLERANCE)
        if past.is_empty():
            raise NotEnoughDataError(f"no row was decided at or before the cut {cut}; choose a later one")
        touched: dict[Method, Mapping[str, pl.DataFrame]] = {
            "truncate": {name: frame.filter(known[name] <= cut) for name, frame in near.items()},
            "perturb": {
                name: _rescaled_after(frame, known[name], cut, random) for name, frame in near.items()
            },
        }
        found = [
            leak
            for method, changed in touched.items()
            for leak in check.compare(past, check.until(cut, changed, past), method, cut, tolerated)
        ]
        if found:
            found = check.compare(past, check.until(cut, near, past), "repeat", cut, tolerated) or found
        leaks += found
        compared += len(touched) * past.height
    return LookaheadReport(tuple(leaks), chosen, compared, tuple(columns))


@dataclass(frozen=True)
class _Check:
    compute: Compute
    decided: pl.Expr
    key: tuple[str, ...]

    def run(self, inputs: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
        output = self.compute(inputs).with_columns(self.decided.alias("_decided"))
        if unknown := output["_decided"].null_count():
            raise ValueError(
                f"decided_at is null in {unknown} rows of the output; every row must be for a moment"
            )
        if output.n_unique(self.key) < output.height:
            raise ValueError(f"the output repeats its key {self.key}; compute must return one row per key")
        return output

    def until(self, cut: datetime, inputs: Mapping[str, pl.DataFrame], past: pl.DataFrame) -> pl.DataFrame:
        """Rows decided at or before the cut; those of ``past`` without their values if it is too early."""
        try:
            return self.run(inputs).filter(pl.col("_decided") <= cut)
        except NotEnoughDataError:
            kept = (*self.key, "_decided")
            return past.with_columns(
                pl.lit(None, past.schema[c]).alias(c) for c in past.columns if c not in kept
            )

    def compare(
        self, full: pl.DataFrame, again: pl.DataFrame, method: Method, cut: datetime, tolerance: float
    ) -> list[Leak]:
        """Differences between two outputs of the same moments."""
        leaks = []
        for present, absent, values in ((full, again, (True, False)), (again, full, (False, True))):
            rows = present.join(absent, on=self.key, how="anti", nulls_equal=True)
            if not rows.is_empty():
                first = rows.select(self.key).sort(self.key).row(0, named=True)
                leaks.append(Leak("(row)", method, cut, first, *values, rows.height))
        both = full.join(again, on=self.key, how="inner", suffix=":again", nulls_equal=True)
        for name in full.columns:
            if name in (*self.key, "_decided"):
                continue
            if name not in again.columns:
                leaks.append(Leak(name, method, cut, {}, "column", "no column", both.height))
                continue
            rows = both.filter(_differ(name, full.schema[name], tolerance))
            if not rows.is_empty():
                row = rows.sort("_decided", *self.key).row(0, named=True)
                values = row[name], row[f"{name}:again"]
                leaks.append(Leak(name, method, cut, {k: row[k] for k in self.key}, *values, rows.height))
        return leaks


def _differ(name: str, dtype: pl.DataType, tolerance: float) -> pl.Expr:
    one, other = pl.col(name), pl.col(f"{name}:again")
    if tolerance == 0.0 or not dtype.is_float():
        return one.ne_missing(other)
    near = ((one - other).abs() <= tolerance * pl.max_horizontal(one.abs(), pl.lit(1.0))) & one.is_finite()
    return one.ne_missing(other) & ~near.fill_null(value=False)


def _moment(expr: str | pl.Expr) -> pl.Expr:
    return pl.col(expr) if isinstance(expr, str) else expr


def _choose_cuts(
    inputs: Mapping[str, pl.DataFrame], known: Mapping[str, pl.Expr], count: int
) -> tuple[datetime, ...]:
    """Last moments of the first input before something becomes known, taking the inputs in turn."""
    if count < 1:
        raise ValueError(f"cuts is {count}, it must be at least 1")
    moments = {
        name: frame.select(known[name].alias("k"))["k"].unique().sort() for name, frame in inputs.items()
    }
    names = [name for name, series in moments.items() if len(series)]
    if not names or len(clock := moments[names[0]]) < 2:
        raise NotEnoughDataError("the first input has fewer than two moments; there is nothing to cut off")
    cuts = {clock[0]}
    for index in range(count):
        target = clock[len(clock) * (index + 1) // (count + 1)]
        other = moments[names[index % len(names)]]
        later = other.filter(other > target)
        before = clock.filter(clock < later[0]) if len(later) else clock.filter(clock <= target)
        cuts.add(before[-1])
    return tuple(sorted(cuts))


def _rescaled_after(
    frame: pl.DataFrame, known: pl.Expr, cut: datetime, random: np.random.Generator
) -> pl.DataFrame:
    """Multiply every floating value that was not known at the cut, by one factor per row."""
    factor = pl.Series("_factor", np.exp(random.normal(0.0, 0.5, frame.height)))
    floats = [name for name, dtype in frame.schema.items() if dtype.is_float()]
    late = frame.select(known.alias("_known")).to_series() > cut
    return frame.with_columns(
        pl.when(late).then(pl.col(name) * factor).otherwise(pl.col(name)).alias(name) for name in floats
    )
