from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor

from engine.agents.environment import LEVELS, EnvironmentConfig, TradingEnvironment
from engine.agents.reference_environment import ReferenceAccount
from engine.agents.tape import MarketTape
from engine.errors import NotEnoughDataError

START = datetime(2024, 1, 1)


def bars(
    opens: Sequence[float], closes: Sequence[float] | None = None, symbol: str = "BTC/USDT", **columns: Any
) -> pl.DataFrame:
    n = len(opens)
    return pl.DataFrame(
        {
            "symbol": [symbol] * n,
            "ts": [START + timedelta(hours=i) for i in range(n)],
            "segment": [0] * n,
            "open": opens,
            "close": closes if closes is not None else [*opens[1:], opens[-1]],
            "volatility": [0.01] * n,
            "p_trend": [1.0] * n,
            "p_range": [0.0] * n,
            "p_panic": [0.0] * n,
            "f": np.arange(n) / n,
        }
        | columns
    )


def random_bars(seed: int, runs: Sequence[tuple[int, int]]) -> pl.DataFrame:
    """Runs given as (symbol, bars); the segments of one symbol follow each other after an hour's hole."""
    r = np.random.default_rng(seed)
    frames = []
    for symbol in sorted({s for s, _ in runs}):
        ts = START
        for segment, length in enumerate(n for s, n in runs if s == symbol):
            price = 100.0 * np.exp(np.cumsum(r.standard_t(3, length + 1) * 0.02))
            frames.append(
                pl.DataFrame(
                    {
                        "symbol": [f"S{symbol}"] * length,
                        "ts": [ts + timedelta(hours=i) for i in range(length)],
                        "segment": [segment] * length,
                        "open": price[:-1] * np.exp(r.normal(0, 0.003, length)),
                        "close": price[1:],
                        "funding": np.where(r.random(length) < 0.3, r.normal(0, 0.001, length), 0.0),
                        "volatility": r.uniform(0.002, 0.05, length),
                        **dict(
                            zip(
                                ("p_trend", "p_range", "p_panic"),
                                r.dirichlet([1, 1, 1], length).T,
                                strict=True,
                            )
                        ),
                        "f": r.normal(size=length),
                    }
                )
            )
            ts += timedelta(hours=length + 1)
    return pl.concat(frames)


class Recorded(TradingEnvironment):
    """Keeps what a step computes in float64, before it is rounded for the network."""

    def _settle(self, target: Tensor) -> Any:
        self.settled = super()._settle(target)
        return self.settled


