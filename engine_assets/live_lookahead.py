"""The lookahead check on what the live algorithm sees and decides."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from engine_assets.live_market import live_inputs
from engine_assets.live_tables import LIVE_DECISIONS
from engine_assets.lookahead import lookahead_check, recent
from engine_assets.tuning_inputs import capital_of, costs_of, open_store
from resources.settings import Settings
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from engine.features.lookahead import LookaheadReport

__all__ = ["CHECKS"]

_SPAN = timedelta(days=6)
_SEEN = (
    "volatility_percentile", "breakout_side", "zscore", "mean", "social_strength", "social_direction",
    "news_strength", "news_direction", "expected_cost_bps",
)  # fmt: skip


@lookahead_check(LIVE_DECISIONS.full_name, reads=("staging.candles", "staging.alternative"))
def decisions(warehouse: Warehouse, settings: Settings) -> LookaheadReport:
    """Walk the newest days once more from flat accounts: states and decisions may not reach ahead."""
    import polars as pl

    from engine.features.lookahead import check_lookahead
    from engine.tuning.live_account import InUse
    from engine.tuning.live_walk import live_walk
    from engine.tuning.market_state import state_tape

    bar, costs = settings.bar_duration, costs_of(settings)
    since = recent(warehouse, _SPAN)
    candles, observations = live_inputs(warehouse, settings, since)
    parameters, capital = open_store(settings).in_force().parameters, capital_of(warehouse, settings)

    def compute(inputs: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
        tape = state_tape(inputs["candles"], inputs["observations"], bar, costs, capital=capital)
        made = live_walk(tape, {}, lambda state: InUse(parameters), costs, start=since).decisions
        told = ("action", "kind", "side", "size", "stop", "target", "confidence")
        decided = pl.DataFrame(
            [
                {"symbol": one.symbol, "ts": one.ts, **{name: getattr(one.made, name) for name in told}}
                for one in made
            ],
            schema_overrides={"kind": pl.String},
        )
        names = pl.Series("symbol", tape.symbols, dtype=pl.String).gather(tape.symbol)
        seen = {name: getattr(tape, name) for name in _SEEN}
        return decided.join(pl.DataFrame({"symbol": names, "ts": tape.ts, **seen}), on=["symbol", "ts"])

    return check_lookahead(
        compute,
        {"candles": candles, "observations": observations},
        known_at={"candles": pl.col("ts") + bar, "observations": pl.col("available_at")},
        decided_at=pl.col("ts") + bar,
        cuts=[since + _SPAN / 3, since + 2 * _SPAN / 3],
    )


CHECKS = (decisions,)
