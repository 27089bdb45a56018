"""The scenarios, and which one suits now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.api.reads.hints import missing
from console.api.schemas.scenarios import Figures, Market, Recommendation, ScenarioCard, Scenarios
from engine.tuning.recommender import recommend
from engine.tuning.scenarios import GOALS, SCENARIOS
from engine_assets.live_tables import LIVE_DECISIONS, LIVE_EQUITY
from engine_assets.tuning_inputs import live_figures, market_now

if TYPE_CHECKING:
    from console.api.desk import Desk

__all__ = ["TABLES", "scenarios"]

TABLES = ("staging.candles", LIVE_DECISIONS.full_name, LIVE_EQUITY.full_name)


def scenarios(desk: Desk) -> Scenarios:
    """Read them."""
    found, view = recommend(live_figures(desk.warehouse)), market_now(desk.warehouse)
    cards = []
    for one in SCENARIOS.values():
        newest = desk.store.sessions.recent(1, scenario=one.name)
        last = newest[0] if newest else None
        bold = one.aggressiveness if view is None else one.in_market(view.mode)
        cards.append(
            ScenarioCard(
                name=one.name,
                title=one.title,
                purpose=one.purpose,
                minutes=one.minutes,
                episodes=one.episodes,
                goal=one.goal,
                looks_for=GOALS[one.goal],
                aggressiveness=one.aggressiveness.name,
                in_market=bold.name,
                reach=bold.reach,
                targets=list(one.targets),
                recommended=one.name == found.scenario.name,
                last_session=None if last is None else last.id,
                last_verdict=None if last is None or last.running else last.status,
            )
        )
    return Scenarios(
        items=cards,
        recommendation=Recommendation(
            scenario=found.scenario.name,
            title=found.scenario.title,
            reasons=list(found.reasons),
            figures=Figures(**vars(found.figures)),
        ),
        market=None if view is None else Market(**vars(view)),
        missing=missing(TABLES, desk.warehouse.tables()),
    )
