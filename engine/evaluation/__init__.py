"""Splits in time, backtests, metrics with intervals."""
