from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.portfolio.view import SymbolView

anything = st.none() | st.floats()


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, -0.001])
@pytest.mark.parametrize("field", ["confidence", "p_changepoint", "volatility", "cost_bps", "data_age_hours"])
def test_what_cannot_be_is_unknown(field, value):
    assert getattr(SymbolView("A", **{field: value}), field) is None


@pytest.mark.parametrize("field", ["confidence", "p_changepoint"])
def test_a_probability_above_one_is_unknown(field):
    assert getattr(SymbolView("A", **{field: 1.0}), field) == 1.0
    assert getattr(SymbolView("A", **{field: 1.001}), field) is None


def test_no_volatility_is_unknown_and_zero_is_a_value_elsewhere():
    view = SymbolView("A", volatility=0.0, p_changepoint=0.0, cost_bps=0.0, data_age_hours=0.0)
    assert view.volatility is None
    assert (view.p_changepoint, view.cost_bps, view.data_age_hours) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("index", "age", "known"),
    [(0.0, 1.0, 0.0), (100.0, 48.0, 100.0), (50.0, 48.1, None), (50.0, 49.0, None), (140.0, 1.0, None),
     (-1.0, 1.0, None), (50.0, None, None), (50.0, math.nan, None), (math.nan, 1.0, None), (None, 1.0, None)],
)  # fmt: skip
def test_a13_1_the_index_needs_a_plausible_value_and_an_age_up_to_48_hours(index, age, known):
    assert SymbolView("A", fear_greed=index, fear_greed_age_hours=age).fear_greed == known


@pytest.mark.parametrize(
    ("probabilities", "panic"),
    [((0.2, 0.5, 0.3), 0.3), ((0.0, 1.0, 0.0), 0.0), ((0.2, 0.5, 0.2), None), ((0.5, 0.5), None),
     ((1.2, -0.2, 0.0), None), ((math.nan, 0.5, 0.5), None), ((None, 0.5, 0.5), None), (None, None)],
)  # fmt: skip
def test_regimes_are_a_distribution_or_unknown(probabilities, panic):
    assert SymbolView("A", regime_probabilities=probabilities).p_panic == panic


def test_an_impossible_side_is_refused():
    with pytest.raises(ValueError, match="direction=2 of A"):
        SymbolView("A", direction=2)


@given(
    st.sampled_from([None, -1, 0, 1]), anything, anything, anything, anything, anything, anything, anything,
    st.none() | st.tuples(st.floats(), st.floats(), st.floats()) | st.just((0.1, 0.2, 0.7)),
)  # fmt: skip
def test_a_view_survives_json_bit_for_bit(
    side, confidence, change, volatility, cost, age, index, known, regime
):
    view = SymbolView("A/USDT", side, confidence, regime, change, volatility, cost, age, index, known)
    stored = json.dumps(view.to_dict(), allow_nan=False)
    assert SymbolView.from_dict(json.loads(stored)) == view
    assert json.dumps(SymbolView.from_dict(json.loads(stored)).to_dict()) == stored


def test_a_record_of_another_version_is_refused():
    stored = SymbolView("A").to_dict()
    with pytest.raises(ValueError, match="SymbolView has the fields"):
        SymbolView.from_dict({**stored, "mood": 1})
    del stored["volatility"]
    with pytest.raises(ValueError, match="version that wrote it"):
        SymbolView.from_dict(stored)
