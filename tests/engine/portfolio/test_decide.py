from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import engine.portfolio.optimizer as optimizer_module
from engine.portfolio.allocation import PortfolioConfig
from engine.portfolio.decide import DecisionConfig, DecisionInputs, DecisionState, target_positions
from engine.portfolio.gate_profiles import PROFILES
from engine.portfolio.position_sizer import SizerConfig
from engine.portfolio.rebalance import drifted_weights
from engine.portfolio.risk_limits import RiskLimits
from engine.portfolio.view import SymbolView

SYMBOLS = [
    f"{name}/USDT"
    for name in ("BTC", "ETH", "SOL", "ADA", "XRP", "BNB", "LTC", "DOT", "LINK", "AVAX", "DOGE")
]
CALM = {
    "direction": 1, "confidence": 0.60, "regime_probabilities": (0.5, 0.5, 0.0), "p_changepoint": 0.05,
    "volatility": 0.50, "cost_bps": 6.0, "data_age_hours": 0.5, "fear_greed": 50.0,
    "fear_greed_age_hours": 3.0,
}  # fmt: skip
CONFIG = DecisionConfig(portfolio=PortfolioConfig(no_trade_band=0.0))


def market(seed: int = 0, periods: int = 200, assets: int = 11) -> np.ndarray:
    rng = np.random.default_rng(seed)
    common = 0.4 * rng.standard_normal((periods, 1))
    return (rng.standard_normal((periods, assets)) + common) * np.linspace(0.02, 0.05, assets)


def inputs(current=None, equity=100_000.0, day="2024-03-02", symbols=SYMBOLS, **changes) -> DecisionInputs:
    """Calm views; `changes` maps a symbol's first letters to what differs."""
    views = tuple(SymbolView(s, **{**CALM, **changes.get(s.split("/")[0], {})}) for s in symbols)
    return DecisionInputs(day, equity, current or {}, views)


def test_calm_and_sure_views_get_what_the_optimiser_wants():
    found = target_positions(inputs(), market(), CONFIG)
    assert found.weights == pytest.approx(found.allocation.target)
    assert sum(found.weights.values()) == pytest.approx(1.0)
    assert found.review.cuts == ()
    assert found.turnover == pytest.approx(1.0)
    assert found.cost == pytest.approx(1e-3)


def test_every_symbol_has_every_reason_as_rows():
    found = target_positions(inputs(BTC={"confidence": 0.4}, ETH={"p_changepoint": 0.75}), market(), CONFIG)
    table, reasons = found.frame(), found.reasons()
    assert table["symbol"].to_list() == SYMBOLS
    assert table.filter(pl.col("symbol") == "BTC/USDT").row(0, named=True) == {
        "day": "2024-03-02", "symbol": "BTC/USDT", "direction": 1, "confidence": 0.4, "gates_passed": False,
        "allocated": 0.0, "sized": 0.0, "weight": 0.0, "current": 0.0, "trade": 0.0, "method": "risk_budget",
    }  # fmt: skip
    gates = reasons.filter(stage="gate", symbol="BTC/USDT")
    assert gates.filter(pl.col("value") == 0.0)["reason"].to_list() == [
        "confidence 0.4, at least 0.54 needed"
    ]
    assert gates.height == 7
    assert reasons.filter(stage="size", symbol="SOL/USDT").height == 6
    assert reasons.filter(stage="allocation", symbol="BTC/USDT")["name"].to_list() == ["dropped"]
    assert reasons.filter(pl.col("symbol").is_null())["reason"].to_list() == ["gave the weights"]
    assert reasons["reason"].null_count() == 0


