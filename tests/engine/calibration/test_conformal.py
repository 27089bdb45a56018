from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from engine.calibration.config import ConformalConfig
from engine.calibration.conformal import ConformalPredictor
from engine.calibration.experts import DTACI_STEPS
from engine.errors import NotEnoughDataError

FIXED = ConformalConfig(steps=())


def regime_trades(seed: int, n: int = 12_000):
    """Accuracy .6 + .39 (2z - 1)^2 in TREND and a constant .6 in PANIC, whatever the model says."""
    rng = np.random.default_rng(seed)
    raw = rng.uniform(0.5, 1, n)
    regime = np.where(rng.random(n) < 2 / 3, "TREND", "PANIC")
    accuracy = np.where(regime == "TREND", 0.6 + 0.39 * (2 * raw - 1) ** 2, 0.6)
    return raw, rng.random(n) < accuracy, regime


@pytest.mark.parametrize("seed", range(8))
def test_stated_ninety_is_right_nine_times_in_ten_and_never_where_it_cannot_be(seed):
    predictor = ConformalPredictor().calibrate(*regime_trades(seed))
    raw, correct, regime = regime_trades(seed + 1000)
    rows = predictor.calibrate_rows(raw, regime)
    sure = rows.confidence >= 0.90
    assert sure.mean() >= 0.03
    assert correct[sure].mean() >= 0.90
    assert not (sure & (regime == "PANIC")).any()
    assert rows.known.all()


def test_fifteen_panic_trades_do_not_make_ninety_percent():
    raw, correct, regime = regime_trades(0)
    trend = regime == "TREND"
    raw = np.r_[raw[trend], np.full(15, 0.97)]
    correct = np.r_[correct[trend], np.arange(15) > 0]
    regime = np.r_[regime[trend], np.full(15, "PANIC")]
    alone = ConformalPredictor().calibrate(raw[-15:], correct[-15:], regime[-15:])
    both = ConformalPredictor().calibrate(raw, correct, regime)
    assert alone.calibrate_confidence(0.97, 1, "PANIC").calibrated_confidence == pytest.approx(
        0.721, abs=5e-4
    )
    assert both.calibrate_confidence(0.97, 1, "PANIC").calibrated_confidence <= 0.7211
    assert both.calibrate_confidence(0.97, 1, "TREND").calibrated_confidence > 0.90


def test_a_thin_regime_is_never_more_confident_than_the_rest():
    raw, correct, regime = regime_trades(0)
    thin = np.full(40, 0.95)
    predictor = ConformalPredictor().calibrate(
        np.r_[raw, thin], np.r_[correct, np.ones(40, bool)], np.r_[regime, np.full(40, "RANGE")]
    )
    panic = predictor.calibrate_confidence(0.95, 1, "PANIC").calibrated_confidence
    assert predictor.calibrate_confidence(0.95, 1, "RANGE").calibrated_confidence == panic


def test_raising_the_raw_confidence_never_lowers_the_calibrated_one():
    predictor = ConformalPredictor().calibrate(*regime_trades(1))
    grid = np.linspace(0, 1, 501)
    for regime in ("TREND", "PANIC"):
        rows = predictor.calibrate_rows(grid, [regime] * grid.size)
        for figure in (rows.confidence, rows.p0, rows.p1):
            assert (np.diff(figure) >= 0).all()


def test_overlapping_outcomes_are_not_counted_as_independent():
    """Each outcome repeated 24 times: with its overlap named the bound is that of the distinct ones."""
    rng = np.random.default_rng(2)
    raw, correct = np.full(100, 0.8), rng.random(100) < 0.8
    once = ConformalPredictor().calibrate(raw, correct, ["RANGE"] * 100)
    repeated = ConformalPredictor(config=ConformalConfig(overlap=24.0)).calibrate(
        np.repeat(raw, 24), np.repeat(correct, 24), ["RANGE"] * 2400
    )
    naive = ConformalPredictor().calibrate(np.repeat(raw, 24), np.repeat(correct, 24), ["RANGE"] * 2400)
    bound = [p.calibrate_confidence(0.8, 1, "RANGE").calibrated_confidence for p in (once, repeated, naive)]
    assert bound[1] == pytest.approx(bound[0], rel=1e-9)
    assert bound[2] > bound[0] + 0.03


