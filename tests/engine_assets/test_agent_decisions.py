"""The champion of another fold looks through its own encoder, or makes way where it cannot look at all."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from engine.agents.agent import RLTradingAgent
from engine.agents.agent_config import AgentConfig, state_width
from engine.agents.environment import LEVELS
from engine.agents.market_columns import MARKET_COLUMNS
from engine.agents.trading_agents import TradingAgents
from engine.alpha.walk_forward import SCHEMA_HASH
from engine.evaluation import attempts as ledger
from engine.evaluation.splits import Window
from engine.features.scaling import Scaler
from engine.patterns.contrastive import ContrastiveConfig
from engine.patterns.features import pattern_features, remember
from engine.patterns.model import PatternModel, train_pattern_model
from engine.patterns.outcomes import OUTCOME_COLUMNS
from engine_assets.agent_decisions import CHAMPION, DECISIONS, champions, not_collapsed
from engine_assets.agents import AGENT_FULL
from engine_assets.features import LABELS
from engine_assets.market_state import MARKET_STATE
from engine_assets.patterns import COORDINATES, PATTERN_ENCODER, PATTERN_MEMORY
from engine_assets.trade_explanations import trade_explanations
from engine_assets.windows import SPLITS
from resources.settings import Settings
from resources.table import Table
from resources.warehouse import Warehouse

START, HOUR, DAY = datetime.fromisoformat("2024-01-01"), timedelta(hours=1), timedelta(days=1)
TRAIN = Window(START, START + 24 * DAY)
CALIBRATE = Window(START + 25 * DAY, START + 36 * DAY)
TEST = Window(START + 37 * DAY, START + 42 * DAY)
FEATURES = ("return_6", "pattern_mean", *(f"pattern_{k}" for k in range(COORDINATES)), "market_forecast")
FOLD = 3


def test_the_columns_of_what_followed_are_described_as_where_they_are_made() -> None:
    described = {column.name: column.description for column in PATTERN_MEMORY.columns}
    assert set(OUTCOME_COLUMNS) <= set(described)
    assert {name: described[name] for name in OUTCOME_COLUMNS} == OUTCOME_COLUMNS


@pytest.fixture(scope="module")
def market(market_tables: Callable[..., dict[str, pl.DataFrame]]) -> dict[str, pl.DataFrame]:
    """Six weeks of two symbols that rise while agents are judged, as the tables of the pipeline hold them."""
    return market_tables(("AAA/USDT", "BBB/USDT"), START, 42, 12)


@pytest.fixture(scope="module")
def encoders(market: dict[str, pl.DataFrame]) -> tuple[PatternModel, PatternModel]:
    """Of the champion's fold, and of this one."""
    config = ContrastiveConfig(batch=8, steps=2, check=1, horizon=12, embargo=3)

    def made(seed: int) -> PatternModel:
        rows = market["features.matrix"]
        return train_pattern_model(rows, TRAIN, HOUR, config, compact=COORDINATES, seed=seed)[0]

    return made(1), made(2)


