"""Simulated activity around the market: exchange flows, commits, social and news score, Fear & Greed.

All of them answer to prices of the past and the present, and to noise of their own.
"""

from __future__ import annotations

import numpy as np

from engine.alternative.series import MARKET_WIDE
from engine.market.price_path import PricePath
from engine.market.random_streams import stream
from engine.market.regime_path import MarketPath, ar1
from engine.market.side_series import HOUR, MINUTE, Block, Clock, Revisions, Tape, publish
from engine.regimes.names import REGIMES

__all__ = ["commits", "exchange_flows", "fear_greed", "news_score", "social_score"]

DAY = 24
FLOW_REVISIONS = Revisions(share=0.3, most=2, mean_delay=72.0, spread=0.02, incomplete=0.0)


def exchange_flows(
    seed: int, symbol: str, prices: PricePath, market: MarketPath, tape: Tape, clock: Clock
) -> list[Block]:
    """Coins to and from exchanges per day: about half of the volume; the net flow leans against returns.

    In PANIC coins move to exchanges. A day is published hours after its end and sometimes revised days later.
    """
    noise = stream(seed, symbol, "flows").standard_normal((len(clock.last_bars(DAY)), 2))
    volume = clock.whole_periods(prices.volume, DAY).sum(axis=1)
    panic = clock.whole_periods(market.regime == REGIMES.index("PANIC"), DAY).mean(axis=1)
    day_move = tape.momentum(DAY)[clock.last_bars(DAY)]
    net = -0.06 * day_move + 0.15 * panic + 0.08 * noise[:, 0]
    gross = 0.55 * volume * np.exp(0.15 * noise[:, 1])
    delay = stream(seed, symbol, "flows", "published").random(len(volume))
    first_known = clock.period_starts(DAY) + DAY * HOUR + ((1.0 + 5.0 * delay) * HOUR).astype(np.int64)
    row, available_at, factor = publish(first_known, FLOW_REVISIONS, stream(seed, symbol, "flows revised"))
    ts = clock.period_starts(DAY)[row]
    return [
        Block("exchange_inflow", symbol, ts, available_at, (gross * np.exp(net / 2))[row] * factor),
        Block("exchange_outflow", symbol, ts, available_at, (gross * np.exp(-net / 2))[row] * factor),
    ]


def commits(seed: int, symbol: str, tape: Tape, clock: Clock) -> list[Block]:
    """Count commits and authors per day: over-dispersed, fewer at weekends, some more after good months.

    No simulated repository is ever archived, and that is known too.
    """
    days = len(clock.last_bars(DAY))
    ts = clock.period_starts(DAY)
    weekend = (ts // (DAY * HOUR) + 3) % 7 >= 5
    level = ar1(0.08 * stream(seed, symbol, "commits", "level").standard_normal(days), 0.98, 0.0)
    mood = 0.1 * np.tanh(tape.momentum(30 * DAY)[clock.last_bars(DAY)])
    mean = 5.0 * np.where(weekend, 0.4, 1.0) * np.exp(level + mood)
    burst = stream(seed, symbol, "commits", "burst").standard_gamma(1.5, days) / 1.5
    count = stream(seed, symbol, "commits", "count").poisson(mean * burst)
    others = stream(seed, symbol, "commits", "authors").binomial(np.maximum(count - 1, 0), 0.35)
    known = ts + DAY * HOUR + 10 * MINUTE
    return [
        Block("commits", symbol, ts, known, count.astype(float)),
        Block("commit_authors", symbol, ts, known, np.where(count > 0, 1.0 + others, 0.0)),
        Block("repository_archived", symbol, ts, known, np.zeros(days)),
    ]


def social_score(seed: int, symbol: str, tape: Tape, clock: Clock) -> list[Block]:
    """Share of favourable items per hour: the crowd likes what has risen in the past day."""
    noise = stream(seed, symbol, "social").standard_normal(clock.hours)
    logit = 0.25 + 0.6 * tape.momentum(24) + ar1(0.2 * noise, 0.9, 0.0)
    delay = stream(seed, symbol, "social", "published").random(clock.hours)
    known = clock.opens + HOUR + ((1.0 + 4.0 * delay) * MINUTE).astype(np.int64)
    return [Block("social_score", symbol, clock.opens, known, 1.0 / (1.0 + np.exp(-logit)))]


def news_score(seed: int, symbol: str, tape: Tape, clock: Clock) -> list[Block]:
    """Share of favourable news items per hour: the press follows the return of three days, more slowly."""
    noise = stream(seed, symbol, "news").standard_normal(clock.hours)
    logit = 0.1 + 0.4 * tape.momentum(72) + ar1(0.1 * noise, 0.97, 0.0)
    delay = stream(seed, symbol, "news", "published").random(clock.hours)
    known = clock.opens + HOUR + ((1.0 + 4.0 * delay) * MINUTE).astype(np.int64)
    return [Block("news_score", symbol, clock.opens, known, 1.0 / (1.0 + np.exp(-logit)))]


def fear_greed(seed: int, tape: Tape, clock: Clock) -> list[Block]:
    """Fear & Greed index of the market, once a day, from momentum and volatility up to midnight and noise.

    ``ts`` is the day that the index is published for; it comes out minutes after that day's midnight.
    """
    midnight = clock.last_bars(DAY)
    noise = stream(seed, "market", "fear and greed").standard_normal(len(midnight))
    calm = -np.log(tape.scale / ar1(0.001 * tape.scale, 0.999, tape.scale_before[0]))
    index = (
        48.0
        + 8.0 * tape.momentum(DAY)
        + 8.0 * tape.momentum(7 * DAY)
        + 5.0 * tape.momentum(30 * DAY)
        + 12.0 * calm
    )[midnight] + ar1(3.0 * noise, 0.8, 0.0)
    ts = clock.period_starts(DAY) + DAY * HOUR
    delay = stream(seed, "market", "fear and greed", "published").random(len(midnight))
    known = ts + ((2.0 + 13.0 * delay) * MINUTE).astype(np.int64)
    return [Block("fear_greed", MARKET_WIDE, ts, known, np.round(np.clip(index, 1.0, 99.0)))]
