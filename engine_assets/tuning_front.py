"""The sets that nothing else searched beats in return, risk and cost at once, as a session keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.tuning.parameters import ParameterSet

if TYPE_CHECKING:
    from engine.evaluation.costs import Costs
    from engine.tuning.front import Front
    from engine.tuning.market_state import StateTape
    from engine.tuning.search import SearchResult
    from engine.tuning.session_config import SessionConfig

__all__ = ["SearchedFront", "front_of"]

_MOST = 24


@dataclass(frozen=True, eq=False)
class SearchedFront:
    """What was searched and could be promoted, and the front of it.

    Parameters
    ----------
    searched : SearchResult
        With the mean of the best variants.
    front : Front
        On the window that was searched.
    """

    searched: SearchResult
    front: Front

    def kept(self, promoted: ParameterSet | None) -> dict[str, Any]:
        """Return plain values: sets of the front, what is in force and what was promoted.

        Returns
        -------
        dict
            ``size``: how many sets the front has; ``sets``: at most 24 of them by risk; ``in_force``,
            ``promoted`` (None where nothing was). Each set has ``parameters``; ``score`` by the goal;
            ``return``, compound, and ``cost``, of equity, both a year; ``risk``, the largest drawdown.
        """
        row = self._row(promoted)
        return {
            "size": int(self.front.members.size),
            "sets": [self._described(int(member)) for member in self.front.spread(_MOST)],
            "in_force": self._described(0),
            "promoted": self._described(row) if row else None,
        }

    def picture(self, promoted: ParameterSet | None) -> bytes:
        """Draw all that was searched, the front, what is in force and what was promoted."""
        from engine.tuning.front_plots import front_picture

        return front_picture(self.front, self._row(promoted))

    def _row(self, promoted: ParameterSet | None) -> int:
        if promoted is None:
            return 0
        return int((self.searched.candidates == promoted.vector()).all(axis=1).argmax())

    def _described(self, row: int) -> dict[str, Any]:
        return {
            "parameters": ParameterSet.from_vector(self.searched.candidates[row]).to_dict(),
            "score": float(self.searched.scores[row]),
            "return": float(self.front.growth[row]),
            "risk": float(self.front.risks[row]),
            "cost": float(self.front.costs[row]),
        }


def front_of(
    searched: SearchResult, tape: StateTape, config: SessionConfig, incumbent: ParameterSet, costs: Costs
) -> SearchedFront:
    """Compare all that a session could promote by return, drawdown and cost."""
    from engine.tuning.ensemble import with_ensemble
    from engine.tuning.front import front
    from engine.tuning.kernel import evaluate
    from engine.tuning.session import task_of

    family = with_ensemble(searched, task_of(tape, config, incumbent, costs).objective)
    window = config.windows.search
    found = evaluate(tape.between(window.start, window.end), family.candidates, costs)
    return SearchedFront(family, front(found))
