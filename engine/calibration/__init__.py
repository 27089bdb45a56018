"""Confidence that means what it says."""
