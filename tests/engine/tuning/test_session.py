from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from engine.errors import NotEnoughDataError
from engine.evaluation.promotion_gate import PromotionGate
from engine.evaluation.splits import Window
from engine.tuning.evidence import EvidenceWindows, weigh
from engine.tuning.kernel import Evaluation
from engine.tuning.parameters import DEFAULTS, PARAMETERS, ParameterSet
from engine.tuning.scenarios import LOW, SCENARIOS
from engine.tuning.search import SearchConfig, SearchPrior
from engine.tuning.session import NEXT, OVER, Task, TuningSession, run_session
from engine.tuning.session_config import SessionConfig

DAY = timedelta(days=1)
START = datetime(2023, 1, 1)
WINDOWS = EvidenceWindows(
    Window(START, START + 300 * DAY), Window(START + 340 * DAY, START + 640 * DAY), 40 * DAY
)
SEARCH = SearchConfig(("volPctBreakout", "tpBreakout"), 4, pairs=4, seed=1)
CONFIG = SessionConfig(
    "quick_tune", "return", SEARCH, 10.0, WINDOWS, 0.05, gate=PromotionGate(draws=199, guardrails=None)
)


def objective(sets: np.ndarray) -> np.ndarray:
    """Breakouts are best at the 85th percentile."""
    return -(((sets[:, 0] - 85.0) / 45.0) ** 2)


def task(edge: float = 0.0, asked: list | None = None) -> Task:
    """A market in which the evidence pays `edge` a day per score above the incumbent's."""

    def judge(searched):
        if asked is not None:
            asked.append(searched)
        rng = np.random.default_rng(0)
        market = 0.01 * rng.standard_normal(300)
        sets = searched.candidates
        deviation = np.random.default_rng(1).standard_normal(300) * 0.002
        gain = objective(sets) - objective(sets[:1])
        returns = market + edge * gain[:, None] + deviation * (np.arange(len(sets)) > 0)[:, None]
        count, none = np.full(len(sets), 100), np.zeros(len(sets))
        days = np.datetime64(WINDOWS.evidence.start, "us") + np.arange(300) * np.timedelta64(1, "D")
        found = Evaluation(days, returns, count, count, none, none, none, none)
        return weigh(found, sets, DEFAULTS, WINDOWS, alpha=CONFIG.alpha, gate=CONFIG.gate)

    return Task(objective, judge, "data")


def run(session: TuningSession) -> list[str]:
    stages = []
    while not session.over:
        stages.append(session.step())
    return stages


@pytest.mark.parametrize(("edge", "end"), [(0.0, ["refused"]), (0.02, ["promoted", "apply"])])
def test_stages_in_order(edge, end):
    session = TuningSession(CONFIG, DEFAULTS, task(edge))
    assert run(session) == ["searching"] * 5 + ["judging", *end]
    result = session.result()
    assert result.stage == end[-1]
    assert result.to_apply == result.promoted
    assert (result.promoted is not None) == (edge > 0)
    if result.promoted:
        assert result.promoted == result.judged.promoted != DEFAULTS
        assert result.promoted.vol_pct_breakout > DEFAULTS.vol_pct_breakout
    assert result.episodes.height == 4
    with pytest.raises(ValueError, match="the session is over"):
        session.step()


def test_every_stage_ends_somewhere_allowed():
    assert sorted(OVER) == ["ab", "apply", "failed", "refused", "shadow", "stopped"]
    assert {stage for following in NEXT.values() for stage in following} <= set(NEXT)


@pytest.mark.parametrize("then", ["shadow", "ab"])
def test_a_promotion_that_is_not_to_be_applied_leaves_what_is_in_force(then):
    session = TuningSession(replace(CONFIG, then=then), DEFAULTS, task(0.02))
    assert run(session)[-2:] == ["promoted", then]
    assert session.result().promoted is not None
    assert session.result().to_apply is None


def test_the_gate_sees_all_that_was_searched_with_the_incumbent_first():
    asked = []
    session = TuningSession(CONFIG, DEFAULTS, task(asked=asked))
    run(session)
    (searched,) = asked
    assert np.array_equal(searched.candidates[0], DEFAULTS.vector())
    assert len(searched.candidates) == session.evidence["searched"] > 20


def test_a_budget_of_minutes_ends_the_search_not_the_session():
    seconds = iter(range(0, 100_000, 40))
    session = TuningSession(replace(CONFIG, minutes=3.0), DEFAULTS, task(), clock=lambda: next(seconds))
    stages = run(session)
    assert 1 <= session.result().episodes.height < 4
    assert stages[-2:] == ["judging", "refused"]
    late = iter([0.0] + [1e6] * 20)
    nothing = TuningSession(CONFIG, DEFAULTS, task(), clock=lambda: next(late))
    assert run(nothing)[-1] == "stopped"
    assert nothing.result().to_apply is None