def test_a_veto_keeps_out_but_does_not_throw_out():
    """Vetoed by its cost: not opened, not added to, but kept or reduced where held."""
    dear = {"cost_bps": 50.0}
    assert target_positions(inputs(BTC=dear), market(), CONFIG).weights["BTC/USDT"] == 0.0
    little = target_positions(inputs({"BTC/USDT": 0.02}, BTC=dear), market(), CONFIG)
    assert little.weights["BTC/USDT"] == pytest.approx(0.02)
    free = target_positions(inputs(), market(), CONFIG).weights["BTC/USDT"]
    much = target_positions(inputs({"BTC/USDT": 0.35}, BTC=dear), market(), CONFIG)
    assert much.weights["BTC/USDT"] == pytest.approx(free)
    against = target_positions(inputs({"BTC/USDT": -0.1}, BTC=dear), market(), CONFIG)
    assert against.weights["BTC/USDT"] == 0.0


@pytest.mark.parametrize(
    "unknown",
    [{"confidence": None}, {"direction": None}, {"volatility": None}, {"p_changepoint": None}],
)
def test_what_is_not_known_is_sold(unknown):
    found = target_positions(inputs({"BTC/USDT": 0.1}, BTC=unknown), market(), CONFIG)
    assert found.weights["BTC/USDT"] == 0.0


def test_a_holding_outside_the_universe_is_sold_and_reported():
    found = target_positions(inputs({"LUNA/USDT": 0.2}), market(), CONFIG)
    assert found.weights["LUNA/USDT"] == 0.0
    row = found.frame().filter(symbol="LUNA/USDT").row(0, named=True)
    assert (row["trade"], row["gates_passed"]) == (-0.2, None)


def test_the_fallback_to_previous_weights_does_not_shrink_them_day_by_day(monkeypatch):
    """Sizing weights that were sized before would halve them every day that data are missing."""

    def fail(*_args, **_options):
        raise np.linalg.LinAlgError("no convergence")

    monkeypatch.setattr(optimizer_module, "configured_covariance", fail)
    half = {name.split("/")[0]: {"confidence": 0.55} for name in SYMBOLS}
    current, state = {"BTC/USDT": 0.1, "ETH/USDT": 0.05}, None
    for day in ("2024-03-02", "2024-03-03", "2024-03-04"):
        found = target_positions(inputs(current, day=day, **half), market(), CONFIG, state)
        assert found.allocation.method == "previous"
        current, state = found.weights, found.state
    assert current["BTC/USDT"] == pytest.approx(0.1)
    gone = target_positions(
        inputs(current, day="2024-03-05", BTC={"p_changepoint": 0.95}), market(), CONFIG, state
    )
    assert gone.weights["BTC/USDT"] == 0.0


def test_the_band_saves_small_trades_and_the_risk_manager_comes_last():
    config = replace(CONFIG, portfolio=PortfolioConfig(no_trade_band=0.02))
    target = target_positions(inputs(), market(), config).weights
    near = {s: 0.9 * w for s, w in target.items()}
    assert target_positions(inputs(near), market(), config).turnover == 0.0
    over = {**target, "BTC/USDT": target["BTC/USDT"] + 0.019}
    found = target_positions(inputs(over), market(), config)
    assert sum(found.weights.values()) <= 1.0 + 1e-12
    assert {cut.rule for cut in found.review.cuts} == {"gross limit"}


def test_the_state_carries_the_sentiment_gate_and_the_risk_manager():
    low = {s.split("/")[0]: {"fear_greed": 14.0} for s in SYMBOLS}
    edge = {s.split("/")[0]: {"fear_greed": 16.0} for s in SYMBOLS}
    first = target_positions(inputs(), market(), CONFIG)
    second = target_positions(inputs(first.weights, day="2024-03-03", **low), market(), CONFIG, first.state)
    third = target_positions(inputs(day="2024-03-04", **edge), market(), CONFIG, second.state)
    assert [set(d.state.sentiment_open.values()) for d in (first, second, third)] == [
        {True},
        {False},
        {False},
    ]
    assert set(third.weights.values()) == {0.0}
    still_open = target_positions(inputs(day="2024-03-03", **edge), market(), CONFIG, first.state)
    anew = target_positions(inputs(day="2024-03-03", **edge), market(), CONFIG)
    assert all(verdict.passed for verdict in still_open.verdicts)
    assert not any(verdict.passed for verdict in anew.verdicts)
    lost = target_positions(inputs(first.weights, 60_000.0, "2024-03-05"), market(), CONFIG, third.state)
    assert set(lost.weights.values()) == {0.0}
    killed = lost.state.risk.killed
    assert killed is not None
    assert "drawdown 0.4000" in killed.reason


