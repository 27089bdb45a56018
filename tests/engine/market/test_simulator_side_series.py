"""Side series: calendar, publication, revision, what they answer to, and that they never lead."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.market.activity_series import commits, exchange_flows, fear_greed, news_score, social_score
from engine.market.derivative_series import (
    _funding_stamps,
    funding,
    liquidation_prints,
    liquidations,
    long_short_ratio,
    open_interest,
)
from engine.market.price_path import USUAL_VOLATILITY, PricePath, price_path, symbol_traits
from engine.market.regime_path import MarketPath, market_path
from engine.market.side_series import HOUR, Block, Clock, Revisions, Tape, observations_frame, publish
from engine.market.simulator import MarketSimulator

START = datetime(2023, 5, 4, 21)
BARS = 20_000
SYMBOL = "BTC/USDT"
TRAITS = symbol_traits(7, SYMBOL)


@pytest.fixture(scope="module")
def observations() -> pl.DataFrame:
    return MarketSimulator([SYMBOL, "SOL/USDT"]).simulate(START, BARS).observations


def rows(observations: pl.DataFrame, series: str, symbol: str = SYMBOL) -> pl.DataFrame:
    return observations.filter(pl.col("series") == series, pl.col("symbol") == symbol)


def vintages(observations: pl.DataFrame, series: str) -> pl.DataFrame:
    """One row a period: number of vintages, first and last value. The newest periods may yet be revised."""
    settled = rows(observations, series).filter(pl.col("ts") < START + timedelta(hours=BARS - 2000))
    return settled.group_by("ts", maintain_order=True).agg(
        pl.len().alias("vintages"), pl.first("value").alias("first"), pl.last("value").alias("last")
    )


def delay(observations: pl.DataFrame, series: str, symbol: str = SYMBOL) -> pl.Series:
    """From the start of each period to its first publication."""
    first = rows(observations, series, symbol).unique("ts", keep="first", maintain_order=True)
    return first["available_at"] - first["ts"]


@pytest.mark.parametrize(
    ("series", "symbol", "period", "shortest", "longest"),
    [
        ("liquidations_long_usd", SYMBOL, 4, timedelta(hours=4, minutes=1), timedelta(hours=4, minutes=8)),
        ("liquidations_short_usd", SYMBOL, 4, timedelta(hours=4, minutes=1), timedelta(hours=4, minutes=8)),
        ("open_interest_usd", SYMBOL, 4, timedelta(hours=4, minutes=1), timedelta(hours=4, minutes=8)),
        ("long_short_ratio", SYMBOL, 4, timedelta(hours=4, minutes=1), timedelta(hours=4, minutes=8)),
        ("social_score", SYMBOL, 1, timedelta(hours=1, minutes=1), timedelta(hours=1, minutes=5)),
        ("news_score", SYMBOL, 1, timedelta(hours=1, minutes=1), timedelta(hours=1, minutes=5)),
        ("exchange_inflow", SYMBOL, 24, timedelta(hours=25), timedelta(hours=30)),
        ("exchange_outflow", SYMBOL, 24, timedelta(hours=25), timedelta(hours=30)),
        ("commits", SYMBOL, 24, timedelta(hours=24, minutes=10), timedelta(hours=24, minutes=10)),
        ("commit_authors", SYMBOL, 24, timedelta(hours=24, minutes=10), timedelta(hours=24, minutes=10)),
        ("repository_archived", SYMBOL, 24, timedelta(hours=24, minutes=10), timedelta(hours=24, minutes=10)),
        ("fear_greed", "*", 24, timedelta(minutes=2), timedelta(minutes=15)),
    ],
)
def test_calendar_and_publication(
    observations: pl.DataFrame, series: str, symbol: str, period: int, shortest: timedelta, longest: timedelta
) -> None:
    ts = rows(observations, series, symbol)["ts"].unique(maintain_order=True)
    assert (ts.diff().drop_nulls() == timedelta(hours=period)).all()
    assert (ts.cast(pl.Int64) % (period * HOUR) == 0).all()
    assert delay(observations, series, symbol).is_between(shortest, longest).all()


def test_funding_is_charged_at_jittered_stamps(observations: pl.DataFrame) -> None:
    stamps = rows(observations, "funding_rate")
    assert stamps["ts"].equals(stamps["available_at"])
    jitter = stamps["ts"].cast(pl.Int64) % (4 * HOUR)
    assert jitter.max() < 47_000
    assert (jitter > 0).mean() == pytest.approx(0.42, abs=0.04)
    interval = rows(observations, "funding_interval_hours")
    assert interval["ts"].equals(stamps["ts"])
    passed = (interval["ts"].diff().drop_nulls().cast(pl.Int64) / HOUR).round(0)
    assert passed.to_list() == interval["value"].to_list()[1:]
    assert stamps["value"].median() == pytest.approx(1e-4)


def test_venue_charges_more_often_after_an_extreme_rate() -> None:
    rate = np.full(48, 1e-4)
    rate[15:28] = 5e-3
    at, interval = _funding_stamps(rate, 0, 2e-3, 1e-3)
    assert (at + 1).tolist() == [8, 16, 20, 24, 28, 32, 40, 48]
    assert interval.tolist() == [8, 8, 4, 4, 4, 4, 8, 8]


def test_shares_revised_are_those_recorded(observations: pl.DataFrame) -> None:
    forced = vintages(observations, "liquidations_long_usd")
    assert 0.56 <= (forced["vintages"] > 1).mean() <= 0.67
    assert 5 <= forced["vintages"].max() <= 8
    factor = forced["first"] / forced["last"]
    assert 0.04 < (factor < 0.5).mean() < 0.12
    assert (factor - 1).abs().median() < 0.01
    for series, share in (("open_interest_usd", 0.05), ("long_short_ratio", 0.05), ("exchange_inflow", 0.30)):
        revised = vintages(observations, series)
        error = np.sqrt(share * (1 - share) / len(revised))
        assert (revised["vintages"] > 1).mean() == pytest.approx(share, abs=4 * error)
        assert (revised["first"] / revised["last"] - 1).abs().max() < 0.08
    for series in ("social_score", "commits", "funding_rate"):
        assert vintages(observations, series)["vintages"].max() == 1


def test_both_sides_of_liquidations_are_published_together(observations: pl.DataFrame) -> None:
    both = [
        rows(observations, f"liquidations_{side}_usd").select("ts", "available_at")
        for side in ("long", "short")
    ]
    assert both[0].equals(both[1])


def test_publish_keeps_order_and_ends_with_the_final_value() -> None:
    known = np.arange(5000, dtype=np.int64) * HOUR
    law = Revisions(share=0.5, most=3, mean_delay=10.0, spread=0.1, incomplete=0.2)
    row, available_at, factor = publish(known, law, np.random.default_rng(1))
    last = np.r_[row[1:] != row[:-1], True]
    assert (factor[last] == 1.0).all()
    assert np.unique(row).tolist() == list(range(5000))
    assert (np.diff(available_at)[~last[:-1]] >= HOUR).all()
    assert (available_at[np.r_[True, row[1:] != row[:-1]]] == known).all()
    assert np.bincount(row).max() == 4
    assert (np.bincount(row) > 1).mean() == pytest.approx(0.5, abs=0.03)


def test_clock_finds_whole_periods() -> None:
    clock = Clock.since(datetime(1970, 1, 2, 22), 30)
    assert clock.period_starts(24).tolist() == [48 * HOUR]
    assert clock.last_bars(24).tolist() == [25]
    np.testing.assert_array_equal(clock.whole_periods(np.arange(30.0), 24), [np.arange(2.0, 26.0)])
    assert clock.end == 76 * HOUR
    assert clock.last_bars(4).tolist() == [5, 9, 13, 17, 21, 25, 29]
    assert len(Clock.since(datetime(1970, 1, 2, 22), 1).last_bars(24)) == 0


def test_tape_against_its_definitions() -> None:
    returns = 0.01 * np.random.default_rng(2).standard_normal(100)
    tape = Tape.of(returns, 0.02)
    variance = 0.02**2
    for t in range(100):
        assert tape.scale_before[t] == pytest.approx(np.sqrt(variance))
        variance = 0.99 * variance + 0.01 * returns[t] ** 2
        assert tape.scale[t] == pytest.approx(np.sqrt(variance))
    expected = returns[41:65].sum() / (tape.scale[64] * np.sqrt(24))
    assert tape.momentum(24)[64] == pytest.approx(expected)
    assert tape.momentum(24)[3] == pytest.approx(returns[:4].sum() / (tape.scale[3] * np.sqrt(24)))
    assert np.isfinite(tape.momentum(720)).all()


def test_nothing_known_later_is_in_the_frame() -> None:
    block = Block("a", "b", np.array([0, 1]), np.array([5, 6]), np.array([1.0, 2.0]))
    assert observations_frame([block], 5, "s").rows() == [
        ("a", "b", datetime(1970, 1, 1), datetime(1970, 1, 1, 0, 0, 0, 5), 1.0, "s")
    ]


# What each side series is made of, given prices and the market.
Maker = Callable[[MarketPath, PricePath, Tape, Clock], list[Block]]
MAKERS: dict[str, Maker] = {
    "funding": lambda market, prices, tape, clock: funding(7, SYMBOL, TRAITS, tape, clock),
    "liquidations": lambda market, prices, tape, clock: liquidations(7, SYMBOL, TRAITS, tape, clock)[0],
    "open_interest": lambda market, prices, tape, clock: open_interest(
        7, SYMBOL, TRAITS, prices, tape, liquidations(7, SYMBOL, TRAITS, tape, clock)[1], clock
    ),
    "long_short_ratio": lambda market, prices, tape, clock: long_short_ratio(7, SYMBOL, tape, clock),
    "exchange_flows": lambda market, prices, tape, clock: exchange_flows(
        7, SYMBOL, prices, market, tape, clock
    ),
    "commits": lambda market, prices, tape, clock: commits(7, SYMBOL, tape, clock),
    "prints": lambda market, prices, tape, clock: liquidation_prints(7, SYMBOL, TRAITS, tape, clock),
    "social": lambda market, prices, tape, clock: social_score(7, SYMBOL, tape, clock),
    "news": lambda market, prices, tape, clock: news_score(7, SYMBOL, tape, clock),
    "fear_greed": lambda market, prices, tape, clock: fear_greed(7, tape, clock),
}


@pytest.mark.parametrize("series", MAKERS)
def test_changing_the_future_changes_nothing_known_before(series: str) -> None:
    clock, cut = Clock.since(START, 3000), 1777

    def blocks(seed_after: int) -> pl.DataFrame:
        """Side series of a market that another seed takes over at the cut."""
        now, later = market_path(7, 3000, "regimes"), market_path(seed_after, 3000, "regimes")
        spliced = MarketPath(*(np.r_[getattr(now, f)[:cut], getattr(later, f)[cut:]] for f in vars(now)))
        prices = price_path(7, SYMBOL, spliced)
        tape = Tape.of(prices.log_return, USUAL_VOLATILITY)
        return observations_frame(MAKERS[series](spliced, prices, tape, clock), clock.end, "test")

    one, other = blocks(1), blocks(2)
    known = pl.col("available_at") <= START + timedelta(hours=cut)
    assert one.filter(known).equals(other.filter(known))
    assert len(one.filter(known)) > 50
    assert not one.equals(other)


def day_closes(seed: int) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    market = MarketSimulator([SYMBOL], seed=seed).simulate(datetime(2023, 5, 4), BARS)
    daily = market.candles.group_by_dynamic("ts", every="1d").agg(pl.first("open"), pl.last("close"))
    daily = daily.with_columns(move=(pl.col("close") / pl.col("open")).log())
    panic = market.truth.group_by_dynamic("ts", every="1d").agg(
        (pl.col("regime") == "PANIC").mean().alias("panic")
    )
    return daily.join(panic, on="ts"), market.observations, market.candles


def test_coins_flow_to_exchanges_in_panic_and_against_returns() -> None:
    daily, observations, _ = day_closes(7)
    flow = [
        rows(observations, f"exchange_{way}")
        .group_by("ts", maintain_order=True)
        .agg(pl.last("value").alias(way))
        for way in ("inflow", "outflow")
    ]
    joined = daily.join(flow[0], on="ts").join(flow[1], on="ts")
    joined = joined.with_columns(net=(pl.col("inflow") / pl.col("outflow")).log())
    assert joined.filter(pl.col("panic") == 1)["net"].mean() > 0.05
    assert abs(joined.filter(pl.col("panic") == 0)["net"].mean()) < 0.03
    quiet = joined.filter(pl.col("panic") == 0)
    assert quiet.select(pl.corr("net", "move")).item() < -0.2


def test_falls_close_longs_and_rises_close_shorts() -> None:
    _, observations, candles = day_closes(8)
    four = candles.group_by_dynamic("ts", every="4h").agg(
        (pl.last("close") / pl.first("open")).log().alias("move")
    )
    for side, sign in (("long", -1), ("short", 1)):
        forced = rows(observations, f"liquidations_{side}_usd").group_by("ts").agg(pl.last("value"))
        joined = four.join(forced, on="ts").with_columns(against=sign * pl.col("move"))
        worst = joined.filter(pl.col("against") > 2 * pl.col("move").std())["value"].mean()
        best = joined.filter(pl.col("against") < -2 * pl.col("move").std())["value"].mean()
        assert worst > 5 * best


def test_loans_fail_in_clusters_when_their_collateral_falls() -> None:
    _, observations, candles = day_closes(8)
    prints = rows(observations, "liquidation_print_usd")
    assert prints["ts"].is_unique().all()
    assert (prints["ts"].cast(pl.Int64) % 12_000_000 == 0).all()
    assert (
        (prints["available_at"] - prints["ts"]).is_between(timedelta(minutes=1), timedelta(minutes=3)).all()
    )
    hourly = prints.group_by(pl.col("ts").dt.truncate("1h")).len()
    move = (pl.col("close") / pl.col("open")).log().alias("move")
    joined = candles.select("ts", move).join(hourly, on="ts", how="left").fill_null(0)
    worst = joined.filter(pl.col("move") < -3 * pl.col("move").std())["len"]
    rest = joined.filter(pl.col("move") > 0)["len"]
    assert worst.mean() > 20 * rest.mean()
    assert hourly["len"].var() > 10 * hourly["len"].mean()
    sizes = prints["value"].log()
    assert 1.5 < sizes.std() < 3.0


def test_crowd_is_cheerful_after_rises_and_buys_falls() -> None:
    _, observations, candles = day_closes(9)
    past = candles.select(
        "ts", (pl.col("close") / pl.col("close").shift(24)).log().alias("past")
    ).drop_nulls()
    social = rows(observations, "social_score").join(past, on="ts")
    assert social.select(pl.corr("value", "past")).item() > 0.4
    crowd = (
        rows(observations, "long_short_ratio")
        .with_columns(pl.col("ts") + pl.duration(hours=3))
        .join(past, on="ts")
    )
    assert crowd.select(pl.corr("value", "past")).item() < -0.1


def test_open_interest_falls_when_positions_are_closed_by_force() -> None:
    _, observations, candles = day_closes(10)
    value = rows(observations, "open_interest_usd").group_by("ts", maintain_order=True).agg(pl.last("value"))
    value = value.with_columns(pl.col("ts") + pl.duration(hours=3)).join(
        candles.select("ts", "close"), on="ts"
    )
    contracts = (value["value"] / value["close"]).log().diff().drop_nulls()
    forced = (
        rows(observations, "liquidations_long_usd").group_by("ts", maintain_order=True).agg(pl.last("value"))
    )
    most = forced["value"][1:] > forced["value"].quantile(0.99)
    assert contracts.filter(most).mean() < -0.01
    assert abs(contracts.filter(~most).mean()) < 0.002


def test_developers_rest_at_weekends(observations: pl.DataFrame) -> None:
    daily = rows(observations, "commits").with_columns(day=pl.col("ts").dt.weekday())
    weekend = daily.filter(pl.col("day") >= 6)["value"].mean()
    assert weekend < 0.6 * daily.filter(pl.col("day") < 6)["value"].mean()
    authors = rows(observations, "commit_authors")["value"]
    assert (authors <= daily["value"]).all()
    assert ((authors == 0) == (daily["value"] == 0)).all()


def test_fear_greed_moves_like_the_recorded_index(observations: pl.DataFrame) -> None:
    index = rows(observations, "fear_greed", "*")["value"].to_numpy()
    assert (index == np.round(index)).all()
    # Recorded 2018-2025: mean 48, standard deviation 22, first autocorrelation .95.
    assert 35 < index.mean() < 60
    assert 14 < index.std() < 30
    assert 0.7 < np.corrcoef(index[1:], index[:-1])[0, 1] < 0.98
