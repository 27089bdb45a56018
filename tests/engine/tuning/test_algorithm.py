from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.tuning.algorithm import TradingAlgorithm
from engine.tuning.market_state import MarketState
from engine.tuning.parameters import DEFAULTS, ParameterSet
from engine.tuning.positions import Position

NOW = datetime(2024, 5, 1, 12)
QUIET = MarketState("BTC/USDT", NOW, 100.0, 55.0, 0, 0.3, 99.5, 0.2, 1, 0.1, -1, 7.0)
BREAK = replace(QUIET, volatility_percentile=83.0, breakout_side=1, zscore=3.0, mean=95.0)
STRAY = replace(QUIET, volatility_percentile=20.0, zscore=2.5, mean=97.0)
NEWS = replace(QUIET, social_strength=0.8, social_direction=-1)

ALGORITHM = TradingAlgorithm(DEFAULTS)


def test_a_breakout_in_lively_markets_is_followed():
    found = ALGORITHM.decide(BREAK)
    assert (found.action, found.kind, found.side) == ("enter", "BREAKOUT", 1)
    assert (found.stop, found.target) == (0.015, 0.03)
    assert found.size == pytest.approx(0.5 / 1.5)
    assert found.confidence == pytest.approx(13 / 30)
    assert "volatility percentile 83 >= volPctBreakout 70" in found.reasons[0]
    assert "expected cost 7 bps <= costCapBps 8" in found.reasons[1]
    assert "0.3333" in found.reasons[2]
    assert ALGORITHM.decide(replace(BREAK, breakout_side=-1)).side == -1


def test_a_stray_in_quiet_markets_is_expected_back_at_the_mean():
    found = ALGORITHM.decide(STRAY)
    assert (found.kind, found.side, found.stop) == ("REVERT", -1, 0.015)
    assert found.target == pytest.approx(0.03)
    assert found.confidence == pytest.approx(0.5 * (1 - 2 / 2.5) + 0.5 * (1 - 20 / 40))
    low = ALGORITHM.decide(replace(STRAY, zscore=-2.5, mean=103.0))
    assert (low.side, low.target) == (1, pytest.approx(0.03))


def test_news_is_followed_either_way_with_its_own_risk():
    found = ALGORITHM.decide(NEWS)
    assert (found.kind, found.side, found.stop, found.target) == ("NEWS", -1, 0.015, 0.025)
    assert found.size == pytest.approx(0.25 / 1.5)
    careful = ParameterSet(base_risk_pct=0.1)
    assert TradingAlgorithm(careful).decide(NEWS).size == pytest.approx(0.1 / 1.5)
    by_news = replace(QUIET, social_strength=np.nan, news_strength=0.76, news_direction=1)
    assert ALGORITHM.decide(by_news).side == 1


def test_news_goes_before_breakouts_and_these_before_returns():
    everything = replace(BREAK, social_strength=0.9, social_direction=-1)
    assert ALGORITHM.decide(everything).kind == "NEWS"
    meeting = ParameterSet(vol_pct_breakout=50.0, vol_pct_mean_revert=50.0)
    both = replace(BREAK, volatility_percentile=50.0)
    assert TradingAlgorithm(meeting).decide(both).kind == "BREAKOUT"
    assert TradingAlgorithm(meeting).decide(replace(both, breakout_side=0)).kind == "REVERT"


def test_the_stronger_score_speaks_and_equal_ones_that_contradict_are_silent():
    louder = replace(NEWS, news_strength=0.9, news_direction=1)
    assert ALGORITHM.decide(louder).side == 1
    assert ALGORITHM.decide(replace(louder, news_strength=0.8)).action == "none"
    assert ALGORITHM.decide(replace(louder, news_strength=0.8, news_direction=-1)).side == -1


def test_thresholds_are_met_where_they_are_equalled():
    assert ALGORITHM.decide(replace(BREAK, volatility_percentile=70.0)).kind == "BREAKOUT"
    assert ALGORITHM.decide(replace(STRAY, volatility_percentile=40.0, zscore=2.0)).kind == "REVERT"
    assert ALGORITHM.decide(replace(NEWS, social_strength=0.75)).kind == "NEWS"
    assert ALGORITHM.decide(replace(BREAK, expected_cost_bps=8.0)).action == "enter"


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (replace(BREAK, volatility_percentile=69.9), "69.9 < volPctBreakout 70"),
        (replace(STRAY, volatility_percentile=40.1), "40.1 > volPctMeanRevert 40"),
        (replace(STRAY, zscore=-1.9), "-1.9 deviations"),
        (replace(NEWS, social_strength=0.74), "0.74 < socialGo 0.75"),
        (replace(BREAK, expected_cost_bps=8.2), "8.2 bps > costCapBps 8"),
    ],
)
def test_a_refusal_names_the_figure_and_the_bound(state, word):
    found = ALGORITHM.decide(state)
    assert (found.action, found.kind, found.side, found.size, found.confidence) == ("none", None, 0, 0.0, 0.0)
    assert any(word in reason for reason in found.reasons)


