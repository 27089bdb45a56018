"""BoostingPredictor: it finds a signal, its quantiles cover, and it looks at nothing it should not."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from engine.alpha.boosting import BoostingConfig, BoostingPredictor
from engine.errors import DataError, NotEnoughDataError
from engine.features.attribution import attribute

START = datetime(2024, 1, 1, tzinfo=UTC).replace(tzinfo=None)
HOUR = timedelta(hours=1)
FEATURES = ("signal", "noise", "other")
CONFIG = BoostingConfig(rounds=80, learning_rate=0.1, least_in_leaf=50, row_stride=1)
HASH = "a" * 64


def rows(hours: int = 3_000, seed: int = 0, horizon: int = 1) -> pl.DataFrame:
    """Two symbols of different volatility whose next return follows a signal."""
    rng = np.random.default_rng(seed)
    parts = []
    for symbol, scale in (("AAA/USDT", 0.01), ("BBB/USDT", 0.05)):
        x = rng.standard_normal((hours, 3))
        label = scale * (0.8 * x[:, 0] + rng.standard_normal(hours))
        parts.append(
            pl.DataFrame(x, schema=list(FEATURES)).with_columns(
                symbol=pl.lit(symbol),
                ts=pl.Series([START + k * HOUR for k in range(hours)]),
                label_end=pl.Series([START + (k + 1 + horizon) * HOUR for k in range(hours)]),
                label=pl.Series(label),
                scale=pl.lit(scale),
            )
        )
    return pl.concat(parts)


@pytest.fixture(scope="module")
def fitted() -> BoostingPredictor:
    return BoostingPredictor(CONFIG).fit(rows(), FEATURES, HASH)


def test_it_finds_a_signal(fitted: BoostingPredictor) -> None:
    new = rows(seed=1)
    found = fitted.predict(new, HASH)
    assert found.columns == ["symbol", "ts", "p_up", "q10", "q50", "q90", "scale"]
    up = (new["label"] > 0).to_numpy()
    p = found["p_up"].to_numpy()
    loss = -np.where(up, np.log(p), np.log1p(-p)).mean()
    assert loss < np.log(2) - 0.1
    assert np.corrcoef(found["q50"], new["label"])[0, 1] > 0.5


def test_quantiles_cover_in_calm_and_wild_symbols_and_never_cross(fitted: BoostingPredictor) -> None:
    new = rows(seed=2)
    found = fitted.predict(new, HASH).with_columns(label=new["label"])
    assert (found["q10"] <= found["q50"]).all()
    assert (found["q50"] <= found["q90"]).all()
    for _, part in found.group_by("symbol"):
        assert (part["label"] < part["q10"]).mean() == pytest.approx(0.1, abs=0.035)
        assert (part["label"] > part["q90"]).mean() == pytest.approx(0.1, abs=0.035)


def test_the_same_rows_give_the_same_model(fitted: BoostingPredictor) -> None:
    shuffled = rows().sample(fraction=1.0, shuffle=True, seed=3)
    assert BoostingPredictor(CONFIG).fit(shuffled, FEATURES, HASH).to_bytes() == fitted.to_bytes()


def test_saved_and_restored_to_the_last_bit(fitted: BoostingPredictor) -> None:
    content = fitted.to_bytes()
    json.loads(content)
    restored = BoostingPredictor.from_bytes(content)
    assert restored.config == fitted.config
    new = rows(200, seed=4)
    assert_frame_equal(restored.predict(new, HASH), fitted.predict(new, HASH), check_exact=True)


def test_other_features_are_refused(fitted: BoostingPredictor) -> None:
    new = rows(10)
    with pytest.raises(DataError, match="fit it anew"):
        fitted.predict(new, "b" * 64)
    with pytest.raises(DataError, match="'noise'"):
        fitted.predict(new.drop("noise"), HASH)
    with pytest.raises(ValueError, match="not fitted"):
        BoostingPredictor().predict(new, HASH)
    with pytest.raises(DataError, match="not a stored model"):
        BoostingPredictor.from_bytes(b"{}")


def test_the_number_of_trees_is_chosen_without_labels_of_the_later_slice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[pl.DataFrame, pl.DataFrame]] = []

    def spy(self: BoostingPredictor, target: str, early: pl.DataFrame, late: pl.DataFrame) -> int:
        seen.append((early, late))
        return 3

    monkeypatch.setattr(BoostingPredictor, "_stopped", spy)
    BoostingPredictor(CONFIG).fit(rows(horizon=24), FEATURES, HASH)
    assert len(seen) == 4
    for early, late in seen:
        assert early["label_end"].max() <= late["ts"].min()


def test_rows_are_thinned_in_time_for_all_symbols_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[pl.DataFrame] = []
    data = BoostingPredictor._data

    def spy(self: BoostingPredictor, target: str, part: pl.DataFrame, *reference: object) -> object:
        seen.append(part)
        return data(self, target, part, *reference)  # type: ignore[arg-type]

    monkeypatch.setattr(BoostingPredictor, "_data", spy)
    BoostingPredictor(BoostingConfig(rounds=2, row_stride=6)).fit(rows(hours=15_000), FEATURES, HASH)
    hours = {(moment - START) // HOUR % 6 for part in seen for moment in part["ts"]}
    assert hours == {0}
    assert seen[-1]["symbol"].n_unique() == 2

    seen.clear()
    BoostingPredictor(BoostingConfig(rounds=2, row_stride=6)).fit(rows(hours=600), FEATURES, HASH)
    assert seen[-1]["ts"].n_unique() == 600, "where rows are few, every bar counts"


def test_unknown_scale_gives_no_quantiles(fitted: BoostingPredictor) -> None:
    found = fitted.predict(rows(5).with_columns(scale=pl.lit(None, pl.Float64)), HASH)
    assert found["q50"].null_count() == found.height
    assert found["p_up"].null_count() == 0


def test_too_little_is_refused() -> None:
    with pytest.raises(NotEnoughDataError, match="200 of each"):
        BoostingPredictor(CONFIG).fit(rows(300), FEATURES, HASH)
    with pytest.raises(NotEnoughDataError, match="no labelled row"):
        BoostingPredictor(CONFIG).fit(rows(300).head(0), FEATURES, HASH)
    with pytest.raises(ValueError, match="row_stride"):
        BoostingConfig(row_stride=0)


def test_explanations_add_up_to_log_odds(fitted: BoostingPredictor) -> None:
    new = rows(50, seed=5)
    p = fitted.predict(new, HASH)["p_up"].to_numpy()
    explained = attribute(fitted, new.select(FEATURES).to_numpy())
    np.testing.assert_allclose(explained.values.sum(axis=1) + explained.base, np.log(p / (1 - p)), atol=1e-9)


def test_direction_alone_can_be_asked_for() -> None:
    model = BoostingPredictor(CONFIG, quantiles=()).fit(rows(600), FEATURES, HASH)
    assert model.predict(rows(5), HASH).columns == ["symbol", "ts", "p_up", "scale"]