@pytest.mark.parametrize(
    ("raw", "regime"), [(None, "TREND"), (np.nan, "TREND"), (1.7, "TREND"), (-0.1, "TREND"), (None, None)]
)
def test_missing_confidence_is_unknown(raw, regime):
    answer = ConformalPredictor().calibrate(*regime_trades(0)).calibrate_confidence(raw, 1, regime)
    assert answer.status == "unknown"
    assert answer.calibrated_confidence is None
    assert answer.prediction_set == (-1, 1)


@pytest.mark.parametrize("regime", [None, "NEVER SEEN"])
def test_nothing_is_stated_of_a_regime_without_outcomes(regime):
    answer = ConformalPredictor().calibrate(*regime_trades(0)).calibrate_confidence(0.99, 1, regime)
    assert answer.status == "unknown"
    assert answer.calibrated_confidence is None
    assert answer.probabilities is None
    assert answer.prediction_set == (-1, 1)


def test_too_few_outcomes_for_the_level_are_unknown():
    few = ConformalPredictor().calibrate([0.9] * 8, [True] * 8, ["PANIC"] * 8)
    assert few.calibrate_confidence(0.9, 1, "PANIC").status == "unknown"
    assert few.calibrate_confidence(0.9, 1, "PANIC").calibrated_confidence is None
    assert ConformalPredictor().calibrate([0.9] * 9, [True] * 9, ["PANIC"] * 9).calibrate_confidence(
        0.9, 1, "PANIC"
    ).status == "ok"  # fmt: skip


def test_prediction_sets_cover_in_each_regime():
    predictor = ConformalPredictor().calibrate(*regime_trades(4))
    raw, correct, regime = regime_trades(5)
    single = predictor.calibrate_rows(raw, regime).single
    for name in ("TREND", "PANIC"):
        here = regime == name
        assert (correct | ~single)[here].mean() >= 0.885
    assert single[regime == "TREND"].mean() > 0.05


@pytest.mark.parametrize(("right", "single"), [(95, True), (80, False)])
def test_a_prediction_stands_alone_if_the_rest_is_wrong_too_often(right, single):
    """Scores are .1 where right and .9 where wrong; their 91st of 100 decides."""
    predictor = ConformalPredictor().calibrate([0.9] * 100, np.arange(100) < right, ["TREND"] * 100)
    answer = predictor.calibrate_confidence(0.9, -1, "TREND")
    assert answer.prediction_set == ((-1,) if single else (-1, 1))


def test_single_and_batch_answers_agree():
    predictor = ConformalPredictor().calibrate(*regime_trades(0))
    raw, _, regime = regime_trades(1, 200)
    rows = predictor.calibrate_rows(raw, regime)
    for i in range(200):
        one = predictor.calibrate_confidence(raw[i], -1, regime[i])
        assert one.calibrated_confidence == rows.confidence[i]
        assert one.probabilities == (rows.p0[i], rows.p1[i])
        assert (one.prediction_set == (-1,)) == rows.single[i]


def quantile_rows(seed: int, n: int = 6000):
    """A model whose 80 % band is right in RANGE and far too narrow in PANIC; scale varies by row."""
    rng = np.random.default_rng(seed)
    regime = rng.choice(["RANGE", "PANIC"], n, p=[0.8, 0.2])
    scale = rng.uniform(0.002, 0.02, n)
    centre = rng.standard_normal(n) * 0.001
    outcome = centre + scale * rng.standard_normal(n) * np.where(regime == "PANIC", 3.0, 1.0)
    return centre - 1.2816 * scale, centre + 1.2816 * scale, outcome, regime, scale


def covered(intervals, outcome):
    return (outcome >= intervals.lower) & (outcome <= intervals.upper)


def test_conformal_quantiles_cover_in_each_regime():
    share = []
    for seed in range(20):
        lower, upper, outcome, regime, scale = quantile_rows(seed)
        fit, test = slice(0, 3000), slice(3000, None)
        predictor = ConformalPredictor(config=FIXED).fit_intervals(
            lower[fit], upper[fit], outcome[fit], regime[fit], scale[fit]
        )
        hit = covered(predictor.intervals(lower[test], upper[test], regime[test], scale[test]), outcome[test])
        share.append([hit[regime[test] == name].mean() for name in ("RANGE", "PANIC")])
    np.testing.assert_allclose(np.mean(share, axis=0), 0.90, atol=0.01)


