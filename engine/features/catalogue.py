"""The fifty features of the system; windows are in bars, returns and volatilities in logarithms per bar."""

from __future__ import annotations

import math

import polars as pl

from engine.features.recipe import Feature, FeatureRecipe

__all__ = ["CATALOGUE", "exponential_mean"]

_c = pl.col
_DAY, _WEEK = 24, 168
"""Bars of a day and of a week at the hourly bars that the windows are meant for."""


def exponential_mean(column: str, span: int) -> pl.Expr:
    """Exponential mean with a bounded memory: weights ``(1 - 2/(span + 1))^age``, cut after three spans.

    What is cut weighs about exp(-6) = 0.25 % of the untruncated mean; the rest is normalised to sum to 1.
    """
    decay = 1.0 - 2.0 / (span + 1.0)
    weights = [decay**age for age in reversed(range(3 * span))]
    return _c(column).rolling_mean(3 * span, weights=weights)


def _usual(column: str, window: int) -> pl.Expr:
    """Mean of the known values in the window; at least half must be known."""
    return _c(column).rolling_mean(window, min_samples=window // 2)


_BLOCKS: dict[str, pl.Expr] = {
    "log_close": _c("close").log(),
    "absolute_return": _c("log_return").abs(),
    "price_change": (_c("close") - _c("close").shift(1)).abs(),
    "true_range": pl.max_horizontal(
        _c("high") - _c("low"),
        (_c("high") - _c("close").shift(1)).abs(),
        (_c("low") - _c("close").shift(1)).abs(),
    ),
    "lowest_24": _c("low").rolling_min(_DAY),
    "range_variance": (_c("high") / _c("low")).log() ** 2 / (4.0 * math.log(2.0)),
    "garman_klass_variance": 0.5 * (_c("high") / _c("low")).log() ** 2
    - (2.0 * math.log(2.0) - 1.0) * (_c("close") / _c("open")).log() ** 2,
    "turnover": _c("close") * _c("volume"),
    "log_turnover": (_c("close") * _c("volume")).log1p(),
    # A bar without turnover has no price impact: null, so that the mean is over the bars that traded.
    "price_impact": pl.when(_c("turnover") > 0.0).then(1e6 * _c("absolute_return") / _c("turnover")),
    "ema_12": exponential_mean("close", 12),
    "ema_26": exponential_mean("close", 26),
    "ema_48": exponential_mean("close", 48),
    "log_liquidations": (_c("liquidations_long_usd") + _c("liquidations_short_usd")).log1p(),
    "log_commits": _c("commits").log1p(),
}

_CROSS_SECTION: dict[str, pl.Expr] = {
    "market_return": _c("log_return").mean(),
    "market_dispersion": _c("log_return").std(ddof=0),
}

_RETURNS = tuple(
    Feature(
        f"return_{w}",
        _c("log_close") - _c("log_close").shift(w),
        w,
        "log return",
        f"Return over the last {w} bars.",
    )
    for w in (1, 6, _DAY, 72, _WEEK)
)

_VOLATILITY = (
    Feature(
        "volatility_24", _c("log_return").rolling_std(_DAY), _DAY, "per bar",
        "Standard deviation of returns, close to close.",
    ),
    Feature(
        "volatility_168", _c("log_return").rolling_std(_WEEK), _WEEK, "per bar",
        "Standard deviation of returns, close to close.",
    ),
    Feature(
        "volatility_ratio_24_168", (_c("volatility_24") / _c("volatility_168")).log(), _WEEK, "log ratio",
        "Volatility of the day over that of the week.",
    ),
    Feature(
        "parkinson_24", _c("range_variance").rolling_mean(_DAY).sqrt(), _DAY - 1, "per bar",
        "Volatility from the ranges of the bars.", "Parkinson 1980",
    ),
    Feature(
        "garman_klass_24", _c("garman_klass_variance").rolling_mean(_DAY).sqrt(), _DAY - 1, "per bar",
        "Volatility from open, high, low and close.", "Garman and Klass 1980",
    ),
    Feature(
        "skew_72", _c("log_return").rolling_skew(72), 72, "1",
        "Skewness of returns: negative where falls are larger.",
    ),
    Feature(
        "jump_24", _c("absolute_return").rolling_max(_DAY) / _c("volatility_168"), _WEEK,
        "weekly volatilities", "Largest move of a bar within the day.",
    ),
)  # fmt: skip

_PATH = (
    Feature(
        "range_position_24",
        (_c("close") - _c("lowest_24")) / (_c("high").rolling_max(_DAY) - _c("lowest_24")),
        _DAY - 1, "0..1", "Close within the range of the window: 0 at its low, 1 at its high.",
    ),
    Feature(
        "drawdown_168", _c("close") / _c("high").rolling_max(_WEEK) - 1.0, _WEEK - 1, "fraction",
        "Close below the highest price of the window.",
    ),
    Feature(
        "efficiency_24", _c("return_24").abs() / _c("absolute_return").rolling_sum(_DAY), _DAY, "0..1",
        "Way made over way gone: 1 in a straight trend, near 0 in noise.", "Kaufman 1995",
    ),
    Feature(
        "autocorrelation_72", pl.rolling_corr(_c("log_return"), _c("log_return").shift(1), window_size=72),
        73, "-1..1", "Correlation of each return with the one before.",
    ),
    Feature(
        "rsi_14",
        50.0 + 50.0 * (_c("close") - _c("close").shift(14)) / _c("price_change").rolling_sum(14), 14,
        "0..100", "Relative strength index over simple means.", "Wilder 1978, Cutler's form",
    ),
    Feature(
        "atr_14", _c("true_range").rolling_mean(14) / _c("close"), 14, "fraction of the close",
        "Average true range over a simple mean.", "Wilder 1978",
    ),
    Feature(
        "ema_distance_12", _c("close") / _c("ema_12") - 1.0, 35, "fraction",
        "Close against its exponential mean of span 12.",
    ),
    Feature(
        "ema_distance_48", _c("close") / _c("ema_48") - 1.0, 143, "fraction",
        "Close against its exponential mean of span 48.",
    ),
    Feature(
        "macd_12_26", (_c("ema_12") - _c("ema_26")) / _c("close"), 77, "fraction of the close",
        "Fast less slow exponential mean.", "Appel 1979",
    ),
    Feature(
        "zscore_168",
        (_c("log_close") - _c("log_close").rolling_mean(_WEEK)) / _c("log_close").rolling_std(_WEEK),
        _WEEK - 1, "standard deviations", "Log price against its mean of the week.",
    ),
    Feature(
        "close_location", (2.0 * _c("close") - _c("high") - _c("low")) / (_c("high") - _c("low")), 0, "-1..1",
        "Close within its own bar: -1 at the low, 1 at the high.",
    ),
)  # fmt: skip

_VOLUME = (
    Feature(
        "volume_zscore_168",
        (_c("log_turnover") - _c("log_turnover").rolling_mean(_WEEK)) / _c("log_turnover").rolling_std(_WEEK),
        _WEEK - 1, "standard deviations", "Log turnover of the bar against the week.",
    ),
    Feature(
        "amihud_24", _usual("price_impact", _DAY).log(), _DAY, "log of log return per million quote units",
        "Illiquidity: price move per turnover, over the bars that traded.", "Amihud 2002",
    ),
    Feature(
        "volume_return_correlation_72", pl.rolling_corr(_c("log_return"), _c("log_turnover"), window_size=72),
        72, "-1..1", "Whether turnover comes with rises or with falls.",
    ),
)  # fmt: skip

_MARKET = (
    Feature(
        "market_return_24", _c("market_return").rolling_sum(_DAY), _DAY - 1, "log return",
        "Return of the day, mean over the symbols.",
    ),
    Feature(
        "relative_return_24", _c("return_24") - _c("market_return_24"), _DAY, "log return",
        "Return of the day less that of the market.",
    ),
    Feature(
        "beta_168",
        pl.rolling_cov(_c("log_return"), _c("market_return"), window_size=_WEEK)
        / _c("market_return").rolling_var(_WEEK),
        _WEEK, "1", "Slope of returns on those of the market.",
    ),
    Feature(
        "correlation_168", pl.rolling_corr(_c("log_return"), _c("market_return"), window_size=_WEEK), _WEEK,
        "-1..1", "Correlation of returns with those of the market.",
    ),
    Feature(
        "dispersion_24", _c("market_dispersion").rolling_mean(_DAY), _DAY - 1, "per bar",
        "Standard deviation of returns across the symbols, mean of the day.",
    ),
)  # fmt: skip


def _phase(position: pl.Expr, period: float) -> pl.Expr:
    return position.cast(pl.Float64) * (2.0 * math.pi / period)


_HOUR = _c("ts").dt.hour() + _c("ts").dt.minute() / 60.0
_WEEKDAY = _c("ts").dt.weekday() - 1 + _HOUR / 24.0
_CALENDAR = (
    Feature(
        "hour_sin", _phase(_HOUR, 24.0).sin(), 0, "-1..1", "Time of day of the bar's open, UTC, as a circle."
    ),
    Feature(
        "hour_cos", _phase(_HOUR, 24.0).cos(), 0, "-1..1", "Time of day of the bar's open, UTC, as a circle."
    ),
    Feature(
        "weekday_sin", _phase(_WEEKDAY, 7.0).sin(), 0, "-1..1", "Time of week of the bar's open as a circle."
    ),
    Feature(
        "weekday_cos", _phase(_WEEKDAY, 7.0).cos(), 0, "-1..1", "Time of week of the bar's open as a circle."
    ),
)

_ALTERNATIVE = (
    Feature(
        "funding_rate_8h", _c("funding_rate_8h"), 0, "fraction per 8 hours",
        "Funding that longs pay to shorts.",
    ),
    Feature(
        "funding_deviation_168", _c("funding_rate_8h") - _usual("funding_rate_8h", _WEEK), _WEEK - 1,
        "fraction per 8 hours", "Funding less its mean of the week.",
    ),
    Feature(
        "liquidation_imbalance", _c("liquidation_imbalance"), 0, "-1..1",
        "Long less short liquidations, over both.",
    ),
    Feature(
        "liquidation_surge_168", _c("log_liquidations") - _usual("log_liquidations", _WEEK), _WEEK - 1,
        "log ratio", "Liquidations against the week.",
    ),
    Feature(
        "netflow_share", _c("netflow_share"), 0, "-1..1",
        "Coins moving to exchanges less coins leaving, over both.",
    ),
    Feature(
        "netflow_deviation_168", _c("netflow_share") - _usual("netflow_share", _WEEK), _WEEK - 1, "-2..2",
        "Net flow share less its mean of the week.",
    ),
    Feature(
        "open_interest_change_24", (_c("open_interest_usd") / _c("open_interest_usd").shift(_DAY)).log(),
        _DAY, "log ratio", "Open interest against a day ago.",
    ),
    Feature(
        "long_short_log_ratio", _c("long_short_ratio").log(), 0, "log ratio",
        "Accounts that are long over short.",
    ),
    Feature(
        "commits_trend_168", _c("log_commits") - _usual("log_commits", _WEEK), _WEEK - 1, "log ratio",
        "Commits of the day against the week.",
    ),
    Feature(
        "social_score", _c("social_score"), 0, "0..1", "Share of favourable items.",
    ),
    Feature(
        "social_change_24", _c("social_score") - _c("social_score").shift(_DAY), _DAY, "-1..1",
        "Social score against a day ago.",
    ),
    Feature(
        "fear_greed", _c("fear_greed"), 0, "0..100",
        "Fear & Greed index. Built from volatility and momentum: judge what it adds to past returns.",
    ),
    Feature(
        "fear_greed_change_168", _c("fear_greed") - _c("fear_greed").shift(_WEEK), _WEEK, "points",
        "Fear & Greed index against a week ago.",
    ),
    Feature(
        "liquidations_age_hours", _c("liquidations_long_usd_age_hours"), 0, "hours",
        "Since the current liquidations were first published.",
    ),
    Feature(
        "fear_greed_age_hours", _c("fear_greed_age_hours"), 0, "hours",
        "Since the current index was first published.",
    ),
)  # fmt: skip

CATALOGUE = FeatureRecipe(
    features=(*_RETURNS, *_VOLATILITY, *_PATH, *_VOLUME, *_MARKET, *_CALENDAR, *_ALTERNATIVE),
    blocks=_BLOCKS,
    cross_section=_CROSS_SECTION,
)
"""Needs candles with ``log_return``, null at the first bar of a segment, and the alternative features."""
