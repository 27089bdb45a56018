from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from engine.agents.collapse import (
    action_findings,
    collapse_findings,
    entropy_finding,
    expert_findings,
    findings_frame,
    look_alike_findings,
    option_findings,
    turnover_findings,
)
from engine.agents.collapse_config import CollapseConfig
from engine.errors import NotEnoughDataError

N, LEVELS, CONFIG = 1_000, 10, CollapseConfig()
OPTIONS = ("SCALP", "SWING", "RUNNER")
RNG = np.random.default_rng(0)
GROWTH = 0.01 * RNG.standard_normal(N)
RUN = np.zeros(N, np.int32)


def alarms(findings):
    return {finding.name for finding in findings if finding.alarm}


def blocks(values, length):
    """Each value held for some bars, then the next."""
    return np.resize(np.repeat(values, length), N)


def test_entropy_is_a_share_of_the_uniform_policys():
    uniform = entropy_finding(np.full(N, np.log(LEVELS)), LEVELS, CONFIG)
    assert uniform.value == pytest.approx(1.0)
    assert not uniform.alarm
    assert entropy_finding(np.full(N, 0.01), LEVELS, CONFIG).alarm


def test_actions_that_vary_and_actions_that_do_not():
    assert not alarms(action_findings(RNG.integers(0, LEVELS, N), LEVELS, CONFIG))
    always = np.full(N, 9)
    always[:5] = 3
    found = action_findings(always, LEVELS, CONFIG)
    assert alarms(found) == {"action_share", "levels_used"}
    assert found[0].value == pytest.approx(0.995)
    assert "level 9" in found[0].meaning
    mostly = np.where(np.arange(N) % 50 == 0, 3, 9)
    assert alarms(action_findings(mostly, LEVELS, CONFIG)) == {"action_share"}


def test_turnover_between_never_and_always():
    assert not alarms(turnover_findings(blocks([0.0, 1.0, -0.4], 20), RUN, CONFIG))
    assert alarms(turnover_findings(np.full(N, 0.6), RUN, CONFIG)) == {"turnover_low"}
    assert alarms(turnover_findings(blocks([-0.8, 1.0], 1), RUN, CONFIG)) == {"turnover_high"}


