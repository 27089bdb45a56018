"""Which bars a search may see, and which are kept to judge it by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

import numpy as np

from engine.errors import NotEnoughDataError
from engine.evaluation.promotion_gate import PromotionGate
from engine.evaluation.splits import Window
from engine.tuning.market_state import DAY, WARMUP, StateTape

__all__ = ["LEAST_SEARCH", "MOST_CANDIDATES", "EvidenceWindows"]

LEAST_SEARCH = timedelta(days=90)
"""Shortest search window: on less, a search finds the last month's luck."""
MOST_CANDIDATES = 10_000
"""Most that one test may be asked about: the bootstrap holds a thousand draws of each."""
_KNOWN = 0.5


@dataclass(frozen=True)
class EvidenceWindows:
    """What may be searched, and what is kept to judge by.

    Parameters
    ----------
    search, evidence : Window
    purge : timedelta
        Least distance from the one to the other.

    Raises
    ------
    ValueError
        If the evidence does not follow the search at that distance.
    """

    search: Window
    evidence: Window
    purge: timedelta = WARMUP

    def __post_init__(self) -> None:
        if self.purge < timedelta(0):
            raise ValueError(f"purge = {self.purge} must not be negative")
        if self.evidence.start < self.search.end + self.purge:
            raise ValueError(
                f"the evidence begins at {self.evidence.start}; the search ends at {self.search.end} and "
                f"{self.purge} lie between, so it must not begin before {self.search.end + self.purge}"
            )

    @classmethod
    def latest(
        cls,
        tape: StateTape,
        *,
        evidence: timedelta = timedelta(days=365),
        search: timedelta | None = None,
        purge: timedelta = WARMUP,
    ) -> Self:
        """Keep the last whole days of a tape as evidence, and search what lies before, all of it or `search`.

        Raises
        ------
        NotEnoughDataError
            If the tape is too short.
        """
        first, last = tape.ts.min().item(), tape.ts.max().item() + tape.bar
        end = datetime.combine(last.date(), datetime.min.time())
        start = end - evidence
        border = start - purge
        begin = first if search is None else max(first, border - search)
        if begin >= border:
            raise NotEnoughDataError(
                f"the tape spans {first} to {last}: nothing is left to search before a purge of {purge} "
                f"and {evidence} of evidence"
            )
        return cls(Window(begin, border), Window(start, end), purge)

    def check(self, tape: StateTape, gate: PromotionGate, candidates: int) -> None:
        """Refuse what cannot give evidence, before anything is searched.

        Parameters
        ----------
        tape : StateTape
        gate : PromotionGate
            Asks for a number of daily periods.
        candidates : int
            Most that will be searched.

        Raises
        ------
        NotEnoughDataError
            If a window is too short, or a symbol's states are known at less than half of its bars.
        ValueError
            If there are too many candidates, or the evidence does not consist of whole days.
        """
        if not 1 <= candidates <= MOST_CANDIDATES:
            raise ValueError(f"candidates = {candidates} must lie between 1 and {MOST_CANDIDATES}")
        midnight = datetime.min.time()
        if self.evidence.start.time() != midnight or self.evidence.end.time() != midnight:
            raise ValueError(f"evidence from {self.evidence.start} to {self.evidence.end} must be whole days")
        days = (self.evidence.end - self.evidence.start) // DAY
        if days < gate.min_periods:
            raise NotEnoughDataError(
                f"the evidence has {days} daily periods; the gate needs {gate.min_periods}"
            )
        if self.search.end - self.search.start < LEAST_SEARCH:
            raise NotEnoughDataError(
                f"the search has {self.search.days:.4g} days; at least {LEAST_SEARCH.days} are needed"
            )
        for name, window in (("search", self.search), ("evidence", self.evidence)):
            bars = math.ceil((window.end - window.start) / tape.bar)
            inside = (tape.ts >= np.datetime64(window.start)) & (tape.ts < np.datetime64(window.end))
            inside &= np.isfinite(tape.volatility_percentile)
            for i, symbol in enumerate(tape.symbols):
                known = int((inside & (tape.symbol == i)).sum())
                if known < _KNOWN * bars:
                    raise NotEnoughDataError(
                        f"{symbol}: the state is known at {known} of {bars} bars of the {name} window from "
                        f"{window.start} to {window.end}; at least {_KNOWN:.0%} are needed"
                    )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        named = {"search": self.search, "evidence": self.evidence}
        borders = {name: [of.start.isoformat(), of.end.isoformat()] for name, of in named.items()}
        return {**borders, "purge_s": self.purge.total_seconds()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read them back."""
        search, evidence = (
            Window(*(datetime.fromisoformat(moment) for moment in values[name]))
            for name in ("search", "evidence")
        )
        return cls(search, evidence, timedelta(seconds=values["purge_s"]))
