"""The bandit: laws in closed form, regret against the acceptance figures, and every usual mistake caught."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.alpha.bandit import AlphaEngineBandit, BanditConfig, reward_of
from engine.alpha.bandit_evidence import laws
from engine.alpha.bandit_regret import play
from engine.errors import DataError
from engine.regimes.names import REGIMES

PLAIN = BanditConfig(forgetting="none")
HOURLY = BanditConfig(gamma=0.9, clock="hours")


def law(bandit: AlphaEngineBandit, engine: str, regime: str, now: float = 0.0) -> tuple[float, float]:
    wins, losses = laws(bandit.evidence, bandit.rule, REGIMES.index(regime), now)
    return float(wins[bandit.engines.index(engine)]), float(losses[bandit.engines.index(engine)])


def taught(laws: dict[str, tuple[int, int]], config: BanditConfig = PLAIN) -> AlphaEngineBandit:
    bandit = AlphaEngineBandit(list(laws), config, seed=5)
    for engine, (wins, losses) in laws.items():
        for reward in (1.0,) * (wins - 1) + (0.0,) * (losses - 1):
            bandit.credit(engine, "TREND", reward)
    return bandit


@pytest.mark.parametrize(
    ("first", "second", "share"), [((3, 2), (2, 3), 0.75714), ((10, 5), (3, 1), 0.32353)]
)
def test_draws_win_as_often_as_their_laws_say(
    first: tuple[int, int], second: tuple[int, int], share: float
) -> None:
    """A2.1."""
    bandit = taught({"a": first, "b": second})
    won = sum(bandit.choose(["a", "b"], "TREND") == "a" for _ in range(20_000)) / 20_000
    assert won == pytest.approx(share, abs=0.014)


@pytest.mark.parametrize(("first", "second"), [((3, 2), (2, 3)), ((10, 5), (3, 1))])
def test_softmax_of_means_is_not_thompson_sampling(first: tuple[int, int], second: tuple[int, int]) -> None:
    means = [a / (a + b) for a, b in (first, second)]
    for temperature in (1.0, 0.3):
        weight = math.exp(means[0] / temperature) / sum(math.exp(m / temperature) for m in means)
        exact = 0.75714 if first == (3, 2) else 0.32353
        assert abs(weight - exact) > 0.014


def regret(config: BanditConfig, rounds: int, swap: int | None, seeds: int) -> float:
    """Mean regret of two engines that pay .6 and .4 and change places after `swap` rounds."""
    chances = np.tile([0.6, 0.4], (rounds, 1))
    if swap is not None:
        chances[swap:] = [0.4, 0.6]
    return float(np.mean([play(chances, config, seed=seed)[1][-1] for seed in range(seeds)]))


def test_forgetting_pays_where_the_world_changes() -> None:
    """A2.2."""
    plain, discount, window = (
        regret(config, 6000, 3000, 12)
        for config in (PLAIN, BanditConfig(gamma=0.99), BanditConfig(forgetting="window", window=400))
    )
    assert discount <= 0.6 * plain
    assert window <= 0.6 * plain
    assert plain == pytest.approx(388, rel=0.35)
    assert discount == pytest.approx(150, rel=0.2)
    assert window == pytest.approx(85, rel=0.3)


def test_forgetting_costs_where_it_does_not() -> None:
    chances = np.tile([0.6, 0.5, 0.4], (6000, 1))
    plain, discount = (
        np.mean([play(chances, config, seed=seed)[1][-1] for seed in range(12)])
        for config in (PLAIN, BanditConfig(gamma=0.99))
    )
    assert plain == pytest.approx(30, rel=0.5)
    assert discount == pytest.approx(256, rel=0.2)


def test_a_compiled_game_is_the_live_bandits() -> None:
    chances = np.random.default_rng(0).random((300, 3))
    told = np.random.default_rng(1).integers(0, 3, 300)
    for config in (PLAIN, HOURLY, BanditConfig(gamma=0.9), BanditConfig(forgetting="window", window=9)):
        bandit = AlphaEngineBandit(["a", "b", "c"], config, seed=6)
        acted = []
        for t in range(300):
            acted.append(bandit.engines.index(bandit.choose(bandit.engines, REGIMES[told[t]], float(t))))
            reward = float(bandit.rng.random() < chances[t, acted[-1]])
            bandit.credit("abc"[acted[-1]], REGIMES[told[t]], reward, float(t))
        assert acted == play(chances, config, regimes=told, seed=6)[0].tolist()
    with pytest.raises(ValueError, match="rounds, engines"):
        play(2.0 * chances + 1.0, PLAIN)


def test_discounted_law_in_closed_form() -> None:
    """A2.3, on the clock of hours and on that of events."""
    bandit = AlphaEngineBandit(["a", "b"], HOURLY)
    for t, reward in enumerate((1.0, 1.0, 0.0)):
        bandit.credit("a", "TREND", reward, float(t))
    assert law(bandit, "a", "TREND", 2.0) == pytest.approx((2.71, 2.0), abs=1e-12)
    assert law(bandit, "a", "TREND", 10_002.0) == pytest.approx((1.0, 1.0), abs=1e-6)
    events = AlphaEngineBandit(["a", "b"], BanditConfig(gamma=0.9))
    for reward in (1.0, 1.0, 0.0):
        events.credit("a", "TREND", reward)
    assert law(events, "a", "TREND") == pytest.approx((2.71, 2.0), abs=1e-12)
    for _ in range(10_000):
        events.credit("b", "TREND", 1.0)
    assert law(events, "a", "TREND") == pytest.approx((1.0, 1.0), abs=1e-6)
    assert 0.0 < events.draw(["a"], "TREND")["a"] < 1.0


def test_an_outcome_may_count_for_several_but_the_prior_does_not() -> None:
    bandit = AlphaEngineBandit(["a"], BanditConfig(gamma=0.5, weight=4.0, prior=(1.0, 2.0)))
    bandit.credit("a", "TREND", 1.0)
    bandit.credit("a", "TREND", 0.25)
    assert law(bandit, "a", "TREND") == pytest.approx((1.0 + 4.0 * 0.75, 2.0 + 4.0 * 0.75))


def test_discounting_the_prior_too_ends_in_no_law_at_all() -> None:
    wins, losses = 1.0 + 2.0, 1.0 + 1.0
    for _ in range(10_000):
        wins, losses = 0.9 * wins, 0.9 * losses
    assert (wins, losses) != pytest.approx((1.0, 1.0), abs=1e-6)
    assert wins < 1e-300 or wins == 0.0


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 2), st.floats(0, 1), st.floats(0, 50)),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from(["events", "hours", "window", "none"]),
)
def test_laws_are_those_of_the_definition(events: list[tuple[int, int, float, float]], kind: str) -> None:
    config = {
        "events": BanditConfig(gamma=0.9, prior=(0.5, 2.0)),
        "hours": BanditConfig(gamma=0.9, clock="hours", prior=(0.5, 2.0)),
        "window": BanditConfig(forgetting="window", window=5, prior=(0.5, 2.0)),
        "none": BanditConfig(forgetting="none", prior=(0.5, 2.0)),
    }[kind]
    bandit = AlphaEngineBandit(["a", "b", "c"], config)
    now, log = 0.0, []
    for engine, regime, reward, wait in events:
        now += wait
        bandit.credit("abc"[engine], REGIMES[regime], reward, now)
        log.append((engine, regime, reward, now))
    now += 3.0
    for e in range(3):
        for r in range(3):
            here = [event for event in log if event[1] == r]
            wins, losses = 0.5, 2.0
            for k, (engine, _, reward, at) in enumerate(here):
                newer = len(here) - 1 - k
                weight = {
                    "events": 0.9**newer,
                    "hours": 0.9 ** (now - at),
                    "window": float(newer < 5),
                    "none": 1.0,
                }[kind]
                if engine == e:
                    wins, losses = wins + weight * reward, losses + weight * (1.0 - reward)
            assert law(bandit, "abc"[e], REGIMES[r], now) == pytest.approx((wins, losses), rel=1e-9)


PAYS = np.array([[0.7, 0.5, 0.3], [0.3, 0.7, 0.5], [0.5, 0.3, 0.7]])


def best_share(pooled: bool) -> list[float]:
    """Share of the last choices that were the best engine's, per regime."""
    regimes = np.random.default_rng(4).choice(3, 6000, p=(0.5, 0.35, 0.15))
    told = np.zeros_like(regimes) if pooled else regimes
    chosen, _ = play(PAYS[regimes], BanditConfig(), regimes=told, seed=3)
    best = PAYS.argmax(axis=1)
    return [float((chosen[regimes == r][-300:] == best[r]).mean()) for r in range(3)]


