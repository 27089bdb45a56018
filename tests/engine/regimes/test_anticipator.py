"""The anticipator: calibrated, blind to the future, and a base rate where there is nothing to know."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from engine.errors import NotEnoughDataError
from engine.evaluation.splits import Window
from engine.regimes import anticipator as module
from engine.regimes.anticipator import (
    AnticipatorConfig,
    RegimeTransitionAnticipator,
    TransitionHistory,
    train_and_calibrate,
    walk_forward_transitions,
)
from engine.regimes.names import REGIMES
from engine.regimes.transition_features import TRANSITION_FEATURES, transition_features
from engine.regimes.transition_skill import judged_risks, transition_reliability
from engine.regimes.transitions import OUTCOMES, transition_labels

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = datetime(2024, 1, 1, tzinfo=UTC).replace(tzinfo=None)
SCHEDULE = {"refit": 20 * DAY, "warmup": 40 * DAY, "lookback": 90 * DAY}
RISKS = ["p_transition", "p_panic_entry"]


def market(bars: int, symbols: int, seed: int, warning: float = 1.0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Regimes that are left with a hazard of 1 in 60 bars, times e to the `warning` that precedes it."""
    rng = np.random.default_rng(seed)
    regimes, alternative = [], []
    for number in range(symbols):
        z = np.empty(bars)
        z[0] = 0.0
        for t in range(1, bars):
            z[t] = 0.97 * z[t - 1] + 0.24 * rng.standard_normal()
        leaves = rng.random(bars) < np.minimum(np.exp(warning * z) / 60.0, 0.5)
        state = np.empty(bars, dtype=int)
        state[0] = 1
        for t in range(1, bars):
            state[t] = rng.choice([k for k in range(3) if k != state[t - 1]]) if leaves[t] else state[t - 1]
        p = np.full((bars, 3), 0.1) + 0.05 * rng.random((bars, 3))
        p[np.arange(bars), state] = 0.8
        p /= p.sum(axis=1, keepdims=True)
        key = {
            "symbol": [f"S{number}/USDT"] * bars,
            "ts": pl.Series([START + k * HOUR for k in range(bars)], dtype=pl.Datetime("us")),
        }
        names = {name: p[:, k] for k, name in enumerate(("p_trend", "p_range", "p_panic"))}
        regimes.append(pl.DataFrame({**key, **names, "regime": np.array(REGIMES)[state]}))
        alternative.append(pl.DataFrame({**key, "funding_z": z}))
    return pl.concat(regimes), pl.concat(alternative)


@pytest.fixture(scope="module")
def regimes_and_warning() -> tuple[pl.DataFrame, pl.DataFrame]:
    return market(5_000, 4, 0)


@pytest.fixture(scope="module")
def rows(regimes_and_warning: tuple[pl.DataFrame, pl.DataFrame]) -> pl.DataFrame:
    regimes, warning = regimes_and_warning
    return transition_features(regimes, alternative=warning)


@pytest.fixture(scope="module")
def history(rows: pl.DataFrame) -> TransitionHistory:
    return walk_forward_transitions(rows, HOUR, **SCHEDULE)


@pytest.fixture(scope="module")
def fitted(rows: pl.DataFrame) -> RegimeTransitionAnticipator:
    return RegimeTransitionAnticipator().fit(rows, Window(START, START + 120 * DAY))


@pytest.mark.parametrize(("outcome", "bins", "least"), [("leaves", 5, 0.02), ("panic_entry", 20, 0.0)])
def test_of_those_said_to_be_30_percent_30_percent_come(
    history: TransitionHistory, rows: pl.DataFrame, outcome: str, bins: int, least: float
) -> None:
    judged = judged_risks(history.rows, rows, outcome, HOUR)
    table = transition_reliability(judged, 24, bins=bins)
    table = table.filter(pl.col("regime") == "ALL", pl.col("n") >= 300)
    assert table.height >= 3, "the warning tells bars apart"
    assert table.select(pl.col("stated").is_between("low", "high").all()).item()
    p, y = judged["p"].to_numpy(), judged["outcome"].cast(pl.Float64).to_numpy()
    assert p.mean() == pytest.approx(y.mean(), abs=0.03)
    saved = 1 - np.mean((p - y) ** 2) / np.mean((judged["base"].to_numpy() - y) ** 2)
    assert saved > least


def test_an_overconfident_risk_is_caught(history: TransitionHistory, rows: pl.DataFrame) -> None:
    """The check above is one that can fail."""
    odds = (pl.col("p_transition") / (1 - pl.col("p_transition"))).log()
    louder = history.rows.with_columns(p_transition=1 / (1 + (-3 * odds).exp()))
    table = transition_reliability(judged_risks(louder, rows, "leaves", HOUR), 24, bins=5)
    seen = table.filter(pl.col("regime") == "ALL", pl.col("n") >= 300)
    assert not seen.select(pl.col("stated").is_between("low", "high").all()).item()