def agree(environment: Recorded, tape: MarketTape, actions: np.ndarray) -> None:
    """Step the batch and one reference account for each of its accounts side by side."""
    config, levels = environment.config, actions
    S, P = environment.starts, environment.paths
    accounts = [
        [ReferenceAccount(tape, config, int(row), int(left)) for _ in range(P)]
        for row, left in zip(environment.rows, environment.bars_left, strict=True)
    ]
    assert not environment.own_state().any()
    for level in levels:
        assert (tape.decisions_left[environment.rows.numpy()] > 0).all()
        step = environment.step(torch.from_numpy(level))
        expected = [[accounts[s][p].step(int(level[s, p])) for p in range(P)] for s in range(S)]
        own = np.array([[accounts[s][p].own_state() for p in range(P)] for s in range(S)])
        net = np.array([[x.net for x in row] for row in expected])
        reward = np.array([[x.reward for x in row] for row in expected])
        np.testing.assert_allclose(step.net, net, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(environment.settled[1], reward, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(torch.stack(environment.settled[2], -1), own, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(step.reward, reward, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(step.final_own, own, rtol=1e-6, atol=1e-7)
        assert [bool(x) for x in step.ended] == [row[0].ended for row in expected]
        assert [int(x) for x in step.final_rows] == [row[0].row for row in accounts]
        after = step.final_own.clone()
        for s in range(S):
            if step.ended[s]:
                after[s] = 0.0
                again = int(environment.rows[s]), int(environment.bars_left[s])
                accounts[s] = [ReferenceAccount(tape, config, *again) for _ in range(P)]
        assert torch.equal(environment.own_state(), after)
        assert [int(x) for x in environment.rows] == [row[0].row for row in accounts]


@settings(max_examples=30, deadline=None)
@given(
    runs=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 30)), min_size=1, max_size=5),
    seed=st.integers(0, 2**20),
    starts=st.integers(1, 4),
    paths=st.integers(1, 3),
    episode_bars=st.integers(1, 12),
    least_bars=st.integers(1, 6),
    cost=st.sampled_from([0.0, 6e-4, 0.01]),
    risk_aversion=st.sampled_from([0.0, 0.05, 1.0]),
    stay=st.floats(0.0, 0.9),
)
def test_accounts_agree_with_the_reference(
    runs: list[tuple[int, int]],
    seed: int,
    starts: int,
    paths: int,
    episode_bars: int,
    least_bars: int,
    cost: float,
    risk_aversion: float,
    stay: float,
) -> None:
    runs = [*runs, (0, 20)]
    tape = MarketTape.from_frame(random_bars(seed, runs), ["f"])
    config = EnvironmentConfig(
        cost=cost, episode_bars=episode_bars, least_bars=least_bars, risk_aversion=risk_aversion
    )
    r = np.random.default_rng(seed)
    actions = r.integers(0, len(LEVELS), (40, starts, paths))
    for t in range(1, len(actions)):
        actions[t] = np.where(r.random((starts, paths)) < stay, actions[t - 1], actions[t])
    environment = Recorded(tape, config, starts=starts, paths=paths, seed=seed)
    agree(environment, tape, actions)


class CostOfLevel(Recorded):
    def _settle(self, target: Tensor) -> Any:
        self._position = torch.zeros_like(self._position)
        return super()._settle(target)


def filled_at_the_close(tape: MarketTape, frame: pl.DataFrame) -> MarketTape:
    close = frame["close"].to_numpy()
    return replace(tape, growth=np.r_[close[1:] / close[:-1] - 1.0, np.nan])


def marked_at_the_next_open(tape: MarketTape, frame: pl.DataFrame) -> MarketTape:
    opens = frame["open"].to_numpy()
    return replace(tape, mark=np.r_[opens[1:] / opens[:-1] - 1.0, 0.0])


def without_runs(tape: MarketTape, frame: pl.DataFrame) -> MarketTape:
    opens, rows = frame["open"].to_numpy(), np.arange(len(tape))
    growth = np.r_[opens[2:] / opens[1:-1] - 1.0, np.nan, np.nan]
    left = np.maximum(len(tape) - rows - 2, 0).astype(np.int32)
    return replace(tape, run=np.zeros_like(tape.run), growth=growth, decisions_left=left)


@pytest.mark.parametrize(
    "wrong", [None, filled_at_the_close, marked_at_the_next_open, without_runs, CostOfLevel]
)
def test_wrong_rules_are_caught(wrong: Any) -> None:
    frame = random_bars(8, [(0, 30), (0, 25)])
    tape = MarketTape.from_frame(frame, ["f"])
    config = EnvironmentConfig(episode_bars=10)
    actions = np.random.default_rng(0).integers(0, len(LEVELS), (60, 4, 2)) // 3 * 3
    kind, seen = (
        (CostOfLevel, tape) if wrong is CostOfLevel else (Recorded, wrong(tape, frame) if wrong else tape)
    )
    environment = kind(seen, config, starts=4, paths=2, seed=0)
    if wrong is None:
        agree(environment, tape, actions)
    else:
        with pytest.raises((AssertionError, ValueError), match=r"Not equal|cannot host|assert"):
            agree(environment, tape, actions)


CONFIG = EnvironmentConfig(levels=(-1.0, 0.0, 0.5, 1.0), cost=0.001, episode_bars=8, risk_aversion=0.0)
SHORT, FLAT, HALF, LONG = range(4)


def nets(tape: MarketTape, levels: Sequence[int], config: EnvironmentConfig = CONFIG) -> list[float]:
    environment = TradingEnvironment(tape, replace(config, least_bars=1), starts=1, paths=1, seed=0)
    environment.reset(np.array([0]))
    return [environment.step(torch.tensor([[level]])).net.item() for level in levels]


def test_fill_at_the_next_open() -> None:
    # Decided on bar 0 (open 100, close 104): filled at 105, sold or kept at 126.
    tape = MarketTape.from_frame(bars([100.0, 105.0, 126.0, 63.0], [104.0, 120.0, 60.0, 63.0]), ["f"])
    free = replace(CONFIG, cost=0.0)
    assert nets(tape, [LONG, SHORT], free) == pytest.approx([0.2, 0.5], abs=1e-12)
    assert nets(tape, [HALF, HALF], free) == pytest.approx([0.1, -0.25], abs=1e-12)
    at_the_close = 120.0 / 104.0 - 1.0
    assert nets(tape, [LONG], free)[0] != pytest.approx(at_the_close, abs=1e-3)


def test_cost_is_of_the_change_not_of_the_level() -> None:
    tape = MarketTape.from_frame(bars([100.0] * 8), ["f"])
    paid = nets(tape, [LONG, LONG, HALF, SHORT, SHORT, FLAT])
    assert paid == pytest.approx([-0.001, 0.0, -0.0005, -0.0015, 0.0, -0.001], abs=1e-15)


def test_funding_is_due_on_the_position_that_meets_it() -> None:
    # A rate due at the open of bar 3 falls on what is held into it: the decision on bar 1, filled at bar 2.
    due = [0.0, 0.0, 0.0, 0.002, 0.0, 0.0]
    tape = MarketTape.from_frame(bars([100.0] * 6, funding=due), ["f"])
    free = replace(CONFIG, cost=0.0)
    assert nets(tape, [LONG, LONG, LONG, LONG], free) == pytest.approx([0.0, -0.002, 0.0, 0.0], abs=1e-15)
    assert nets(tape, [FLAT, SHORT, SHORT, LONG], free) == pytest.approx([0.0, 0.002, 0.0, 0.0], abs=1e-15)


def test_reward_is_risk_adjusted_in_units_of_the_bar() -> None:
    tape = MarketTape.from_frame(
        bars([100.0, 100.0, 102.0, 102.0], volatility=[0.01, 0.02, 0.04, 0.01]), ["f"]
    )
    config = replace(CONFIG, cost=0.0, risk_aversion=0.5, least_bars=1)
    environment = TradingEnvironment(tape, config, starts=1, paths=2, seed=0)
    environment.reset(np.array([0]))
    # 2 % are two scales of 1 %: 2 - .5/2 * 4 = 1; half of it is one: 1 - .25 = .75.
    assert environment.step(torch.tensor([[LONG, HALF]])).reward.tolist() == [pytest.approx([1.0, 0.75])]


def test_own_state_by_hand() -> None:
    opens, closes = [100.0, 100.0, 110.0, 99.0, 99.0, 99.0], [100.0, 101.0, 104.5, 99.0, 99.0, 99.0]
    tape = MarketTape.from_frame(bars(opens, closes, volatility=[0.5, 0.25, 0.1, 0.2, 0.2, 0.2]), ["f"])
    environment = TradingEnvironment(tape, replace(CONFIG, least_bars=1), starts=1, paths=1, seed=0)
    environment.reset(np.array([0]))
    seen = []
    for level in (LONG, LONG, SHORT, SHORT):
        environment.step(torch.tensor([[level]]))
        seen.append(environment.own_state()[0, 0].tolist())
    # Filled at 100, closes at 101; then a whole bar of +10 % and 104.5 / 110 - 1 = -5 % in the open one.
    assert seen[0] == pytest.approx([1.0, 0.0, 0.01 / 0.25])
    assert seen[1] == pytest.approx([1.0, np.log(2.0) / 5.0, (0.1 - 0.05) / (0.1 * np.sqrt(2.0))])
    assert seen[2] == pytest.approx([-1.0, 0.0, 0.0])


def test_open_profit_is_cut_to_three_deviations() -> None:
    tape = MarketTape.from_frame(bars([100.0, 100.0, 200.0, 200.0, 200.0], volatility=[0.01] * 5), ["f"])
    environment = TradingEnvironment(tape, replace(CONFIG, least_bars=1), starts=1, paths=2, seed=0)
    environment.reset(np.array([0]))
    environment.step(torch.tensor([[LONG, SHORT]]))
    assert environment.own_state()[0, :, 2].tolist() == [3.0, -3.0]


def test_nothing_seen_depends_on_later_bars() -> None:
    frame = random_bars(5, [(0, 40)])
    levels = torch.from_numpy(np.random.default_rng(1).integers(0, len(LEVELS), (12, 1, 3)))
    cut = 15
    changed = frame.with_columns(
        pl.when(pl.int_range(pl.len()) > cut)
        .then(pl.col(name) * 1.7 + 0.3)
        .otherwise(pl.col(name))
        .alias(name)
        for name in ("open", "close", "funding", "volatility", "f")
    )
    seen: list[tuple[Any, ...]] = []
    for rows in (frame, changed):
        tape = MarketTape.from_frame(rows, ["f"])
        environment = TradingEnvironment(tape, EnvironmentConfig(), starts=1, paths=3, seed=0)
        environment.reset(np.array([cut - 11]))
        own = []
        for level in levels:
            own.append(environment.own_state())
            at = int(environment.rows[0])
            net = environment.step(level).net
        assert at == cut
        seen.append(
            (torch.stack(own), tape.x[: cut + 1], tape.scale[: cut + 1], tape.p_regime[: cut + 1], net)
        )
    for before, after in zip(seen[0][:4], seen[1][:4], strict=True):
        assert np.array_equal(before, after)
    # The change is one that what follows does feel.
    assert not torch.equal(seen[0][4], seen[1][4])


def tape_of(*runs: tuple[int, int], seed: int = 3) -> MarketTape:
    return MarketTape.from_frame(random_bars(seed, runs), ["f"])


def test_no_episode_runs_across_a_gap() -> None:
    tape = tape_of((0, 12), (0, 9), (1, 15))
    config = EnvironmentConfig(episode_bars=100, least_bars=2)
    environment = TradingEnvironment(tape, config, starts=16, paths=1, seed=1)
    ends = 0
    for _ in range(60):
        rows = environment.rows.numpy()
        assert (tape.decisions_left[rows] > 0).all()
        step = environment.step(torch.zeros(16, 1, dtype=torch.int64))
        assert (tape.run[step.final_rows.numpy()] == tape.run[rows]).all()
        at_the_end = tape.decisions_left[step.final_rows.numpy()] == 0
        assert (~at_the_end | step.ended.numpy()).all()
        ends += int(at_the_end.sum())
    assert ends > 16


def test_episodes_have_their_length_and_do_not_end_together() -> None:
    tape = tape_of((0, 400))
    config = EnvironmentConfig(episode_bars=20, least_bars=20)
    environment = TradingEnvironment(tape, config, starts=50, paths=1, seed=1)
    ended = torch.stack([environment.step(torch.zeros(50, 1, dtype=torch.int64)).ended for _ in range(100)])
    times = [np.flatnonzero(column) for column in ended.numpy().T]
    assert all((np.diff(t) == 20).all() for t in times)
    assert len({int(t[0]) for t in times}) > 10
    environment.reset(np.zeros(50, dtype=np.int64))
    ended = torch.stack([environment.step(torch.zeros(50, 1, dtype=torch.int64)).ended for _ in range(20)])
    assert ended[-1].all()
    assert not ended[:-1].any()


def test_restarts_follow_from_the_seed_alone() -> None:
    tape = tape_of((0, 60), (1, 80))
    config = EnvironmentConfig(episode_bars=7, least_bars=3)

    def path(seed: int, level: int) -> Tensor:
        environment = TradingEnvironment(tape, config, starts=9, paths=2, seed=seed)
        rows = [environment.rows]
        for _ in range(40):
            environment.step(torch.full((9, 2), level))
            rows.append(environment.rows)
        return torch.stack(rows)

    assert torch.equal(path(4, 0), path(4, 9))
    assert not torch.equal(path(4, 0), path(5, 0))


def test_start_weights_are_honoured() -> None:
    tape = tape_of((0, 30), (1, 30))
    config = EnvironmentConfig(episode_bars=1, least_bars=1)
    weights = np.random.default_rng(0).uniform(0.0, 2.0, len(tape))
    weights[::5] = 0.0
    environment = TradingEnvironment(tape, config, starts=2_000, paths=1, seed=2, start_weights=weights)
    counts = np.zeros(len(tape))
    for _ in range(20):
        counts += np.bincount(environment.rows.numpy(), minlength=len(tape))
        environment.step(torch.zeros(2_000, 1, dtype=torch.int64))
    possible = (weights > 0.0) & (tape.decisions_left > 0)
    assert not counts[~possible].any()
    expected = weights[possible] / weights[possible].sum() * counts.sum()
    assert chisquare(counts[possible], expected).pvalue > 1e-3
    equal = np.full(possible.sum(), counts.sum() / possible.sum())
    assert chisquare(counts[possible], equal).pvalue < 1e-6


def test_returned_tensors_are_not_written_again() -> None:
    tape = tape_of((0, 40))
    config = EnvironmentConfig(episode_bars=3, least_bars=1)
    environment = TradingEnvironment(tape, config, starts=6, paths=2, seed=0)
    kept, copies = [], []
    for t in range(12):
        step = environment.step(torch.full((6, 2), t % len(LEVELS)))
        tensors = [*vars(step).values(), environment.rows, environment.own_state()]
        kept.append(tensors)
        copies.append([x.clone() for x in tensors])
    for tensors, clones in zip(kept, copies, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(tensors, clones, strict=True))


def test_refusals() -> None:
    tape, config = tape_of((0, 12), (1, 5)), EnvironmentConfig(least_bars=4)
    with pytest.raises(NotEnoughDataError, match="16 decisions ahead, and no row at all more than 10"):
        TradingEnvironment(tape, EnvironmentConfig(), starts=1, paths=1, seed=0)
    weights = (tape.symbol == 1).astype(float)
    with pytest.raises(NotEnoughDataError, match="more than 10"):
        TradingEnvironment(tape, config, starts=1, paths=1, seed=0, start_weights=weights)
    with pytest.raises(ValueError, match=r"shape \(3,\), expected one per row: \(17,\)"):
        TradingEnvironment(tape, config, starts=1, paths=1, seed=0, start_weights=np.ones(3))
    for bad in (-1.0, np.nan):
        weights = np.where(np.arange(17) == 2, bad, 1.0)
        with pytest.raises(ValueError, match=r"start_weights\[2\]"):
            TradingEnvironment(tape, config, starts=1, paths=1, seed=0, start_weights=weights)
    with pytest.raises(ValueError, match="paths=0"):
        TradingEnvironment(tape, config, starts=1, paths=0, seed=0)
    environment = TradingEnvironment(tape, config, starts=3, paths=2, seed=0)
    with pytest.raises(ValueError, match=r"shape \(2, 3\), expected \(3, 2\)"):
        environment.step(torch.zeros(2, 3, dtype=torch.int64))
    for level in (-1, len(LEVELS)):
        with pytest.raises(ValueError, match=f"level is 0 to {level}|level is {level} to 0"):
            environment.step(torch.tensor([[0, 0], [0, level], [0, 0]]))
    with pytest.raises(ValueError, match="expected"):
        environment.reset(np.array([0]))
    for row in (-1, 10, len(tape)):
        with pytest.raises(ValueError, match="decisions left"):
            environment.reset(np.array([0, 1, row]))
    for wrong in (
        {"levels": ()},
        {"cost": -1.0},
        {"risk_aversion": np.nan},
        {"episode_bars": 0},
        {"least_bars": 0},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            EnvironmentConfig(**wrong)
    with pytest.raises(ValueError, match="level is 10"):
        ReferenceAccount(tape, config, 0).step(10)
    with pytest.raises(ValueError, match="row 10"):
        ReferenceAccount(tape, config, 10)
