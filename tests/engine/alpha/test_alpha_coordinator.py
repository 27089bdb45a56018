"""The coordinator: one choice among signals, with its reasons, and caution where the regime is unknown."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.alpha.coordinator import AlphaEngineCoordinator, hours_of
from engine.alpha.engines.crowd import Carry
from engine.alpha.engines.price import MeanReversion, Momentum
from engine.alpha.signals import Signal

NOW = datetime(2024, 5, 1, 12)
BAR = {
    "symbol": "BTC/USDT",
    "ts": NOW,
    "zscore_168": 2.25,
    "efficiency_24": 0.2,
    "funding_rate_8h": 1e-3,
    "volatility_ratio_24_168": 0.0,
    "return_72": 0.3,
    "return_168": 0.2,
    "volatility_168": 0.02,
}
ENGINES = (Momentum(), MeanReversion(), Carry())


def coordinator(use_bandit: bool = True, seed: int = 0) -> AlphaEngineCoordinator:
    return AlphaEngineCoordinator(use_bandit, ENGINES, seed=seed)


def signal(engine: str, strength: float = 0.5, confidence: float = 0.5, regime: str = "TREND") -> Signal:
    return Signal(engine, "BTC/USDT", NOW, strength, confidence, 24, regime, ("because",))  # type: ignore[arg-type]


def test_every_engine_is_asked_about_one_bar_and_many() -> None:
    one = coordinator().generate_all_signals(BAR, "RANGE")
    assert [(s.engine, s.strength) for s in one] == [
        ("momentum", pytest.approx(0.5 + 0.5 * (0.3 / (0.02 * 72**0.5) - 1.0) / 2.0)),
        ("mean_reversion", -0.75),
        ("carry", -1.0),
    ]
    frame = pl.DataFrame([BAR, {**BAR, "ts": NOW + timedelta(hours=1), "zscore_168": None}])
    many = coordinator().generate_all_signals(frame, pl.Series(["RANGE", "PANIC"]))
    assert [(s.engine, s.regime) for s in many] == [
        ("momentum", "RANGE"),
        ("momentum", "PANIC"),
        ("mean_reversion", "RANGE"),
        ("carry", "RANGE"),
        ("carry", "PANIC"),
    ]
    assert coordinator().generate_all_signals(frame[0], "RANGE") == one


def test_the_default_engines_are_all_seven() -> None:
    names = [engine.name for engine in AlphaEngineCoordinator().engines]
    assert names == [
        "breakout", "momentum", "mean_reversion", "carry", "sentiment", "pattern_memory", "agent",
    ]  # fmt: skip
    assert AlphaEngineCoordinator().bandit.engines == tuple(names)


@pytest.mark.parametrize("use_bandit", [True, False])
def test_an_unknown_regime_and_no_signal_give_nothing(use_bandit: bool) -> None:
    one = coordinator(use_bandit)
    assert one.generate_all_signals(BAR, None) == []
    assert one.select_best_technique([], "TREND") is None
    assert one.select_best_technique([signal("momentum")], None) is None


def test_without_the_bandit_size_times_confidence_decides() -> None:
    one = coordinator(use_bandit=False)
    signals = [
        signal("momentum", 0.5, 0.5),
        signal("mean_reversion", -0.75, 0.5),
        signal("carry", 0.375, 1.0),
    ]
    chosen = one.select_best_technique(signals, "TREND")
    assert chosen is not None
    # .375 both: the earlier engine, whatever the order of the signals
    assert chosen.engine == "mean_reversion"
    assert one.select_best_technique(signals[::-1], "TREND") == chosen
    assert chosen.reasons == (
        "because",
        "size times confidence 0.375, more than momentum 0.250, carry 0.375",
    )


def test_the_bandit_follows_what_has_paid_in_this_regime() -> None:
    one = coordinator()
    for _ in range(400):
        one.record_outcome(signal("momentum"), 0.02, 0.02, NOW)
        one.record_outcome(signal("carry"), -0.02, 0.02, NOW)
        one.record_outcome(signal("momentum", regime="PANIC"), -0.02, 0.02, NOW)
        one.record_outcome(signal("carry", regime="PANIC"), 0.02, 0.02, NOW)
    for regime, best in (("TREND", "momentum"), ("PANIC", "carry")):
        signals = [signal("momentum", regime=regime), signal("carry", regime=regime)]
        for _ in range(20):
            chosen = one.select_best_technique(signals, regime)
            assert chosen is not None
            assert chosen.engine == best
            assert f" in {regime}, more than 0.5 and " in chosen.reasons[-1]


def test_the_bandit_stays_out_where_nothing_pays() -> None:
    one = coordinator()
    for _ in range(400):
        one.record_outcome(signal("momentum"), -0.02, 0.02, NOW)
    assert all(one.select_best_technique([signal("momentum")], "TREND") is None for _ in range(20))


def test_an_outcome_is_credited_to_the_regime_of_the_entry() -> None:
    one = coordinator()
    one.record_outcome(signal("carry", regime="PANIC"), 0.01, 0.02, NOW + timedelta(days=30))
    credited = one.bandit.posterior().filter(outcomes=1).select("engine", "regime", "wins").rows()
    assert credited == [("carry", "PANIC", pytest.approx(1.0 + 4.0 * (0.5 + 0.01 / 0.08)))]


def test_what_makes_no_sense_is_refused() -> None:
    one = coordinator()
    with pytest.raises(ValueError, match="two signals"):
        one.select_best_technique([signal("carry"), signal("carry")], "TREND")
    with pytest.raises(ValueError, match="current_regime='RANGE'"):
        one.select_best_technique([signal("carry")], "RANGE")
    for net, risk in ((np.nan, 0.1), (0.1, 0.0), (0.1, np.nan), (np.inf, 0.1)):
        with pytest.raises(ValueError, match="must be finite"):
            one.record_outcome(signal("carry"), net, risk, NOW)
    assert hours_of(datetime(1970, 1, 2, 0, 30)) == 24.5
