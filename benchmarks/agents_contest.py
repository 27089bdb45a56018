"""Agents and what they have to beat, trained on one part of a market and settled alike on a later one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.agents_inputs import BAR, HORIZON, with_inputs
from engine.agents.environment import EnvironmentConfig
from engine.agents.market_columns import MARKET_COLUMNS
from engine.agents.outcomes import daily_returns, outcomes
from engine.agents.pipeline import RLTrainingPipeline
from engine.agents.pipeline_config import PipelineConfig
from engine.agents.tape import MarketTape
from engine.agents.training import TrainedAgent
from engine.agents.training_data import learning_part
from engine.evaluation.baselines import volatility_targeted_hold
from engine.evaluation.improvements import Improvements
from engine.evaluation.panel import panel_from_candles
from engine.evaluation.splits import Window
from engine.features.catalogue import CATALOGUE
from engine.portfolio.rebalance import no_trade_band

Floats = NDArray[np.float64]

PURGE = (HORIZON + 1) * BAR
FULL, OF_MARKET, PLAIN, INFORMED, TREES, MARKET_TREES, TARGETED, HOLD = (
    "full agent",
    "full agent, market's state alone",
    "plain PPO",
    "plain PPO on the same inputs",
    "LightGBM path",
    "LightGBM path, market's mean",
    "volatility-targeted hold",
    "buy and hold",
)
AGENTS = (FULL, OF_MARKET)
RIVALS = (PLAIN, INFORMED, TREES, MARKET_TREES, TARGETED, HOLD)
PLAIN_RATE = 1e-3
"""Learning rate that does better without a schedule than the rate which the schedule begins with."""
EDGES, BANDS = (2.0, 4.0, 8.0), (0.1, 0.3, 0.6)
"""Entries need a forecast of so many costs; held positions are left alone within so wide a band."""
_HISTORY = timedelta(days=40)


@dataclass(frozen=True)
class Traded:
    """What one contestant earned on the part that was held out.

    Parameters
    ----------
    daily : ndarray, shape (days,)
        Net returns of an account spread evenly over the symbols.
    turnover : float
        Absolute change of position per day and symbol.
    exposure : float
        Mean position.
    """

    daily: Floats
    turnover: float
    exposure: float

    @classmethod
    def of(cls, tape: MarketTape, positions: Floats, config: EnvironmentConfig) -> Traded:
        """Settle positions on every row of a tape."""
        found, hosts = outcomes(tape, positions, config), tape.decisions_left > 0
        return cls(
            daily_returns(tape, found.net)["value"].to_numpy(),
            float(found.turnover[hosts].mean()) * (timedelta(days=1) / BAR),
            float(positions[hosts].mean()),
        )


def contest(
    rows: pl.DataFrame, train: Window, test: Window, config: PipelineConfig
) -> tuple[dict[str, Traded], dict[str, TrainedAgent]]:
    """Let everyone learn from one window and trade another.

    Parameters
    ----------
    rows : DataFrame
        As `engine.agents.market_rows` makes them.
    train, test : Window
        A label's span apart.
    config : PipelineConfig
        Of the full agents; the plain ones are without improvements and warm-up and have `PLAIN_RATE`.

    Returns
    -------
    traded : dict of str to Traded
    trained : dict of str to TrainedAgent
        Those of `AGENTS`.
    """
    rows = rows.filter(pl.col("volatility").is_not_null() & Window(train.start, test.end).mask())
    rows, inputs = with_inputs(rows, train, config.validation_share, config.agent.seed)
    environment = config.agent.environment
    tape = MarketTape.from_frame(rows, ()).between(test.start, test.end)
    positions, trained = {}, {}
    ppo = replace(config.agent.ppo, learning_rate=PLAIN_RATE)
    agent = replace(config.agent, ppo=ppo)
    plain = replace(config, improvements=Improvements.none(), warm_up=None, agent=agent)
    learned = rows.filter(learning_part(train, config.validation_share).mask())
    catalogue = [name for name in CATALOGUE.columns if learned[name].is_not_null().any()]
    for name, own, features in (
        (PLAIN, plain, catalogue),
        (INFORMED, plain, inputs),
        (FULL, config, inputs),
        (OF_MARKET, config, tuple(MARKET_COLUMNS)),
    ):
        pipeline = RLTrainingPipeline(own)
        made = trained[name] = pipeline.train(rows, features=features, window=train, purge=PURGE)
        seen = MarketTape.from_frame(rows, features, made.data.scaler).between(test.start, test.end)
        positions[name] = made.agent.positions(seen)
    positions |= {
        TREES: forecast_positions(rows, "forecast", train, test, config),
        MARKET_TREES: forecast_positions(rows, "market_forecast", train, test, config),
        TARGETED: targeted_positions(rows, tape),
        HOLD: np.ones(len(tape)),
    }
    traded = {name: Traded.of(tape, each, environment) for name, each in positions.items()}
    return traded, {name: trained[name] for name in AGENTS}


def targeted_positions(rows: pl.DataFrame, tape: MarketTape) -> Floats:
    """Exposure of `volatility_targeted_hold` on each row, as a fraction of the symbol's even share."""
    begin = tape.ts.min().item() - _HISTORY
    panel = panel_from_candles(rows.filter(pl.col("ts") >= begin), BAR)
    weights = pl.DataFrame(volatility_targeted_hold(panel)).fill_nan(None).fill_null(strategy="forward")
    shares = weights.fill_null(0.0).to_numpy() * len(panel.symbols)
    symbol = pl.Series(np.array(tape.symbols)[tape.symbol])
    return shares[panel.rows_of(pl.Series(tape.ts)), panel.columns_of(symbol)]