def test_a_new_run_is_no_trade():
    position = np.repeat([0.0, 1.0, -0.5, 0.8], N // 4)
    run = np.repeat(np.arange(4, dtype=np.int32), N // 4)
    low, _ = turnover_findings(position, run, CONFIG)
    assert low.value == 0.0
    assert low.alarm
    assert not alarms(turnover_findings(position, RUN, CONFIG))


def test_experts_that_share_and_experts_that_starve():
    share = RNG.dirichlet([2.0, 2.0, 2.0], N)
    assert not alarms(expert_findings(share, CONFIG))
    one = np.column_stack([np.full(N, 0.99), np.full(N, 0.005), np.full(N, 0.005)])
    found = expert_findings(one, CONFIG, ("TREND", "RANGE", "PANIC"))
    assert alarms(found) == {"expert_share_low", "expert_share_high", "expert_spread"}
    assert "TREND decides alone" in found[1].meaning
    blended = np.full((N, 3), 1 / 3)
    assert alarms(expert_findings(blended, CONFIG)) == {"expert_spread"}


def started(option):
    return np.r_[True, option[1:] != option[:-1]]


def test_options_that_last_and_options_that_shrink_or_stay_for_ever():
    healthy = blocks([0, 1, 2], 12)
    assert not alarms(option_findings(healthy, started(healthy), CONFIG, OPTIONS))
    shrunk = option_findings(healthy, np.ones(N, bool), CONFIG, OPTIONS)
    assert alarms(shrunk) == {f"option_bars_low_{name}" for name in OPTIONS}
    stuck = np.zeros(N, int)
    never = option_findings(stuck, np.zeros(N, bool), CollapseConfig(most_option_bars=500), OPTIONS)
    assert alarms(never) == {"option_share_SWING", "option_share_RUNNER", "option_bars_high_SCALP"}


def test_mean_duration_counts_an_option_chosen_twice_in_a_row_as_two():
    option = np.zeros(N, int)
    fresh = np.arange(N) % 4 == 0
    found = {f.name: f.value for f in option_findings(option, fresh, CONFIG, OPTIONS)}
    assert found["option_bars_low_SCALP"] == pytest.approx(4.0)


def test_who_holds_what_was_bought_is_found():
    assert not alarms(look_alike_findings(blocks([0.0, 1.0, -0.4], 20), GROWTH, CONFIG))
    both = {"distance_to_hold", "correlation_to_hold"}
    assert alarms(look_alike_findings(np.full(N, 1.0), GROWTH, CONFIG)) == both
    assert alarms(look_alike_findings(np.full(N, -0.4), GROWTH, CONFIG)) == both
    assert alarms(look_alike_findings(np.zeros(N), GROWTH, CONFIG)) == {"distance_to_hold"}


def test_small_changes_around_a_long_position_look_like_holding():
    wavering = 0.8 + 0.1 * RNG.choice([-1.0, 1.0], N)
    assert alarms(look_alike_findings(wavering, GROWTH, CONFIG)) == {"correlation_to_hold"}


def decisions(**changes):
    level = blocks(np.arange(LEVELS), 7)
    healthy = {
        "level": level,
        "position": level / 5.0 - 0.8,
        "run": RUN,
        "growth": GROWTH,
        "entropy": np.full(N, 1.2),
        "option": blocks([0, 1, 2], 12),
        "option_started": started(blocks([0, 1, 2], 12)),
        **dict(
            zip(("expert_TREND", "expert_RANGE", "expert_PANIC"), RNG.dirichlet([2, 2, 2], N).T, strict=True)
        ),
    }
    return pl.DataFrame(healthy | changes)


def test_a_healthy_agent_raises_no_alarm_and_every_figure_is_listed():
    findings = collapse_findings(decisions(), LEVELS, options=OPTIONS)
    assert not alarms(findings)
    frame = findings_frame(findings)
    assert frame.height == len(findings) == 19
    assert frame["name"].is_unique().all()
    assert not frame["alarm"].any()
    plain = decisions().select("level", "position", "run", "growth", "entropy")
    assert len(collapse_findings(plain, LEVELS)) == 7


def test_an_agent_that_went_long_for_good_is_seen_from_all_sides():
    stuck = decisions(level=np.full(N, 9), position=np.ones(N), entropy=np.full(N, 1e-3))
    assert alarms(collapse_findings(stuck, LEVELS)) == {
        "entropy",
        "action_share",
        "levels_used",
        "turnover_low",
        "distance_to_hold",
        "correlation_to_hold",
    }


@pytest.mark.parametrize("column", ["entropy", "position", "growth"])
def test_figures_that_are_unknown_alarm(column):
    values = decisions()[column].to_numpy().copy()
    values[3] = np.nan
    assert alarms(collapse_findings(decisions(**{column: values}), LEVELS))


def test_bounds_are_those_of_the_configuration():
    findings = collapse_findings(decisions(), LEVELS, CollapseConfig(least_entropy=0.9), options=OPTIONS)
    (found,) = [finding for finding in findings if finding.alarm]
    assert (found.name, found.bound) == ("entropy", 0.9)
    assert found.value == pytest.approx(1.2 / np.log(LEVELS))


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(NotEnoughDataError, match="99 decisions"):
        collapse_findings(decisions()[:99], LEVELS)
    with pytest.raises(ValueError, match="within 0 to 4"):
        action_findings(np.arange(N) % 10, 5, CONFIG)
    with pytest.raises(ValueError, match="add up to 1"):
        expert_findings(np.ones((N, 3)), CONFIG)
    with pytest.raises(ValueError, match="SCALP"):
        option_findings(np.full(N, 3), np.zeros(N, bool), CONFIG, OPTIONS)
    with pytest.raises(ValueError, match="same bars"):
        look_alike_findings(np.ones(N), GROWTH[:-1], CONFIG)
