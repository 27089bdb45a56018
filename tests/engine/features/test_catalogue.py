"""Every feature of the catalogue against its definition written out in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import numpy as np
import polars as pl
import pytest

from engine.features.catalogue import CATALOGUE
from engine.features.completeness import row_loss

Market = Callable[..., pl.DataFrame]
History = dict[str, np.ndarray]


def exponential_mean(close: np.ndarray, span: int) -> float:
    weights = (1 - 2 / (span + 1)) ** np.arange(3 * span)
    return float((close[::-1][: 3 * span] * weights).sum() / weights.sum())


def known_mean(values: np.ndarray) -> float:
    return float(values[np.isfinite(values)].mean()) if np.isfinite(values).mean() >= 0.5 else np.nan


def skewness(r: np.ndarray) -> float:
    return float(((r - r.mean()) ** 3).mean() / ((r - r.mean()) ** 2).mean() ** 1.5)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def zscore(values: np.ndarray) -> float:
    return float((values[-1] - values.mean()) / values.std(ddof=1))


def true_range(h: History, n: int) -> np.ndarray:
    before = h["close"][-n - 1 : -1]
    return np.maximum.reduce(
        [h["high"][-n:] - h["low"][-n:], abs(h["high"][-n:] - before), abs(h["low"][-n:] - before)]
    )


def price_impact(h: History, n: int) -> np.ndarray:
    turnover = h["close"][-n:] * h["volume"][-n:]
    with np.errstate(divide="ignore"):
        return np.where(turnover > 0, 1e6 * abs(h["r"][-n:]) / turnover, np.nan)


def circle(moment: datetime, days: float) -> float:
    since_monday = moment.weekday() * 24 + moment.hour + moment.minute / 60
    return 2 * np.pi * since_monday / (24 * days)


def mid_position(price: float, low: float, high: float) -> float:
    return (price - low) / (high - low)


def log_turnover(h: History, n: int) -> np.ndarray:
    return np.log1p(h["close"][-n:] * h["volume"][-n:])


def liquidations(h: History) -> np.ndarray:
    return np.log1p(h["liquidations_long_usd"] + h["liquidations_short_usd"])


# h: arrays of the segment up to and including the bar; r the returns, m and d the market's mean and spread.
DEFINITIONS: dict[str, Callable[[History, datetime], float]] = {
    **{
        f"return_{w}": lambda h, _, w=w: np.log(h["close"][-1] / h["close"][-1 - w])
        for w in (1, 6, 24, 72, 168)
    },
    "volatility_24": lambda h, _: h["r"][-24:].std(ddof=1),
    "volatility_168": lambda h, _: h["r"][-168:].std(ddof=1),
    "volatility_ratio_24_168": lambda h, _: np.log(h["r"][-24:].std(ddof=1) / h["r"][-168:].std(ddof=1)),
    "parkinson_24": lambda h, _: np.sqrt(
        (np.log(h["high"][-24:] / h["low"][-24:]) ** 2).mean() / (4 * np.log(2))
    ),
    "garman_klass_24": lambda h, _: np.sqrt(
        (
            np.log(h["high"][-24:] / h["low"][-24:]) ** 2 / 2
            - (2 * np.log(2) - 1) * np.log(h["close"][-24:] / h["open"][-24:]) ** 2
        ).mean()
    ),
    "skew_72": lambda h, _: skewness(h["r"][-72:]),
    "jump_24": lambda h, _: abs(h["r"][-24:]).max() / h["r"][-168:].std(ddof=1),
    "range_position_24": lambda h, _: mid_position(
        h["close"][-1], h["low"][-24:].min(), h["high"][-24:].max()
    ),
    "drawdown_168": lambda h, _: h["close"][-1] / h["high"][-168:].max() - 1,
    "efficiency_24": lambda h, _: abs(h["r"][-24:].sum()) / abs(h["r"][-24:]).sum(),
    "autocorrelation_72": lambda h, _: correlation(h["r"][-72:], h["r"][-73:-1]),
    "rsi_14": lambda h, _: (
        100 * np.diff(h["close"][-15:]).clip(0).sum() / abs(np.diff(h["close"][-15:])).sum()
    ),
    "atr_14": lambda h, _: true_range(h, 14).mean() / h["close"][-1],
    "ema_distance_12": lambda h, _: h["close"][-1] / exponential_mean(h["close"], 12) - 1,
    "ema_distance_48": lambda h, _: h["close"][-1] / exponential_mean(h["close"], 48) - 1,
    "macd_12_26": lambda h, _: (
        (exponential_mean(h["close"], 12) - exponential_mean(h["close"], 26)) / h["close"][-1]
    ),
    "zscore_168": lambda h, _: zscore(np.log(h["close"][-168:])),
    "close_location": lambda h, _: 2 * mid_position(h["close"][-1], h["low"][-1], h["high"][-1]) - 1,
    "volume_zscore_168": lambda h, _: zscore(log_turnover(h, 168)),
    "amihud_24": lambda h, _: np.log(known_mean(price_impact(h, 24))),
    "volume_return_correlation_72": lambda h, _: correlation(h["r"][-72:], log_turnover(h, 72)),
    "market_return_24": lambda h, _: h["m"][-24:].sum(),
    "relative_return_24": lambda h, _: h["r"][-24:].sum() - h["m"][-24:].sum(),
    "beta_168": lambda h, _: np.polyfit(h["m"][-168:], h["r"][-168:], 1)[0],
    "correlation_168": lambda h, _: correlation(h["r"][-168:], h["m"][-168:]),
    "dispersion_24": lambda h, _: h["d"][-24:].mean(),
    "hour_sin": lambda _, t: np.sin(circle(t, 1)),
    "hour_cos": lambda _, t: np.cos(circle(t, 1)),
    "weekday_sin": lambda _, t: np.sin(circle(t, 7)),
    "weekday_cos": lambda _, t: np.cos(circle(t, 7)),
    "funding_rate_8h": lambda h, _: h["funding_rate_8h"][-1],
    "funding_deviation_168": lambda h, _: h["funding_rate_8h"][-1] - known_mean(h["funding_rate_8h"][-168:]),
    "liquidation_imbalance": lambda h, _: h["liquidation_imbalance"][-1],
    "liquidation_surge_168": lambda h, _: liquidations(h)[-1] - known_mean(liquidations(h)[-168:]),
    "netflow_share": lambda h, _: h["netflow_share"][-1],
    "netflow_deviation_168": lambda h, _: h["netflow_share"][-1] - known_mean(h["netflow_share"][-168:]),
    "open_interest_change_24": lambda h, _: np.log(h["open_interest_usd"][-1] / h["open_interest_usd"][-25]),
    "long_short_log_ratio": lambda h, _: np.log(h["long_short_ratio"][-1]),
    "commits_trend_168": lambda h, _: np.log1p(h["commits"][-1]) - known_mean(np.log1p(h["commits"][-168:])),
    "social_score": lambda h, _: h["social_score"][-1],
    "social_change_24": lambda h, _: h["social_score"][-1] - h["social_score"][-25],
    "fear_greed": lambda h, _: h["fear_greed"][-1],
    "fear_greed_change_168": lambda h, _: h["fear_greed"][-1] - h["fear_greed"][-169],
    "liquidations_age_hours": lambda h, _: h["liquidations_long_usd_age_hours"][-1],
    "fear_greed_age_hours": lambda h, _: h["fear_greed_age_hours"][-1],
}


def test_there_are_fifty_features_and_each_has_a_definition_here() -> None:
    assert CATALOGUE.columns == list(DEFINITIONS)
    assert len(CATALOGUE.columns) == 50


def test_every_feature_follows_its_definition(market: Market) -> None:
    frame = market(seed=5, bars=500, symbols=3, gaps=2)
    across = frame.group_by("ts").agg(m=pl.col("log_return").mean(), d=pl.col("log_return").std(ddof=0))
    frame = frame.join(across, on="ts", how="left", maintain_order="left")
    features = CATALOGUE.compute(frame)
    checked = dict.fromkeys(CATALOGUE.columns, 0)
    for _, part in frame.with_row_index().group_by("symbol", "segment", maintain_order=True):
        arrays = {
            {"log_return": "r"}.get(name, name): part[name].to_numpy()
            for name in part.columns
            if part.schema[name].is_float()
        }
        for end in [*range(169, part.height, 17), part.height - 1]:
            if end < 169:
                continue
            history = {name: values[: end + 1] for name, values in arrays.items()}
            row = features.row(int(part["index"][end]), named=True)
            for name, definition in DEFINITIONS.items():
                expected = definition(history, part["ts"][end])
                if np.isfinite(expected):
                    assert row[name] == pytest.approx(expected, rel=1e-9, abs=1e-10), (name, end)
                    checked[name] += 1
                else:
                    assert row[name] is None, (name, end)
    assert min(checked.values()) >= 20, checked


def test_a_gap_costs_each_feature_no_more_than_its_warm_up(market: Market) -> None:
    frame = market(seed=2, bars=600, symbols=1, gaps=1)
    features = CATALOGUE.compute(frame).with_columns(segment=frame["segment"])
    later = features.filter(pl.col("segment") == 1)
    for feature in CATALOGUE.features:
        assert later[feature.name].head(feature.warmup).null_count() == min(feature.warmup, later.height)
    assert later["return_1"][1] is not None
    assert later["return_6"][6] is not None


def test_a_flat_market_has_no_ratio_of_nothing(market: Market) -> None:
    frame = market(seed=2, bars=400, symbols=1, gaps=0)
    price, zero = pl.lit(57.123456), pl.lit(0.0)
    still = pl.col("ts") > frame["ts"][200]
    columns = {"open": price, "high": price, "low": price, "close": price, "volume": zero, "log_return": zero}
    flat = frame.with_columns(
        pl.when(still).then(value).otherwise(pl.col(name)).alias(name) for name, value in columns.items()
    )
    last = CATALOGUE.compute(flat).row(-1, named=True)
    undefined = [
        "zscore_168",
        "skew_72",
        "rsi_14",
        "efficiency_24",
        "beta_168",
        "volume_zscore_168",
        "amihud_24",
    ]
    assert [last[name] for name in undefined] == [None] * 7
    assert last["return_24"] == 0.0
    assert last["volatility_24"] == 0.0


def test_missing_alternative_data_stays_missing_and_is_named(market: Market) -> None:
    frame = market(seed=2, bars=300, symbols=1, gaps=0)
    without = frame.with_columns(pl.lit(None, pl.Float64).alias("fear_greed"))
    features = CATALOGUE.compute(without)
    assert features["fear_greed"].null_count() == features.height
    assert features["fear_greed_change_168"].null_count() == features.height
    assert row_loss(features)["feature"].to_list()[:2] == ["fear_greed", "fear_greed_change_168"]