def forecast_positions(
    rows: pl.DataFrame, forecast: str, train: Window, test: Window, config: PipelineConfig
) -> Floats:
    """Trade a column of forecasts by rule, each position of the test window.

    How strong a forecast must be and how long a position is left alone is what earned the highest reward on
    the part of the training window that agents are stopped by.
    """
    environment = config.agent.environment
    validation = Window(learning_part(train, config.validation_share).end + PURGE, train.end)

    def traded(window: Window, rules: Sequence[tuple[float, float]]) -> tuple[MarketTape, Floats]:
        part = rows.filter(window.mask())
        tape = MarketTape.from_frame(part, ())
        return tape, followed(tape, part[forecast].to_numpy(), environment, rules)

    rules = [(edge, band) for edge in EDGES for band in BANDS]
    tape, tried = traded(validation, rules)
    rewards = [float(outcomes(tape, each, environment).reward.mean()) for each in tried]
    return traded(test, [rules[int(np.argmax(rewards))]])[1][0]


def followed(
    tape: MarketTape, lean: Floats, config: EnvironmentConfig, rules: Sequence[tuple[float, float]]
) -> Floats:
    """Positions that follow forecasts bar by bar, for each rule; shape (rules, N).

    Parameters
    ----------
    tape : MarketTape
    lean : ndarray, shape (N,)
        Probability of a rise less that of a fall, over `HORIZON` bars.
    config : EnvironmentConfig
        What is wanted is the position that its reward asks for; see `EnvironmentConfig.risk_aversion`.
    rules : sequence of tuple of float
        Costs that an expected return must exceed before a position is opened or turned, and the band around
        what is wanted in which a position on the right side is left alone.
    """
    # A normal return of deviation s that rises with probability p has a mean of about (2p - 1) s sqrt(pi/2).
    drift = lean * np.sqrt(np.pi / 2.0 / HORIZON)
    wanted = np.clip(drift / config.risk_aversion, min(config.levels), max(config.levels))
    costs = np.abs(drift) * tape.scale * HORIZON / config.cost
    opens = np.r_[True, tape.run[1:] != tape.run[:-1]] if len(tape) else np.empty(0, bool)
    edge, band = np.array(rules).T
    positions = np.zeros((len(rules), len(tape)))
    held = np.zeros(len(rules))
    for t in range(len(tape)):
        held = np.zeros(len(rules)) if opens[t] else held
        acts = (costs[t] > edge) | (held * wanted[t] > 0.0)
        # As in the pipeline's decisions: what has left the band goes to its edge, a change of side in full.
        moved = no_trade_band(held, np.full(len(rules), wanted[t]), band)
        held = positions[:, t] = np.where(acts, moved, 0.0)
    return positions
