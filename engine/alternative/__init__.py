"""Alternative data: its series, publication lags, vintages and as-of joins."""