def test_a_decision_is_computed_again_from_stored_json_bit_for_bit():
    rng = np.random.default_rng(3)
    config = DecisionConfig(
        gates=replace(PROFILES["aggressive"], min_confidence=0.1 + 0.2),
        sizer=SizerConfig(panic_factor=1 / 3),
        portfolio=PortfolioConfig(covariance="regime"),
    )
    doubts = {
        s.split("/")[0]: {
            "confidence": float(rng.uniform(0.5, 0.7)),
            "volatility": float(rng.uniform(0.3, 2.0)),
            "fear_greed": float(rng.uniform(20, 80)),
        }
        for s in SYMBOLS
    }
    given = inputs({"BTC/USDT": 0.1 / 3}, **doubts)
    regimes = rng.dirichlet(np.ones(3), 200)
    state = target_positions(given, market(), config, None, regimes).state
    later = replace(given, day="2024-03-03")
    once = target_positions(later, market(), config, state, regimes)
    again = target_positions(
        DecisionInputs.from_dict(json.loads(json.dumps(later.to_dict(), allow_nan=False))),
        market(),
        DecisionConfig.from_dict(json.loads(json.dumps(config.to_dict(), allow_nan=False))),
        DecisionState.from_dict(json.loads(json.dumps(state.to_dict(), allow_nan=False))),
        regimes,
    )
    assert again.weights == once.weights
    assert again.state == once.state
    assert again.frame().equals(once.frame())
    assert again.reasons().equals(once.reasons())


def test_rebalancing_for_months_never_breaks_a_limit():
    """Random doubts, random markets, drift, drawdowns and the way back."""
    rng = np.random.default_rng(9)
    returns = market(5, 330) - 0.002
    config = DecisionConfig(
        limits=RiskLimits(restore_drawdown=0.01, reduce_drawdown=0.02, flat_drawdown=0.04)
    )
    current, state, equity = {}, DecisionState(), 100_000.0
    modes = set()
    for t in range(200, 330):
        doubts = {
            s.split("/")[0]: {
                "direction": int(rng.choice([-1, 1])) if s != "BTC/USDT" else 1,
                "confidence": float(rng.uniform(0.5, 0.7)), "fear_greed": float(rng.uniform(10, 90)),
                "p_changepoint": float(rng.uniform(0, 0.8)),
            }
            for s in SYMBOLS
        }  # fmt: skip
        day = f"2024-{1 + (t - 200) // 28:02d}-{1 + (t - 200) % 28:02d}"
        found = target_positions(inputs(current, equity, day, **doubts), returns[:t], config, state)
        weights = np.array([found.weights[s] for s in SYMBOLS])
        assert np.abs(weights).sum() <= 1.0 + 1e-12
        assert np.abs(weights).max() <= 0.4 + 1e-12
        modes.add(found.state.risk.mode)
        equity *= 1.0 + weights @ returns[t] - found.cost
        current = dict(zip(SYMBOLS, drifted_weights(weights, returns[t]).tolist(), strict=True))
        state = found.state
    assert modes == {"normal", "reduced", "flat"}


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="shape"):
        target_positions(inputs(symbols=["A", "A"]), market(assets=2), CONFIG)
    with pytest.raises(ValueError, match="not finite"):
        target_positions(inputs({"BTC/USDT": float("nan")}), market(), CONFIG)
