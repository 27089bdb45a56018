from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.portfolio.position_sizer import Factor, PositionSize, PositionSizer, SizerConfig
from engine.portfolio.view import SymbolView
from engine.regimes.bocd import BOCDConfig

CALM = SymbolView(
    "BTC/USDT", direction=1, confidence=0.60, regime_probabilities=(0.5, 0.5, 0.0), p_changepoint=0.05,
    volatility=0.50, cost_bps=6.0, data_age_hours=0.5, fear_greed=50.0, fear_greed_age_hours=3.0,
)  # fmt: skip
SIZER = PositionSizer(SizerConfig(max_position_risk=1.0))


def factor(name: str, **changes: object) -> float:
    size = SIZER.size(replace(CALM, **changes))
    return {f.name: f.value for f in size.factors}[name]


def test_a_calm_and_sure_view_gets_all_that_was_proposed():
    size = SIZER.size(CALM, 0.3)
    assert size.weight == 0.3
    assert [f.name for f in size.factors] == [
        "confidence", "volatility", "regime", "change point", "fear & greed", "position risk",
    ]  # fmt: skip
    assert all(f.value == 1.0 and f.reason for f in size.factors)
    assert SIZER.size(replace(CALM, direction=-1), 0.3).weight == -0.3
    with pytest.raises(FrozenInstanceError):
        size.weight = 1.0  # type: ignore[misc]


@given(
    st.floats(0.5, 0.7), st.floats(0.1, 3.0), st.floats(0, 1), st.floats(0, 1), st.floats(0, 100),
    st.floats(0, 1),
)  # fmt: skip
def test_the_size_is_the_product_of_its_factors(confidence, volatility, panic, change, index, base):
    view = replace(
        CALM, confidence=confidence, volatility=volatility, p_changepoint=change, fear_greed=index,
        regime_probabilities=(0.0, 1 - panic, panic),
    )  # fmt: skip
    size = PositionSizer().size(view, base)
    assert all(0.0 <= f.value <= 1.0 for f in size.factors)
    assert size.weight == pytest.approx(base * math.prod(f.value for f in size.factors), rel=1e-12)


@pytest.mark.parametrize(
    ("confidence", "expected"),
    [
        (0.4, 0.0),
        (0.5, 0.0),
        (0.525, 0.25),
        (0.55, 0.5),
        (0.6, 1.0),
        (0.9, 1.0),
        (None, 0.0),
        (math.nan, 0.0),
    ],
)
def test_confidence(confidence, expected):
    assert factor("confidence", confidence=confidence) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("volatility", "expected"), [(0.2, 1.0), (0.8, 1.0), (1.6, 0.5), (None, 0.0), (0.0, 0.0)]
)
def test_volatility_target(volatility, expected):
    assert factor("volatility", volatility=volatility) == expected


def test_panic_is_smaller_and_unknown_is_panic():
    assert factor("regime", regime_probabilities=(0.0, 0.0, 1.0)) == pytest.approx(0.4)
    assert factor("regime", regime_probabilities=(0.25, 0.25, 0.5)) == pytest.approx(0.7)
    assert factor("regime", regime_probabilities=None) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("p", "expected", "action"),
    [(0.69, 1.0, "hold"), (0.70, 0.5, "reduce"), (0.89, 0.5, "reduce"), (0.90, 0.0, "exit"),
     (1.0, 0.0, "exit"), (None, 0.0, "unknown"), (math.nan, 0.0, "unknown")],
)  # fmt: skip
def test_a_change_point_holds_reduces_or_exits(p, expected, action):
    found = next(f for f in SIZER.size(replace(CALM, p_changepoint=p)).factors if f.name == "change point")
    assert found.value == expected
    assert found.reason.startswith(action)


def test_sentiment_is_careful_at_both_ends_and_when_unknown():
    assert factor("fear & greed", fear_greed=5.0) == factor("fear & greed", fear_greed=95.0) == 0.25
    assert factor("fear & greed", fear_greed=None) == 0.25
    assert factor("fear & greed", fear_greed_age_hours=49.0) == 0.25
    assert factor("fear & greed", fear_greed=0.0) == 0.25, "an index of zero is extreme fear, not missing"


def test_no_position_risks_more_than_its_bound():
    sizer = PositionSizer(SizerConfig(target_volatility=10.0, max_position_risk=0.01))
    for volatility in (0.3, 1.0, 3.0):
        size = sizer.size(replace(CALM, volatility=volatility))
        loss = size.weight * 2.5 * volatility / math.sqrt(365)
        assert loss <= 0.01 + 1e-15
    assert sizer.size(replace(CALM, volatility=0.3), 0.01).weight == 0.01


