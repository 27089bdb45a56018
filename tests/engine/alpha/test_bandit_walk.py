"""The walk beside a slow one that lives through every bar with the live coordinator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from engine.alpha.bandit import AlphaEngineBandit, BanditConfig
from engine.alpha.bandit_plots import choices_picture, posteriors_picture
from engine.alpha.bandit_scores import compare, strongest
from engine.alpha.bandit_walk import BanditWalk, walk
from engine.alpha.coordinator import AlphaEngineCoordinator
from engine.alpha.signals import AlphaEngine, Columns, Opinion, Signal
from engine.alpha.trade_outcomes import TradeOutcomes
from engine.errors import DataError, NotEnoughDataError
from engine.regimes.names import REGIMES

HOUR, START, COST = timedelta(hours=1), datetime(2024, 1, 1), 1e-3
CONFIGS = {
    "events": BanditConfig(gamma=0.95),
    "hours": BanditConfig(gamma=0.999, clock="hours"),
    "window": BanditConfig(forgetting="window", window=12),
    "none": BanditConfig(forgetting="none"),
}


@dataclass(frozen=True)
class _Quick(AlphaEngine):
    horizon: int = 3
    name: ClassVar[str] = "quick"
    inputs: ClassVar[tuple[str, ...]] = ("u",)

    def opinion(self, x: Columns) -> Opinion:
        return Opinion(np.where(np.abs(x["u"]) > 0.5, x["u"], 0.0), ())


@dataclass(frozen=True)
class _Slow(AlphaEngine):
    horizon: int = 11
    name: ClassVar[str] = "slow"
    inputs: ClassVar[tuple[str, ...]] = ("v",)

    def opinion(self, x: Columns) -> Opinion:
        return Opinion(np.where(np.abs(x["v"]) > 0.7, x["v"], 0.0), ())


@dataclass(frozen=True)
class _Bar(AlphaEngine):
    horizon: int = 1
    name: ClassVar[str] = "bar"
    inputs: ClassVar[tuple[str, ...]] = ("w",)

    def opinion(self, x: Columns) -> Opinion:
        return Opinion(np.where(np.abs(x["w"]) > 0.8, x["w"], 0.0), ())


ENGINES = (_Quick(), _Slow(), _Bar())
NAMES = [engine.name for engine in ENGINES]


def market(bars: int = 260, symbols: int = 3, seed: int = 0) -> pl.DataFrame:
    """Bars with holes, unknown regimes, unknown volatilities and signals that tell a little of the future."""
    rng = np.random.default_rng(seed)
    frames = []
    for s in range(symbols):
        moves = 0.01 * rng.standard_normal(bars)
        price = 100.0 * np.exp(np.cumsum(moves))
        ahead = np.clip(0.3 * np.roll(moves, -2) / 0.01 + 0.5 * rng.standard_normal(bars), -1, 1)
        missing = rng.random(bars) < 0.03
        frame = pl.DataFrame(
            {
                "symbol": f"S{s}",
                "ts": [START + i * HOUR for i in range(bars)],
                "segment": np.cumsum(missing),
                "open": price,
                "funding": 1e-4 * rng.standard_normal(bars),
                "regime": [(*REGIMES, None)[k] for k in rng.choice(4, bars, p=(0.4, 0.4, 0.15, 0.05))],
                "volatility": np.where(rng.random(bars) < 0.05, np.nan, 0.01),
                "u": ahead,
                "v": rng.uniform(-1, 1, bars),
                "w": rng.uniform(-1, 1, bars),
            }
        )
        frames.append(frame.filter(~pl.Series(missing)))
    return pl.concat(frames)


def outcomes_of(rows: pl.DataFrame) -> TradeOutcomes:
    return TradeOutcomes.from_frame(rows, ENGINES, cost=COST)


def stretch_of(rows: pl.DataFrame, symbol: str, segment: int) -> list[dict[str, Any]]:
    return rows.filter(symbol=symbol, segment=segment).sort("ts").to_dicts()


def slow_walk(
    rows: pl.DataFrame,
    config: BanditConfig,
    seed: int,
    *,
    credit_regime: Callable[[dict[str, Any]], str] = lambda trade: trade["regime"],
    known_at: Callable[[dict[str, Any]], datetime] = lambda trade: trade["exit_ts"],
) -> tuple[list[tuple[str, datetime, str | None]], list[dict[str, Any]], AlphaEngineBandit]:
    """Live through the bars one by one; the two functions are where mistakes are usually made."""
    one = AlphaEngineCoordinator(True, ENGINES, config, seed=seed)
    by_bar = {(row["symbol"], row["ts"]): row for row in rows.to_dicts()}
    symbols = sorted({symbol for symbol, _ in by_bar})
    busy = dict.fromkeys(symbols, (START, -1))
    waiting: list[dict[str, Any]] = []
    choices: list[tuple[str, datetime, str | None]] = []
    trades: list[dict[str, Any]] = []
    for now in sorted({ts for _, ts in by_bar}):
        due = [trade for trade in waiting if known_at(trade) <= now]
        for trade in sorted(due, key=lambda trade: trade["symbol"]):
            waiting.remove(trade)
            if trade["whole"]:
                credited = replace(trade["signal"], regime=credit_regime(trade))
                one.record_outcome(credited, trade["net"], trade["risk"], now)
        for symbol in symbols:
            row = by_bar.get((symbol, now))
            if row is None or (now + HOUR < busy[symbol][0] and row["segment"] == busy[symbol][1]):
                continue
            signals = one.generate_all_signals(row, row["regime"])
            if not signals or not row["volatility"] > 0.0:
                continue
            chosen = one.select_best_technique(signals, row["regime"])
            choices.append((symbol, now, None if chosen is None else chosen.engine))
            if chosen is None:
                continue
            busy[symbol] = now + (1 + chosen.horizon) * HOUR, row["segment"]
            held = lived(chosen, row, stretch_of(rows, symbol, row["segment"]))
            if held is not None:
                trades.append(held)
                waiting.append(held)
    return choices, trades, one.bandit


def lived(signal: Signal, row: dict[str, Any], stretch: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Hold the trade bar by bar."""
    after = [bar for bar in stretch if bar["ts"] > row["ts"]]
    if len(after) < 2:
        return None
    entry, path = after[0], after[1 : 1 + signal.horizon]
    net, before, paying = -COST, entry["open"], row
    for bar in path:
        net += signal.direction * ((bar["open"] - before) / entry["open"] - paying["funding"])
        paying = stretch[stretch.index(paying) + 1]
        before = bar["open"]
    net -= COST * path[-1]["open"] / entry["open"]
    return {
        "symbol": signal.symbol,
        "ts": row["ts"],
        "regime": row["regime"],
        "engine": signal.engine,
        "entry_ts": entry["ts"],
        "exit_ts": path[-1]["ts"],
        "direction": signal.direction,
        "net": net,
        "whole": len(path) == signal.horizon,
        "risk": row["volatility"] * signal.horizon**0.5,
        "signal": signal,
    }


