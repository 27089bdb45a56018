from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from engine.errors import DataError, NotEnoughDataError
from engine.evaluation.ablation import (
    BASE,
    FULL,
    SCORES,
    AblationConfig,
    ablation_table,
    comparisons,
    design,
    paired_scores,
    variant_table,
)
from engine.evaluation.ablation_claims import claims_table, outcome
from engine.evaluation.improvements import ALL, IMPROVEMENTS, Claim, Improvement
from engine.evaluation.seed_effects import Effect, holm, paired_effect
from engine.regimes.names import REGIMES

KEYS = tuple(IMPROVEMENTS)


def simulate(
    worth, *, seeds=10, keys=KEYS, noise=0.1, rng=None, world="simulator", metric="net_return", level=1.0
):
    """Scores of the whole design: each improvement adds its worth, seeds share their luck."""
    rng = rng or np.random.default_rng(0)
    shared = rng.standard_normal(seeds)
    rows = [
        (variant.name, world, seed, metric, scope, level + shared[seed] * 0.2 + gain + own)
        for variant in design(keys)
        for gain in [sum(worth.get(key, 0.0) for key in variant.enabled)]
        for seed in range(seeds)
        for own in [noise * rng.standard_normal()]
        for scope in (ALL, *REGIMES)
    ]
    return pl.DataFrame(rows, schema=SCORES, orient="row")


def test_design_is_full_base_and_both_ways_of_one_improvement():
    variants = {variant.name: set(variant.enabled) for variant in design()}
    assert len(variants) == 32
    assert variants[FULL] == set(KEYS)
    assert variants[BASE] == set()
    for key in KEYS:
        for ours, theirs in comparisons(key).values():
            assert variants[ours] - variants[theirs] == {key}
            assert variants[theirs] <= variants[ours]


def test_one_improvement_alone_has_no_design():
    with pytest.raises(ValueError, match="two"):
        design(["bandit"])


def test_table_finds_what_helps_and_what_hurts_and_shows_the_rest():
    table = ablation_table(simulate({"options": 0.5, "bandit": -0.5}, noise=0.15))
    verdicts = dict(table.select("improvement", "verdict").iter_rows())
    assert verdicts.pop("options") == "helps"
    assert verdicts.pop("bandit") == "hurts"
    assert set(verdicts.values()) == {"no effect shown"}
    assert table["improvement"].to_list() == [*KEYS]
    row = table.row(by_predicate=pl.col("improvement") == "options", named=True)
    assert row["claim"] == "+10-15 % Sharpe"
    assert row["minus_one_low"] < 0.5 < row["minus_one_high"]
    assert row["plus_one_low"] < 0.5 < row["plus_one_high"]
    assert row["p_adjusted"] < 0.01
    assert row["minus_one_seeds"] == row["plus_one_seeds"] == 10
    hurt = table.row(by_predicate=pl.col("improvement") == "bandit", named=True)
    assert hurt["minus_one"] < 0 and hurt["plus_one"] < 0  # noqa: PT018


def test_a_row_pays_for_both_of_its_comparisons_and_for_the_other_rows():
    scores = simulate({"options": 0.1})
    table = ablation_table(scores)
    pairs = [[paired_scores(scores, *c, "net_return") for c in comparisons(key).values()] for key in KEYS]
    p_values = [[paired_effect(*pair).p_value for pair in row] for row in pairs]
    expected = holm(np.minimum(2 * np.min(p_values, axis=1), 1.0))
    np.testing.assert_allclose(table["p_adjusted"], expected, rtol=1e-12)


def test_false_verdicts_per_table_keep_the_level():
    rng = np.random.default_rng(1)
    keys = KEYS[:3]
    false = [
        (ablation_table(simulate({}, rng=rng, keys=keys), subset(keys))["verdict"] != "no effect shown").any()
        for _ in range(120)
    ]
    assert np.mean(false) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 120)


def subset(keys):
    return {key: IMPROVEMENTS[key] for key in keys}


def test_help_alone_and_harm_in_company_is_mixed():
    """Redundant parts: worth much alone, in the way of the others together."""
    scores = simulate({"options": 0.5}, noise=0.05)
    crowded = pl.when(pl.col("variant") == "full - options").then(pl.col("score") + 1.0)
    table = ablation_table(scores.with_columns(score=crowded.otherwise(pl.col("score"))))
    row = table.row(by_predicate=pl.col("improvement") == "options", named=True)
    assert row["minus_one"] < -0.3
    assert row["plus_one"] > 0.3
    assert row["verdict"] == "mixed"


def test_three_seeds_are_refused_with_their_number():
    with pytest.raises(NotEnoughDataError, match=r"simulator: 3 seeds .* at least 5 in common"):
        ablation_table(simulate({"options": 5.0}, seeds=3))


def test_settings_cannot_lower_the_bar():
    with pytest.raises(ValueError, match="least_seeds=3"):
        AblationConfig(least_seeds=3)
    with pytest.raises(ValueError, match="alpha"):
        AblationConfig(alpha=1.5)


def test_a_variant_that_failed_leaves_the_other_rows_and_still_counts():
    scores = simulate({"options": 0.5})
    lost = pl.col("variant").str.contains("bandit", literal=True)
    table = ablation_table(scores.filter(~lost))
    row = table.row(by_predicate=pl.col("improvement") == "bandit", named=True)
    assert row["verdict"] == "not measured"
    assert row["minus_one"] is None
    assert row["minus_one_seeds"] == 0
    kept = pl.col("improvement") != "bandit"
    full = ablation_table(scores)
    assert table.filter(kept)["minus_one"].equals(full.filter(kept)["minus_one"])
    best = pl.col("improvement") == "options"
    assert table.filter(best)["p_adjusted"].item() == pytest.approx(full.filter(best)["p_adjusted"].item())


