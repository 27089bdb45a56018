"""From signals to risk-budgeted weights."""