def fast_walk(rows: pl.DataFrame, config: BanditConfig, seed: int) -> tuple[BanditWalk, AlphaEngineBandit]:
    bandit = AlphaEngineBandit(NAMES, config, seed=seed)
    return walk(outcomes_of(rows), bandit), bandit


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_walk_is_what_the_live_coordinator_would_have_done(kind: str) -> None:
    rows = market(seed=sum(map(ord, kind)))
    found, bandit = fast_walk(rows, CONFIGS[kind], 4)
    choices, trades, slow = slow_walk(rows, CONFIGS[kind], 4)
    assert found.choices.select("symbol", "ts", "engine").sort("ts", "symbol").rows() == choices
    expected = pl.DataFrame(trades).select(pl.exclude("risk", "signal")).sort("symbol", "ts")
    assert_frame_equal(found.trades.select(expected.columns), expected, abs_tol=1e-12, check_dtypes=False)
    assert 0 < found.trades["whole"].sum() < found.trades.height
    assert found.choices["engine"].null_count() > 0
    assert_frame_equal(bandit.posterior(1e6), slow.posterior(1e6), abs_tol=1e-9)
    assert bandit.rng.bit_generator.state == slow.rng.bit_generator.state


def test_crediting_the_regime_at_exit_is_caught() -> None:
    rows = market()
    regime_at = {(r["symbol"], r["ts"]): r["regime"] or "RANGE" for r in rows.to_dicts()}
    _, bandit = fast_walk(rows, CONFIGS["none"], 4)
    _, _, wrong = slow_walk(
        rows, CONFIGS["none"], 4, credit_regime=lambda t: regime_at[t["symbol"], t["exit_ts"]]
    )
    assert not bandit.posterior().equals(wrong.posterior())