@pytest.mark.parametrize("bars", [960, 961, 1_400, 1_440, 1_441, 3_000])
def test_the_future_changes_nothing(rows: pl.DataFrame, history: TransitionHistory, bars: int) -> None:
    end = START + bars * HOUR
    past = walk_forward_transitions(rows.filter(pl.col("ts") < end), HOUR, **SCHEDULE).rows
    assert_frame_equal(past, history.rows.filter(pl.col("ts") < end), check_exact=True)


def test_a_fit_on_labels_that_are_not_known_yet_is_caught(
    rows: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A window cut by the bar alone takes labels that end after it: the history then sees the future."""

    def leaking(
        everything: pl.DataFrame, window: Window, config: AnticipatorConfig
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        labels = transition_labels(everything, config.bar, config.horizon, config.hold)
        labelled = everything.with_columns(labels.select(*OUTCOMES, "label_end"))
        inside = labelled.filter(window.mask()).drop_nulls(["label_end", "own_log_odds"])
        border = window.end - 0.4 * (window.end - window.start)
        return inside.filter(pl.col("ts") < border), inside.filter(pl.col("ts") >= border)

    monkeypatch.setattr(module, "train_and_calibrate", leaking)
    end = START + 961 * HOUR
    past = walk_forward_transitions(rows.filter(pl.col("ts") < end), HOUR, **SCHEDULE).rows
    full = walk_forward_transitions(rows, HOUR, **SCHEDULE).rows.filter(pl.col("ts") < end)
    assert not past.equals(full)


def test_no_label_reaches_across_the_purge_or_out_of_the_window(rows: pl.DataFrame) -> None:
    window = Window(START + 10 * DAY, START + 90 * DAY)
    train, calibrate = train_and_calibrate(rows, window, AnticipatorConfig())
    first, last = calibrate["ts"].min(), calibrate["label_end"].max()
    assert train["label_end"].max() <= first
    assert last <= window.end
    assert train["ts"].min() >= window.start
    assert calibrate.height / (train.height + calibrate.height) == pytest.approx(0.3, abs=0.02)


def test_inputs_that_carry_nothing_give_the_base_rate() -> None:
    """Exponential stays, and a warning that warns of nothing: every bar is as likely as any other."""
    regimes, noise = market(4_000, 3, 1, warning=0.0)
    rows = transition_features(regimes, alternative=noise)
    fitted = RegimeTransitionAnticipator().fit(rows, Window(START, START + 120 * DAY))
    late = rows.filter(pl.col("ts") >= START + 120 * DAY)
    labels = transition_labels(regimes, HOUR).drop_nulls("leaves")
    p = fitted.anticipate(late)["p_transition"]
    assert p.mean() == pytest.approx(labels["leaves"].mean(), abs=0.05)
    assert p.std() < 0.05
    blank = late.with_columns(
        pl.lit(0.0).alias(name) for names in TRANSITION_FEATURES.values() for name in names
    )
    constant = fitted.anticipate(blank)["p_transition"]
    assert constant.n_unique() <= len(REGIMES)


def test_every_row_by_itself_and_new_bars_continue_the_history(
    rows: pl.DataFrame, history: TransitionHistory
) -> None:
    last = history.anticipator
    since = (
        START
        + SCHEDULE["warmup"]
        + ((5_000 * HOUR - SCHEDULE["warmup"]) // SCHEDULE["refit"]) * SCHEDULE["refit"]
    )
    tail = history.rows.filter(pl.col("ts") >= since)
    new = rows.filter(pl.col("ts") >= since)
    assert_frame_equal(last.anticipate(new), tail, check_exact=True)
    one_by_one = pl.concat(last.anticipate(new[k]) for k in range(0, new.height, 37))
    assert_frame_equal(one_by_one, tail.gather_every(37), rel_tol=1e-12)


def test_what_the_rows_say(history: TransitionHistory, rows: pl.DataFrame) -> None:
    found = history.rows
    assert found.columns == ["symbol", "ts", "horizon", "p_transition", "p_panic_entry", "status"]
    assert_frame_equal(found.select("symbol", "ts"), rows.select("symbol", "ts"))
    early = pl.col("ts") < START + SCHEDULE["warmup"]
    assert found.filter(early)["status"].unique().to_list() == ["unknown"]
    assert found.filter(~early)["status"].unique().to_list() == ["ok"]
    assert found.select(((pl.col("status") == "ok") == pl.col("p_transition").is_not_null()).all()).item()
    in_panic = found.with_columns(rows["regime"]).filter(~early).filter(pl.col("regime") == "PANIC")
    assert in_panic["p_panic_entry"].null_count() == in_panic.height > 100
    assert in_panic["p_transition"].null_count() == 0
    assert found.drop_nulls().select(pl.col(RISKS).is_between(0, 1, closed="none").all()).row(0) == (
        True,
        True,
    )
    assert set(found["horizon"]) == {24}


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_an_unknown_regime_is_an_unknown_risk(
    fitted: RegimeTransitionAnticipator,
    regimes_and_warning: tuple[pl.DataFrame, pl.DataFrame],
    nothing: float | None,
) -> None:
    regimes, warning = regimes_and_warning
    here = (pl.col("symbol") == "S0/USDT") & (pl.col("ts") == START + 4_000 * HOUR)
    broken = regimes.with_columns(
        pl.when(here).then(pl.lit(nothing, pl.Float64)).otherwise("p_panic").alias("p_panic")
    )
    found = (
        fitted.anticipate(transition_features(broken, alternative=warning)).filter(here).row(0, named=True)
    )
    assert (found["p_transition"], found["p_panic_entry"], found["status"]) == (None, None, "unknown")
    silent = warning.with_columns(pl.when(~here).then("funding_z").alias("funding_z"))
    found = (
        fitted.anticipate(transition_features(regimes, alternative=silent)).filter(here).row(0, named=True)
    )
    assert found["status"] == "ok"


def test_it_comes_back_from_arrays_bit_for_bit(
    fitted: RegimeTransitionAnticipator, rows: pl.DataFrame
) -> None:
    arrays, meta = fitted.to_arrays()
    assert all(array.dtype == np.float64 for array in arrays.values())
    restored = RegimeTransitionAnticipator.from_arrays(arrays, meta)
    assert restored.config == fitted.config
    assert_frame_equal(restored.anticipate(rows), fitted.anticipate(rows), check_exact=True)
    empty = RegimeTransitionAnticipator.from_arrays(*RegimeTransitionAnticipator().to_arrays())
    assert not empty.fitted


def test_the_same_fit_twice_is_the_same(fitted: RegimeTransitionAnticipator, rows: pl.DataFrame) -> None:
    again = RegimeTransitionAnticipator().fit(rows, Window(START, START + 120 * DAY))
    assert_frame_equal(again.anticipate(rows), fitted.anticipate(rows), check_exact=True)


def test_too_little_is_refused_and_leaves_the_model_before_in_use(rows: pl.DataFrame) -> None:
    with pytest.raises(NotEnoughDataError, match="1000 to fit on"):
        RegimeTransitionAnticipator().fit(rows, Window(START, START + 15 * DAY))
    with pytest.raises(ValueError, match="call fit first"):
        RegimeTransitionAnticipator().anticipate(rows)
    short = walk_forward_transitions(rows.filter(pl.col("ts") < START + 30 * DAY), HOUR, **SCHEDULE)
    assert short.rows["status"].unique().to_list() == ["unknown"]
    assert not short.anticipator.fitted
    assert walk_forward_transitions(rows.head(0), HOUR, **SCHEDULE).rows.is_empty()
    early = rows.filter((pl.col("ts") < START + 60 * DAY) | (pl.col("ts") >= START + 190 * DAY))
    late = walk_forward_transitions(early, HOUR, **SCHEDULE).rows.filter(pl.col("ts") >= START + 190 * DAY)
    assert late["status"].unique().to_list() == ["ok"]


def test_without_a_single_panic_its_risk_is_small_and_not_zero() -> None:
    regimes, warning = market(2_500, 3, 2)
    calm = regimes.with_columns(
        regime=pl.when(pl.col("regime") != "PANIC").then("regime").otherwise(pl.lit("TREND"))
    )
    rows = transition_features(calm, alternative=warning)
    p = RegimeTransitionAnticipator().fit(rows, Window(START, START + 100 * DAY)).anticipate(rows.tail(100))
    assert p["p_panic_entry"].n_unique() == 1
    assert 0.0 < p["p_panic_entry"][0] < 0.05


@pytest.mark.parametrize(
    "wrong",
    [{"horizon": 0}, {"hold": 0}, {"calibration_share": 1.0}, {"thinning": 0}, {"warning_prior": 0.0},
     {"bar": timedelta(0)}],
)  # fmt: skip
def test_bad_settings_are_named(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(AnticipatorConfig(), **wrong)


def test_bad_lengths_are_named(rows: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="refit"):
        walk_forward_transitions(rows, HOUR, **(SCHEDULE | {"refit": timedelta(0)}))
