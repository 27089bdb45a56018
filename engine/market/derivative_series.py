"""Simulated series of the derivatives market: funding, liquidations, open interest, long/short ratio.

All of them answer to returns that have already happened, and to noise of their own.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from engine.market.price_path import PricePath, SymbolTraits
from engine.market.random_streams import stream
from engine.market.regime_path import ar1
from engine.market.side_series import HOUR, MINUTE, Block, Clock, Revisions, Tape, publish

__all__ = ["funding", "liquidation_prints", "liquidations", "long_short_ratio", "open_interest"]

PERIOD = 4
# Recorded 4-hour liquidation rows: 56 % (BTC) and 67 % (ETH) revised; open interest and long/short ratio 5 %.
LIQUIDATION_REVISIONS = Revisions(share=0.62, most=7, mean_delay=120.0, spread=0.002, incomplete=0.13)
RATIO_REVISIONS = Revisions(share=0.05, most=1, mean_delay=24.0, spread=0.008, incomplete=0.0)

INTEREST, CLAMP, FUNDING_CAP = 1e-4, 5e-4, 7.5e-3
STRESSED_RATE, CALM_RATE = 2e-3, 1e-3
JITTERED_STAMPS, LARGEST_JITTER = 0.42, 47_000
BLOCK = 12_000_000  # microseconds from one block to the next


def funding(seed: int, symbol: str, traits: SymbolTraits, tape: Tape, clock: Clock) -> list[Block]:
    """Funding rate of the perpetual and the interval that it was charged for.

    The premium reverts slowly to a multiple of the past two days' return; the rate is premium plus the
    interest rate less premium, clamped, as venues compute it, so it rests at 0.01 % in quiet markets. After
    an extreme rate the venue charges every four hours until the rate is calm again.
    """
    noise = stream(seed, symbol, "funding").standard_normal(clock.hours)
    target = traits.volatility * (1e-4 + 5e-4 * tape.momentum(48))
    premium = ar1(0.03 * target + 4e-5 * noise, 0.97, 1e-4)
    rate = np.clip(premium + np.clip(INTEREST - premium, -CLAMP, CLAMP), -FUNDING_CAP, FUNDING_CAP)
    at, interval = _funding_stamps(rate, clock.first_hour, STRESSED_RATE, CALM_RATE)
    jitter = stream(seed, symbol, "funding jitter").random((len(at), 2))
    late = (jitter[:, 0] < JITTERED_STAMPS) * (jitter[:, 1] * LARGEST_JITTER).astype(np.int64) // 1000 * 1000
    stamps = (clock.first_hour + at + 1) * HOUR + late
    return [
        Block("funding_rate", symbol, stamps, stamps, rate[at] * interval / 8.0),
        Block("funding_interval_hours", symbol, stamps, stamps, interval),
    ]


@njit(cache=True)
def _funding_stamps(rate, first_hour, stressed, calm):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Bars at whose close funding is charged, and the hours since the charge before."""
    at = np.empty(rate.shape[0], np.int64)
    interval = np.empty(rate.shape[0])
    count = 0
    every = 8
    previous = -1
    for t in range(rate.shape[0]):
        hour = first_hour + t + 1
        if hour % every == 0:
            at[count] = t
            interval[count] = 8.0 if previous < 0 else hour - previous
            previous = hour
            count += 1
            if abs(rate[t]) >= stressed:
                every = 4
            elif abs(rate[t]) < calm:
                every = 8
    return at[:count], interval[:count]


def liquidations(
    seed: int, symbol: str, traits: SymbolTraits, tape: Tape, clock: Clock
) -> tuple[list[Block], np.ndarray]:
    """Positions closed by force in USD per four hours, and both sides' hourly sum as a share of turnover.

    Longs are closed by falls and shorts by rises, steeply beyond the volatility that they were sized for.
    """
    noise = stream(seed, symbol, "liquidations").standard_normal((clock.hours, 2))
    surprise = tape.log_return / tape.scale_before
    sides = {"liquidations_long_usd": -surprise, "liquidations_short_usd": surprise}
    first_known = clock.period_starts(PERIOD) + PERIOD * HOUR + _minutes(seed, symbol, "liquidations", clock)
    row, available_at, factor = publish(
        first_known, LIQUIDATION_REVISIONS, stream(seed, symbol, "liquidations revised")
    )
    ts = clock.period_starts(PERIOD)[row]
    blocks, total = [], np.zeros(clock.hours)
    for k, (name, against) in enumerate(sides.items()):
        share = 0.004 * (0.3 + np.maximum(against, 0.0) ** 2) ** 1.25 * np.exp(0.8 * noise[:, k])
        final = traits.turnover * clock.whole_periods(share, PERIOD).sum(axis=1)
        blocks.append(Block(name, symbol, ts, available_at, final[row] * factor))
        total += share
    return blocks, total