def test_pairs_are_made_by_seed_and_not_by_place():
    scores = simulate({"options": 0.5}, noise=0.01)
    shuffled = scores.sample(fraction=1.0, shuffle=True, seed=3)
    assert ablation_table(scores).equals(ablation_table(shuffled))
    gone = (pl.col("variant") == BASE) & (pl.col("seed") == 4)
    ours, theirs = paired_scores(shuffled.filter(~gone), "base + options", BASE, "net_return")
    assert ours.size == theirs.size == 9
    assert np.std(ours - theirs) < 0.05 < np.std(ours)


def test_verdict_is_over_seeds_and_not_over_regimes():
    """Scores of single regimes do not enter: three times as many rows, the same interval."""
    scores = simulate({"options": 0.5})
    alone = scores.filter(pl.col("scope") == ALL)
    assert ablation_table(scores).equals(ablation_table(alone))


def test_worlds_are_judged_apart_and_a_seed_counts_once():
    here = simulate({"options": 0.6})
    there = simulate({}, world="recorded", rng=np.random.default_rng(5))
    table = ablation_table(pl.concat([here, there]))
    verdicts = {(w, k): v for w, k, v in table.select("world", "improvement", "verdict").iter_rows()}
    assert verdicts["simulator", "options"] == "helps"
    assert verdicts["recorded", "options"] == "no effect shown"
    with pytest.raises(DataError, match="seed twice"):
        ablation_table(pl.concat([here, here]))
    with pytest.raises(NotEnoughDataError, match="no scores"):
        ablation_table(here.clear())


def test_variants_by_interquartile_mean_and_share_of_wins():
    scores = simulate({"options": 2.0})
    table = variant_table(scores)
    rows = {row["variant"]: row for row in table.iter_rows(named=True)}
    assert table.height == 32
    assert rows[FULL]["iqm"] == pytest.approx(3.0, abs=0.3)
    assert rows[FULL]["iqm_low"] < rows[FULL]["iqm"] < rows[FULL]["iqm_high"]
    assert rows[FULL]["beats_base"] == 1.0
    assert rows[BASE]["beats_base"] == 0.5
    assert (rows[FULL]["seeds"], rows[FULL]["regimes"]) == (10, 3)


def test_runs_without_a_regime_leave_the_summary():
    scores = simulate({})
    gone = (pl.col("variant") == FULL) & (pl.col("seed") < 2) & (pl.col("scope") == "PANIC")
    rows = {row["variant"]: row["seeds"] for row in variant_table(scores.filter(~gone)).iter_rows(named=True)}
    assert rows[FULL] == 8
    assert rows[BASE] == 10


FASTER = Claim("+8-15 % faster", "learning_speed", 0.08, 0.15)
CALMER = Claim("-20-30 % volatility", "volatility", -0.30, -0.20)


@pytest.mark.parametrize(
    ("claim", "low", "high", "expected"),
    [
        (FASTER, 0.09, 0.4, "reached"),
        (FASTER, 0.01, 0.09, "undecided"),
        (FASTER, -0.5, 0.07, "missed"),
        (CALMER, -0.5, -0.21, "reached"),
        (CALMER, -0.25, -0.1, "undecided"),
        (CALMER, -0.19, 0.1, "missed"),
        (CALMER, 0.2, 0.3, "missed"),
    ],
)
def test_claims_are_held_against_their_modest_end(claim, low, high, expected):
    assert outcome(claim, Effect((low + high) / 2, low, high, 0.5, 10)) == expected


def test_claims_are_measured_in_their_own_metric():
    improvements = {
        "options": Improvement("options", "Options", (FASTER,)),
        "risk_budget": Improvement("risk_budget", "Risk budget", (CALMER,)),
        "fear_greed": Improvement("fear_greed", "Fear & Greed", ()),
    }
    keys = tuple(improvements)
    speed = simulate({"options": 0.5}, keys=keys, metric="learning_speed", level=2.0, noise=0.02)
    calm = simulate({"risk_budget": -0.1}, keys=keys, metric="volatility", level=2.0, noise=0.02)
    table = claims_table(pl.concat([speed, calm]), improvements)
    assert table.height == 4
    rows = {(row["improvement"], row["comparison"]): row for row in table.iter_rows(named=True)}
    assert rows["options", "plus_one"]["measured"] == pytest.approx(0.25, abs=0.05)
    assert rows["options", "plus_one"]["outcome"] == "reached"
    assert rows["risk_budget", "plus_one"]["measured"] == pytest.approx(-0.05, abs=0.02)
    assert rows["risk_budget", "minus_one"]["outcome"] == "missed"


def test_claims_without_their_metric_or_without_a_base_say_so():
    losing = simulate({"bandit": 0.2}, level=-1.0)
    table = claims_table(losing)
    outcomes = dict(table.select("improvement", "outcome").iter_rows())
    assert outcomes["bandit"] == "no base to compare with"
    assert outcomes["conformal"] == "not measured"
    assert table.filter(pl.col("improvement") == "bandit")["measured"].null_count() == 2
