"""Patterns: what a window of candles looks like, and what followed windows like it."""