@pytest.mark.parametrize("steps", range(7))
def test_a_stop_is_heard_before_every_step_and_leaves_what_is_in_force(steps):
    session = TuningSession(CONFIG, DEFAULTS, task(0.02), stop=lambda: taken >= steps)
    taken = 0
    while not session.over:
        session.step()
        taken += 1
    # Six steps lead to the judging; what is promoted is no longer stopped.
    assert session.stage == ("stopped" if steps < 7 else "apply")
    assert session.result().to_apply is None
    assert session.result().episodes.height == min(max(steps - 1, 0), 4)


@pytest.mark.parametrize("broken", ["check", "objective", "judge", "scores"])
def test_whatever_fails_leaves_what_is_in_force_and_is_told(broken):
    def fail(*_):
        raise RuntimeError("out of memory")

    wrong = {"objective": lambda sets: np.full(len(sets), np.nan)} if broken == "scores" else {broken: fail}
    session = TuningSession(CONFIG, DEFAULTS, replace(task(0.02), **wrong))
    with pytest.raises((RuntimeError, ValueError), match=r"out of memory|finite"):
        run(session)
    assert session.stage == "failed"
    assert "while" in session.reason
    assert session.result().to_apply is None


@pytest.mark.parametrize("method", ["pgpe", "cma-es", "tpe"])
@pytest.mark.parametrize("steps", [0, 1, 3, 5, 6, 7])
def test_taken_up_anywhere_it_ends_the_same(steps, method):
    config = replace(CONFIG, search=replace(SEARCH, method=method))
    prior = SearchPrior({"volPctBreakout": 75.0})
    whole = TuningSession(config, DEFAULTS, task(0.02), prior=prior)
    run(whole)
    first = TuningSession(config, DEFAULTS, task(0.02), prior=prior)
    for _ in range(steps):
        first.step()
    state = json.loads(json.dumps(first.state_dict(), allow_nan=False))
    again = SessionConfig.from_dict(state["config"])
    assert again == config
    second = TuningSession(
        again, ParameterSet.from_mapping(state["incumbent"]), task(0.02), prior=SearchPrior(**state["prior"])
    )
    second.load_state_dict(state)
    assert second.elapsed >= state["elapsed_s"]
    run(second)
    ours, theirs = second.result(), whole.result()
    assert (ours.stage, ours.promoted, ours.evidence) == (theirs.stage, theirs.promoted, theirs.evidence)
    assert ours.episodes.equals(theirs.episodes)


def test_a_state_of_another_session_is_refused():
    state = TuningSession(CONFIG, DEFAULTS, task()).state_dict()
    other = replace(DEFAULTS, social_go=0.5)
    for name, session in {
        "config": TuningSession(replace(CONFIG, alpha=0.01), DEFAULTS, task()),
        "incumbent_hash": TuningSession(CONFIG, other, task()),
        "data_hash": TuningSession(CONFIG, DEFAULTS, replace(task(), data_hash="other")),
        "prior": TuningSession(CONFIG, DEFAULTS, task(), prior=SearchPrior({})),
    }.items():
        with pytest.raises(ValueError, match=f"its {name} is"):
            session.load_state_dict(state)
    under_way = TuningSession(CONFIG, DEFAULTS, task())
    under_way.step()
    with pytest.raises(ValueError, match="already searching"):
        under_way.load_state_dict(state)


@pytest.mark.parametrize("change", [lambda plain: plain.pop("stress"), lambda plain: plain.update(warp=9)])
def test_settings_of_another_version_are_refused_with_what_to_do(change):
    plain = json.loads(json.dumps(CONFIG.to_dict()))
    change(plain)
    with pytest.raises(
        ValueError, match=r"another version, which differs in (stress|warp); .*start a new one"
    ):
        SessionConfig.from_dict(plain)


def test_each_episode_is_told():
    events = []
    session = TuningSession(CONFIG, DEFAULTS, task(), progress=events.append)
    run(session)
    assert [event["episode"] for event in events] == [1, 2, 3, 4]
    assert all(event["episodes"] == 4 and event["elapsed_s"] >= 0 for event in events)
    assert set(PARAMETERS) < set(events[0])


def test_scenarios_become_configurations():
    for name, scenario in SCENARIOS.items():
        config = SessionConfig.of(name, WINDOWS, alpha=0.03, seed=5)
        assert config.search.targets == scenario.targets
        assert (config.search.episodes, config.minutes) == (scenario.episodes, scenario.minutes)
        assert SessionConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert (
        SessionConfig.of(
            "news_sentiment_pro", WINDOWS, alpha=0.03, seed=5, market="bear"
        ).search.aggressiveness
        == LOW
    )
    with pytest.raises(ValueError, match="scenario 'x' is not known"):
        SessionConfig.of("x", WINDOWS, alpha=0.03, seed=5)
    for wrong in ({"goal": "x"}, {"then": "x"}, {"minutes": 0.0}, {"minutes": np.nan}, {"alpha": 0.5}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} = "):
            replace(CONFIG, **wrong)