def liquidation_prints(seed: int, symbol: str, traits: SymbolTraits, tape: Tape, clock: Clock) -> list[Block]:
    """Collateral liquidated on chain, one row for each block that had any.

    Loans fail when their collateral falls: seldom one by one, many in the hours of a fall. Their sizes are
    spread over orders of magnitude, as those recorded are.
    """
    fall = np.maximum(-tape.log_return / tape.scale_before - 1.0, 0.0)
    hourly = stream(seed, symbol, "prints").poisson(0.05 + np.minimum(1.5 * fall**2, 60.0))
    total = int(hourly.sum())
    hour = np.repeat(np.arange(clock.hours), hourly)
    within = stream(seed, symbol, "prints", "moment").random(total)
    size = np.exp(2.2 * stream(seed, symbol, "prints", "size").standard_normal(total))
    moment = clock.opens[hour] + (within * HOUR).astype(np.int64)
    ts, block = np.unique(moment // BLOCK * BLOCK, return_inverse=True)
    value = np.bincount(block, weights=1e-4 * traits.turnover * size, minlength=len(ts))
    delay = stream(seed, symbol, "prints", "published").random(len(ts))
    known = ts + ((1.0 + 2.0 * delay) * MINUTE).astype(np.int64)
    return [Block("liquidation_print_usd", symbol, ts, known, value)]


def open_interest(
    seed: int,
    symbol: str,
    traits: SymbolTraits,
    prices: PricePath,
    tape: Tape,
    liquidated: np.ndarray,
    clock: Clock,
) -> list[Block]:
    """Value of open contracts in USD: they build up in rising markets, and liquidations close them."""
    noise = stream(seed, symbol, "open interest").standard_normal(clock.hours)
    closed = np.minimum(0.3, 0.05 * liquidated)
    contracts = np.exp(ar1(0.0004 + 0.0005 * tape.momentum(24) + 0.003 * noise - closed, 0.998, 0.0))
    value = 100.0 * traits.turnover / traits.first_price * contracts * prices.close
    return [_four_hourly(seed, "open_interest_usd", symbol, value, clock)]


def long_short_ratio(seed: int, symbol: str, tape: Tape, clock: Clock) -> list[Block]:
    """Accounts long over accounts short: a slow drift of its own, and the crowd buys what has fallen."""
    noise = stream(seed, symbol, "long/short").standard_normal(clock.hours)
    ratio = np.exp(0.12 + ar1(0.03 * noise, 0.995, 0.0) - 0.12 * tape.momentum(24))
    return [_four_hourly(seed, "long_short_ratio", symbol, ratio, clock)]


def _four_hourly(seed: int, name: str, symbol: str, hourly: np.ndarray, clock: Clock) -> Block:
    """Value at the end of each four hours, published minutes later, seldom revised."""
    ts, final = clock.period_starts(PERIOD), hourly[clock.last_bars(PERIOD)]
    first_known = ts + PERIOD * HOUR + _minutes(seed, symbol, name, clock)
    row, available_at, factor = publish(first_known, RATIO_REVISIONS, stream(seed, symbol, name, "revised"))
    return Block(name, symbol, ts[row], available_at, final[row] * factor)


def _minutes(seed: int, symbol: str, name: str, clock: Clock) -> np.ndarray:
    """One to eight minutes from the end of a period to its publication."""
    draws = stream(seed, symbol, name, "published").random(len(clock.last_bars(PERIOD)))
    return ((1.0 + 7.0 * draws) * MINUTE).astype(np.int64)