def test_crediting_before_the_close_is_caught() -> None:
    rows = market()
    found, _ = fast_walk(rows, CONFIGS["events"], 4)
    choices, _, _ = slow_walk(rows, CONFIGS["events"], 4, known_at=lambda trade: trade["entry_ts"])
    assert found.choices.select("symbol", "ts", "engine").sort("ts", "symbol").rows() != choices


def test_only_the_engine_that_acted_learns() -> None:
    found, bandit = fast_walk(market(), CONFIGS["none"], 1)
    whole = found.trades.filter("whole")
    assert bandit.evidence.outcomes.sum() == whole.filter(pl.col("exit_ts") <= market()["ts"].max()).height
    for name, regime, wins, losses, *_ in bandit.posterior().rows():
        rewards = whole.filter(engine=name, regime=regime)["reward"]
        assert (wins, losses) == pytest.approx((1 + rewards.sum(), 1 + (1 - rewards).sum()), abs=1e-9)


@pytest.mark.parametrize("cut", [60, 141, 200])
def test_decisions_do_not_change_when_the_future_is_cut_off(cut: int) -> None:
    rows, end = market(), START + cut * HOUR
    full, _ = fast_walk(rows, CONFIGS["events"], 2)
    early, _ = fast_walk(rows.filter(pl.col("ts") <= end), CONFIGS["events"], 2)
    assert_frame_equal(full.choices.filter(pl.col("ts") <= end), early.choices)
    assert_frame_equal(full.posteriors.filter(pl.col("ts") <= end), early.posteriors)


def test_no_trade_spans_a_hole_and_no_symbol_holds_two() -> None:
    rows = market()
    trades = fast_walk(rows, CONFIGS["events"], 3)[0].trades
    segment = rows.select("symbol", "ts", "segment")
    joined = trades.join(segment, on=["symbol", "ts"]).join(
        segment, left_on=["symbol", "exit_ts"], right_on=["symbol", "ts"], suffix="_exit"
    )
    assert joined.height == trades.height
    assert (joined["segment"] == joined["segment_exit"]).all()
    following = trades.with_columns(next_entry=pl.col("entry_ts").shift(-1).over("symbol")).drop_nulls()
    assert (following["next_entry"] >= following["exit_ts"]).all()
    assert (following["next_entry"] == following["exit_ts"]).any()
    assert (trades["entry_ts"] == trades["ts"] + HOUR).all()


def test_daily_returns_add_up_to_the_trades() -> None:
    found, _ = fast_walk(market(), CONFIGS["events"], 3)
    assert found.daily["net_return"].sum() == pytest.approx(found.trades["net"].sum() / 3, abs=1e-12)
    fills = found.daily["turnover"].to_numpy().sum() * 3
    assert fills * COST == pytest.approx(found.trades["cost"].sum(), abs=1e-12)
    assert found.daily["day"].to_list() == [START.date() + timedelta(days=k) for k in range(11)]