def test_each_regime_learns_its_own_best_engine_and_a_pooled_law_cannot() -> None:
    """A2.4."""
    assert min(best_share(pooled=False)) >= 0.8
    assert min(best_share(pooled=True)) < 0.3


def test_a_calm_month_does_not_erase_panic_unless_time_is_the_clock() -> None:
    by_events, by_hours = (
        AlphaEngineBandit(["a"], BanditConfig(gamma=0.99, clock=clock)) for clock in ("events", "hours")
    )
    for bandit in (by_events, by_hours):
        for _ in range(20):
            bandit.credit("a", "PANIC", 1.0, 0.0)
        before = law(bandit, "a", "PANIC", 0.0)
        for hour in range(720):
            bandit.credit("a", "RANGE", 0.5, float(hour))
        after = law(bandit, "a", "PANIC", 720.0)
        assert (after == before) == (bandit is by_events)
    assert law(by_hours, "a", "PANIC", 720.0)[0] < 1.02


def test_nobody_else_learns_from_an_outcome() -> None:
    bandit = AlphaEngineBandit(["a", "b"])
    bandit.credit("a", "PANIC", 0.25)
    changed = bandit.posterior().filter(outcomes=1)
    assert changed.select("engine", "regime", "wins", "losses").rows() == [("a", "PANIC", 1.25, 1.75)]
    assert bandit.posterior().filter(outcomes=0)["mean"].to_list() == [0.5] * 5