@pytest.fixture(scope="module")
def looks(
    market: dict[str, pl.DataFrame], encoders: tuple[PatternModel, PatternModel]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What each encoder says of every bar."""

    def look(model: PatternModel) -> pl.DataFrame:
        windows = model.windows(market["features.matrix"], HOUR)
        return pattern_features(model, windows, remember(model, windows, market["features.labels"]))

    return look(encoders[0]), look(encoders[1])


@pytest.fixture(scope="module")
def states(market: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """How the market stands on every bar, by this fold and by another."""
    ts = market["features.matrix"].select("ts").unique(maintain_order=True)
    rng = np.random.default_rng(3)
    parts = [
        ts.with_columns(
            *(pl.Series(name, rng.standard_normal(ts.height)) for name in MARKET_COLUMNS), fold=pl.lit(fold)
        )
        for fold in (FOLD - 1, FOLD)
    ]
    return MARKET_STATE.of(pl.concat(parts))


def agents(market: dict[str, pl.DataFrame], seed: int, schema: str = SCHEMA_HASH) -> TradingAgents:
    """Untrained; what they do leans on what is like the last thirty candles."""
    agent = RLTradingAgent(state_width(len(FEATURES)), len(LEVELS), AgentConfig(seed=seed))
    agent.features = FEATURES
    rows = market["features.matrix"]
    random = np.random.default_rng(0).normal(size=(rows.height, len(FEATURES)))
    seen = rows.select("ts").with_columns(pl.Series(name, random[:, k]) for k, name in enumerate(FEATURES))
    return TradingAgents(agent.checkpoint(scaler=Scaler.fit(seen, FEATURES, TRAIN), schema=schema))


def typed(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(pl.col(name).cast(dtype) for name, dtype in table.polars_schema.items())


def registered(table: Table, **values: Any) -> pl.DataFrame:
    """A row of a registry; what is not said is empty."""
    empty = {"VARCHAR": "", "TIMESTAMP": START, "BLOB": b"", "VARCHAR[]": [], "BIGINT": 0}
    row = {c.name: None if c.nullable else empty[c.type] for c in table.columns}
    return pl.DataFrame([row | values], schema=table.polars_schema)


def reigning(champion: TradingAgents, encoder: PatternModel) -> pl.DataFrame:
    """The first contest, won in another fold."""
    attempt = ledger.Attempt(START, "champion agent", "search", 1, True, "it won", 0.03)
    return ledger.append(ledger.empty(), attempt).with_columns(
        fold=pl.lit(FOLD - 1, pl.Int64), window_start=pl.lit(START, pl.Datetime("us")),
        window_end=pl.lit(START, pl.Datetime("us")), challenger=pl.lit(champion.content_hash),
        incumbent=pl.lit(None, pl.String), champion=pl.lit(champion.content_hash),
        content=pl.lit(champion.to_bytes()), encoder=pl.lit(encoder.to_bytes()),
    ).select(CHAMPION.column_names)  # fmt: skip


@pytest.fixture
def warehouse(
    tmp_path: Path,
    market: dict[str, pl.DataFrame],
    encoders: tuple[PatternModel, PatternModel],
    looks: tuple[pl.DataFrame, pl.DataFrame],
    states: pl.DataFrame,
    store: Callable[..., None],
) -> Warehouse:
    """All that the asset reads, with the challenger of this fold, and no champion."""
    made = Warehouse(address=str(tmp_path / "t.duckdb"))
    for name in ("staging.candles", "features.matrix", "regimes.market_regimes"):
        store(made, name, market[name], ("symbol", "ts"))
    store(made, "staging.alternative", market["staging.alternative"], ())
    made.replace(LABELS, typed(LABELS, market["features.labels"]))
    windows = {"train": TRAIN, "calibrate": CALIBRATE, "test": TEST}
    edges = {
        f"{k}_{edge}": getattr(window, edge) for k, window in windows.items() for edge in ("start", "end")
    }
    split = {"fold": FOLD, **edges, "purge_seconds": 3_600 * 13}
    made.replace(SPLITS, pl.DataFrame([split], schema=SPLITS.polars_schema))
    made.replace(PATTERN_ENCODER, registered(PATTERN_ENCODER, fold=FOLD, content=encoders[1].to_bytes()))
    made.replace(PATTERN_MEMORY, typed(PATTERN_MEMORY, looks[1].with_columns(fold=pl.lit(FOLD))))
    made.replace(MARKET_STATE, states)
    challenger = agents(market, 2).pooled
    made.replace(AGENT_FULL, registered(AGENT_FULL, fold=FOLD, content=challenger.to_bytes(), metrics="{}"))
    return made


def contested(warehouse: Warehouse, tmp_path: Path) -> list[str]:
    """Hold the contest; return what was warned of."""
    with dg.DagsterInstance.ephemeral() as instance:
        settings = Settings(reports=tmp_path / "reports")
        resources = {"warehouse": warehouse, "settings": settings}
        result = dg.materialize([champions], resources=resources, instance=instance)
        assert result.success
        logged = instance.all_logs(result.run_id)
    return [entry.user_message for entry in logged if entry.level == 30]


def decisions(warehouse: Warehouse, role: str) -> pl.DataFrame:
    return warehouse.frame("SELECT * FROM trading.agent_decisions WHERE role = ? ORDER BY symbol, ts", [role])


def by_hand(
    decided: TradingAgents, found: pl.DataFrame, market: dict[str, pl.DataFrame], states: pl.DataFrame
) -> pl.DataFrame:
    """What agents decide who see what an encoder says, and how the market stands by this fold."""
    rows = market["staging.candles"].join(
        market["features.matrix"], on=["symbol", "ts"], maintain_order="left"
    )
    rows = rows.join(market["regimes.market_regimes"], on=["symbol", "ts"], maintain_order="left")
    seen = rows.join(found, on=["symbol", "ts"], maintain_order="left").with_columns(
        volatility=pl.col("volatility_168")
    )
    seen = seen.join(states.filter(pl.col("fold") == FOLD), on="ts", maintain_order="left")
    seen = seen.filter(pl.col("ts").is_between(CALIBRATE.start, TEST.end, closed="left"))
    return pl.concat(one.frame() for one in decided.decide(seen)).sort("symbol", "ts")


def test_a_champion_looks_through_the_encoder_of_its_own_fold(
    warehouse: Warehouse,
    tmp_path: Path,
    market: dict[str, pl.DataFrame],
    encoders: tuple[PatternModel, PatternModel],
    looks: tuple[pl.DataFrame, pl.DataFrame],
    states: pl.DataFrame,
) -> None:
    champion, its_own = agents(market, 1), encoders[0]
    warehouse.replace(CHAMPION, reigning(champion, its_own))
    assert contested(warehouse, tmp_path) == []
    held = warehouse.frame("SELECT * FROM models.champion_agent ORDER BY number")
    assert held["incumbent"].to_list() == [None, champion.content_hash]
    assert held["promoted"].to_list() == [True, False]
    assert held["champion"][1] == champion.content_hash
    assert held["encoder"][1] == its_own.to_bytes(), "the encoder stays with the champion"
    made = decisions(warehouse, "champion")
    assert made["agents"].unique().to_list() == [champion.content_hash]
    right, wrong = (by_hand(champion, found, market, states) for found in looks)
    assert made.select("symbol", "ts").equals(right.select("symbol", "ts"))
    np.testing.assert_array_equal(made["level"], right["level"])
    np.testing.assert_allclose(made["confidence"], right["confidence"], atol=1e-5)
    assert np.abs(made["confidence"].to_numpy() - wrong["confidence"].to_numpy()).max() > 1e-3
    others = decisions(warehouse, "challenger")
    new = by_hand(agents(market, 2), looks[1], market, states)
    np.testing.assert_allclose(others["confidence"], new["confidence"], atol=1e-5)
    assert others["part"].unique(maintain_order=True).to_list() == ["calibrate", None, "test"]


def test_a_champion_of_another_recipe_makes_way_and_the_log_says_so(
    warehouse: Warehouse,
    tmp_path: Path,
    market: dict[str, pl.DataFrame],
    encoders: tuple[PatternModel, PatternModel],
) -> None:
    champion = agents(market, 1, schema="0" * 64)
    warehouse.replace(CHAMPION, reigning(champion, encoders[0]))
    (warning,) = contested(warehouse, tmp_path)
    assert "the champion cannot decide any more and makes way" in warning
    assert "000000000000" in warning
    held = warehouse.frame("SELECT * FROM models.champion_agent ORDER BY number")
    assert held["incumbent"].to_list() == [None, None]
    assert held["champion"][1] is None
    assert held["content"][1] is None
    assert decisions(warehouse, "champion").is_empty()
    assert decisions(warehouse, "challenger").height > 0
    ledger.verify(held.select(ledger.ATTEMPTS.names()))


def test_a_contest_is_held_once_and_a_new_challenger_pays_for_the_one_before(
    warehouse: Warehouse, tmp_path: Path, market: dict[str, pl.DataFrame]
) -> None:
    contested(warehouse, tmp_path)
    first = warehouse.frame("FROM models.champion_agent")
    contested(warehouse, tmp_path)
    assert warehouse.frame("FROM models.champion_agent").equals(first)
    assert decisions(warehouse, "champion").is_empty(), "plain holding was not beaten"
    another = agents(market, 5).pooled.to_bytes()
    warehouse.replace(AGENT_FULL, registered(AGENT_FULL, fold=FOLD, content=another, metrics="{}"))
    contested(warehouse, tmp_path)
    held = warehouse.frame("FROM models.champion_agent ORDER BY number")
    assert held.height == 2
    assert held["alpha"][1] == pytest.approx(held["alpha"][0] / 4)
    assert DECISIONS.check(decisions(warehouse, "challenger")).height > 0


@pytest.mark.parametrize("kept", ["ALL", "STAYS_OUT"])
def test_an_agent_that_chose_to_stay_out_raises_no_alarm(
    warehouse: Warehouse, tmp_path: Path, market: dict[str, pl.DataFrame], kept: str
) -> None:
    agent = RLTradingAgent.from_checkpoint(agents(market, 2).pooled)
    agent.policy.settle(LEVELS.index(0.0))
    scaler = agents(market, 2).pooled.scaler
    content = agent.checkpoint(scaler=scaler, schema=SCHEMA_HASH).to_bytes()
    metrics = f'{{"kept": "{kept}"}}'
    warehouse.replace(AGENT_FULL, registered(AGENT_FULL, fold=FOLD, content=content, metrics=metrics))
    contested(warehouse, tmp_path)
    assert decisions(warehouse, "challenger")["position"].unique().to_list() == [0.0]
    found = not_collapsed(warehouse)
    assert found.passed == (kept == "STAYS_OUT")
    assert found.metadata["folds that stay out"].value == (1 if found.passed else 0)
    alarms = warehouse.frame("SELECT DISTINCT name FROM trading.agent_health WHERE alarm")["name"].to_list()
    assert ("turnover_low" in alarms) == (not found.passed)


def test_every_change_of_position_in_the_test_window_is_explained(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    contested(warehouse, tmp_path)
    resources = {"warehouse": warehouse, "settings": Settings(reports=tmp_path / "reports")}
    assert dg.materialize([trade_explanations], resources=resources).success
    walked = decisions(warehouse, "challenger").with_columns(
        position_before=pl.col("position").shift(1, fill_value=0.0).over("symbol")
    )
    changed = walked.filter((pl.col("part") == "test") & (pl.col("position") != pl.col("position_before")))
    found = warehouse.frame("FROM trading.trade_explanations ORDER BY symbol, ts, rank")
    trade = ["symbol", "ts", "position_before", "position"]
    assert changed.height > 10
    assert found.select(trade).unique(maintain_order=True).equals(changed.select(trade))
    for _, features in found.group_by("symbol", "ts"):
        assert features["rank"].to_list() == list(range(1, 11))
        assert features["value"].abs().is_sorted(descending=True)
        assert 0.0 < features["share"].sum() <= 1.0 + 1e-9
