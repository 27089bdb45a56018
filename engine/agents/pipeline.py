"""Training of an agent from market rows to a policy that may be tried: curriculum, schedule, early stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from engine.agents.agent import RLTradingAgent
from engine.agents.agent_config import AgentConfig, state_width
from engine.agents.curriculum import ALL, CurriculumConfig, CurriculumLearner, natural_shares
from engine.agents.experts import MoEAgent
from engine.agents.learning_rate import AdaptiveLRScheduler, LearningRateConfig
from engine.agents.outcomes import daily_returns, outcomes
from engine.agents.policies import policy_factory
from engine.agents.ppo import PPOConfig
from engine.agents.replayed import ReplayConfig
from engine.agents.starts import startable
from engine.agents.tape import MarketTape
from engine.agents.training_data import TrainingData, learning_part, training_data
from engine.agents.training_update import TrainingUpdate
from engine.evaluation.improvements import Improvements
from engine.evaluation.splits import Window
from engine.regimes.names import REGIMES, Regime

__all__ = ["REPORT", "PipelineConfig", "Progress", "RLTrainingPipeline", "TrainedAgent", "Training"]

_EPISODE = 168
"""Bars of an episode of the validation part."""
REPORT = pl.Schema(
    {
        "stage": pl.String(),
        "update": pl.Int64(),
        "decisions": pl.Int64(),
        **dict.fromkeys(
            (
                "learning_rate",
                "reward",
                "net",
                "win_rate",
                "turnover",
                "entropy",
                "kl",
                "explained_variance",
                "validation_reward",
                "validation_net",
                "validation_turnover",
                *(f"reward_{name.lower()}" for name in REGIMES),
            ),
            pl.Float64(),
        ),
    }
)
"""Columns of the report of a training."""

Progress = Callable[["Training", TrainingUpdate], None]
"""Called after every update with the training and what the update reports."""


@dataclass(frozen=True)
class PipelineConfig:
    """How an agent is trained.

    Parameters
    ----------
    improvements : Improvements
        Which improvements are on.
    agent : AgentConfig
        Replay is set by the improvements. By default few accounts on each bar: what limits learning is the
        noise of the market, which accounts on the same bar share.
    curriculum : CurriculumConfig
        Its natural shares are measured on the training data. Without the curriculum all regimes are trained
        from the start with as many evaluations as its stages have together.
    learning_rate : LearningRateConfig
    updates_per_evaluation : int
        Updates between two looks at the validation part.
    fine_tune_evaluations : int
        Evaluations that an agent is tuned for a single symbol.
    patience : int
        Evaluations of the last stage without a new best after which training ends.
    validation_share : float
        Share of the training window, at its end, that is not learned from.
    synthetic_share : float
        Share of the PANIC episodes that are synthetic, where there are any.
    """

    improvements: Improvements = field(default_factory=Improvements)
    agent: AgentConfig = field(
        default_factory=lambda: AgentConfig(
            ppo=PPOConfig(learning_rate=3e-3, gamma=0.98, entropy_weight=0.003, minibatch=2_048), paths=4
        )
    )
    curriculum: CurriculumConfig = field(
        default_factory=lambda: CurriculumConfig(stage_evaluations=1, final_evaluations=5)
    )
    learning_rate: LearningRateConfig = field(default_factory=LearningRateConfig)
    updates_per_evaluation: int = 5
    fine_tune_evaluations: int = 2
    patience: int = 4
    validation_share: float = 0.2
    synthetic_share: float = 0.2

    def __post_init__(self) -> None:
        for name in ("updates_per_evaluation", "fine_tune_evaluations", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
        for name in ("validation_share", "synthetic_share"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ValueError(f"{name} = {getattr(self, name)} must lie between 0 and 1")


@dataclass
class Training:
    """An agent on its way through the curriculum, with everything that carries over from stage to stage.

    Parameters
    ----------
    agent : RLTradingAgent
    curriculum : CurriculumLearner
    schedule : AdaptiveLRScheduler or None
    best : tuple of float and weights, or None
        Highest validation reward of the last stage and the weights that had it.
    evaluations : list of dict
        One per evaluation; see `RLTrainingPipeline.train_stage`.
    since_best : int
        Evaluations of the last stage since then.
    """

    agent: RLTradingAgent
    curriculum: CurriculumLearner
    schedule: AdaptiveLRScheduler | None
    best: tuple[float, dict[str, torch.Tensor]] | None = None
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    since_best: int = 0

    @property
    def stage(self) -> str:
        """Name of the stage in force."""
        return self.curriculum.get_current_stage().name


@dataclass(frozen=True)
class TrainedAgent:
    """An agent with what it was trained on and how that went.

    Parameters
    ----------
    agent : RLTradingAgent
        With the weights that were best on the validation part.
    data : TrainingData
    report : DataFrame
        One row per evaluation, with the columns of `REPORT`: of the last update before it, and on the
        validation part means per bar, in all and by filtered regime.
    """

    agent: RLTradingAgent
    data: TrainingData
    report: pl.DataFrame


class RLTrainingPipeline:
    """Train agents on a window of market rows.

    The end of the window is held back: it tells when a stage is mastered and which weights to keep. What lies
    beyond the window is never seen.

    Parameters
    ----------
    config : PipelineConfig, optional
    """

    def __init__(self, config: PipelineConfig | None = None) -> None:
        self.config = config or PipelineConfig()

    def train_on_symbol(
        self,
        symbol: str,
        data: pl.DataFrame,
        *,
        features: Sequence[str],
        window: Window | None = None,
        purge: timedelta = timedelta(hours=25),
        progress: Progress | None = None,
    ) -> TrainedAgent:
        """Train an agent on one symbol alone.

        Parameters
        ----------
        symbol : str
        data : DataFrame
            Market rows as `MarketTape.from_frame` takes them, of this and perhaps other symbols.
        features : sequence of str
        window : Window, optional
            To train in; all of the data by default.
        purge : timedelta
            Span of a label.
        progress : callable, optional

        Raises
        ------
        ValueError
            If the data has no such symbol.
        """
        rows = data.filter(pl.col("symbol") == symbol)
        if rows.is_empty():
            raise ValueError(
                f"symbol = {symbol!r} is not in the data, which has {sorted(set(data['symbol']))}"
            )
        return self.train(rows, features=features, window=window, purge=purge, progress=progress)

    def train(
        self,
        data: pl.DataFrame,
        *,
        features: Sequence[str],
        window: Window | None = None,
        purge: timedelta = timedelta(hours=25),
        synthetic: pl.DataFrame | None = None,
        progress: Progress | None = None,
    ) -> TrainedAgent:
        """Train one agent on all symbols of the data together, through every stage.

        Parameters
        ----------
        data, features, window, purge, progress
            As for `train_on_symbol`.
        synthetic : DataFrame, optional
            Rows that no market showed, for training alone.
        """
        prepared = self.prepare(data, features, window, purge, synthetic)
        training = self.begin(prepared)
        while self.train_stage(training, prepared, progress):
            pass
        return self.finish(training, prepared)

    def fine_tune(self, pooled: TrainedAgent, symbol: str) -> TrainedAgent | None:
        """Train a pooled agent on with one symbol alone; None where that made it no better.

        It goes on from the pooled agent's best weights through the last stage, and is better if its reward on
        the symbol's validation part is.
        """
        data = pooled.data
        own = replace(data, train=data.train.of_symbol(symbol), validation=data.validation.of_symbol(symbol))
        agent = RLTradingAgent.from_checkpoint(
            pooled.agent.checkpoint(scaler=data.scaler), policy_factory(self.config.improvements)
        )
        curriculum = replace(
            self.config.curriculum,
            order=(),
            natural=self._natural_shares(own.train),
            final_evaluations=self.config.fine_tune_evaluations,
        )
        training = Training(agent, CurriculumLearner(curriculum), self._schedule(agent))
        self._evaluate(training, own, None)
        untuned = training.best
        self.train_stage(training, own)
        return None if training.best is untuned else self.finish(training, own)

    def learning_part(self, window: Window) -> Window:
        """Part of a training window that is learned from."""
        return learning_part(window, self.config.validation_share)

    def prepare(
        self,
        data: pl.DataFrame,
        features: Sequence[str],
        window: Window | None,
        purge: timedelta,
        synthetic: pl.DataFrame | None = None,
    ) -> TrainingData:
        """Cut the window and lay it out; synthetic rows are left out where that improvement is off."""
        if window is None:
            last = data["ts"].max()
            window = Window(data["ts"].min(), last + timedelta(microseconds=1))  # type: ignore[arg-type, operator]
        return training_data(
            data,
            features,
            window,
            purge=purge,
            validation_share=self.config.validation_share,
            synthetic=synthetic if self.config.improvements.synthetic_panic else None,
        )

    def begin(self, data: TrainingData) -> Training:
        """Make a fresh agent, before its first stage."""
        config, on = self.config, self.config.improvements
        agent_config = replace(config.agent, replay=ReplayConfig() if on.prioritized_replay else None)
        agent = RLTradingAgent(
            state_width(len(data.train.features)),
            len(agent_config.environment.levels),
            agent_config,
            policy_factory(on),
        )
        natural = self._natural_shares(data.train)
        order = tuple(name for name in config.curriculum.order if natural[name] > 0.0)
        curriculum = replace(config.curriculum, natural=natural, order=order)
        if not on.curriculum:
            stages = len(curriculum.order) * curriculum.stage_evaluations
            curriculum = replace(
                curriculum, order=(), final_evaluations=stages + curriculum.final_evaluations
            )
        return Training(agent, CurriculumLearner(curriculum), self._schedule(agent))

    def _natural_shares(self, tape: MarketTape) -> dict[Regime, float]:
        """Shares of the regimes among real bars on which an episode can start."""
        able = startable(tape, self.config.agent.environment.least_bars) & ~tape.synthetic
        return natural_shares(tape.regime[able])

    def _schedule(self, agent: RLTradingAgent) -> AdaptiveLRScheduler | None:
        if not self.config.improvements.adaptive_lr:
            return None
        return AdaptiveLRScheduler(agent.learner.optimizer, self.config.learning_rate)

    def train_stage(self, training: Training, data: TrainingData, progress: Progress | None = None) -> bool:
        """Go on until the stage is over; return whether another follows.

        After every evaluation a row is added to `Training.evaluations`, as `TrainedAgent.report` has them.
        """
        stage, over = training.stage, False
        weights = self._start_weights(training.curriculum, data.train)
        while not over:
            history = training.agent.train(
                data.train,
                updates=self.config.updates_per_evaluation,
                start_weights=weights,
                progress=lambda update: self._after_update(training, update, progress),
            )
            scores = self._evaluate(training, data, history[-1])
            changed = training.curriculum.record(scores)
            given_up = training.since_best >= self.config.patience
            over = changed or training.curriculum.finished or given_up
        return training.stage != stage

    def finish(self, training: Training, data: TrainingData) -> TrainedAgent:
        """Take the weights that did best on the validation part in the last stage."""
        if training.best is not None:
            training.agent.policy.load_state_dict(training.best[1])
        return TrainedAgent(training.agent, data, pl.DataFrame(training.evaluations, schema=REPORT))

    def _start_weights(self, curriculum: CurriculumLearner, tape: MarketTape) -> NDArray[np.float64]:
        """Where episodes start: in the regimes of the stage, PANIC in part in synthetic windows."""
        able = startable(tape, self.config.agent.environment.least_bars)
        weights = curriculum.start_weights(tape.regime, able & ~tape.synthetic)
        invented = able & tape.synthetic
        panic = curriculum.get_current_stage().weights["PANIC"]
        if invented.any() and panic > 0.0:
            share = self.config.synthetic_share
            weights[(tape.regime == REGIMES.index("PANIC")) & ~tape.synthetic] *= 1.0 - share
            weights[invented] = share * panic / invented.sum()
        return weights

    def _after_update(self, training: Training, update: TrainingUpdate, progress: Progress | None) -> None:
        if isinstance(training.agent.policy, MoEAgent):
            total = self.config.updates_per_evaluation * self._evaluations(training.curriculum.config)
            training.agent.policy.anneal(min(1.0, update.update / total))
        if training.schedule is not None:
            # Trades in whole turns of an account: a position changed by a fifth is a fifth of one.
            training.schedule.step(
                update.win_rate,
                None if training.stage == ALL else training.stage,
                trades=round(update.decisions * update.turnover),
                expectancy=update.net,
            )
        if progress is not None:
            progress(training, update)

    @staticmethod
    def _evaluations(config: CurriculumConfig) -> int:
        return len(config.order) * config.stage_evaluations + config.final_evaluations

    def _evaluate(
        self, training: Training, data: TrainingData, update: TrainingUpdate | None
    ) -> NDArray[np.float64]:
        """Look at the validation part; return the daily rewards by which the stage is judged."""
        agent, tape = training.agent, data.validation.episodes(_EPISODE)
        found = outcomes(tape, agent.positions(tape), agent.config.environment)
        hosts = tape.decisions_left > 0
        mean = float(found.reward[hosts].mean()) if hosts.any() else 0.0
        if training.stage == ALL:
            training.since_best += 1
            if training.best is None or mean > training.best[0]:
                weights = {k: v.detach().clone() for k, v in agent.policy.state_dict().items()}
                training.best, training.since_best = (mean, weights), 0
        training.evaluations.append(
            {
                "stage": training.stage,
                **_of_update(agent, update),
                "validation_reward": mean,
                "validation_net": float(found.net[hosts].mean()) if hosts.any() else 0.0,
                "validation_turnover": float(found.turnover[hosts].mean()) if hosts.any() else 0.0,
                **{
                    f"reward_{name.lower()}": _mean(found.reward[hosts & (tape.regime == code)])
                    for code, name in enumerate(REGIMES)
                },
            }
        )
        judged = hosts if training.stage == ALL else tape.regime == REGIMES.index(training.stage)
        return daily_returns(tape, np.where(judged, found.reward, 0.0))["value"].to_numpy()


def _of_update(agent: RLTradingAgent, update: TrainingUpdate | None) -> dict[str, Any]:
    if update is None:
        return {"update": agent.learner.updates}
    return {
        "update": update.update,
        "decisions": update.decisions,
        "learning_rate": update.learning_rate,
        "reward": update.reward,
        "net": update.net,
        "win_rate": update.win_rate,
        "turnover": update.turnover,
        "entropy": update.losses.entropy,
        "kl": update.losses.kl,
        "explained_variance": update.losses.explained_variance,
    }


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if values.size else None
