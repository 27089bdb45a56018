"""New bars predicted from a tail and the models in use, against the whole history computed at once."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal, assert_series_equal

from engine.alpha.boosting import BoostingConfig, BoostingPredictor
from engine.alpha.new_bars import TAIL, ModelsInUse, predict_new_bars
from engine.alpha.walk_forward import FEATURES, SCHEMA_HASH, with_scale
from engine.alternative.features import alternative_features
from engine.calibration.conformal import ConformalPredictor
from engine.features.catalogue import CATALOGUE
from engine.features.labels import labels
from engine.market.simulator import MarketSimulator
from engine.regimes.detector import RegimeDetector
from engine.regimes.history import walk_forward_regimes

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BARS, NEW, HORIZON = 10_200, 60, 24
START = datetime(2024, 1, 1)


@pytest.fixture(scope="module")
def market() -> tuple[pl.DataFrame, pl.DataFrame]:
    made = MarketSimulator(["BTC/USDT", "ETH/USDT", "SOL/USDT"], HOUR, 5).simulate(START, BARS)
    returns = (pl.col("close") / pl.col("close").shift(1)).log().over("symbol")
    return made.candles.with_columns(log_return=returns, segment=pl.lit(0, pl.Int64)), made.observations


@pytest.mark.slow
def test_a_new_bar_is_predicted_as_the_whole_pipeline_would(
    market: tuple[pl.DataFrame, pl.DataFrame],
) -> None:
    candles, observations = market
    cut = START + (BARS - NEW) * HOUR
    known = alternative_features(candles.select("symbol", "ts"), observations, HOUR)
    matrix = CATALOGUE.compute(candles.join(known, on=["symbol", "ts"], maintain_order="left"))
    schedule = {"refit": 100 * DAY, "warmup": 30 * DAY, "lookback": 200 * DAY}
    history = walk_forward_regimes(candles, HOUR, **schedule, alternative=known)
    rows = with_scale(matrix.join(history.rows, on=["symbol", "ts"], how="left"), HORIZON)
    rows = rows.join(labels(candles, HORIZON), on=["symbol", "ts"], how="left").sort("ts", "symbol")

    train = rows.filter(pl.col("ts") < START + 250 * DAY).drop_nulls(["label", "regime", "scale"])
    config = BoostingConfig(rounds=30, row_stride=3)
    model = BoostingPredictor(config, quantiles=()).fit(train, FEATURES, SCHEMA_HASH)
    later = rows.filter(pl.col("ts").is_between(START + 252 * DAY, cut)).drop_nulls(["label", "regime"])
    p_up = model.predict(later, SCHEMA_HASH)["p_up"].to_numpy()
    right = (p_up >= 0.5) == (later["label"].to_numpy() > 0)
    calibrator = ConformalPredictor().calibrate(np.maximum(p_up, 1 - p_up), right, later["regime"])

    before = candles.filter(pl.col("ts") < cut)
    stored = walk_forward_regimes(before, HOUR, **schedule, alternative=known.filter(pl.col("ts") < cut))
    beliefs = stored.rows.drop_nulls("regime").group_by("symbol", maintain_order=True).last()
    detector = RegimeDetector.from_dict(stored.detector.to_dict())
    models = ModelsInUse(detector, beliefs, BoostingPredictor.from_bytes(model.to_bytes()), calibrator)
    # One symbol's market has changed six hours before the first new bar: for a day it is not trusted.
    changed = candles.select("symbol", "ts").with_columns(
        p_changepoint=pl.when((pl.col("symbol") == "BTC/USDT") & (pl.col("ts") == cut - 6 * HOUR))
        .then(0.97)
        .otherwise(0.01)
    )
    found = predict_new_bars(
        candles.filter(pl.col("ts") >= cut - TAIL * HOUR),
        observations,
        changed.filter(pl.col("ts") >= cut - DAY),
        models,
        cut - HOUR,
        HOUR,
        HORIZON,
    )

    new = rows.filter(pl.col("ts") >= cut)
    expected_up = model.predict(new, SCHEMA_HASH)["p_up"]
    confidence = calibrator.calibrate_rows(np.maximum(expected_up, 1 - expected_up), new["regime"]).confidence
    expected = new.select("symbol", "ts", "regime", "p_trend", "p_range", "p_panic").with_columns(
        direction=pl.when(expected_up >= 0.5).then(1).otherwise(-1).cast(pl.Int64),
        raw_confidence=pl.max_horizontal(expected_up, 1 - expected_up),
        confidence=pl.when((pl.col("symbol") != "BTC/USDT") | (pl.col("ts") > cut + 18 * HOUR)).then(
            pl.Series(confidence).fill_nan(None)
        ),
    )
    assert found.height == 3 * NEW
    assert_frame_equal(found.select(expected.columns), expected, rel_tol=1e-9, abs_tol=1e-9)
    assert found["confidence"].null_count() < found.height
    place = FEATURES.index("volatility_168")
    assert_series_equal(
        found["features"].list.get(place), new["volatility_168"], check_names=False, rel_tol=1e-9
    )
    sentiment = known.filter(pl.col("ts") >= cut).sort("ts", "symbol").select("fear_greed")
    assert_frame_equal(found.select("fear_greed"), sentiment)
