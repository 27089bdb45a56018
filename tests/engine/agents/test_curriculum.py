"""Stages, rehearsal, competence, sampling in time's order, and what is remembered in the end."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student_t

from engine.agents.curriculum import ALL, CurriculumConfig, CurriculumLearner, natural_shares
from engine.errors import DataError, NotEnoughDataError
from engine.regimes.names import REGIMES

GOOD = [1.0, 1.1, 0.9, 1.0, 1.05, 0.95]


def _at(stage: int, config: CurriculumConfig | None = None) -> CurriculumLearner:
    learner = CurriculumLearner(config)
    for _ in range(stage):
        assert learner.record(GOOD)
    return learner


def _frame(codes: np.ndarray) -> pl.DataFrame:
    start = datetime(2024, 1, 1)
    return pl.DataFrame(
        {
            "ts": [start + timedelta(hours=i) for i in range(len(codes))],
            "regime": [REGIMES[c] if c >= 0 else None for c in codes],
        }
    )


def test_stages_follow_each_other_with_rehearsal() -> None:
    stages = [_at(k).get_current_stage() for k in range(4)]
    assert [stage.name for stage in stages] == ["TREND", "RANGE", "PANIC", ALL]
    for k, stage in enumerate(stages):
        assert sum(stage.weights.values()) == pytest.approx(1.0)
        if k < 2:
            assert stage.weights["PANIC"] == 0.0
        for earlier in REGIMES[: min(k, 3)]:
            assert stage.weights[earlier] >= 0.05
    assert min(stages[-1].weights.values()) >= 0.05


@settings(max_examples=50, deadline=None)
@given(
    st.permutations(REGIMES),
    st.floats(0.05, 0.33),
    st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3),
    st.floats(0.0, 1 / 3),
)
def test_every_curriculum_is_sound(
    order: list[str], rehearsal: float, raw: list[float], least: float
) -> None:
    natural = {name: x / sum(raw) for name, x in zip(REGIMES, raw, strict=True)}
    config = CurriculumConfig(order=tuple(order), rehearsal=rehearsal, natural=natural, least=least)  # type: ignore[arg-type]
    for k, stage in enumerate(config.stages()):
        assert sum(stage.weights.values()) == pytest.approx(1.0)
        assert min(stage.weights.values()) >= 0.0
        if stage.name != ALL:
            assert all(stage.weights[r] >= 0.05 for r in order[:k])  # type: ignore[index]
            assert all(stage.weights[r] == 0.0 for r in order[k + 1 :])  # type: ignore[index]
    assert min(config.stages()[-1].weights.values()) >= least - 1e-12


def test_the_last_stage_is_natural_where_nothing_is_rare() -> None:
    natural = {"TREND": 0.5, "RANGE": 0.3, "PANIC": 0.2}
    assert CurriculumConfig(natural=natural).stages()[-1].weights == pytest.approx(natural)  # type: ignore[arg-type]
    rare = CurriculumConfig(natural={"TREND": 0.6, "RANGE": 0.39, "PANIC": 0.01}).stages()[-1].weights
    assert rare["PANIC"] == pytest.approx(0.05)
    assert rare["TREND"] / rare["RANGE"] == pytest.approx(0.6 / 0.39)


def test_controls_reverse_the_order_or_train_on_all_from_the_start() -> None:
    assert CurriculumLearner(CurriculumConfig(order=())).get_current_stage().name == ALL
    backwards = CurriculumConfig(order=("PANIC", "RANGE", "TREND"))
    assert [stage.name for stage in backwards.stages()] == ["PANIC", "RANGE", "TREND", ALL]


def test_competence_is_a_lower_bound_over_all_evaluations_of_a_stage() -> None:
    scores = np.array([0.1, 0.3, 0.2, 0.25])
    learner = CurriculumLearner(CurriculumConfig(confidence=0.9, stage_evaluations=5))
    bound = scores.mean() - student_t.ppf(1 - 0.1 / 5, 3) * scores.std(ddof=1) / 2.0
    assert learner.competence(scores) == pytest.approx(bound)
    assert learner.competence([5.0]) == -np.inf


def _passes(rng: np.random.Generator, *, naive: bool) -> bool:
    """Whether an agent whose true score is the threshold passes on competence before the budget is over."""
    learner = CurriculumLearner()
    for _ in range(learner.config.stage_evaluations - 1):
        scores = rng.normal(size=12)
        bound = scores.mean() - 1.795885 * scores.std(ddof=1) / np.sqrt(12)  # 95 % of Student's t, 11 degrees
        if bound > 0.0 if naive else learner.record(scores):
            return True
    return False


def test_looking_often_does_not_let_the_incompetent_pass() -> None:
    rng = np.random.default_rng(0)
    assert np.mean([_passes(rng, naive=False) for _ in range(300)]) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 300)
    assert np.mean([_passes(rng, naive=True) for _ in range(300)]) > 0.2


def test_a_mean_above_the_threshold_is_not_enough() -> None:
    learner = CurriculumLearner()
    assert not learner.record([3.0, -2.0, 1.0, -1.0])
    assert learner.get_current_stage().name == "TREND"
    assert learner.record(GOOD)


def test_a_budget_ends_a_stage() -> None:
    learner = CurriculumLearner(CurriculumConfig(stage_evaluations=3))
    assert [learner.record([-1.0, -1.1]) for _ in range(4)] == [False, False, True, False]
    assert learner.get_current_stage().name == "RANGE"


def test_the_last_stage_takes_its_time() -> None:
    learner = _at(3, CurriculumConfig(final_evaluations=4))
    for _ in range(4):
        assert not learner.finished
        assert not learner.record(GOOD)
    assert learner.finished


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(DataError, match="finite"):
        CurriculumLearner().record([1.0, np.nan])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 3),
    st.lists(st.integers(-1, 2), min_size=0, max_size=150),
    st.integers(0, 5),
)
def test_filtered_rows_keep_their_order_and_have_the_shares(stage: int, drawn: list[int], seed: int) -> None:
    codes = np.array([0, 1, 2, *drawn])
    data = _frame(codes)
    learner = _at(stage)
    kept = learner.filter_training_data(data, seed=seed)
    assert kept["ts"].is_sorted()
    assert kept["ts"].n_unique() == len(kept)
    counts = dict(kept["regime"].value_counts().iter_rows())
    available = dict(data["regime"].drop_nulls().value_counts().iter_rows())
    weights = learner.get_current_stage().weights
    total = min(available[r] / w for r, w in weights.items() if w > 0)
    for r, w in weights.items():
        assert counts.get(r, 0) <= w * total + 1e-6
        assert counts.get(r, 0) > w * total - 1.0
    assert kept.equals(learner.filter_training_data(data, seed=seed))


def test_natural_proportions_keep_every_known_row() -> None:
    codes = np.repeat([0, 1, 2, -1], [57, 31, 12, 9])
    learner = _at(3, CurriculumConfig(natural=natural_shares(codes)))
    data = _frame(np.random.default_rng(0).permutation(codes))
    assert learner.filter_training_data(data).equals(data.drop_nulls("regime"))


def test_start_weights_have_the_shares_on_bars_that_can_start() -> None:
    rng = np.random.default_rng(1)
    codes, eligible = rng.integers(-1, 3, 500), rng.random(500) < 0.5
    learner = _at(2)
    weights = learner.start_weights(codes, eligible)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[~eligible].sum() == 0.0
    assert weights[codes == -1].sum() == 0.0
    for k, name in enumerate(REGIMES):
        assert weights[codes == k].sum() == pytest.approx(learner.get_current_stage().weights[name])


def test_a_regime_that_never_occurs_is_named() -> None:
    calm = np.array([0, 1, 0, 1])
    learner = _at(2)
    with pytest.raises(NotEnoughDataError, match="PANIC"):
        learner.filter_training_data(_frame(calm))
    with pytest.raises(NotEnoughDataError, match="PANIC"):
        learner.start_weights(calm)
    with pytest.raises(NotEnoughDataError, match="no bar has a known regime"):
        natural_shares([-1, -1])
    without = CurriculumConfig(order=("TREND", "RANGE"), natural=natural_shares(calm))
    assert _at(2, without).start_weights(calm).sum() == pytest.approx(1.0)


def test_other_names_and_missing_columns_are_refused() -> None:
    data = pl.DataFrame({"regime": ["TREND", "BULL"]})
    with pytest.raises(DataError, match="BULL"):
        CurriculumLearner().filter_training_data(data)
    with pytest.raises(DataError, match="no such column"):
        CurriculumLearner().filter_training_data(data, "label")


def test_state_is_restored() -> None:
    learner = _at(1, CurriculumConfig(stage_evaluations=3))
    learner.record([-1.0, -1.0])
    restored = CurriculumLearner(learner.config)
    restored.load_state_dict(learner.state_dict())
    assert restored.get_current_stage() == learner.get_current_stage()
    assert [restored.record([-1.0, -1.0]) for _ in range(2)] == [False, True]
    with pytest.raises(ValueError, match="stage"):
        restored.load_state_dict({"stage": "BULL", "evaluations": 0})


@pytest.mark.parametrize(
    "wrong",
    [
        {"order": ("TREND", "TREND")},
        {"order": ("BULL",)},
        {"rehearsal": 0.34},
        {"least": 0.4},
        {"natural": {"TREND": 1.0}},
        {"natural": {"TREND": 0.5, "RANGE": 0.5, "PANIC": 0.5}},
        {"confidence": 1.0},
        {"stage_evaluations": 0},
    ],
)
def test_wrong_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CurriculumConfig(**wrong)


class _ConflictingTasks:
    """Three linear tasks on overlapping features, which one weight vector solves together but not one by one.

    The score is 1 less the relative squared error, on episodes of 20 observations.
    """

    features, own = 48, 16

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.truth = self.rng.normal(size=self.features)
        self.bases = [np.linalg.qr(self.rng.normal(size=(self.features, self.own)))[0].T for _ in REGIMES]
        self.weights = np.zeros(self.features)

    def observations(self, regime: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        x = self.rng.normal(size=(n, self.own)) @ self.bases[regime]
        return x, x @ self.truth

    def train(self, shares: list[float], steps: int) -> None:
        for regime in self.rng.choice(3, size=steps, p=shares):
            x, y = self.observations(regime, 8)
            self.weights -= 0.3 * x.T @ (x @ self.weights - y) / 8

    def scores(self, regime: int, episodes: int = 12) -> np.ndarray:
        pairs = (self.observations(regime, 20) for _ in range(episodes))
        return np.array([1.0 - np.sum((x @ self.weights - y) ** 2) / np.sum(y**2) for x, y in pairs])


def _backward_transfer(seed: int, rehearsal: float) -> np.ndarray:
    """Relative change of each regime's score from the end of its own stage to the end of all stages.

    The last stage shows every regime again; it is left out where nothing is to be rehearsed.
    """
    tasks = _ConflictingTasks(seed)
    config = CurriculumConfig(rehearsal=rehearsal, threshold=0.98, stage_evaluations=30, final_evaluations=3)
    learner = CurriculumLearner(config)
    reached = {}
    while not learner.finished:
        stage = learner.get_current_stage()
        if stage.name == ALL and rehearsal == 0.0:
            break
        tasks.train(list(stage.weights.values()), 40)
        scores = tasks.scores(REGIMES.index(stage.name) if stage.name != ALL else 0)
        if learner.record(scores):
            reached[stage.name] = scores.mean()
    return np.array([tasks.scores(k).mean() / reached[name] - 1.0 for k, name in enumerate(REGIMES)])


def test_rehearsal_keeps_what_was_learnt() -> None:
    """Backward transfer (Lopez-Paz and Ranzato 2017) over five seeds, with the interval of its mean."""

    def lower_and_upper(rehearsal: float) -> tuple[float, float]:
        worst = np.array([_backward_transfer(seed, rehearsal).min() for seed in range(5)])
        half = student_t.ppf(0.975, 4) * worst.std(ddof=1) / np.sqrt(5)
        return worst.mean() - half, worst.mean() + half

    assert lower_and_upper(CurriculumConfig().rehearsal)[0] >= -0.05
    assert lower_and_upper(0.0)[1] < -0.05
