"""The state of the market, as it can be known at the time."""
