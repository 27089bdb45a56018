"""Pruning: noise and copies go, signals stay, and a harmful step is undone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.errors import NotEnoughDataError
from engine.features.pruning import prune
from engine.features.shap_analyzer import SHAPAnalyzer, ShapConfig

START = datetime(2024, 1, 1, tzinfo=UTC).replace(tzinfo=None)
HOUR = timedelta(hours=1)


def rows(hours: int = 4_800, noise: int = 12, seed: int = 0) -> tuple[pl.DataFrame, list[str]]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((hours, 2 + noise))
    label = x[:, 0] + 0.7 * x[:, 1] + rng.standard_normal(hours)
    copy = x[:, :1] + 0.01 * rng.standard_normal((hours, 1))
    names = ["first", "second", *(f"noise_{i}" for i in range(noise)), "copy"]
    frame = pl.DataFrame(np.hstack([x, copy]), schema=names).with_columns(
        ts=pl.Series([START + k * HOUR for k in range(hours)]),
        label_end=pl.Series([START + (k + 6) * HOUR for k in range(hours)]),
        label=pl.Series(label),
        regime=pl.Series(np.array(["TREND", "RANGE", "PANIC"])[rng.integers(0, 3, hours)]),
    )
    return frame, names


@dataclass
class Ridge:
    features: tuple[str, ...]
    coef_: np.ndarray
    intercept_: float = 0.0


def fit(part: pl.DataFrame, features: Sequence[str]) -> Ridge:
    x, y = part.select(features).to_numpy(), part["label"].to_numpy()
    return Ridge(tuple(features), np.linalg.solve(x.T @ x + 10.0 * np.eye(x.shape[1]), x.T @ y))


def losses(model: Ridge, part: pl.DataFrame) -> np.ndarray:
    return (part["label"].to_numpy() - part.select(model.features).to_numpy() @ model.coef_) ** 2


def analyzer(frame: pl.DataFrame, **settings: float) -> SHAPAnalyzer:
    return SHAPAnalyzer(ShapConfig(**settings), background=frame)  # type: ignore[arg-type]


def test_noise_and_copies_go_and_signals_stay() -> None:
    frame, names = rows()
    result = prune(frame, names, fit, losses, analyzer(frame, least_share=0.03), least_features=1)
    assert "second" in result.kept
    assert len({"first", "copy"} & set(result.kept)) == 1
    assert len(result.kept) <= 5
    assert sum(step.stands for step in result.steps) >= 2
    assert result.report.features == tuple(names)


def test_a_step_that_costs_is_undone_and_the_last() -> None:
    frame, names = rows()
    greedy = analyzer(frame, least_share=0.9)
    result = prune(frame, names, fit, losses, greedy, step_share=1.0, least_features=1)
    assert result.kept == tuple(names)
    (step,) = result.steps
    assert not step.stands
    assert step.rise > step.error > 0


def test_fewest_features_are_respected() -> None:
    frame, names = rows()
    result = prune(frame, names, fit, losses, analyzer(frame, least_share=0.03), least_features=9)
    assert len(result.kept) >= 9


def test_only_copies_go_while_a_regime_is_not_judged() -> None:
    frame, names = rows()
    calm = frame.with_columns(regime=pl.lit("RANGE"))
    result = prune(calm, names, fit, losses, analyzer(frame, least_share=0.03), least_features=1)
    assert result.report.unjudged == ("TREND", "PANIC")
    assert len(result.kept) == len(names) - 1


def test_parts_do_not_share_a_label() -> None:
    frame, names = rows(hours=2_400)
    seen: list[pl.DataFrame] = []

    def spy(part: pl.DataFrame, features: Sequence[str]) -> Ridge:
        seen.append(part)
        return fit(part, features)

    def judge(model: Ridge, part: pl.DataFrame) -> np.ndarray:
        seen.append(part)
        return losses(model, part)

    prune(frame, names, spy, judge, analyzer(frame), least_features=1)
    early, retest = seen[0], seen[1]
    assert early["label_end"].max() <= START + 1_440 * HOUR
    assert retest["ts"].min() == START + 1_920 * HOUR
    assert all(part.equals(early) or part.equals(retest) for part in seen)


def test_too_little_or_wrong_is_refused() -> None:
    frame, names = rows(hours=2_000)
    with pytest.raises(NotEnoughDataError, match="days to retest on"):
        prune(frame, names, fit, losses, analyzer(frame, least_share=0.03), least_features=1)
    with pytest.raises(ValueError, match="step_share"):
        prune(frame, names, fit, losses, step_share=0.0)
    with pytest.raises(NotEnoughDataError, match="cut in three"):
        prune(frame.head(2), names, fit, losses)
