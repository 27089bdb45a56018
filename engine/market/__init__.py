"""Candles, their audit, and a market simulator with ground truth."""
