"""What earlier sessions found, as the start of the next one, of another symbol too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from resources.parameter_store import ParameterStore

if TYPE_CHECKING:
    from engine.tuning.parameters import ParameterSet
    from engine.tuning.search import Search, SearchPrior
    from engine.tuning.session import SessionConfig

__all__ = ["found_of", "prior_in", "prior_of", "replayed"]

_NEWEST = 200


def replayed(config: SessionConfig, incumbent: ParameterSet, state: Mapping[str, Any]) -> Search:
    """Return the search of a session as it stood when its state was saved."""
    from engine.tuning.search import Search

    search = Search(config.search, incumbent, prior_in(state))
    search.replay(state["history"])
    return search


def prior_in(state: Mapping[str, Any]) -> SearchPrior | None:
    """Read the prior that a session began with."""
    from engine.tuning.search import SearchPrior

    return None if state["prior"] is None else SearchPrior(**state["prior"])


def found_of(search: Search, now: datetime, source: str) -> dict[str, Any] | None:
    """Sum up what a search found, for those that come after it; None if it found nothing to compare."""
    from engine.tuning.prior import finding

    result = search.result()
    if len(result.candidates) < 2:
        return None
    found = asdict(finding(result, search.config.targets, _naive(now), source))
    return {**found, "found_at": found["found_at"].isoformat()}


def prior_of(store: ParameterStore, goal: str, now: datetime) -> SearchPrior | None:
    """Learn where to begin from the ended sessions of the same goal, of whichever scope."""
    from engine.tuning.prior import Finding, learn_prior

    results = [record.result or {} for record in store.sessions.recent(_NEWEST)]
    told = [one["finding"] for one in results if one.get("goal") == goal and one.get("finding")]
    findings = [Finding(**{**one, "found_at": datetime.fromisoformat(one["found_at"])}) for one in told]
    return learn_prior(findings, _naive(now))


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