def test_a_model_that_is_too_wide_is_narrowed():
    rng = np.random.default_rng(0)
    y = rng.standard_normal(2000)
    predictor = ConformalPredictor(config=FIXED).fit_intervals(
        np.full(2000, -4.0), np.full(2000, 4.0), y, ["TREND"] * 2000
    )
    narrowed = predictor.intervals([-4.0], [4.0], ["TREND"])
    assert narrowed.upper[0] == pytest.approx(1.645, abs=0.1)
    crossed = predictor.intervals([0.9], [1.1], ["TREND"])
    assert crossed.lower[0] == crossed.upper[0] == pytest.approx(1.0)


def test_missing_quantiles_and_unknown_regimes_get_the_widest_interval():
    lower, upper, outcome, regime, scale = quantile_rows(0)
    predictor = ConformalPredictor(config=FIXED).fit_intervals(lower, upper, outcome, regime, scale)
    given = predictor.intervals(
        [-0.01, -0.01, -0.01, np.nan], [0.01] * 4, ["RANGE", "PANIC", None, "PANIC"], [0.01] * 4
    )
    np.testing.assert_array_equal(given.known, [True, True, False, False])
    assert given.upper[2] == given.upper[1] > given.upper[0]
    assert (given.lower[3], given.upper[3]) == (-np.inf, np.inf)


def test_walking_adapts_where_fixed_intervals_fail():
    rng = np.random.default_rng(3)
    y = rng.standard_normal(5000) * np.where(np.arange(5000) < 2500, 1.0, 2.5)
    point = np.zeros(5000)
    regime = np.full(5000, "RANGE")
    clock = np.arange(4500)
    fit, later = slice(0, 500), slice(500, None)
    rate = {}
    for steps in ((), (0.02,), DTACI_STEPS):
        predictor = ConformalPredictor(config=ConformalConfig(steps=steps))
        predictor.fit_intervals(point[fit], point[fit], y[fit], regime[fit])
        given = predictor.walk_intervals(
            point[later], point[later], y[later], regime[later], clock, clock + 1
        )
        rate[len(steps)] = covered(given, y[later])[2000:].mean()
    assert rate[0] < 0.6
    assert rate[1] == pytest.approx(0.9, abs=0.02)
    assert rate[8] == pytest.approx(0.9, abs=0.03)


def test_overlapping_labels_do_not_blow_intervals_up():
    """A missed label misses 24 rows in a row; counted as 24 misses, intervals would become unbounded."""
    rng = np.random.default_rng(0)
    y = np.repeat(rng.standard_normal(700), 24)
    point, regime, clock = np.zeros(y.size), np.full(y.size, "RANGE"), np.arange(y.size - 9600)
    fit, later = slice(0, 9600), slice(9600, None)
    unbounded, rate = {}, {}
    for overlap in (1.0, 24.0):
        predictor = ConformalPredictor(config=ConformalConfig(overlap=overlap))
        predictor.fit_intervals(point[fit], point[fit], y[fit], regime[fit])
        rows = point[later], point[later], y[later], regime[later]
        given = predictor.walk_intervals(*rows, clock, clock + 24)
        unbounded[overlap] = np.isinf(given.upper).mean()
        rate[overlap] = covered(given, y[later]).mean()
    assert unbounded[1.0] > 0.2
    assert unbounded[24.0] < 0.02
    assert rate[24.0] == pytest.approx(0.9, abs=0.03)


def test_walking_equals_answering_and_learning_row_by_row():
    lower, upper, outcome, regime, scale = quantile_rows(7, 700)
    fit, later = slice(0, 400), slice(400, None)
    walker, stepper = (
        ConformalPredictor().fit_intervals(lower[fit], upper[fit], outcome[fit], regime[fit], scale[fit])
        for _ in range(2)
    )
    clock = np.arange(300)
    rows = [a[later] for a in (lower, upper, outcome, regime)]
    walked = walker.walk_intervals(*rows, clock, clock + 1, scale[later])
    for i in range(300):
        one = [a[later][i : i + 1] for a in (lower, upper, outcome, regime, scale)]
        given = stepper.intervals(one[0], one[1], one[3], one[4])
        assert given.upper[0] == walked.upper[i]
        stepper.learn_outcomes(*one, decided_at=[i])


