"""From market rows to a trained agent: windows, stages, early stop, fine tuning, stages as steps apart."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.agents.agent_config import AgentConfig
from engine.agents.curriculum import CurriculumConfig
from engine.agents.exact_gradient import ExactGradientConfig
from engine.agents.pipeline import RLTrainingPipeline
from engine.agents.pipeline_config import PipelineConfig
from engine.agents.ppo import PPOConfig
from engine.agents.resume import pack_training, resume_training
from engine.agents.trading_agents import TradingAgents, even_account
from engine.agents.training import STAYS_OUT, WARM_UP, TrainedAgent, WarmUp
from engine.agents.validation import evaluate
from engine.errors import NotEnoughDataError
from engine.evaluation.improvements import Improvements
from engine.evaluation.splits import Window

FEATURES = ("lead", "noise")
START = datetime(2024, 1, 1)
PURGE = timedelta(hours=2)


def market(hours: int = 1_600, seed: int = 0) -> pl.DataFrame:
    """Two symbols whose next return leans on the feature ``lead``, in regimes that take turns."""
    rng = np.random.default_rng(seed)
    parts = []
    for symbol in ("AAA/USDT", "BBB/USDT"):
        lead = np.sign(np.sin(np.arange(hours) / 9.0 + rng.uniform(0, 6)))
        growth = 0.004 * lead + 0.004 * rng.standard_normal(hours)
        # A decision on bar t earns from the open of t+1 to that of t+2.
        opens = 100 * np.exp(np.concatenate([[0.0, 0.0], np.cumsum(growth[:-2])]))
        code = (np.arange(hours) // 50) % 3
        parts.append(
            pl.DataFrame(
                {
                    "symbol": symbol,
                    "ts": pl.datetime_range(START, START + timedelta(hours=hours - 1), "1h", eager=True),
                    "segment": 0,
                    "open": opens,
                    "close": opens,
                    "funding": 0.0,
                    "volatility": pl.Series(np.where(np.arange(hours) < 5, np.nan, 0.006)).fill_nan(None),
                    **{
                        f"p_{name}": np.where(code == k, 0.8, 0.1)
                        for k, name in enumerate(("trend", "range", "panic"))
                    },
                    "lead": lead,
                    "noise": rng.standard_normal(hours),
                },
                strict=False,
            )
        )
    return pl.concat(parts)


def config(improvements: Improvements | None = None) -> PipelineConfig:
    return PipelineConfig(
        improvements=improvements or Improvements.only("curriculum", "adaptive_lr", "prioritized_replay"),
        agent=AgentConfig(ppo=PPOConfig(learning_rate=3e-3, minibatch=256), starts=8, paths=8, horizon=16),
        curriculum=CurriculumConfig(stage_evaluations=1, final_evaluations=4),
        warm_up=None,
        updates_per_evaluation=2,
    )


@pytest.fixture(scope="module")
def trained() -> TrainedAgent:
    return RLTrainingPipeline(config()).train(market(), features=FEATURES, purge=PURGE)


def test_the_stages_follow_each_other_and_the_report_says_so(trained: TrainedAgent) -> None:
    stages = trained.report["stage"].to_list()
    assert stages == ["TREND", "RANGE", "PANIC", "ALL", "ALL", "ALL", "ALL"]
    assert trained.report["update"].to_list() == [2, 4, 6, 8, 10, 12, 14]
    assert trained.report["validation_reward"].is_finite().all()


def test_it_learns_what_can_be_learned(trained: TrainedAgent) -> None:
    reward = trained.report["validation_reward"].to_numpy()
    assert reward[-1] > reward[0]
    assert reward.max() > 0.1


def test_the_weights_kept_are_the_best_of_the_last_stage(trained: TrainedAgent) -> None:
    agents = TradingAgents(trained.agent.checkpoint(scaler=trained.data.scaler))
    tape = trained.data.validation
    rows = market().filter(pl.col("ts").is_between(tape.ts.min().item(), tape.ts.max().item()))
    decided = agents.decide(rows, episode=168)
    rewards = np.concatenate([one.outcomes.reward[one.tape.decisions_left > 0] for one in decided])
    best = trained.report.filter(pl.col("stage") == "ALL")["validation_reward"].to_numpy().max()
    assert rewards.mean() == pytest.approx(best, abs=1e-9)


def test_nothing_beyond_the_window_is_seen() -> None:
    """Another future, the same agent; a window that reaches into it is another agent."""
    rows = market()
    cut = START + timedelta(hours=1_000)
    other = rows.with_columns(
        pl.when(pl.col("ts") >= cut).then(-pl.col("lead")).otherwise("lead").alias("lead"),
        pl.when(pl.col("ts") >= cut).then(pl.col("open") * 3).otherwise("open").alias("open"),
    )
    few = replace(config(), curriculum=CurriculumConfig(stage_evaluations=1, final_evaluations=1))
    pipeline = RLTrainingPipeline(few)

    def weights(data: pl.DataFrame, end: datetime) -> bytes:
        made = pipeline.train(data, features=FEATURES, window=Window(START, end), purge=PURGE)
        return made.agent.checkpoint(scaler=made.data.scaler).to_bytes()

    assert weights(rows, cut) == weights(other, cut)
    later = cut + timedelta(hours=600)
    assert weights(rows, later) != weights(other, later)


def test_the_scaler_does_not_know_the_validation_part() -> None:
    rows = market()
    loud = rows.with_columns(
        pl.when(pl.col("ts") >= START + timedelta(hours=1_300)).then(1e6).otherwise("noise").alias("noise")
    )
    pipeline = RLTrainingPipeline(config())
    scalers = [pipeline.prepare(data, FEATURES, None, PURGE).scaler for data in (rows, loud)]
    np.testing.assert_array_equal(scalers[0].center, scalers[1].center)
    np.testing.assert_array_equal(scalers[0].scale, scalers[1].scale)


@pytest.mark.parametrize("improvements", [None, Improvements.none(), Improvements()])
@pytest.mark.parametrize("warm_up", [None, ExactGradientConfig(steps=4, starts=4, bars=8, looks=2)])
def test_stages_as_steps_apart_give_the_same_agent(
    improvements: Improvements | None, warm_up: ExactGradientConfig | None
) -> None:
    curriculum = CurriculumConfig(stage_evaluations=1, final_evaluations=2)
    pipeline = RLTrainingPipeline(
        replace(config(improvements), curriculum=curriculum, warm_up=warm_up, patience=1)
    )
    data = pipeline.prepare(market(900), FEATURES, None, PURGE)
    whole = pipeline.begin(data)
    while pipeline.train_stage(whole, data):
        pass
    content = pack_training(pipeline.begin(data))
    more = True
    while more:
        training = resume_training(pipeline, data, content)
        stage = training.stage
        more = pipeline.train_stage(training, data)
        left = pipeline.so_far(training, data, stage)
        assert left.kept == stage
        content = pack_training(training)
    first, second = (pipeline.finish(t, data) for t in (whole, training))
    assert first.agent.checkpoint().to_bytes() == second.agent.checkpoint().to_bytes()
    assert first.report.equals(second.report)


WARM = ExactGradientConfig(steps=60, starts=16, bars=24, learning_rate=1e-2, looks=3)


def test_a_warm_up_comes_before_the_first_stage_and_is_what_later_weights_must_beat() -> None:
    pipeline = RLTrainingPipeline(replace(config(), warm_up=WARM))
    data = pipeline.prepare(market(), FEATURES, None, PURGE)
    training = pipeline.begin(data)
    while pipeline.train_stage(training, data):
        pass
    trained = pipeline.finish(training, data)
    stages = trained.report["stage"].to_list()
    assert (
        stages == [WARM_UP] * 3 + ["TREND", "RANGE", "PANIC", "ALL", "ALL", "ALL", "ALL"][: len(stages) - 3]
    )
    assert trained.report["update"].to_list()[:4] == [0, 0, 0, 2]
    warm = trained.report.filter(pl.col("stage") == WARM_UP)["validation_reward"].to_list()
    assert training.warm_up is not None
    assert training.warm_up.reward == max(warm) > 0.1
    assert trained.kept == (WARM_UP if training.best is None else "ALL")
    kept = training.warm_up.weights if training.best is None else training.best[1]
    for name, value in trained.agent.policy.state_dict().items():
        assert value.equal(kept[name])


@pytest.mark.parametrize(("gain", "better"), [(0.0, False), (0.05, False), (1.0, True)])
def test_only_what_is_shown_to_be_better_replaces_the_warm_up(gain: float, better: bool) -> None:
    pipeline = RLTrainingPipeline(replace(config(Improvements.none()), warm_up=WARM))
    data = pipeline.prepare(market(), FEATURES, None, PURGE)
    training = pipeline.begin(data)
    pipeline._warm_up(training, data)
    assert training.warm_up is not None
    daily = training.warm_up.daily
    noise = np.random.default_rng(0).standard_normal(len(daily)) * 0.5
    weights = {name: value + 1.0 for name, value in training.agent.policy.state_dict().items()}
    training.warm_up = WarmUp(0.1, daily - gain - (noise - noise.mean()), weights)
    evaluate(training, data, None)
    assert (training.best is not None) == better
    assert training.since_best == (0 if better else 1)
    trained = pipeline.finish(training, data)
    assert trained.kept == ("ALL" if better else WARM_UP)
    first = next(iter(trained.agent.policy.state_dict().items()))
    assert first[1].equal(weights[first[0]]) != better


@pytest.mark.parametrize("improvements", [Improvements.none(), Improvements()])
def test_an_agent_that_earns_nothing_stays_out(improvements: Improvements) -> None:
    """What is better than the warm-up and still loses is not kept either."""
    pipeline = RLTrainingPipeline(config(improvements))
    data = pipeline.prepare(market(), FEATURES, None, PURGE)
    training = pipeline.begin(data)
    while training.stage != "ALL":
        training.curriculum.record(np.zeros(9))
    training.agent.policy.settle(0)
    tape = data.validation.episodes(168)
    assert (
        training.agent.positions(tape)[tape.decisions_left > 0] == training.agent.config.environment.levels[0]
    ).all()
    worse = WarmUp(-9.0, evaluate(training, data, None) - 1.0, {})
    training.warm_up, training.best = worse, None
    evaluate(training, data, None)
    assert training.evaluations[-1]["validation_reward"] > worse.reward
    trained = pipeline.finish(training, data)
    assert trained.kept == STAYS_OUT
    assert not trained.agent.positions(data.validation).any()
    assert not trained.agent.positions(tape).any()
    assert pipeline.fine_tune(trained, "AAA/USDT") is None


def test_a_window_too_short_for_a_warm_up_begins_at_random() -> None:
    pipeline = RLTrainingPipeline(replace(config(), warm_up=replace(WARM, bars=2_000)))
    data = pipeline.prepare(market(900), FEATURES, None, PURGE)
    training = pipeline.begin(data)
    pipeline.train_stage(training, data)
    assert training.warm_up is None
    assert [row["stage"] for row in training.evaluations] == ["TREND"]


def test_where_nothing_can_be_learned_an_agent_stays_out() -> None:
    rows = market()
    order = np.random.default_rng(1).permutation(rows.height)
    rows = rows.with_columns(rows["lead"][order].alias("lead"))
    cool = replace(config(Improvements.none()), warm_up=WARM)
    trained = RLTrainingPipeline(cool).train(rows, features=FEATURES, purge=PURGE)
    kept = trained.report.filter(pl.col("stage") == WARM_UP).sort("validation_reward")[-1]
    assert kept["validation_turnover"].item() < 0.02, "the warm-up all but stops trading"
    assert trained.kept == STAYS_OUT
    assert not trained.agent.positions(trained.data.validation).any()


def test_without_the_curriculum_all_is_trained_from_the_start_and_as_long() -> None:
    off = config(Improvements.none())
    trained = RLTrainingPipeline(replace(off, patience=100)).train(
        market(900), features=FEATURES, purge=PURGE
    )
    assert trained.report["stage"].unique().to_list() == ["ALL"]
    assert trained.report["update"].max() == 14


def test_synthetic_rows_take_their_share_of_panic_and_nothing_else() -> None:
    pipeline = RLTrainingPipeline(config(Improvements.only("synthetic_panic")))
    invented = (
        market(60, seed=9)
        .filter(pl.col("symbol") == "AAA/USDT", pl.col("volatility").is_not_null())
        .with_columns(
            synthetic=True, segment=7, p_trend=pl.lit(0.0), p_range=pl.lit(0.0), p_panic=pl.lit(1.0)
        )
    )
    data = pipeline.prepare(market(), FEATURES, None, PURGE, invented)
    assert data.train.synthetic.sum() == invented.height
    assert not data.validation.synthetic.any()
    training = pipeline.begin(data)
    weights = pipeline._start_weights(training.curriculum, data.train)
    panic = data.train.regime == 2
    assert weights.sum() == pytest.approx(1.0)
    share = weights[data.train.synthetic].sum() / weights[panic].sum()
    assert share == pytest.approx(0.2)
    off = RLTrainingPipeline(config(Improvements.none())).prepare(market(), FEATURES, None, PURGE, invented)
    assert not off.train.synthetic.any()


def test_fine_tuning_keeps_the_pooled_agent_unless_it_is_better(trained: TrainedAgent) -> None:
    pipeline = RLTrainingPipeline(config())
    before = trained.agent.checkpoint(scaler=trained.data.scaler).to_bytes()
    tuned = pipeline.fine_tune(trained, "BBB/USDT")
    assert trained.agent.checkpoint(scaler=trained.data.scaler).to_bytes() == before
    if tuned is not None:
        rewards = tuned.report["validation_reward"].to_numpy()
        assert rewards.max() > rewards[0]
        assert tuned.data.train.symbols == ("BBB/USDT",)


def test_one_symbol_alone_and_one_that_is_not_there() -> None:
    pipeline = RLTrainingPipeline(
        replace(config(), curriculum=CurriculumConfig(stage_evaluations=1, final_evaluations=1))
    )
    alone = pipeline.train_on_symbol("AAA/USDT", market(), features=FEATURES, purge=PURGE)
    assert alone.data.train.symbols == ("AAA/USDT",)
    with pytest.raises(ValueError, match="'CCC/USDT' is not in the data"):
        pipeline.train_on_symbol("CCC/USDT", market(), features=FEATURES)


def test_too_short_a_window_is_refused() -> None:
    with pytest.raises(NotEnoughDataError, match="longer training window"):
        RLTrainingPipeline(config()).train(market(6), features=FEATURES, purge=PURGE)


def test_agents_travel_as_bytes_and_decide_the_same(trained: TrainedAgent) -> None:
    pooled = trained.agent.checkpoint(scaler=trained.data.scaler)
    agents = TradingAgents(pooled, {"BBB/USDT": pooled})
    again = TradingAgents.from_bytes(agents.to_bytes())
    assert again.content_hash == agents.content_hash
    one, two = agents.decide(market()), again.decide(market())
    assert [a.frame().equals(b.frame()) for a, b in zip(one, two, strict=True)] == [True, True]
    account = even_account(one)
    assert account["net_return"].to_numpy().mean() > 0.0
    assert account["ts"].is_sorted()
