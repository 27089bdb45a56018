"""Alpha engines: known answers, caution about what is unknown, and no look at any other bar."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

import numpy as np
import polars as pl
import pytest

from engine.alpha.coordinator import default_engines
from engine.alpha.engines.crowd import Carry, Sentiment
from engine.alpha.engines.learned import Agent, PatternMemory
from engine.alpha.engines.price import Breakout, MeanReversion, Momentum
from engine.alpha.signals import AlphaEngine, Columns, Condition, Opinion, graded, regime_numbers
from engine.features.lookahead import check_lookahead

HOUR, START = timedelta(hours=1), datetime(2024, 1, 1)
ENGINES = default_engines()
RANGES = {
    "range_position_24": (0.0, 1.0),
    "volatility_ratio_24_168": (-1.5, 1.5),
    "volume_zscore_168": (-1.0, 3.0),
    "return_72": (-0.3, 0.3),
    "return_168": (-0.4, 0.4),
    "volatility_168": (0.004, 0.02),
    "zscore_168": (-4.0, 4.0),
    "efficiency_24": (0.0, 0.6),
    "funding_rate_8h": (-2e-3, 2e-3),
    "fear_greed": (0.0, 100.0),
    "fear_greed_age_hours": (0.0, 60.0),
    "social_score": (0.0, 1.0),
    "pattern_mean": (-0.02, 0.02),
    "pattern_up": (0.0, 1.0),
    "pattern_count": (5.0, 30.0),
    "agent_position": (-1.0, 1.0),
    "agent_confidence": (0.0, 1.0),
}


def features(bars: int = 600, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    edge = rng.random(bars) < 0.5  # closes at the edge of the range are common enough to break out
    columns = {name: rng.uniform(*limits, bars) for name, limits in RANGES.items()}
    columns["range_position_24"] = np.where(edge, np.round(columns["range_position_24"]), 0.5)
    return pl.DataFrame({"symbol": "A", "ts": [START + i * HOUR for i in range(bars)], **columns})


def one(engine: AlphaEngine, **values: float) -> tuple[float, float]:
    strength, confidence = engine.strengths(pl.DataFrame({k: [v] for k, v in values.items()}))
    return float(strength[0]), float(confidence[0])


@pytest.mark.parametrize(
    ("engine", "values", "strength"),
    [
        (Breakout(), (1.0, 0.5, 1.0), 0.75),
        (Breakout(), (0.02, 1.5, 1.0), -1.0),
        (Breakout(), (0.9, 0.5, 1.0), 0.0),
        (Breakout(), (1.0, -0.1, 1.0), 0.0),
        (Breakout(), (1.0, 0.5, 0.4), 0.0),
        (Momentum(), (0.01 * 72**0.5 * 2.0, 0.1, 0.01), 0.75),
        (Momentum(), (-0.01 * 72**0.5 * 5.0, -0.1, 0.01), -1.0),
        (Momentum(), (0.01 * 72**0.5 * 2.0, -0.1, 0.01), 0.0),
        (Momentum(), (0.05, 0.1, 0.01), 0.0),
        (Momentum(), (0.2, 0.1, 0.0), 0.0),
        (MeanReversion(), (2.25, 0.2), -0.75),
        (MeanReversion(), (-3.5, 0.2), 1.0),
        (MeanReversion(), (2.25, 0.4), 0.0),
        (MeanReversion(), (1.0, 0.1), 0.0),
        (Carry(), (6e-4, 0.0), -0.75),
        (Carry(), (-1e-3, 0.0), 1.0),
        (Carry(), (1e-4, 0.0), 0.0),
        (Carry(), (6e-4, 0.9), 0.0),
        (Sentiment(), (15.0, 3.0, 0.3), 0.75),
        (Sentiment(), (95.0, 3.0, 0.9), -1.0),
        (Sentiment(), (15.0, 3.0, 0.7), 0.0),
        (Sentiment(), (15.0, 49.0, 0.3), 0.0),
        (Sentiment(), (15.0, -1.0, 0.3), 0.0),
        (Sentiment(), (130.0, 3.0, 0.9), 0.0),
        (Sentiment(), (60.0, 3.0, 0.9), 0.0),
        (PatternMemory(), (0.01, 0.75, 20.0), 0.75),
        (PatternMemory(), (-0.01, 0.05, 20.0), -1.0),
        (PatternMemory(), (0.01, 0.75, 9.0), 0.0),
        (PatternMemory(), (0.01, 0.30, 20.0), 0.0),
        (PatternMemory(), (0.001, 0.75, 20.0), 0.0),
        (Agent(), (-0.6, 0.7), -0.6),
        (Agent(), (0.1, 0.7), 0.0),
        (Agent(), (1.2, 0.7), 0.0),
        (Agent(), (0.8, 1.3), 0.0),
    ],
)
def test_known_answers(engine: AlphaEngine, values: tuple[float, ...], strength: float) -> None:
    found, confidence = one(engine, **dict(zip(engine.inputs, values, strict=True)))
    assert found == pytest.approx(strength, abs=1e-12)
    assert (confidence > 0.0) == (strength != 0.0)


def test_raw_confidence_is_the_size_or_the_engines_own() -> None:
    assert one(Carry(), funding_rate_8h=6e-4, volatility_ratio_24_168=0.0)[1] == pytest.approx(0.75)
    up = one(PatternMemory(), pattern_mean=0.01, pattern_up=0.75, pattern_count=20.0)
    down = one(PatternMemory(), pattern_mean=-0.01, pattern_up=0.25, pattern_count=20.0)
    assert up[1] == down[1] == pytest.approx(0.75)
    assert one(Agent(), agent_position=0.4, agent_confidence=0.61)[1] == pytest.approx(0.61)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda e: e.name)
def test_what_is_unknown_gives_no_signal(engine: AlphaEngine) -> None:
    frame = features()
    strength, _ = engine.strengths(frame)
    assert 20 < (strength != 0.0).sum() < frame.height
    assert (strength > 0).any()
    assert (strength < 0).any()
    assert np.abs(strength).max() <= 1.0
    for name in engine.inputs:
        for unknown in (None, float("nan"), float("inf"), float("-inf")):
            silent, confidence = engine.strengths(frame.with_columns(pl.lit(unknown, pl.Float64).alias(name)))
            assert not silent.any()
            assert not confidence.any()
        assert not engine.strengths(frame.drop(name))[0].any()


@pytest.mark.parametrize("engine", ENGINES, ids=lambda e: e.name)
def test_one_row_says_what_all_rows_say(engine: AlphaEngine) -> None:
    frame = features(200)
    strength, confidence = engine.strengths(frame)
    regimes = np.resize(np.array([0, 1, 2, -1], np.int8), frame.height)
    together = {s.ts: s for s in engine.signals(frame, regimes)}
    for i in range(frame.height):
        single = engine.signals(frame[i], regimes[i : i + 1])
        assert bool(single) == (strength[i] != 0.0 and regimes[i] >= 0)
        if single:
            assert single[0] == together[single[0].ts]
            assert (single[0].strength, single[0].confidence) == (strength[i], confidence[i])
            assert single[0].direction == np.sign(strength[i])
            assert single[0].horizon == engine.horizon
            assert single[0].reasons


def test_reasons_state_value_and_bound() -> None:
    frame = features(1).with_columns(zscore_168=pl.lit(2.25), efficiency_24=pl.lit(0.2))
    (signal,) = MeanReversion().signals(frame, np.array([1], np.int8))
    assert signal.reasons == (
        "deviations from the week's mean 2.25, least 1.5",
        "way made over way gone 0.2, most 0.3",
    )
    assert signal.regime == "RANGE"


def judged(engine: AlphaEngine, rows: pl.DataFrame) -> pl.DataFrame:
    strength, confidence = engine.strengths(rows)
    return rows.select("symbol", "ts").with_columns(
        strength=pl.Series(strength), confidence=pl.Series(confidence)
    )


@pytest.mark.parametrize("engine", ENGINES, ids=lambda e: e.name)
def test_the_future_changes_nothing(engine: AlphaEngine) -> None:
    report = check_lookahead(
        lambda inputs: judged(engine, inputs["bars"]),
        {"bars": features()},
        known_at={"bars": pl.col("ts") + HOUR},
        decided_at=pl.col("ts") + HOUR,
    )
    assert report.passed, report.describe()


@dataclass(frozen=True)
class _Peeking(AlphaEngine):
    """Scales by the largest move of the whole sample, as one does by oversight."""

    horizon: int = 24
    name: ClassVar[str] = "peeking"
    inputs: ClassVar[tuple[str, ...]] = ("return_72",)

    def opinion(self, x: Columns) -> Opinion:
        return Opinion(x["return_72"] / np.abs(x["return_72"]).max(), ())


def test_an_engine_that_sees_the_whole_sample_is_caught() -> None:
    report = check_lookahead(
        lambda inputs: judged(_Peeking(), inputs["bars"]),
        {"bars": features()},
        known_at={"bars": pl.col("ts") + HOUR},
        decided_at=pl.col("ts") + HOUR,
    )
    assert "strength" in report.guilty


def test_sentiment_is_contrarian_throughout() -> None:
    frame = features(4000)
    strength, _ = Sentiment().strengths(frame)
    mood = frame["fear_greed"].to_numpy() - 50.0
    assert (strength[strength != 0.0] * mood[strength != 0.0] < 0.0).all()


def test_graded_strength_and_conditions() -> None:
    assert graded(np.array([1.0, 2.0, 3.0, 9.0, 0.0]), 1.0, 3.0).tolist() == [0.5, 0.75, 1.0, 1.0, 0.5]
    value = np.array([1.0, 2.0, np.nan])
    assert Condition("x", value, 2.0).holds.tolist() == [False, True, False]
    assert Condition("x", value, 1.0, at_most=True).holds.tolist() == [True, False, False]


def test_regimes_by_number() -> None:
    assert regime_numbers(pl.Series(["PANIC", None, "TREND", "calm", "RANGE"])).tolist() == [2, -1, 0, -1, 1]
    assert regime_numbers(pl.Series([None])).tolist() == [-1]


@pytest.mark.parametrize(
    ("engine", "wrong"),
    [
        (Breakout, {"edge": 0.4}),
        (Breakout, {"expansion": 2.0}),
        (Momentum, {"least": 3.0}),
        (MeanReversion, {"efficiency": -1.0}),
        (Carry, {"least": 0.0}),
        (Carry, {"full": 1e-4}),
        (Sentiment, {"full": 60.0}),
        (PatternMemory, {"least": 0.4}),
        (Agent, {"least": 0.0}),
        (Momentum, {"horizon": 0}),
        (MeanReversion, {"least": 4.0}),
    ],
)
def test_parameters_that_make_no_rule_are_refused(engine: type[AlphaEngine], wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        engine(**wrong)
    assert set(wrong) <= set(engine().parameters())
