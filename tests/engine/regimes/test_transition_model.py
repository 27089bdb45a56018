"""The score and its calibration: what is read, what is unknown, and what a useless score ends in."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.special import expit

from engine.regimes.names import REGIMES
from engine.regimes.transition_features import TRANSITION_FEATURES
from engine.regimes.transition_model import (
    LinearScore,
    Recalibration,
    fit_recalibration,
    fit_score,
    usable_sources,
)


def rows(n: int, seed: int = 0, **columns: object) -> pl.DataFrame:
    """Independent rows: everything unknown but the regime's own course, or what is given."""
    rng = np.random.default_rng(seed)
    own = {name: rng.standard_normal(n) for name in TRANSITION_FEATURES["regime"]}
    absent = {
        name: pl.Series([None], dtype=pl.Float64).new_from_index(0, n)
        for source, names in TRANSITION_FEATURES.items()
        if source != "regime"
        for name in names
    }
    regime = np.array(REGIMES)[rng.integers(0, 3, n)]
    return pl.DataFrame({"regime": regime, **own, **absent, **columns})


def known(source: str, n: int, share: float, seed: int = 1) -> dict[str, pl.Series]:
    rng = np.random.default_rng(seed)
    missing = rng.random(n) >= share
    return {
        name: pl.Series(np.where(missing, np.nan, rng.standard_normal(n))).fill_nan(None)
        for name in TRANSITION_FEATURES[source]
    }


def test_sources_by_how_often_they_are_known() -> None:
    n = 2_000
    frame = rows(
        n, **known("change points", n, 0.999), **known("correlation", n, 0.5), **known("funding", n, 1.0),
        **known("sentiment", n, 0.6), **known("flows", n, 0.001),
    )  # fmt: skip
    sources = usable_sources(frame)
    assert sources.required == ("regime", "change points")
    assert sources.optional == ("correlation", "funding", "sentiment")


def test_without_what_candles_give_the_score_is_unknown_and_without_an_index_it_is_not() -> None:
    n = 2_000
    frame = rows(n, **known("change points", n, 1.0), **known("sentiment", n, 1.0))
    frame = frame.with_columns(leaves=pl.col("own_log_odds") > 0)
    score = fit_score(frame, "leaves", usable_sources(frame), 1.0, 0.1)
    some = frame.head(5)
    assert np.isfinite(score(some)).all()
    no_index = some.with_columns(pl.lit(None, pl.Float64).alias(n) for n in TRANSITION_FEATURES["sentiment"])
    assert np.isfinite(score(no_index)).all()
    assert np.abs(score(no_index) - score(some)).max() < 0.5
    for source in ("regime", "change points"):
        blind = some.with_columns(pl.lit(None, pl.Float64).alias(n) for n in TRANSITION_FEATURES[source])
        assert np.isnan(score(blind)).all()
    assert np.isnan(score(some.with_columns(regime=pl.lit(None, pl.String)))).all()
    unread = some.with_columns(netflow_z=pl.lit(3.0))
    assert (score(unread) == score(some)).all(), "a source that taught nothing changes nothing"


def test_the_indicator_learns_what_it_means_that_a_source_is_missing() -> None:
    n = 20_000
    frame = rows(n, **known("funding", n, 0.5))
    missing = frame["funding_z"].is_null().to_numpy()
    happened = np.random.default_rng(3).random(n) < np.where(missing, 0.6, 0.2)
    frame = frame.with_columns(leaves=pl.Series(happened))
    p = expit(fit_score(frame, "leaves", usable_sources(frame), 1.0, 1.0)(frame))
    assert p[missing].mean() == pytest.approx(0.6, abs=0.02)
    assert p[~missing].mean() == pytest.approx(0.2, abs=0.02)


def test_warnings_have_to_prove_themselves() -> None:
    """The same evidence for a feature of the regime's course and for a warning: the warning gains less."""
    n = 400
    frame = rows(n, **known("funding", n, 1.0))
    both = frame["own_log_odds"].to_numpy() + frame["funding_z"].to_numpy()
    happened = np.random.default_rng(4).random(n) < expit(both)
    frame = frame.with_columns(leaves=pl.Series(happened))
    score = fit_score(frame, "leaves", usable_sources(frame), 1.0, 0.1)
    weight = dict(zip(score.sources.features, score.coefficients[len(REGIMES) :], strict=False))
    assert weight["own_log_odds"] > 0.5
    assert abs(weight["funding_z"]) < weight["own_log_odds"] / 2
    assert weight["funding_z"] > 0.0


def test_an_outlier_is_bounded() -> None:
    frame = rows(500).with_columns(leaves=pl.col("own_log_odds") > 0)
    score = fit_score(frame, "leaves", usable_sources(frame), 1.0, 0.1)
    far, farther = (frame.head(1).with_columns(own_log_odds=pl.lit(x)) for x in (50.0, 5e6))
    assert score(far) == score(farther)


@pytest.mark.parametrize("happened", [True, False])
def test_alike_outcomes_give_a_constant(happened: bool) -> None:
    frame = rows(300).with_columns(leaves=pl.lit(happened))
    score = fit_score(frame, "leaves", usable_sources(frame), 1.0, 0.1)(frame)
    assert (score == score[0]).all()


def test_recalibration_finds_slope_and_level() -> None:
    rng = np.random.default_rng(5)
    score = rng.standard_normal(50_000) * 2
    happened = rng.random(score.size) < expit(0.5 * score - 1.0)
    found = fit_recalibration(score, happened, 1.0)
    assert (found.slope, found.level) == (pytest.approx(0.5, abs=0.03), pytest.approx(-1.0, abs=0.05))


@pytest.mark.parametrize("useless", ["backwards", "constant"])
def test_a_useless_score_ends_in_the_base_rate(useless: str) -> None:
    rng = np.random.default_rng(6)
    score = rng.standard_normal(5_000)
    happened = rng.random(score.size) < expit(-score - 1.0)
    given = score if useless == "backwards" else np.ones_like(score)
    found = fit_recalibration(given, happened, 0.01)
    assert found.slope == 0.0
    assert found(np.array([-9.0, 9.0])) == pytest.approx(happened.mean(), abs=0.02)


def test_what_never_happened_is_not_impossible() -> None:
    """With 40 independent bars without one, the rate is half a one in 41: never 0."""
    never = np.zeros(4_000, dtype=bool)
    found = fit_recalibration(np.random.default_rng(7).standard_normal(4_000), never, 0.01)
    assert found(np.array([0.0])) == pytest.approx(0.5 / 41.0)
    assert fit_recalibration(np.zeros(4_000), ~never, 0.01)(np.array([0.0])) == pytest.approx(40.5 / 41.0)


def test_the_score_comes_back_from_arrays_bit_for_bit() -> None:
    n = 500
    frame = rows(n, **known("funding", n, 0.7)).with_columns(leaves=pl.col("own_log_odds") > 0)
    score = fit_score(frame, "leaves", usable_sources(frame), 0.1, 0.1)
    assert (LinearScore.from_arrays(*score.to_arrays())(frame) == score(frame)).all()
    assert Recalibration(1.0, 0.0)(np.array([np.nan, 0.0])).tolist()[1] == 0.5
