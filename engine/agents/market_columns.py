"""Names and meanings of what is said of the market as a whole, bar by bar."""

from __future__ import annotations

__all__ = ["CALM", "COMOVEMENT", "HALF_LIVES", "MARKET_COLUMNS", "SIZE", "SLOW", "USUAL"]

HALF_LIVES = (6, 16, 40, 100)
SLOW, SIZE, COMOVEMENT, CALM, USUAL = 12, 12, 24, 3 * 24, 30 * 24
"""Half-lives in hours."""

MARKET_COLUMNS = {
    "market_forecast": "Mean of what trees expect of the symbols: P(rise) - P(fall), beyond the usual.",
    "market_forecast_slow": f"The same as an exponential mean, half-life {SLOW} h.",
    **{
        f"market_move_{hours}h": "Exponential mean of the symbols' mean return over its volatility, "
        f"half-life {hours} h, times the root of the half-life in bars."
        for hours in HALF_LIVES
    },
    "market_size": f"Exponential mean of the size of the mean scaled return, half-life {SIZE} h.",
    "market_comovement": "Mean square of the mean scaled return over that of the symbols' spread, "
    f"half-life {COMOVEMENT} h.",
    "market_volatility_3d": "Mean log volatility of the symbols less its exponential mean, half-life 3 days.",
    "market_volatility_30d": "The same, half-life 30 days.",
}
"""Columns and what they mean."""
