"""One table of parameters: bounds, steps, names, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.tuning.parameters import DEFAULTS, PARAMETERS, ParameterSet, highs, lows
from engine.tuning.scenarios import GOALS, SCENARIOS


def test_eleven_parameters_under_the_names_that_users_know() -> None:
    assert list(PARAMETERS) == [
        "volPctBreakout", "volPctMeanRevert", "socialGo", "costCapBps", "tpBreakout", "slBreakout",
        "slRevert", "tpNews", "slNews", "baseRiskPct", "newsMaxRiskPct",
    ]  # fmt: skip
    assert (DEFAULTS.vol_pct_breakout, DEFAULTS.social_go, DEFAULTS.cost_cap_bps) == (70.0, 0.75, 8.0)


def test_defaults_lie_on_the_grid_inside_the_bounds() -> None:
    assert all(row.snap(row.default) == row.default for row in PARAMETERS.values())
    assert (lows() < DEFAULTS.vector()).all()
    assert (DEFAULTS.vector() < highs()).all()


def test_breakouts_and_returns_to_the_mean_never_want_the_same_bar() -> None:
    assert PARAMETERS["volPctMeanRevert"].high <= PARAMETERS["volPctBreakout"].low


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, 1e9, -1e9])
def test_a_value_out_of_bounds_is_refused_with_name_and_bounds(name: str, wrong: float) -> None:
    with pytest.raises(ValueError, match=rf"{name} = .* between {PARAMETERS[name].low:g} and"):
        ParameterSet.from_mapping({name: wrong})


@pytest.mark.parametrize("wrong", ["70", None, True, [70.0], 70j])
def test_a_value_that_is_no_number_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"volPctBreakout = .* must be a number"):
        ParameterSet.from_mapping({"volPctBreakout": wrong})


def test_an_unknown_name_is_refused_with_those_known() -> None:
    with pytest.raises(ValueError, match="'volPctBreakuot' is not a parameter; known are volPctBreakout"):
        ParameterSet.from_mapping({"volPctBreakuot": 70.0})


def test_bounds_themselves_are_allowed() -> None:
    assert ParameterSet.from_vector(lows()).vector().tolist() == lows().tolist()
    assert ParameterSet.from_vector(highs()).vector().tolist() == highs().tolist()


@given(st.lists(st.floats(0.0, 1.0), min_size=11, max_size=11))
def test_snapped_values_are_whole_steps_at_most_half_a_step_away(shares: list[float]) -> None:
    wild = lows() + np.array(shares) * (highs() - lows())
    for value, parameter in zip(wild, PARAMETERS.values(), strict=True):
        near = parameter.snap(value)
        steps = (near - parameter.low) / parameter.step
        assert near == parameter.high or steps == pytest.approx(round(steps), abs=1e-6)
        assert abs(near - value) <= parameter.step / 2 + 1e-9
        assert parameter.snap(near) == near


def test_values_survive_the_wire() -> None:
    changed = ParameterSet.from_mapping({"socialGo": 0.8}, ParameterSet(base_risk_pct=1))
    assert ParameterSet.from_mapping(changed.to_dict()) == changed
    assert changed.base_risk_pct == 1.0
    assert DEFAULTS.changes(changed) == {"socialGo": (0.75, 0.8), "baseRiskPct": (0.5, 1.0)}
    assert changed.content_hash != DEFAULTS.content_hash
    assert ParameterSet.from_mapping({"socialGo": 0.75}).content_hash == DEFAULTS.content_hash


def test_the_page_says_what_the_tables_say() -> None:
    page = (Path(__file__).parents[3] / "docs" / "parameters.md").read_text()
    for p in PARAMETERS.values():
        waits = "waits" if p.rests else ""
        numbers = f"{p.default:g} | {p.low:g} to {p.high:g} | {p.step:g}"
        row = f"| `{p.name}` | {numbers} | {p.unit} | {p.meaning} | {waits} |"
        assert row in page, f"docs/parameters.md: expected {row}"
    for s in SCENARIOS.values():
        targets = ", ".join(f"`{name}`" for name in s.targets)
        row = (
            f"| `{s.name}` | {s.minutes} min, {s.episodes} episodes | {targets} | {GOALS[s.goal]} | "
            f"{s.aggressiveness.name} | {s.purpose} |"
        )
        assert row in page, f"docs/parameters.md: expected {row}"
