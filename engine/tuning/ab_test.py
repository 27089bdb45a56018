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
from numpy.typing import NDArray
from scipy.stats import chisquare

from engine.errors import DataError
from engine.tuning.algorithm import TradeDecision, TradingAlgorithm
from engine.tuning.market_state import MarketState
from engine.tuning.parameters import ParameterSet
from engine.tuning.positions import Position

__all__ = ["METRIC", "ABAlgorithm", "ABResult", "ABTest", "Arm", "TooEarlyError"]

Floats = NDArray[np.float64]
Arm = Literal["live", "candidate"]

METRIC = "net return per block and symbol"
LEAST_SHARE_P = 0.001
"""Below this probability the sample ratio is no accident."""
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

    def parameters(self, symbol: str, ts: datetime) -> ParameterSet:
        """Return the set that decides; outside of the test it is the live one."""
        inside = symbol in self.symbols and self.start <= ts < self.end
        return self.candidate if inside and self.arm(symbol, ts) == "candidate" else self.live

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
        values = trades.rename({"decided_ts": "ts"}).filter(inside).group_by(block, "symbol")
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
        counts, share_p = _sample_ratio(units)
        missing = int(known["seen"].null_count())
        otherwise = int((known["seen"] != known["arm"]).sum())
        void = _void(counts, share_p, missing, otherwise)
        if void:
            return ABResult(self, "void", void, counts, share_p)
        return self._tested(known, counts, share_p)

    def _tested(self, known: pl.DataFrame, counts: dict[str, int], share_p: float) -> ABResult:
        value = known["value"].to_numpy()
        treated = (known["arm"] == "candidate").to_numpy()
        # The same design, drawn again; an empty arm has no mean and is no draw that could have been kept.
        drawn = np.random.default_rng(self.seed).random((self.draws, value.size)) < 0.5
        drawn = drawn[drawn.any(axis=1) & ~drawn.all(axis=1)]
        effect = float(_difference(value, treated[None])[0])
        again, overlap = _difference(value, drawn), _difference(treated.astype(float), drawn)
        # An effect d, taken off the treated, leaves draw j at least as far from nothing as what was drawn
        # exactly if d >= border_j: the p-value of "the effect is at most d" is a rank among the borders.
        border = np.sort((effect - again)[overlap < 1.0] / (1.0 - overlap[overlap < 1.0]))
        same = int((overlap >= 1.0).sum())
        rank = int(np.floor(self.alpha * (drawn.shape[0] + 1) + 1e-9)) - same
        p_value = (1 + same + int((border <= 0.0).sum())) / (drawn.shape[0] + 1)
        low = float(border[rank - 1]) if rank >= 1 else -np.inf
        high = float(border[-rank]) if rank >= 1 else np.inf
        figures = (
            f"effect {effect:.3g} per unit, at least {low:.3g} with {1.0 - self.alpha:.0%}; "
            f"p = {p_value:.3g}, {self.alpha:.3g} allowed; "
            f"{counts['candidate']} units of the candidate, {counts['live']} of live"
        )
        refused = []
        if p_value > self.alpha:
            refused.append("the effect is within luck")
        if effect < self.min_improvement or effect <= 0.0:
            refused.append(f"the least effect that is worth a change is {self.min_improvement:.3g}")
        verdict: Literal["promote", "keep"] = "keep" if refused else "promote"
        return ABResult(self, verdict, (figures, *refused), counts, share_p, effect, low, high, p_value)

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


@dataclass(frozen=True)
class ABResult:
    """What a test showed.

    Parameters
    ----------
    test : ABTest
    verdict : {"promote", "keep", "void"}
    reasons : tuple of str
    counts : dict
        Units seen of each arm.
    sample_ratio_p : float
        Chi-squared, against the half each that was planned.
    effect, low, high : float
        Candidate less live, net return per unit, with one-sided bounds at the test's level; NaN if void.
    p_value : float
        One-sided.
    """

    test: ABTest
    verdict: Literal["promote", "keep", "void"]
    reasons: tuple[str, ...]
    counts: Mapping[str, int]
    sample_ratio_p: float
    effect: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p_value: float = np.nan

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; None stands for what is not known."""
        figures = {name: getattr(self, name) for name in ("effect", "low", "high", "p_value")}
        return {
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "counts": dict(self.counts),
            "sample_ratio_p": self.sample_ratio_p,
            **{name: value if np.isfinite(value) else None for name, value in figures.items()},
        }


class ABAlgorithm:
    """The live algorithm during a test: each decision is made by the set that was drawn for its unit.

    A position stays with the stop and target of its entry, whichever set was drawn since.

    Parameters
    ----------
    test : ABTest
    """

    def __init__(self, test: ABTest) -> None:
        self.test = test
        self._algorithms = {each: TradingAlgorithm(each) for each in (test.live, test.candidate)}

    def decide(self, state: MarketState, position: Position | None = None) -> TradeDecision:
        """Decide at the close of a bar; see `TradingAlgorithm.decide`."""
        return self._algorithms[self.test.parameters(state.symbol, state.ts)].decide(state, position)


def _drawn(seed: int, symbol: str, block: int) -> Arm:
    digest = hashlib.sha256(f"{seed}|{symbol}|{block}".encode()).digest()
    return "candidate" if digest[0] & 1 else "live"


def _difference(values: Floats, treated: NDArray[np.bool_]) -> Floats:
    """Mean over the treated less mean over the others, shape (draws,)."""
    count = treated.sum(axis=1)
    inside = treated @ values
    return inside / count - (values.sum() - inside) / (values.size - count)


def _sample_ratio(units: pl.DataFrame) -> tuple[dict[str, int], float]:
    """Units seen of each arm, and the probability of a ratio as far from one half."""
    counts = {arm: int((units["arm"] == arm).sum()) for arm in ("live", "candidate")}
    if not sum(counts.values()):
        return counts, 0.0
    return counts, float(chisquare(list(counts.values())).pvalue)


def _void(counts: Mapping[str, int], share_p: float, missing: int, otherwise: int) -> tuple[str, ...]:
    """Say what makes a test void."""
    found = []
    if share_p <= LEAST_SHARE_P:
        shares = f"{counts['live']} units of live and {counts['candidate']} of the candidate"
        found.append(f"{shares} are no accident of equal shares: p = {share_p:.2g}")
    if missing:
        found.append(f"{missing} units were not seen")
    if otherwise:
        found.append(f"in {otherwise} units another set decided than was drawn")
    return tuple(found)
