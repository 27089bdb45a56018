from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engine.portfolio.optimizer as optimizer_module
from engine.portfolio.allocation import Attempt, PortfolioConfig, Signal
from engine.portfolio.optimizer import PortfolioRiskOptimizer
from engine.portfolio.risk_budget import NotConvergedError, risk_budget_weights

SYMBOLS = ["BTC/USDT", "ETH/USDT", "SOL/USDT", "DOGE/USDT"]
LOOSE = {"correlation_limit": 1.0, "max_weight": 1.0, "no_trade_band": 0.0}


def market(seed: int = 0, periods: int = 200, beta: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((periods, 1))
    return (rng.standard_normal((periods, 4)) + beta * common) * [0.02, 0.03, 0.05, 0.06]


def allocate(returns=None, current=None, signals=None, symbols=SYMBOLS, **config):
    optimizer = PortfolioRiskOptimizer(PortfolioConfig(**config))
    return optimizer.optimize_allocation(
        symbols, current or {}, market() if returns is None else returns, signals
    )


def test_equal_risk_without_signals():
    found = allocate(**LOOSE)
    assert found.method == "risk_budget"
    assert found.attempts == (Attempt("risk_budget", None),)
    np.testing.assert_allclose(list(found.risk_contributions.values()), 0.25, atol=1e-10)
    assert found.exposure == pytest.approx(1.0)
    assert found.trades == found.weights
    assert found.residual <= 1e-10
    assert found.turnover == pytest.approx(1.0)
    assert found.cost == pytest.approx(1e-3)
    assert found.dropped == {}
    weights = np.array([found.weights[s] for s in SYMBOLS])
    assert found.volatility == pytest.approx(np.sqrt(weights @ found.covariance @ weights * 365))


def test_scale_of_returns_and_repetition_change_nothing():
    first, again, small = allocate(**LOOSE), allocate(**LOOSE), allocate(market() * 1e-4, **LOOSE)
    assert first.weights == again.weights
    np.testing.assert_allclose(list(small.weights.values()), list(first.weights.values()), atol=1e-8)


def test_budgets_follow_the_confidence_edge_and_sides_the_direction():
    signals = {
        "BTC/USDT": Signal(1, 0.8),
        "ETH/USDT": Signal(-1, 0.6),
        "SOL/USDT": Signal(1, None),
        "DOGE/USDT": Signal(1, 0.45),
    }
    found = allocate(signals=signals, **LOOSE)
    assert found.risk_contributions["BTC/USDT"] == pytest.approx(0.75, abs=1e-10)
    assert found.risk_contributions["ETH/USDT"] == pytest.approx(0.25, abs=1e-10)
    assert found.weights["BTC/USDT"] > 0 > found.weights["ETH/USDT"]
    assert found.weights["SOL/USDT"] == found.weights["DOGE/USDT"] == 0.0
    assert found.dropped == {
        "SOL/USDT": "confidence unknown",
        "DOGE/USDT": "confidence 0.4500 is not above 0.5",
    }
    long_only = allocate(signals=signals, long_only=True, **LOOSE)
    assert long_only.dropped["ETH/USDT"] == "short signal, long-only portfolio"
    assert long_only.weights["ETH/USDT"] == 0.0


@pytest.mark.parametrize("confidence", [None, float("nan"), 0.5, 0.2])
def test_without_an_edge_everything_is_sold(confidence):
    signals = {s: Signal(1, confidence) for s in SYMBOLS}
    found = allocate(signals=signals, current={"BTC/USDT": 0.3})
    assert found.method == "flat"
    assert found.attempts == (Attempt("flat", None),)
    assert found.trades == {"BTC/USDT": -0.3}


def test_correlation_limit_keeps_the_most_important_and_says_why():
    found = allocate(market(beta=2.5))
    assert [s for s, w in found.weights.items() if w > 0] == ["BTC/USDT"]
    assert found.dropped["SOL/USDT"].startswith("correlation 0.")
    assert "with BTC/USDT above 0.550" in found.dropped["SOL/USDT"]
    signals = {s: Signal(1, 0.55 + 0.1 * (s == "SOL/USDT")) for s in SYMBOLS}
    preferred = allocate(market(beta=2.5), signals=signals)
    assert [s for s, w in preferred.weights.items() if w > 0] == ["SOL/USDT"]


def test_kept_pairs_obey_the_limit_with_their_sides():
    signals = {s: Signal(side, 0.7) for s, side in zip(SYMBOLS, (1, -1, 1, -1), strict=True)}
    found = allocate(market(beta=2.5), signals=signals, max_weight=1.0)
    held = [s for s in SYMBOLS if found.weights[s] != 0]
    assert held == ["BTC/USDT", "ETH/USDT"]


def test_target_volatility_lowers_exposure_but_never_lifts_it_beyond_the_cap():
    calm = allocate(**(LOOSE | {"target_volatility": 0.10}))
    assert calm.volatility == pytest.approx(0.10, rel=1e-9)
    assert calm.exposure < 1
    assert any("target 0.1000" in reason for reason in calm.reasons)
    bold = allocate(**(LOOSE | {"target_volatility": 5.0, "max_gross": 1.5}))
    assert bold.exposure == pytest.approx(1.5)


def test_cap_per_asset_leaves_the_excess_in_cash():
    free, found = allocate(**LOOSE), allocate(**(LOOSE | {"max_weight": 0.25}))
    over = {s for s, w in free.weights.items() if w > 0.25}
    assert over
    for s in SYMBOLS:
        assert found.weights[s] == pytest.approx(0.25 if s in over else free.weights[s])
        assert any(s in reason for reason in found.reasons) == (s in over)


def test_band_saves_small_trades_and_caps_win_over_it():
    target = allocate(**LOOSE).weights
    near = {s: w - 0.004 for s, w in target.items()}
    still = allocate(current=near, **(LOOSE | {"no_trade_band": 0.01}))
    assert still.trades == {}
    assert still.turnover == still.cost == 0.0
    above = {s: w + 0.004 for s, w in target.items()}
    cut = allocate(current=above, **(LOOSE | {"no_trade_band": 0.01}))
    assert cut.exposure == pytest.approx(1.0)
    assert any("band set aside" in reason for reason in cut.reasons)


def test_what_is_not_in_the_universe_is_sold():
    found = allocate(current={"LUNA/USDT": 0.2}, **LOOSE)
    assert found.trades["LUNA/USDT"] == -0.2
    assert found.dropped["LUNA/USDT"] == "not in the universe"
    assert found.symbols == (*SYMBOLS, "LUNA/USDT")


def test_unusable_histories_are_left_out_with_reasons():
    returns = market()
    returns[:170, 1] = np.nan
    returns[-5:, 2] = np.nan
    found = allocate(returns, current={"SOL/USDT": 0.1}, **LOOSE)
    assert found.dropped == {
        "ETH/USDT": "30 returns, 60 needed",
        "SOL/USDT": "no return in the last 3 periods",
    }
    assert found.weights["SOL/USDT"] == 0.0
    assert found.covariance_symbols == ("BTC/USDT", "DOGE/USDT")
    assert found.risk_contributions["BTC/USDT"] == pytest.approx(0.5)


def test_solver_failure_falls_back_to_inverse_volatility(monkeypatch):
    def fail(*_args, **_options):
        raise NotConvergedError("budgets not met")

    monkeypatch.setattr(optimizer_module, "risk_budget_weights", fail)
    found = allocate(**LOOSE)
    assert found.method == "inverse_volatility"
    assert found.attempts == (Attempt("risk_budget", "budgets not met"), Attempt("inverse_volatility", None))
    volatility = np.sqrt(np.diag(found.covariance))
    np.testing.assert_allclose(list(found.weights.values()), 1 / volatility / (1 / volatility).sum())


@pytest.mark.parametrize("error", [FloatingPointError("overflow"), np.linalg.LinAlgError("singular")])
def test_a_solver_that_breaks_down_is_a_failure_too(monkeypatch, error):
    def fail(*_args, **_options):
        raise error

    monkeypatch.setattr(optimizer_module, "risk_budget_weights", fail)
    found = allocate(**LOOSE)
    assert found.method == "inverse_volatility"
    assert found.attempts[0] == Attempt("risk_budget", str(error))
    assert found.residual is None


def test_a_covariance_that_breaks_down_leaves_the_previous_weights(monkeypatch):
    def fail(*_args, **_options):
        raise np.linalg.LinAlgError("no convergence")

    monkeypatch.setattr(optimizer_module, "configured_covariance", fail)
    found = allocate(current={"BTC/USDT": 0.3, "ETH/USDT": 0.1})
    assert found.method == "previous"
    assert found.attempts == (Attempt("risk_budget", "no convergence"), Attempt("previous", None))
    assert found.weights["BTC/USDT"] == 0.3
    assert found.trades == {}


class TestCovarianceChoice:
    REGIMES = np.tile([0.2, 0.7, 0.1], (200, 1))

    def test_each_choice_gives_equal_risk_on_a_covariance_of_its_own(self):
        optimizers = [
            PortfolioRiskOptimizer(PortfolioConfig(covariance=choice, **LOOSE))
            for choice in ("shrinkage", "ewma", "regime")
        ]
        found = [o.optimize_allocation(SYMBOLS, {}, market(), regimes=self.REGIMES) for o in optimizers]
        for allocation in found:
            assert allocation.attempts == (Attempt("risk_budget", None),)
            assert allocation.residual <= 1e-10
        traces = {np.trace(allocation.covariance) for allocation in found}
        assert len(traces) == 3

    def test_without_probabilities_the_regime_covariance_falls_back_and_says_so(self):
        found, plain = allocate(covariance="regime", **LOOSE), allocate(**LOOSE)
        assert found.attempts == (
            Attempt("regime covariance", "no regime probabilities were given"),
            Attempt("risk_budget", None),
        )
        assert found.weights == plain.weights

    def test_probabilities_must_belong_to_the_returns(self):
        optimizer = PortfolioRiskOptimizer(PortfolioConfig(covariance="regime"))
        with pytest.raises(ValueError, match="199 periods, returns 200"):
            optimizer.optimize_allocation(SYMBOLS, {}, market(), regimes=self.REGIMES[1:])

    def test_a_panic_holds_less_where_volatility_is_targeted(self):
        optimizer = PortfolioRiskOptimizer(
            PortfolioConfig(covariance="regime", target_volatility=0.2, **LOOSE)
        )
        panic = np.vstack([self.REGIMES[:-1], [0.0, 0.0, 1.0]])
        calm, stressed = (
            optimizer.optimize_allocation(SYMBOLS, {}, market(), regimes=r) for r in (self.REGIMES, panic)
        )
        assert stressed.exposure < 0.8 * calm.exposure


@given(st.integers(0, 1000), st.permutations(range(4)))
@settings(max_examples=25, deadline=None)
def test_the_order_of_symbols_only_reorders(seed, order):
    plain = allocate(market(seed), **LOOSE)
    names = [SYMBOLS[i] for i in order]
    permuted = allocate(market(seed)[:, order], symbols=names, **LOOSE)
    for symbol in SYMBOLS:
        assert permuted.weights[symbol] == pytest.approx(plain.weights[symbol], rel=1e-8)


@given(
    st.integers(0, 1000), st.lists(st.floats(-0.5, 0.5), min_size=4, max_size=4), st.floats(0.05, 0.5),
    st.floats(0.1, 1.5), st.floats(0, 0.05),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_caps_are_never_exceeded(seed, current, max_weight, max_gross, band):
    rng = np.random.default_rng(seed)
    signals = {s: Signal(int(rng.choice([-1, 0, 1])), float(rng.uniform(0.4, 0.9))) for s in SYMBOLS}
    returns = market(seed)
    returns[rng.random(returns.shape) < rng.choice([0.0, 0.1, 0.9])] = np.nan
    held = dict(zip(SYMBOLS, current, strict=True))
    found = allocate(
        returns, held, signals, max_weight=max_weight, max_gross=max_gross, no_trade_band=band
    )  # fmt: skip
    weights = np.abs(list(found.weights.values()))
    assert (weights <= max_weight + 1e-12).all()
    assert weights.sum() <= max_gross + 1e-9


def test_a_config_survives_json():
    config = PortfolioConfig(covariance="regime", half_life=0.1 + 11.1, target_volatility=1 / 3)
    assert PortfolioConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_without_data_the_previous_weights_stay_within_the_caps():
    nothing = np.full((200, 4), np.nan)
    found = allocate(nothing, current={"BTC/USDT": 0.5, "ETH/USDT": -0.1})
    assert found.method == "previous"
    assert "0 returns, 60 needed" in found.attempts[0].failure
    assert found.attempts[1] == Attempt("previous", None)
    assert found.weights["BTC/USDT"] == 0.40
    assert found.weights["ETH/USDT"] == 0.0
    assert found.covariance is None
    assert found.risk_contributions == {}
    empty = allocate(nothing)
    assert empty.method == "flat"
    assert [a.method for a in empty.attempts] == ["risk_budget", "previous", "flat"]


def test_assets_that_never_traded_together_leave_the_previous_weights():
    returns = market()
    returns[::2, 0] = np.nan
    returns[1::2, 1:] = np.nan
    found = allocate(returns, current={"ETH/USDT": 0.2})
    assert found.method == "previous"
    assert "share 0 returns" in found.attempts[0].failure
    assert found.weights["ETH/USDT"] == 0.2


def test_only_the_past_window_counts():
    returns = np.vstack([100 * market(9), market(periods=180)])
    assert allocate(returns, **LOOSE).weights == allocate(market(periods=180), **LOOSE).weights


def test_frame_and_array_agree_and_the_report_is_a_table():
    frame = pl.DataFrame(market(), schema=SYMBOLS).with_columns(pl.lit("2024").alias("ts"))
    frame = frame.with_columns(
        pl.when(pl.int_range(pl.len()) < 50).then(None).otherwise("SOL/USDT").alias("SOL/USDT")
    )
    array = market()
    array[:50, 2] = np.nan
    from_frame, from_array = allocate(frame, **LOOSE), allocate(array, **LOOSE)
    assert from_frame.weights == from_array.weights
    table = from_frame.frame()
    assert table.columns == [
        "symbol", "current", "target", "weight", "trade", "risk_contribution", "dropped", "method",
    ]  # fmt: skip
    assert table["weight"].to_list() == [from_frame.weights[s] for s in SYMBOLS]


def test_agrees_with_the_solver_on_the_reported_covariance():
    found = allocate(**LOOSE)
    np.testing.assert_allclose(
        list(found.weights.values()), risk_budget_weights(found.covariance), atol=1e-12
    )


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="repeat"):
        allocate(symbols=["A", "A", "B", "C"])
    with pytest.raises(ValueError, match="shape"):
        allocate(market()[:, :3])
    with pytest.raises(ValueError, match="no column for"):
        allocate(pl.DataFrame({"BTC/USDT": [0.1]}))
    with pytest.raises(ValueError, match="BTC/USDT is not finite"):
        allocate(current={"BTC/USDT": float("nan")})


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_history": 300}, {"correlation_limit": 0.0}, {"hysteresis": 0.7}, {"max_gross": 0.0},
        {"covariance": "sample"}, {"regime_window": 100}, {"stress_correlation": 1.0},
        {"max_weight": -1.0}, {"no_trade_band": -0.1}, {"cost_bps": -1.0}, {"target_volatility": 0.0},
    ],
)  # fmt: skip
def test_bad_limits_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PortfolioConfig(**wrong)