def test_everything_learned_survives_storage():
    lower, upper, outcome, regime, scale = quantile_rows(0, 1000)
    predictor = ConformalPredictor(0.8, ConformalConfig(overlap=3.0)).calibrate(*regime_trades(0, 3000))
    predictor.fit_intervals(lower, upper, outcome, regime, scale)
    arrays, meta = predictor.to_arrays()
    again = ConformalPredictor.from_arrays(arrays, json.loads(json.dumps(meta)))
    assert (again.coverage_level, again.config, again.labels) == (0.8, predictor.config, (-1, 1))
    raw, _, where = regime_trades(1, 500)
    before, after = predictor.calibrate_rows(raw, where), again.calibrate_rows(raw, where)
    np.testing.assert_array_equal(before.confidence, after.confidence)
    np.testing.assert_array_equal(before.single, after.single)
    np.testing.assert_array_equal(before.probability, after.probability)
    for p in (predictor, again):
        p.learn_outcomes(lower[:5], upper[:5], outcome[:5], regime[:5], scale[:5], decided_at=np.arange(5))
    np.testing.assert_array_equal(
        predictor.intervals(lower, upper, regime, scale).upper,
        again.intervals(lower, upper, regime, scale).upper,
    )
    empty, _ = ConformalPredictor().to_arrays()
    assert empty == {}


def test_regimes_may_come_as_a_series():
    raw, correct, regime = regime_trades(0, 2000)
    predictor = ConformalPredictor().calibrate(raw, correct, pl.Series(regime))
    np.testing.assert_array_equal(
        predictor.calibrate_rows(raw, pl.Series(regime)).confidence,
        predictor.calibrate_rows(raw, list(regime)).confidence,
    )


