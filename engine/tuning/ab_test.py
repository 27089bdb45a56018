"""A/B test of a candidate on the live account: whole blocks of time of whole symbols, drawn beforehand.

A unit is a block of time of one symbol; a hash of the seed decides which of the two parameter sets may enter
in it. Single trades cannot be assigned: positions overlap, and a trade of one set keeps the other from
trading. A position is left to the stop and target of its entry, so the set is in effect changed where the
symbol is flat, and a trade counts for the unit in which it was decided on, whenever it ends.

Fixed before the first bar: horizon, metric (net return per unit, on the equity at entry), level and least
improvement. Nothing is computed before the horizon is over. Then:

1. the sample ratio is checked, and every unit must be there with the set that was drawn for it: otherwise the
   test is void, whatever it shows;
2. the assignment itself is drawn again (Fisher 1935): if the set made no difference, the units' results would
   have been the same under every draw. That needs nothing of the returns: they may depend on each other in
   time and between symbols, and have any tails;
3. the interval holds the constant effects that the same test does not reject.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Self

import numpy as np
import polars as pl

from engine.errors import DataError
from engine.tuning.ab_result import ABResult, judged
from engine.tuning.parameters import ParameterSet

__all__ = ["METRIC", "ABTest", "Arm", "TooEarlyError"]

Arm = Literal["live", "candidate"]

METRIC = "net return per block and symbol"
_LEAST_UNITS = 30
_MICROSECOND = timedelta(microseconds=1)


class TooEarlyError(ValueError):
    """The result was asked for before the horizon is over; `due` says when it will be there."""

    def __init__(self, due: datetime) -> None:
        self.due = due
        super().__init__(
            f"the horizon ends at {due:%Y-%m-%d %H:%M} UTC: there is no result before; ask again then"
        )


@dataclass(frozen=True)
class ABTest:
    """A test as it is registered.

    Parameters
    ----------
    live, candidate : ParameterSet
    symbols : tuple of str
    start : datetime
        Open of its first bar, UTC without a zone.
    horizon : timedelta
        Whole blocks.
    seed : int
        Of the assignment.
    block : timedelta
        Several times as long as trades last, or many units are spent waiting for the other set's position.
    alpha : float
        Probability allowed for a promotion without an effect.
    min_improvement : float
        Least effect that is worth a change, net return per unit.
    draws : int
        Of the assignment.

    Raises
    ------
    ValueError
        If a part makes no sense, or there are too few units.
    """

    live: ParameterSet
    candidate: ParameterSet
    symbols: tuple[str, ...]
    start: datetime
    horizon: timedelta
    seed: int
    block: timedelta = timedelta(days=1)
    alpha: float = 0.05
    min_improvement: float = 0.0
    draws: int = 1999

    def __post_init__(self) -> None:
        if not self.symbols or len(set(self.symbols)) < len(self.symbols):
            raise ValueError(f"symbols = {self.symbols} must be different ones, at least one")
        if self.start.tzinfo is not None:
            raise ValueError(f"start = {self.start} must be UTC without a zone")
        if self.block <= timedelta(0) or self.horizon % self.block:
            raise ValueError(f"horizon = {self.horizon} must be whole blocks of {self.block}")
        if self.units < _LEAST_UNITS:
            raise ValueError(
                f"horizon = {self.horizon} has {self.units} units (blocks times symbols); at least "
                f"{_LEAST_UNITS} are needed"
            )
        if not (0.0 < self.alpha < 0.5 and 0.0 <= self.min_improvement < np.inf):
            raise ValueError(
                f"alpha = {self.alpha} must lie between 0 and 0.5, min_improvement = {self.min_improvement} "
                "not be negative"
            )
        if (self.draws + 1) * self.alpha < 1.0:
            raise ValueError(f"draws = {self.draws} cannot show a level of {self.alpha}; draw more often")
        if self.live == self.candidate:
            raise ValueError("live and candidate are the same parameters; there is nothing to test")

    @property
    def end(self) -> datetime:
        """When the horizon is over."""
        return self.start + self.horizon

    @property
    def blocks(self) -> int:
        """Blocks of time."""
        return self.horizon // self.block

    @property
    def units(self) -> int:
        """Blocks of time times symbols."""
        return self.blocks * len(self.symbols)

    def arm(self, symbol: str, ts: datetime) -> Arm:
        """Return which set decides at the close of a bar that opens at `ts`.

        It depends on seed, symbol and block alone: on no other symbol, process or order of asking.

        Raises
        ------
        ValueError
            If the symbol or the moment is not part of the test.
        """
        if symbol not in self.symbols:
            raise ValueError(f"{symbol!r} is not part of the test; its symbols are {', '.join(self.symbols)}")
        if not self.start <= ts < self.end:
            raise ValueError(f"{ts} is not part of the test, which runs from {self.start} to {self.end}")
        return _drawn(self.seed, symbol, (ts - self.start) // self.block)

    def assignment(self) -> pl.DataFrame:
        """All units, by block and symbol: ``block, symbol, ts`` (of the block's start), ``arm``."""
        return pl.DataFrame(
            [
                (block, symbol, self.start + block * self.block, _drawn(self.seed, symbol, block))
                for block in range(self.blocks)
                for symbol in sorted(self.symbols)
            ],
            schema={"block": pl.Int64, "symbol": pl.String, "ts": pl.Datetime("us"), "arm": pl.String},
            orient="row",
        )

    def units_of(self, trades: pl.DataFrame, arms: pl.DataFrame) -> pl.DataFrame:
        """Sum the trades of each unit.

        Parameters
        ----------
        trades : DataFrame
            ``symbol, decided_ts`` (open of the bar decided on), ``net_return`` (of equity at entry), of the
            test's horizon; those still open marked to the last close.
        arms : DataFrame
            ``symbol, ts, arm``: which set was asked at each bar, as the live algorithm wrote it down.

        Returns
        -------
        DataFrame
            ``block, symbol, arm, value``, one row per unit that was seen. A unit in which both sets were
            asked has the arm ``mixed``.
        """
        block = ((pl.col("ts") - self.start).dt.total_microseconds() // (self.block // _MICROSECOND)).alias(
            "block"
        )
        inside = pl.col("ts").is_between(self.start, self.end, closed="left")
        seen = arms.filter(inside & pl.col("symbol").is_in(self.symbols)).group_by(block, "symbol")
        mixed = pl.when(pl.col("arm").n_unique() > 1).then(pl.lit("mixed")).otherwise(pl.col("arm").first())
        decided = trades.select("symbol", "net_return", ts="decided_ts")
        values = decided.filter(inside).group_by(block, "symbol")
        return (
            seen.agg(arm=mixed)
            .join(values.agg(value=pl.col("net_return").sum()), on=["block", "symbol"], how="left")
            .with_columns(pl.col("value").fill_null(0.0))
            .sort("block", "symbol")
        )

    def result(self, units: pl.DataFrame, now: datetime) -> ABResult:
        """Judge the test, once its horizon is over.

        Parameters
        ----------
        units : DataFrame
            ``block, symbol, arm, value``, as `units_of` makes them.
        now : datetime
            UTC without a zone.

        Raises
        ------
        TooEarlyError
            If the horizon is not over.
        DataError
            If a unit is there twice or is none of the test's, or a value is not finite.
        """
        if now < self.end:
            raise TooEarlyError(self.end)
        keys = ["block", "symbol"]
        if units.select(keys).is_duplicated().any():
            raise DataError("a unit is there twice", source="units", column="block")
        values = units["value"].to_numpy()
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise DataError(f"value {values[row]} is not finite", source="units", row=row + 1, column="value")
        planned = self.assignment()
        known = planned.join(units.rename({"arm": "seen"}), on=keys, how="left", maintain_order="left")
        if units.height > known["seen"].count():
            raise DataError("there are units that are none of the test's", source="units", column="block")
        return judged(self, known)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, to register."""
        return {
            "live": self.live.to_dict(),
            "candidate": self.candidate.to_dict(),
            "symbols": list(self.symbols),
            "start": self.start.isoformat(),
            "horizon_s": self.horizon.total_seconds(),
            "seed": self.seed,
            "block_s": self.block.total_seconds(),
            "alpha": self.alpha,
            "min_improvement": self.min_improvement,
            "draws": self.draws,
            "metric": METRIC,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read them back."""
        return cls(
            ParameterSet.from_mapping(values["live"]),
            ParameterSet.from_mapping(values["candidate"]),
            tuple(values["symbols"]),
            datetime.fromisoformat(values["start"]),
            timedelta(seconds=values["horizon_s"]),
            values["seed"],
            timedelta(seconds=values["block_s"]),
            values["alpha"],
            values["min_improvement"],
            values["draws"],
        )


def _drawn(seed: int, symbol: str, block: int) -> Arm:
    digest = hashlib.sha256(f"{seed}|{symbol}|{block}".encode()).digest()
    return "candidate" if digest[0] & 1 else "live"
