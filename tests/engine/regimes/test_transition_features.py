"""Features of the transition risk: causal, of bounded memory, and missing where something is missing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from engine.regimes.names import REGIMES
from engine.regimes.transition_features import FEATURE_MEMORY, TRANSITION_FEATURES, transition_features

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1, tzinfo=UTC).replace(tzinfo=None)
NAMES = [name for names in TRANSITION_FEATURES.values() for name in names]


def inputs(bars: int = 1_200, seed: int = 0) -> dict[str, pl.DataFrame]:
    """Two symbols with everything known, the second listed later and with a hole."""
    rng = np.random.default_rng(seed)
    parts: dict[str, list[pl.DataFrame]] = {
        "regimes": [],
        "changepoints": [],
        "observed": [],
        "alternative": [],
    }
    common = rng.standard_t(5, bars)
    for symbol, first in (("A", 0), ("B", 100)):
        n = bars - first
        key = pl.DataFrame(
            {"symbol": [symbol] * n, "ts": [START + (first + k) * HOUR for k in range(n)]},
            schema_overrides={"ts": pl.Datetime("us")},
        )
        odds = np.exp(np.cumsum(rng.normal(0, 0.4, (n, 3)), axis=0) * 0.3)
        p = odds / odds.sum(axis=1, keepdims=True)
        names = ("p_trend", "p_range", "p_panic")
        parts["regimes"].append(
            key.with_columns(
                *(pl.Series(name, p[:, k]) for k, name in enumerate(names)),
                pl.Series("regime", np.array(REGIMES)[p.argmax(axis=1)]),
            )
        )
        changepoints = ("p_mean", "p_volatility", "p_changepoint", "run_length_mean", "run_length_volatility")
        parts["changepoints"].append(key.with_columns(pl.Series(c, rng.random(n)) for c in changepoints))
        returns = 0.01 * (common[first:] + rng.standard_t(5, n))
        parts["observed"].append(key.with_columns(pl.Series("log_return", returns)))
        outside = (
            "funding_z", "liquidation_cascade", "liquidation_imbalance", "open_interest_change_24h",
            "netflow_z", "long_short_z", "fear_greed",
        )  # fmt: skip
        parts["alternative"].append(key.with_columns(pl.Series(c, rng.random(n)) for c in outside))
    hole = (pl.col("symbol") == "B") & pl.col("ts").is_between(START + 600 * HOUR, START + 610 * HOUR)
    return {name: pl.concat(frames).filter(~hole) for name, frames in parts.items()}


@pytest.fixture(scope="module")
def full() -> dict[str, pl.DataFrame]:
    return inputs()


@pytest.mark.parametrize("cut", [30, 99, 101, 620, 900, 1_100])
def test_the_future_changes_nothing(full: dict[str, pl.DataFrame], cut: int) -> None:
    end = START + cut * HOUR
    past = {name: frame.filter(pl.col("ts") <= end) for name, frame in full.items()}
    everything = transition_features(**full).filter(pl.col("ts") <= end)
    assert_frame_equal(transition_features(**past), everything, check_exact=True)


def test_a_bounded_past_gives_the_same(full: dict[str, pl.DataFrame]) -> None:
    """New bars need no more history than `FEATURE_MEMORY` says, and not much less will do."""
    new = pl.col("ts") >= START + 1_190 * HOUR
    last = transition_features(**full).filter(new)

    def from_the_tail(rows: int) -> pl.DataFrame:
        tail = {
            name: pl.concat([frame.filter(~new).group_by("symbol").tail(rows), frame.filter(new)]).sort(
                "symbol", "ts"
            )
            for name, frame in full.items()
        }
        return transition_features(**tail).filter(new)

    assert_frame_equal(from_the_tail(FEATURE_MEMORY), last, abs_tol=1e-9, rel_tol=1e-9)
    assert not from_the_tail(700).equals(last)


def test_everything_is_known_in_the_end(full: dict[str, pl.DataFrame]) -> None:
    found = transition_features(**full)
    assert found.columns == ["symbol", "ts", "regime", *NAMES]
    assert_frame_equal(
        found.select("symbol", "ts", "regime"), full["regimes"].select("symbol", "ts", "regime")
    )
    assert found.tail(200).null_count().sum_horizontal().item() == 0
    assert not any(found[name].is_nan().any() for name in NAMES)


def test_the_course_of_the_regime() -> None:
    path = ["RANGE"] * 8 + ["PANIC"] * 4
    p = [0.8] * 8 + [0.1] * 4
    rows = pl.DataFrame(
        {
            "symbol": "A",
            "ts": [START + k * HOUR for k in range(12)],
            "p_trend": 0.1,
            "p_range": p,
            "p_panic": [0.9 - x for x in p],
            "regime": path,
        },
        schema_overrides={"ts": pl.Datetime("us")},
    )
    found = transition_features(rows).row(9, named=True)
    assert found["own_log_odds"] == pytest.approx(np.log(0.8 / 0.2))
    assert found["own_change"] == pytest.approx(0.8 - 0.1), "of PANIC's own probability, six bars ago"
    assert found["log_stay"] == pytest.approx(np.log(2.0))
    assert found["recent_transitions"] == 2.0
    assert transition_features(rows)["own_log_odds"][5] is None, "six bars of warm-up"


def test_stress_is_the_average_correlation_and_needs_two_symbols() -> None:
    rng = np.random.default_rng(2)
    bars, symbols = 4_000, ("A", "B", "C")
    common = rng.standard_normal(bars)
    stamps = pl.Series("ts", [START + k * HOUR for k in range(bars)], pl.Datetime("us"))
    observed = pl.concat(
        pl.DataFrame(
            {
                "symbol": [s] * bars,
                "ts": stamps,
                "log_return": scale * (np.sqrt(0.6) * common + np.sqrt(0.4) * rng.standard_normal(bars)),
            }
        )
        for s, scale in zip(symbols, (0.01, 0.1, 1.0), strict=True)
    )
    p = {"p_trend": 0.2, "p_range": 0.7, "p_panic": 0.1}
    rows = observed.select(
        "symbol", "ts", *(pl.lit(v).alias(n) for n, v in p.items()), regime=pl.lit("RANGE")
    )
    three = transition_features(rows, observed=observed)
    assert three["stress"].drop_nulls().mean() == pytest.approx(0.6, abs=0.03)
    one = transition_features(rows.head(bars), observed=observed)
    assert one["stress"].null_count() == bars
    assert one["volatility_ratio"].drop_nulls().mean() == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("nothing", [None, float("nan"), float("inf")])
def test_what_is_not_finite_is_missing_with_its_whole_source(
    full: dict[str, pl.DataFrame], nothing: float | None
) -> None:
    here = (pl.col("symbol") == "A") & (pl.col("ts") == START + 1_000 * HOUR)
    broken = {**full, "changepoints": full["changepoints"].with_columns(
        pl.when(here).then(pl.lit(nothing, pl.Float64)).otherwise("run_length_mean").alias("run_length_mean")
    )}  # fmt: skip
    found = transition_features(**broken).filter(here)
    assert found.select(TRANSITION_FEATURES["change points"]).null_count().sum_horizontal().item() == 5
    assert found.select(TRANSITION_FEATURES["regime"]).null_count().sum_horizontal().item() == 0


def test_frames_that_are_not_there_and_columns_that_are_not(full: dict[str, pl.DataFrame]) -> None:
    alone = transition_features(full["regimes"])
    assert alone.tail(1).select(TRANSITION_FEATURES["regime"]).null_count().sum_horizontal().item() == 0
    others = [n for source, names in TRANSITION_FEATURES.items() if source != "regime" for n in names]
    assert all(alone[name].null_count() == alone.height for name in others)
    partly = transition_features(
        full["regimes"], alternative=full["alternative"].select("symbol", "ts", "funding_z")
    )
    assert partly["funding_extremity"].null_count() == 0
    assert partly["fear_greed"].null_count() == partly.height
    assert transition_features(full["regimes"].head(0)).is_empty()