def test_without_learning_the_choice_is_uniform() -> None:
    rows = market(3000, 1).with_columns(u=pl.lit(1.0), v=pl.lit(1.0), w=pl.lit(1.0))
    bandit = AlphaEngineBandit(NAMES, seed=1)
    found = walk(outcomes_of(rows), bandit, learning=False, stand_aside=False)
    shares = found.choices["engine"].value_counts(normalize=True)["proportion"]
    assert shares.len() == 3
    assert shares.to_numpy() == pytest.approx(1 / 3, abs=0.1)
    assert bandit.evidence.outcomes.sum() == 0


def test_comparison_of_ways_to_choose() -> None:
    outcomes = outcomes_of(market(1200))
    found = compare(outcomes, CONFIGS["none"], seed=1, draws=99)
    policies = {"bandit", "always in", "uniform", "strongest", "equal weight"} | {f"only {n}" for n in NAMES}
    assert set(found.figures["policy"]) == set(found.daily.columns) - {"day"} == policies
    assert set(found.differences["policy"]) == policies - {"bandit"}
    # The signals of `quick` tell of the future, the others nothing.
    assert found.best_engine == "quick"
    total = dict(found.figures.select("policy", "total").rows())
    assert total["equal weight"] == pytest.approx(np.mean([total[f"only {n}"] for n in NAMES]))
    assert total["bandit"] > total["uniform"]
    assert found.regret["regret"][-1] == pytest.approx(total["only quick"] - total["bandit"])
    low_high = found.differences.filter(metric="sharpe")
    assert (low_high["low"] <= low_high["high"]).all()


def test_the_strongest_signal_is_the_coordinators_fixed_rule() -> None:
    rows = market(80)
    marked = outcomes_of(rows).followed(strongest(outcomes_of(rows)))
    one = AlphaEngineCoordinator(False, ENGINES)
    for i, row in enumerate(rows.to_dicts()):
        if row["volatility"] > 0.0 and row["regime"]:
            chosen = one.select_best_technique(one.generate_all_signals(row, row["regime"]), row["regime"])
            names = [NAMES[e] for e in np.flatnonzero(marked.available[i])]
            assert names == ([] if chosen is None else [chosen.engine])


def test_a_walk_goes_on_with_the_evidence_it_is_given() -> None:
    rows, bandit = market(), AlphaEngineBandit(NAMES, seed=2)
    walk(outcomes_of(rows), bandit)
    before = bandit.evidence.outcomes.sum()
    walk(outcomes_of(rows), bandit)
    assert bandit.evidence.outcomes.sum() > before


def test_rows_that_cannot_be_walked_are_refused() -> None:
    rows = market(30)
    with pytest.raises(DataError, match="sorted"):
        outcomes_of(rows.reverse())
    with pytest.raises(DataError, match="positive"):
        outcomes_of(rows.with_columns(open=-pl.col("open")))
    with pytest.raises(DataError, match="funding"):
        outcomes_of(rows.with_columns(funding=pl.lit(None, pl.Float64)))
    with pytest.raises(DataError, match="volatility"):
        outcomes_of(rows.drop("volatility"))
    with pytest.raises(NotEnoughDataError):
        outcomes_of(rows.clear())
    with pytest.raises(ValueError, match="cost"):
        TradeOutcomes.from_frame(rows, ENGINES, cost=1.5)
    with pytest.raises(ValueError, match="same engines"):
        walk(outcomes_of(rows), AlphaEngineBandit(["other"]))
    with pytest.raises(ValueError, match="snapshot_bars"):
        walk(outcomes_of(rows), AlphaEngineBandit(NAMES), snapshot_bars=0)
    with pytest.raises(NotEnoughDataError):
        compare(outcomes_of(market(10)))


def test_without_funding_none_is_paid() -> None:
    free = outcomes_of(market().drop("funding"))
    assert not free.paid.any()
    assert free.net == pytest.approx(free.gross - free.fees)


def test_pictures_are_drawn() -> None:
    found, bandit = fast_walk(market(), CONFIGS["events"], 1)
    for png in (
        posteriors_picture(found.posteriors, "Beliefs"),
        choices_picture(found.choices, bandit.engines, "Choices"),
    ):
        assert png.startswith(b"\x89PNG")
        assert 3_000 < len(png) < 100_000
