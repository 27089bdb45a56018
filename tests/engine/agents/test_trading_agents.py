"""Agents that trade a universe together: who trades what, what was earned, and bytes that bring them back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.agents.agent import RLTradingAgent
from engine.agents.agent_config import AgentConfig, state_width
from engine.agents.checkpoint import Checkpoint
from engine.agents.environment import LEVELS, EnvironmentConfig
from engine.agents.options import HierarchicalRLAgent
from engine.agents.outcomes import outcomes
from engine.agents.policies import POLICIES
from engine.agents.tape import MarketTape
from engine.agents.trading_agents import DecidedTape, TradingAgents, even_account
from engine.errors import DataError
from engine.evaluation.splits import Window
from engine.features.scaling import Scaler

Decide = Callable[..., DecidedTape]
MakeTape = Callable[..., MarketTape]

START, HOUR = datetime(2024, 1, 1), timedelta(hours=1)
FEATURES = ("lead", "noise")
SYMBOLS = ("BBB/USDT", "AAA/USDT", "CCC/USDT")
HOURS = 300
FLAT, LONGEST = LEVELS.index(0.0), len(LEVELS) - 1


def market() -> pl.DataFrame:
    """Three symbols, not in the order of their names, the first bars without a volatility."""
    rng = np.random.default_rng(0)
    return pl.concat(
        pl.DataFrame(
            {
                "symbol": symbol,
                "ts": [START + i * HOUR for i in range(HOURS)],
                "segment": 0,
                "open": 100 * np.exp(np.cumsum(0.01 * rng.standard_normal(HOURS))),
                "volatility": pl.Series(np.where(np.arange(HOURS) < 5, np.nan, 0.01)).fill_nan(None),
                "p_trend": 0.5, "p_range": 0.3, "p_panic": 0.2,
                "lead": rng.normal(3.0, 2.0, HOURS), "noise": rng.normal(size=HOURS),
            },
            strict=False,
        )
        for symbol in SYMBOLS
    )  # fmt: skip


def checkpoint(seed: int, policy: str = "ActorCritic", schema: str = "recipe 1") -> Checkpoint:
    """Untrained weights, made louder so that the greedy policy takes more than one level."""
    agent = RLTradingAgent(state_width(len(FEATURES)), len(LEVELS), AgentConfig(seed=seed), POLICIES[policy])
    agent.features = FEATURES
    scaler = Scaler.fit(market(), FEATURES, Window(START, START + 200 * HOUR))
    made = agent.checkpoint(scaler=scaler, schema=schema)
    loud = {name: value * 5.0 if value.ndim > 1 else value for name, value in made.weights.items()}
    return replace(made, weights=loud)


@pytest.fixture(scope="module")
def agents() -> TradingAgents:
    return TradingAgents(checkpoint(1), {"AAA/USDT": checkpoint(2)})


@pytest.fixture(scope="module")
def decided(agents: TradingAgents) -> list[DecidedTape]:
    return agents.decide(market())


def test_every_symbol_is_decided_on_in_the_order_of_the_rows(decided: list[DecidedTape]) -> None:
    assert [one.tape.symbols for one in decided] == [(symbol,) for symbol in SYMBOLS]
    for one in decided:
        assert len(one.tape) == HOURS - 5, "bars without a volatility are left out"
        assert len(np.unique(one.decisions.level)) > 1


def test_a_tuned_agent_trades_its_symbol_and_no_other(
    agents: TradingAgents, decided: list[DecidedTape]
) -> None:
    pooled, tuned = (TradingAgents(one).decide(market()) for one in (agents.pooled, agents.tuned["AAA/USDT"]))
    for one, by_pooled, by_tuned in zip(decided, pooled, tuned, strict=True):
        assert (by_pooled.positions != by_tuned.positions).any()
        expected = by_tuned if one.tape.symbols == ("AAA/USDT",) else by_pooled
        np.testing.assert_array_equal(one.positions, expected.positions)


def test_symbols_decided_on_together_are_decided_on_as_alone(
    agents: TradingAgents, decided: list[DecidedTape]
) -> None:
    for symbol, one in zip(SYMBOLS, decided, strict=True):
        (alone,) = agents.decide(market().filter(pl.col("symbol") == symbol))
        np.testing.assert_array_equal(alone.positions, one.positions)
        np.testing.assert_allclose(alone.decisions.own, one.decisions.own, atol=1e-6)


def test_an_agent_tuned_for_a_symbol_that_is_not_there_does_nothing(agents: TradingAgents) -> None:
    (only,) = agents.decide(market().filter(pl.col("symbol") == "CCC/USDT"))
    assert only.tape.symbols == ("CCC/USDT",)


def test_the_features_are_put_in_the_units_of_the_checkpoint(
    agents: TradingAgents, decided: list[DecidedTape]
) -> None:
    scaler = agents.pooled.scaler
    assert scaler is not None
    rows = market().filter((pl.col("symbol") == "BBB/USDT") & pl.col("volatility").is_not_null())
    expected = (rows.select(FEATURES).to_numpy() - scaler.center) / scaler.scale
    np.testing.assert_allclose(decided[0].tape.x, expected.clip(-5, 5), rtol=1e-5, atol=1e-6)
    with pytest.raises(DataError, match="has no scaler"):
        TradingAgents(replace(agents.pooled, scaler=None)).decide(market())


def test_episodes_begin_flat_anew(agents: TradingAgents) -> None:
    for one in agents.decide(market(), episode=100):
        position = one.decisions.own[:, 0].numpy()
        assert not position[::100].any()
        assert position[1:100].any()
        assert (one.tape.decisions_left[[97, 98, 99]] == [1, 0, 0]).all()


def test_a_window_keeps_positions_and_the_states_in_which_they_were_taken(
    decided: list[DecidedTape],
) -> None:
    """The account does not begin flat on the first bar of the window."""
    start, end = START + 100 * HOUR, START + 200 * HOUR
    for one in decided:
        part = one.between(start, end)
        np.testing.assert_array_equal(part.positions, one.positions[95:195])
        np.testing.assert_array_equal(part.decisions.own, one.decisions.own[95:195])
        assert (part.tape.ts[0].item(), part.tape.ts[-1].item()) == (start, end - HOUR)
        np.testing.assert_array_equal(part.outcomes.net[1:98], one.outcomes.net[96:193])
        assert not part.outcomes.net[98:].any(), "what reaches beyond the window is not counted"


def test_holding_settles_one_position_on_every_row(leaning_tape: MakeTape, decided_tape: Decide) -> None:
    tape = leaning_tape()
    one = decided_tape(tape, np.random.default_rng(0).integers(0, len(LEVELS), len(tape)), cost=0.002)
    for held in (1.0, -0.4):
        expected = outcomes(tape, np.full(len(tape), held), EnvironmentConfig(cost=0.002))
        for name in ("net", "reward", "turnover"):
            np.testing.assert_array_equal(getattr(one.held(held), name), getattr(expected, name))
    assert one.held(1.0).turnover.sum() == 2, "one entry for each run"
    longest = decided_tape(tape, np.full(len(tape), LONGEST), cost=0.002)
    np.testing.assert_array_equal(longest.outcomes.net, one.held(1.0).net)


def by_hand(decide: Decide) -> list[DecidedTape]:
    """Two symbols without funding; the second begins a bar later."""

    def one(symbol: str, opens: list[float], level: list[int], first: int) -> DecidedTape:
        rows = pl.DataFrame(
            {
                "symbol": symbol,
                "ts": [START + (first + i) * HOUR for i in range(len(opens))],
                "segment": 0,
                "open": opens,
                "volatility": 0.01,
                "p_trend": 1.0,
                "p_range": 0.0,
                "p_panic": 0.0,
                "f": 0.0,
            }
        )
        return decide(MarketTape.from_frame(rows, ["f"]), np.array(level), cost=0.001)

    half = LEVELS.index(0.4)
    return [
        one("AAA/USDT", [1.0, 100.0, 110.0, 99.0, 99.0], [LONGEST, LONGEST, half, FLAT, FLAT], 0),
        one("BBB/USDT", [1.0, 50.0, 55.0, 55.0], [FLAT, LONGEST, FLAT, FLAT], 1),
    ]


def test_every_symbol_that_can_decide_has_the_same_share(decided_tape: Decide) -> None:
    """A: +10 % less 0.1 %, -10 %, 0 less 0.06 %; B, on the second and third bar: 0, then 0 less 0.1 %."""
    account = even_account(by_hand(decided_tape))
    assert account["ts"].to_list() == [START + i * HOUR for i in range(3)]
    np.testing.assert_allclose(account["net_return"], [0.099, (-0.1 + 0.0) / 2, (-0.0006 - 0.001) / 2])
    np.testing.assert_allclose(account["turnover"], [1.0, 0.0, (0.6 + 1.0) / 2])
    held = even_account(by_hand(decided_tape), held=1.0)
    np.testing.assert_allclose(held["net_return"], [0.099, (-0.1 + 0.099) / 2, 0.0], atol=1e-15)
    np.testing.assert_allclose(held["turnover"], [1.0, 0.5, 0.0])


def test_the_frame_says_what_was_decided(decided: list[DecidedTape]) -> None:
    one = decided[0]
    frame = one.frame()
    assert frame.columns == ["symbol", "ts", "level", "position", "confidence", "value", "option"]
    assert frame["symbol"].unique().to_list() == ["BBB/USDT"]
    np.testing.assert_array_equal(frame["position"], np.array(LEVELS)[frame["level"].to_numpy()])
    assert frame["ts"].to_numpy().tolist() == one.tape.ts.tolist()
    assert frame["confidence"].is_between(1 / len(LEVELS), 1).all()
    assert frame.schema["option"] == pl.String
    assert frame["option"].null_count() == frame.height
    (optional,) = TradingAgents(checkpoint(3, HierarchicalRLAgent.__name__)).decide(
        market().filter(pl.col("symbol") == "AAA/USDT")
    )
    assert isinstance(optional.agent.policy, HierarchicalRLAgent)
    assert set(optional.frame()["option"]) <= set(optional.agent.policy.config.names)


def test_bytes_bring_back_the_same_agents(agents: TradingAgents, decided: list[DecidedTape]) -> None:
    data = agents.to_bytes()
    again = TradingAgents.from_bytes(data, "recipe 1")
    assert again.to_bytes() == data
    assert again.content_hash == agents.content_hash
    assert list(again.tuned) == ["AAA/USDT"]
    for one, other in zip(decided, again.decide(market()), strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)
    assert TradingAgents(agents.pooled).content_hash != agents.content_hash
    assert TradingAgents(checkpoint(4), agents.tuned).content_hash != agents.content_hash


@pytest.mark.parametrize("stranger", ["pooled", "tuned"])
def test_agents_made_for_another_recipe_are_refused(agents: TradingAgents, stranger: str) -> None:
    other = checkpoint(1, schema="recipe 2")
    mixed = TradingAgents(
        other if stranger == "pooled" else agents.pooled,
        {"AAA/USDT": other if stranger == "tuned" else agents.tuned["AAA/USDT"]},
    )
    assert TradingAgents.from_bytes(mixed.to_bytes()).content_hash == mixed.content_hash
    with pytest.raises(DataError, match="made for features of schema recipe 2"):
        TradingAgents.from_bytes(mixed.to_bytes(), "recipe 1")
    with pytest.raises(DataError):
        TradingAgents.from_bytes(b"\x80\x04K\x01.")