def test_misuse_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match="coverage_level"):
        ConformalPredictor(1.0)
    with pytest.raises(ValueError, match="fit_intervals"):
        ConformalPredictor().intervals([0.0], [1.0], ["TREND"])
    with pytest.raises(ValueError, match="call calibrate"):
        ConformalPredictor().calibrate_confidence(0.9, 1, "TREND")
    with pytest.raises(ValueError, match="raw_confidence"):
        ConformalPredictor().calibrate([1.2], [True], ["TREND"])
    with pytest.raises(ValueError, match="lower must not exceed upper; row 1"):
        ConformalPredictor().fit_intervals([0.0, 1.0], [1.0, 0.0], [0.5, 0.5], ["TREND"] * 2)
    with pytest.raises(ValueError, match="scale"):
        ConformalPredictor().fit_intervals([0.0], [1.0], [0.5], ["TREND"], [0.0])
    with pytest.raises(NotEnoughDataError):
        ConformalPredictor().calibrate([np.nan], [True], ["TREND"])
    with pytest.raises(NotEnoughDataError):
        ConformalPredictor().fit_intervals([0.0], [1.0], [np.nan], ["TREND"])
    for wrong in (
        {"steps": (0.0,)}, {"interval": 0.0}, {"window": 0}, {"overlap": 0.5}, {"bound_confidence": 1.0},
        {"alarm": 0.0},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ConformalConfig(**wrong)


def test_venn_abers_mends_a_boastful_model():
    rng = np.random.default_rng(6)
    raw = rng.uniform(0.5, 1, 8000)
    correct = rng.random(8000) < 0.5 + 0.3 * (raw - 0.5)
    predictor = ConformalPredictor().calibrate(raw[:4000], correct[:4000], ["TREND"] * 4000)
    rows = predictor.calibrate_rows(raw[4000:], ["TREND"] * 4000)
    right = correct[4000:]
    assert ((rows.probability - right) ** 2).mean() < ((raw[4000:] - right) ** 2).mean() - 0.01
    assert abs(rows.probability.mean() - right.mean()) < 0.02
    assert (rows.confidence <= rows.p1).all()


def test_accuracy_over_all_trades_hides_what_the_sure_ones_are_worth():
    """The wrong test of a confidence: right as often as stated on average, yet not where most is stated."""
    rng = np.random.default_rng(8)
    raw = rng.uniform(0.5, 1, 40_000)
    correct = rng.random(40_000) < 0.5 + 0.8 * (raw - 0.5) + 0.05
    sure = raw >= 0.94
    assert correct.mean() == pytest.approx(raw.mean(), abs=0.01)
    assert correct[sure].mean() < 0.93 < 0.96 < raw[sure].mean()
    half = slice(0, 20_000), slice(20_000, None)
    predictor = ConformalPredictor().calibrate(raw[half[0]], correct[half[0]], ["TREND"] * 20_000)
    stated = predictor.calibrate_rows(raw[half[1]], ["TREND"] * 20_000).confidence
    assert correct[half[1]][stated >= 0.88].mean() >= 0.88


def test_singletons_of_conformal_sets_are_right_less_often_than_the_level():
    """Coverage of a set is not accuracy of a label: 90 % sets of a perfectly calibrated model."""
    rng = np.random.default_rng(4)
    raw = rng.uniform(0.5, 1, 60_000)
    correct = rng.random(60_000) < raw
    predictor = ConformalPredictor().calibrate(raw[:30_000], correct[:30_000], ["TREND"] * 30_000)
    rows = predictor.calibrate_rows(raw[30_000:], ["TREND"] * 30_000)
    assert rows.single.mean() == pytest.approx(0.63, abs=0.03)
    assert correct[30_000:][rows.single].mean() == pytest.approx(0.84, abs=0.015)


@pytest.mark.parametrize("p", [0.0, 0.3, 0.499])
def test_without_an_alarm_nothing_changes(p):
    lower, upper, outcome, regime, scale = quantile_rows(7, 900)
    fit, later = slice(0, 500), slice(500, None)
    clock = np.arange(400)
    rows = [a[later] for a in (lower, upper, outcome, regime)]
    given = []
    for stated in (0.0, p):
        predictor = ConformalPredictor().calibrate(*regime_trades(0, 3000))
        predictor.fit_intervals(lower[fit], upper[fit], outcome[fit], regime[fit], scale[fit])
        sure = predictor.calibrate_rows(regime_trades(1, 400)[0], ["TREND"] * 400, stated)
        walked = predictor.walk_intervals(*rows, clock, clock + 24, scale[later], stated)
        now = predictor.intervals(lower[:9], upper[:9], regime[:9], scale[:9], stated)
        given.append(
            [walked.lower, walked.upper, now.upper, sure.confidence, sure.p0, sure.single, sure.known]
        )
    for without, with_p in zip(*given, strict=True):
        np.testing.assert_array_equal(without, with_p)


@pytest.mark.parametrize(("p", "known"), [(0.89, True), (0.9, False), (0.95, False), (None, False)])
def test_a_change_point_makes_confidence_unknown_and_widens(p, known):
    predictor = ConformalPredictor().calibrate(*regime_trades(0))
    predictor.fit_intervals(*quantile_rows(0))
    quiet = predictor.calibrate_confidence(0.99, 1, "PANIC", (-0.01, 0.01), 0.01)
    answer = predictor.calibrate_confidence(0.99, 1, "PANIC", (-0.01, 0.01), 0.01, p_changepoint=p)
    assert (answer.status == "ok") == known
    assert (answer.calibrated_confidence is None) != known
    assert (answer.prediction_set == (-1, 1)) or known
    assert (answer.interval == quiet.interval) == known
    assert answer.interval[1] >= quiet.interval[1]


def test_confidence_returns_once_enough_outcomes_after_the_change_are_known():
    raw, correct, _ = regime_trades(0, 400)
    regime = ["TREND"] * 400
    predictor = ConformalPredictor().calibrate(raw, correct, regime, decided_at=np.arange(400))
    for changed_at, known in ((399, False), (350, False), (349, True), (100, True)):
        rows = predictor.calibrate_rows([0.9], ["TREND"], 0.95, [changed_at])
        assert rows.known[0] == known, changed_at
        assert np.isnan(rows.confidence[0]) != known


def test_impossible_probabilities_are_refused():
    predictor = ConformalPredictor().calibrate(*regime_trades(0, 500))
    with pytest.raises(ValueError, match="p_changepoint"):
        predictor.calibrate_confidence(0.9, 1, "TREND", p_changepoint=1.5)