# ------------------------------------------------------------------------------------- on a market


@pytest.fixture
def market_config(simulated_tape, monkeypatch):
    monkeypatch.setattr("engine.tuning.evidence_windows.LEAST_SEARCH", 20 * DAY)
    windows = EvidenceWindows.latest(simulated_tape, evidence=40 * DAY, purge=DAY)
    gate = PromotionGate(min_periods=30, draws=199)
    return SessionConfig("volatility_master", "sharpe", SEARCH, 10.0, windows, 0.05, gate=gate)


def test_a_whole_session_on_a_market(simulated_tape, market_config):
    states = []
    result = run_session(simulated_tape, market_config, DEFAULTS, save=states.append)
    assert result.stage in ("refused", "apply")
    assert [state["stage"] for state in states][:2] == ["searching", "searching"]
    resumed = run_session(
        simulated_tape, market_config, DEFAULTS, state=json.loads(json.dumps(states[2])), threads=2
    )
    assert resumed.evidence == result.evidence
    assert resumed.episodes.equals(result.episodes)
    # What the evidence window holds cannot change the search.
    late = simulated_tape.ts >= np.datetime64(market_config.windows.search.end)
    moved = np.where(late, -simulated_tape.breakout_side, simulated_tape.breakout_side).astype(np.int8)
    other = run_session(replace(simulated_tape, breakout_side=moved), market_config, DEFAULTS)
    assert other.episodes.equals(result.episodes)
    assert other.evidence["data_hash"] != result.evidence["data_hash"]


def test_too_little_data_fails_before_anything_is_searched(simulated_tape, market_config):
    states, events = [], []
    config = replace(market_config, gate=PromotionGate())
    with pytest.raises(NotEnoughDataError, match="40 daily periods"):
        run_session(simulated_tape, config, DEFAULTS, save=states.append, progress=events.append)
    assert [state["stage"] for state in states] == ["failed"]
    assert not events


def test_killed_between_two_episodes_the_saved_state_goes_on(simulated_tape, market_config):
    kept = {}

    def killed(event):
        if event["episode"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_session(simulated_tape, market_config, DEFAULTS, progress=killed, save=kept.update)
    assert kept["stage"] == "searching"
    whole = run_session(simulated_tape, market_config, DEFAULTS)
    again = run_session(simulated_tape, market_config, DEFAULTS, state=kept)
    assert again.episodes.equals(whole.episodes)
    assert again.evidence == whole.evidence


# ------------------------------------------------------------------------------------- many sessions


def market_without_prices(seed: int, edge: float) -> Task:
    """Parameters move returns along two paths of noise, one for each target; `edge` a day along the first.

    Search and evidence have noise of their own, so that what a search finds without an edge is luck.
    """
    rng = np.random.default_rng(seed)
    market, paths = 0.008 * rng.standard_t(5, 600), 0.004 * rng.standard_t(5, (2, 600))
    paths[0] += edge

    def returns(sets: np.ndarray, days: slice) -> np.ndarray:
        moved = (sets[:, [0, 4]] - DEFAULTS.vector()[[0, 4]]) / np.array([22.5, 7.0])
        return market[days] + moved @ paths[:, days]

    def judge(searched):
        sets = searched.candidates
        count, none = np.full(len(sets), 100), np.zeros(len(sets))
        days = np.datetime64(WINDOWS.evidence.start, "us") + np.arange(300) * np.timedelta64(1, "D")
        found = Evaluation(days, returns(sets, slice(300, 600)), count, count, none, none, none, none)
        return weigh(found, sets, DEFAULTS, WINDOWS, alpha=CONFIG.alpha, gate=CONFIG.gate)

    return Task(lambda sets: returns(sets, slice(300)).mean(axis=1), judge, "data")


@pytest.mark.parametrize(("edge", "sessions"), [(0.0, 80), (0.0012, 40)])
def test_whole_sessions_promote_what_is_better_and_seldom_anything_else(edge, sessions):
    promoted = 0
    for seed in range(sessions):
        config = replace(CONFIG, search=replace(SEARCH, seed=seed))
        session = TuningSession(config, DEFAULTS, market_without_prices(seed, edge))
        run(session)
        found = session.result().promoted
        if edge and found:
            assert found.vol_pct_breakout > DEFAULTS.vol_pct_breakout
        promoted += found is not None
    if edge:
        assert promoted / sessions >= 0.8
    else:
        assert promoted / sessions <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / sessions)
