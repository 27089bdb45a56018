from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.errors import DataError
from engine.evaluation.panel import funding_panel, panel_from_candles, weights_panel

HOUR = timedelta(hours=1)


def stamp(text: str) -> datetime:
    return datetime.fromisoformat(text)


def candles(rows) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=["symbol", "ts", "open"], orient="row")
    return frame.with_columns(
        pl.col("ts").cast(pl.Datetime("us")), close=pl.col("open") + 1.0, volume=pl.col("open") * 10.0
    )


ROWS = [
    ("B", stamp("2024-01-01 03:00"), 7.0),
    ("A", stamp("2024-01-01 00:00"), 1.0),
    ("A", stamp("2024-01-01 01:00"), 2.0),
    ("A", stamp("2024-01-01 04:00"), 5.0),
]


def observations(rows) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=["symbol", "ts", "value"], orient="row")
    return frame.with_columns(
        pl.col("ts").cast(pl.Datetime("us")),
        available_at=pl.col("ts").cast(pl.Datetime("us")),
        series=pl.lit("funding_rate"),
    )


def test_candles_on_a_regular_clock():
    panel = panel_from_candles(candles(ROWS), HOUR)
    assert panel.symbols == ("A", "B")
    assert len(panel.times) == 5
    np.testing.assert_array_equal(panel.open[:, 0], [1, 2, np.nan, np.nan, 5])
    np.testing.assert_array_equal(panel.open[:, 1], [np.nan, np.nan, np.nan, 7, np.nan])
    np.testing.assert_array_equal(panel.close, panel.open + 1)
    np.testing.assert_array_equal(panel.volume, panel.open * 10)
    assert panel.times[0] == np.datetime64("2024-01-01T00:00")


def test_extremes_and_listings_are_kept_where_the_candles_have_them():
    bare = panel_from_candles(candles(ROWS), HOUR)
    assert bare.high is None
    assert bare.low is None
    assert bare.listing is None
    full = candles(ROWS).with_columns(
        high=pl.col("open") + 2.0, low=pl.col("open") - 0.5, listing=pl.Series([7, 1, 1, 2])
    )
    panel = panel_from_candles(full, HOUR)
    np.testing.assert_array_equal(panel.high, panel.open + 2)
    np.testing.assert_array_equal(panel.low, panel.open - 0.5)
    here = np.isfinite(panel.open[:, 0])
    assert panel.listing[here, 0].tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([*ROWS, ROWS[1]], "two candles"),
        ([*ROWS, ("A", stamp("2024-01-01 02:30"), 3.0)], "02:30:00 is not the open"),
        ([*ROWS, ("A", stamp("2024-01-01 02:00"), 0.0)], "positive"),
    ],
)
def test_candles_that_do_not_fit_are_refused(rows, told):
    with pytest.raises(DataError, match=told):
        panel_from_candles(candles(rows), HOUR)


def test_no_candles_are_refused():
    with pytest.raises(DataError, match="no candles"):
        panel_from_candles(candles(ROWS).head(0), HOUR)


def test_decisions_land_on_their_bar_and_others_are_left_out():
    panel = panel_from_candles(candles(ROWS), HOUR)
    decisions = pl.DataFrame(
        {
            "symbol": ["A", "B", "C", "A"],
            "ts": [stamp(f"2024-01-01 0{h}:00") for h in (1, 3, 1, 9)],
            "weight": [0.5, -0.2, 1.0, 1.0],
        }
    )
    targets = weights_panel(decisions, panel)
    assert targets[1, 0] == 0.5
    assert targets[3, 1] == -0.2
    assert np.isfinite(targets).sum() == 2


def test_funding_stamps_jitter_shorten_and_add_up():
    panel = panel_from_candles(candles(ROWS), HOUR)
    due = funding_panel(
        observations(
            [
                ("A", stamp("2024-01-01 00:00:00.013"), 0.001),
                ("A", stamp("2024-01-01 01:00:00"), 0.002),
                ("A", stamp("2024-01-01 01:30:00"), 0.004),
                ("A", stamp("2024-01-01 02:00:00.047"), 0.008),
                ("B", stamp("2024-01-01 03:00:59"), -0.001),
                ("B", stamp("2024-01-01 09:00:00"), 0.5),
                ("B", stamp("2023-12-31 16:00:00"), 0.5),
                ("C", stamp("2024-01-01 01:00:00"), 0.5),
            ]
        ),
        panel,
    )
    np.testing.assert_allclose(due[:, 0], [0.001, 0.002, 0.012, 0.0, 0.0])
    np.testing.assert_allclose(due[:, 1], [0.0, 0.0, 0.0, -0.001, 0.0])


def test_funding_uses_the_last_vintage_and_no_other_series():
    panel = panel_from_candles(candles(ROWS), HOUR)
    first = observations([("A", stamp("2024-01-01 01:00"), 0.001)])
    revised = first.with_columns(value=pl.lit(0.003), available_at=pl.col("available_at") + HOUR)
    other = first.with_columns(series=pl.lit("funding_interval_hours"), value=pl.lit(8.0))
    assert funding_panel(pl.concat([revised, first, other]), panel).sum() == pytest.approx(0.003)


def test_real_funding_loses_no_payment(market_data):
    """Stamps jitter by milliseconds and come every 2, 4 or 8 hours: the sum per symbol is kept."""
    funding = pl.read_parquet(market_data / "funding" / "binance_usdm.parquet")
    observed = observations(
        funding.select(
            pl.col("symbol").str.replace(":USDT", ""), pl.col("ts").dt.replace_time_zone(None), "funding_rate"
        ).rows()
    )
    spot = pl.read_parquet(market_data / "candles" / "spot_1h" / "SOL_USDT.parquet")
    panel = panel_from_candles(spot.with_columns(pl.col("ts").dt.replace_time_zone(None)), HOUR)
    due = funding_panel(observed, panel)
    expected = observed.filter(pl.col("symbol") == "SOL/USDT")
    assert due.sum() == pytest.approx(expected["value"].sum(), rel=1e-12)
    assert (due != 0).sum() == (expected["value"] != 0).sum()