def test_without_a_direction_there_is_no_position():
    assert SIZER.size(replace(CALM, direction=0)).weight == 0.0
    assert SIZER.size(replace(CALM, direction=None)).weight == 0.0
    assert SIZER.size(SymbolView("A")).weight == 0.0


def test_a_size_survives_json():
    size = PositionSizer().size(replace(CALM, confidence=0.55123), 1 / 3)
    assert PositionSize.from_dict(json.loads(json.dumps(size.to_dict()))) == size
    config = SizerConfig(panic_factor=0.1 + 0.2)
    assert SizerConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    "wrong",
    [{"panic_factor": 1.5}, {"full_confidence": 0.5}, {"exit_at": 0.5}, {"target_volatility": 0.0},
     {"max_position_risk": -1.0}, {"sentiment_floor": -0.1}],
)  # fmt: skip
def test_bad_bounds_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SizerConfig(**wrong)


@pytest.mark.parametrize("base", [-0.1, math.nan, math.inf])
def test_a_base_has_no_sign(base):
    with pytest.raises(ValueError, match="base="):
        SIZER.size(CALM, base)


INDEX = [k / 2 for k in range(201)]


def sentiment_faults(sizer: PositionSizer) -> set[str]:
    """Which of the demands on the use of Fear & Greed the size of a whole position does not meet."""

    def weight(index: float | None, side: int = 1) -> float:
        return sizer.size(replace(CALM, fear_greed=index, direction=side)).weight

    path, calm = [weight(index) for index in INDEX], sizer.size(replace(CALM, fear_greed=50.0)).base
    found = set()
    if any(not 0.0 <= w <= calm for w in [*path, weight(None), weight(math.nan), weight(140.0)]):
        found.add("raises")
    if max(abs(a - b) for a, b in zip(path[2:], path, strict=False)) > 0.10 * calm:
        found.add("cliff")
    top = path.index(max(path))
    if path[: top + 1] != sorted(path[: top + 1]) or path[top:] != sorted(path[top:], reverse=True):
        found.add("not monotone")
    if max(weight(None), weight(math.nan), weight(140.0)) > min(path):
        found.add("careless")
    if any(weight(index, -1) != -w for index, w in zip(INDEX, path, strict=True)):
        found.add("takes a side")
    return found


def test_a13_2_a_whole_position_under_every_index():
    assert sentiment_faults(SIZER) == set()
    assert sentiment_faults(PositionSizer(SizerConfig(sentiment_floor=0.0, max_position_risk=1.0))) == set()


def wrong(rule) -> PositionSizer:
    """A sizer whose factor of Fear & Greed is another function of the index and the side."""

    class Wrong(PositionSizer):
        def _fear_greed(self, view: SymbolView) -> Factor:
            return Factor("fear & greed", rule(view.fear_greed, view.direction or 0), "wrong")

    return Wrong(SizerConfig(max_position_risk=1.0))


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        (lambda i, _: 0.25 if i is None or i < 25 or i > 75 else 1.0, "cliff"),
        (lambda i, _: 0.25 + 0.75 * abs((i or 50.0) - 50.0) / 50.0, "not monotone"),
        (lambda i, _: 0.25 + 0.015 * min(i or 50.0, 100.0 - (i or 50.0)), "not monotone"),
        (lambda i, _: 1.0 if i is None else 1.0 - abs(i - 50.0) / 100.0, "careless"),
        (
            lambda i, s: 0.25 if i is None else 0.25 + 0.75 * (i if s > 0 else 100.0 - i) / 100.0,
            "takes a side",
        ),
        (
            lambda i, s: 0.25 if i is None else 0.25 + 0.75 * (i if s < 0 else 100.0 - i) / 100.0,
            "takes a side",
        ),
        (lambda i, _: 0.25 if i is None else 1.5 - i / 100.0, "raises"),
    ],
)
def test_a13_2_wrong_uses_of_the_index_are_caught(rule, fault):
    """A cliff at 25 and 75, boldness at the ends, ``value or`` that takes 0 for missing, a bold guess for
    None, momentum, contrarian, a bonus for fear."""
    assert fault in sentiment_faults(wrong(rule))


def test_the_bounds_of_a_change_point_are_those_of_the_detector():
    assert (SizerConfig().reduce_at, SizerConfig().exit_at) == (BOCDConfig().reduce_at, BOCDConfig().exit_at)