def test_rewards_are_a_line_in_risk_and_keep_the_order_of_engines() -> None:
    assert reward_of(np.array([0.0, 0.02, -0.02, 9.0]), np.full(4, 0.02), 2.0).tolist() == [
        0.5, 0.75, 0.25, 1.0,
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    wild, calm = 0.04 * (0.30 + rng.standard_normal(100_000)), 0.002 * (0.45 + rng.standard_normal(100_000))

    def means(reward: Callable[[np.ndarray, float], np.ndarray]) -> tuple[float, float]:
        return float(reward(wild, 0.04).mean()), float(reward(calm, 0.002).mean())

    # Over its risk the calm engine earns half as much again.
    ours = means(lambda net, risk: reward_of(net, np.full(net.size, risk), 2.0))
    assert ours[1] > ours[0]
    assert ours == pytest.approx((0.5 + 0.30 / 4, 0.5 + 0.45 / 4), abs=0.01)
    clipped = means(lambda net, _: np.clip(0.5 + net / 0.02, 0.0, 1.0))
    squashed = means(lambda net, _: 1.0 / (1.0 + np.exp(-net / 0.01)))
    assert clipped[1] < clipped[0]
    assert squashed[1] < squashed[0]


@pytest.mark.parametrize("forgetting", ["discount", "window", "none"])
def test_a_restored_bandit_goes_on_as_if_nothing_had_happened(forgetting: str) -> None:
    config = BanditConfig(forgetting=forgetting, window=7)  # type: ignore[arg-type]
    bandit, world = AlphaEngineBandit(["a", "b", "c"], config, seed=9), np.random.default_rng(1)

    def step(one: AlphaEngineBandit, reward: float, regime: str) -> dict[str, float]:
        drawn = one.draw(one.engines, regime)
        one.credit(max(drawn, key=drawn.__getitem__), regime, reward)
        return drawn

    for _ in range(50):
        step(bandit, world.random(), REGIMES[world.integers(3)])
    restored = AlphaEngineBandit.from_dict(json.loads(json.dumps(bandit.to_dict())))
    for _ in range(50):
        reward, regime = world.random(), REGIMES[world.integers(3)]
        assert step(bandit, reward, regime) == step(restored, reward, regime)
    assert bandit.to_dict() == restored.to_dict()


def test_same_seed_same_draws() -> None:
    first, second, other = (AlphaEngineBandit(["a", "b"], seed=s) for s in (1, 1, 2))
    drawn = first.draw(["b", "a"], "TREND")
    assert drawn == second.draw(["a", "b"], "TREND")
    assert drawn != other.draw(["a", "b"], "TREND")


@pytest.mark.parametrize(
    "wrong",
    [
        {"prior": (0.0, 1.0)},
        {"gamma": 0.0},
        {"gamma": 1.1},
        {"window": 0},
        {"bound": 0.0},
        {"weight": 0.0},
        {"forgetting": "all"},
        {"clock": "minutes"},
    ],
)
def test_settings_without_meaning_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BanditConfig(**wrong)  # type: ignore[arg-type]


def test_what_cannot_be_credited_is_refused() -> None:
    bandit = AlphaEngineBandit(["a"], HOURLY)
    for reward in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="reward"):
            bandit.credit("a", "TREND", reward)
    with pytest.raises(ValueError, match="engine='z'"):
        bandit.credit("z", "TREND", 0.5)
    with pytest.raises(ValueError, match="regime='calm'"):
        bandit.draw(["a"], "calm")
    bandit.credit("a", "TREND", 0.5, 10.0)
    with pytest.raises(ValueError, match="before the last outcome"):
        bandit.credit("a", "TREND", 0.5, 9.0)
    with pytest.raises(ValueError, match="named once"):
        AlphaEngineBandit(["a", "a"])
    stored = AlphaEngineBandit(["a"]).to_dict()
    for key in stored:
        with pytest.raises(DataError):
            AlphaEngineBandit.from_dict({k: v for k, v in stored.items() if k != key})