@pytest.mark.parametrize(
    "state",
    [
        replace(BREAK, volatility_percentile=np.nan),
        replace(STRAY, zscore=np.nan, mean=np.nan),
        replace(STRAY, volatility_percentile=np.nan),
        replace(NEWS, social_strength=np.nan, social_direction=0),
        replace(BREAK, expected_cost_bps=np.nan),
        MarketState("BTC/USDT", NOW, 100.0),
    ],
)
def test_what_is_not_known_lets_nothing_pass(state):
    found = ALGORITHM.decide(state)
    assert found.action == "none"
    assert found.reasons


def test_all_of_the_equity_is_the_most_that_is_held():
    bold = ParameterSet(base_risk_pct=2.0, sl_breakout=0.3)
    assert TradingAlgorithm(bold).decide(BREAK).size == 1.0


@given(
    percentile=st.floats(0, 100), other=st.floats(0, 100), z=st.floats(-9, 9), strength=st.floats(0, 1),
    side=st.sampled_from((-1, 0, 1)),
)  # fmt: skip
def test_confidence_lies_in_0_to_1_and_rises_with_the_signal(percentile, other, z, strength, side):
    def confidence(**changes) -> tuple[str | None, float]:
        found = ALGORITHM.decide(replace(QUIET, **changes))
        assert 0.0 <= found.confidence <= 1.0
        return found.kind, found.confidence

    for states in (
        [{"breakout_side": side, "volatility_percentile": p} for p in sorted((percentile, other))],
        [{"zscore": k, "mean": 100.0 - k, "volatility_percentile": 30.0} for k in (z, 1.5 * z)],
        [{"zscore": z, "volatility_percentile": p} for p in sorted((percentile, other), reverse=True)],
        [{"news_strength": s, "news_direction": 1} for s in (strength, min(1.2 * strength, 1.0))],
    ):
        (kind, weaker), (same, stronger) = (confidence(**state) for state in states)
        assert kind is None or (kind == same and weaker <= stronger)


# ------------------------------------------------------------------------------------- positions


def held(side: int = 1) -> Position:
    decision = ALGORITHM.decide(replace(BREAK, breakout_side=side))
    return Position.filled(decision, 200.0, NOW)


def test_a_position_is_held_with_the_stop_and_target_of_its_entry():
    position = held()
    assert (position.stop_price, position.target_price) == (pytest.approx(197.0), pytest.approx(206.0))
    other = TradingAlgorithm(ParameterSet(tp_breakout=9.0, sl_breakout=4.0))
    found = other.decide(NEWS, position)
    assert (found.action, found.kind, found.side) == ("hold", "BREAKOUT", 1)
    assert (found.size, found.stop, found.target) == (position.size, 0.015, 0.03)
    assert "197" in found.reasons[0]
    with pytest.raises(ValueError, match="'none' fills nothing"):
        Position.filled(ALGORITHM.decide(QUIET), 200.0, NOW)


@pytest.mark.parametrize(
    ("side", "bar", "price", "reason"),
    [
        (1, (200, 203, 196), 197.0, "stop"),
        (1, (200, 207, 196), 197.0, "stop"),
        (1, (195, 207, 194), 195.0, "stop"),
        (1, (200, 207, 198), 206.0, "target"),
        (1, (208, 209, 207), 208.0, "target"),
        (-1, (200, 204, 199), 203.0, "stop"),
        (-1, (205, 205, 190), 205.0, "stop"),
        (-1, (200, 201, 193), 194.0, "target"),
        (-1, (190, 191, 189), 190.0, "target"),
    ],
)
def test_a_bar_ends_a_position_at_the_stop_first(side, bar, price, reason):
    left = held(side).leave(*bar)
    assert left is not None
    assert (left.price, left.reason) == (pytest.approx(price), reason)


def test_a_bar_between_stop_and_target_ends_nothing():
    assert held().leave(200.0, 205.9, 197.1) is None
    assert held(-1).leave(200.0, 202.9, 194.1) is None
