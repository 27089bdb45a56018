"""Training of an agent from market rows to a policy that may be tried: curriculum, schedule, early stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.agents.agent import RLTradingAgent
from engine.agents.agent_config import state_width
from engine.agents.curriculum import ALL, CurriculumConfig, CurriculumLearner, natural_shares
from engine.agents.exact_gradient import ascend
from engine.agents.experts import MoEAgent
from engine.agents.learning_rate import AdaptiveLRScheduler
from engine.agents.pipeline_config import PipelineConfig
from engine.agents.policies import policy_factory
from engine.agents.replayed import ReplayConfig
from engine.agents.starts import startable
from engine.agents.tape import MarketTape
from engine.agents.training import REPORT, STAYS_OUT, WARM_UP, Progress, TrainedAgent, Training, WarmUp
from engine.agents.training_data import TrainingData, learning_part, training_data
from engine.agents.training_update import TrainingUpdate
from engine.agents.validation import evaluate, judge, weights_of
from engine.evaluation.splits import Window
from engine.regimes.names import REGIMES, Regime

__all__ = ["RLTrainingPipeline"]


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
        the symbol's validation part is. An agent that stays out has learned nothing that could be tuned.
        """
        if pooled.kept == STAYS_OUT:
            return None
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
        evaluate(training, own, None)
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
        if not training.agent.learner.updates:
            self._warm_up(training, data)
        stage, over = training.stage, False
        weights = self._start_weights(training.curriculum, data.train)
        while not over:
            history = training.agent.train(
                data.train,
                updates=self.config.updates_per_evaluation,
                start_weights=weights,
                progress=lambda update: self._after_update(training, update, progress),
            )
            scores = evaluate(training, data, history[-1])
            changed = training.curriculum.record(scores)
            given_up = training.since_best >= self.config.patience
            over = changed or training.curriculum.finished or given_up
        return training.stage != stage

    def so_far(self, training: Training, data: TrainingData, stage: str) -> TrainedAgent:
        """Take the agent as a stage leaves it; the training goes on from there."""
        report = pl.DataFrame(training.evaluations, schema=REPORT)
        return TrainedAgent(training.agent, stage, data, report)

    def finish(self, training: Training, data: TrainingData) -> TrainedAgent:
        """Take the weights that did best on the validation part in the last stage, or else the warm-up's.

        Where neither earns more than staying out does, the agent stays out.
        """
        policy, warm_up, kept = training.agent.policy, training.warm_up, training.stage
        if training.best is not None:
            policy.load_state_dict(training.best[1])
        elif warm_up is not None and warm_up.pays:
            kept = WARM_UP
            policy.load_state_dict(warm_up.weights)
        elif warm_up is not None:
            kept = STAYS_OUT
            policy.settle(training.agent.config.environment.levels.index(0.0))
        return self.so_far(training, data, kept)

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

    def _warm_up(self, training: Training, data: TrainingData) -> None:
        """Climb the exact expected reward; begin with the weights that did best on the validation part."""
        config, agent = self.config.warm_up, training.agent
        longest = int(data.train.decisions_left[~data.train.synthetic].max(initial=0))
        if config is None or longest < config.bars:
            return

        def look() -> None:
            reward, daily = judge(training, data, None, WARM_UP)
            if training.warm_up is None or reward > training.warm_up.reward:
                training.warm_up = WarmUp(reward, daily, weights_of(agent))

        environment, seed = agent.config.environment, agent.config.seed
        ascend(agent.policy, data.train, environment, config, seed=seed, look=look, device=agent.device)
        if training.warm_up is not None:
            agent.policy.load_state_dict(training.warm_up.weights)
