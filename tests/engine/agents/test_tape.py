from __future__ import annotations

from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.agents.tape import UNKNOWN_REGIME, MarketTape
from engine.errors import DataError
from engine.evaluation.splits import Window
from engine.features.scaling import Scaler

START = datetime(2024, 1, 1)
HOUR = timedelta(hours=1)


def frame(
    hours: list[int], symbol: str = "BTC/USDT", segment: list[int] | None = None, **columns: Any
) -> pl.DataFrame:
    n = len(hours)
    return pl.DataFrame(
        {
            "symbol": [symbol] * n,
            "ts": [START + HOUR * h for h in hours],
            "segment": segment or [0] * n,
            "open": [float(2**i) for i in range(n)],
            "volatility": [0.01 * (i + 1) for i in range(n)],
            "p_trend": [0.2] * n,
            "p_range": [0.5] * n,
            "p_panic": [0.3] * n,
            "f": [float(i) for i in range(n)],
            "g": [1.0] * n,
        }
        | columns
    )


def test_every_column_by_hand() -> None:
    rows = frame(
        [0, 1, 2, 3, 4],
        open=[100.0, 110.0, 121.0, 60.5, 60.5],
        close=[105.0, 110.0, 60.5, 60.5, 121.0],
        funding=[0.1, 0.2, 0.3, None, 0.5],
        p_trend=[0.2, 0.7, None, 0.1, 0.1],
        p_range=[0.5, 0.2, 0.5, 0.1, 0.8],
        p_panic=[0.3, 0.1, 0.5, 0.8, 0.1],
        synthetic=[False, False, True, True, False],
    )
    tape = MarketTape.from_frame(rows, ["g", "f"])
    assert (tape.symbols, tape.features, len(tape)) == (("BTC/USDT",), ("g", "f"), 5)
    assert tape.x.tolist() == [[1.0, float(i)] for i in range(5)]
    np.testing.assert_allclose(tape.growth, [0.1, -0.5, 0.0, np.nan, np.nan], rtol=1e-12)
    assert tape.funding.tolist() == [0.3, 0.0, 0.5, 0.0, 0.0]
    assert tape.scale.tolist() == [0.01, 0.02, 0.03, 0.04, 0.05]
    assert tape.regime.tolist() == [1, 0, UNKNOWN_REGIME, 2, 1]
    np.testing.assert_allclose(tape.p_regime[[0, 2]], [[0.2, 0.5, 0.3], [1 / 3] * 3], rtol=1e-6)
    assert tape.decisions_left.tolist() == [3, 2, 1, 0, 0]
    assert tape.synthetic.tolist() == [False, False, True, True, False]
    np.testing.assert_allclose(tape.mark, [0.05, 0.0, -0.5, 0.0, 1.0], rtol=1e-12)
    assert tape.ts[1] == np.datetime64("2024-01-01T01:00", "us")
    kinds = {name: getattr(tape, name).dtype for name in ("symbol", "ts", "run", "x", "p_regime", "regime")}
    assert kinds == {
        "symbol": np.int16,
        "ts": np.dtype("datetime64[us]"),
        "run": np.int32,
        "x": np.float32,
        "p_regime": np.float32,
        "regime": np.int8,
    }
    assert tape.decisions_left.dtype == np.int32
    assert tape.growth.dtype == tape.funding.dtype == tape.scale.dtype == tape.mark.dtype == np.float64


def test_optional_columns() -> None:
    tape = MarketTape.from_frame(frame([0, 1, 2]), ["f"])
    for column in (tape.funding, tape.synthetic, tape.mark):
        assert not column.any()
    given = {name: value for name, value in vars(tape).items() if name != "mark"}
    assert MarketTape(**given).mark.tolist() == [0.0, 0.0, 0.0]


def test_runs_break_at_symbols_segments_and_holes() -> None:
    rows = pl.concat(
        [
            frame([0, 1, 2, 3, 4, 5, 6], segment=[0, 0, 0, 1, 1, 1, 1]),
            frame([6, 7, 8, 11, 12, 13, 14], "ETH/USDT"),
            frame([0, 1, 2, 0, 1, 2], "SYN", [0, 0, 0, 1, 1, 1]),
        ]
    )
    tape = MarketTape.from_frame(rows, ["f"])
    assert tape.run.tolist() == [0] * 3 + [1] * 4 + [2] * 3 + [3] * 4 + [4] * 3 + [5] * 3
    expected = [1, 0, 0, 2, 1, 0, 0, 1, 0, 0, 2, 1, 0, 0, 1, 0, 0, 1, 0, 0]
    assert tape.decisions_left.tolist() == expected
    assert (np.isnan(tape.growth) == (tape.decisions_left == 0)).all()
    assert tape.symbol.tolist() == [0] * 7 + [1] * 7 + [2] * 6


def test_missing_features_are_zero_after_scaling() -> None:
    rows = frame([0, 1, 2, 3], f=[1.0, None, np.nan, 5.0], g=[0.0, 0.0, 4.0, 8.0])
    scaler = Scaler.fit(rows, ["f", "g"], Window(START, START + 4 * HOUR), method="standard")
    tape = MarketTape.from_frame(rows, ["f"], scaler)
    scaled = scaler.transform(rows)["f"]
    assert tape.x[:, 0].tolist() == pytest.approx([scaled[0], 0.0, 0.0, scaled[3]])
    assert MarketTape.from_frame(rows.with_columns(f=pl.col("f").fill_nan(None)), ["f"]).x[:, 0].tolist() == [
        1,
        0,
        0,
        5,
    ]
    with pytest.raises(DataError, match=r"row 3, column 'f': nan on BTC/USDT at 2024-01-01T02:00.*finite"):
        MarketTape.from_frame(rows, ["f"])
    with pytest.raises(DataError, match="scaler does not know"):
        MarketTape.from_frame(rows.with_columns(h=1.0), ["h"], scaler)


def test_a_window_holds_nothing_of_what_comes_after() -> None:
    rows = frame(list(range(12)), segment=[0] * 8 + [1] * 4, funding=[0.01] * 12)
    whole = MarketTape.from_frame(rows, ["f"])
    window = whole.between(START + HOUR, START + 6 * HOUR)
    alone = MarketTape.from_frame(rows[1:6], ["f"])
    for name in vars(whole):
        np.testing.assert_array_equal(getattr(window, name), getattr(alone, name))
    assert window.decisions_left.tolist() == [3, 2, 1, 0, 0]
    later = whole.between(START + 6 * HOUR, START + 12 * HOUR)
    assert later.run.tolist() == [0, 0, 1, 1, 1, 1]
    assert later.decisions_left.tolist() == [0, 0, 2, 1, 0, 0]
    assert len(whole.between(START - HOUR, START)) == 0


def test_join_renumbers() -> None:
    first = MarketTape.from_frame(pl.concat([frame([0, 1, 2]), frame([0, 1, 2, 3], "ETH/USDT")]), ["f"])
    second = MarketTape.from_frame(
        pl.concat([frame([0, 1, 2], "SOL/USDT"), frame([3, 4, 5])]).with_columns(synthetic=True), ["f"]
    )
    tape = first.join(second)
    assert tape.symbols == ("BTC/USDT", "ETH/USDT", "SOL/USDT")
    assert tape.symbol.tolist() == [0] * 3 + [1] * 4 + [2] * 3 + [0] * 3
    assert tape.run.tolist() == [0] * 3 + [1] * 4 + [2] * 3 + [3] * 3
    assert tape.synthetic.tolist() == [False] * 7 + [True] * 6
    np.testing.assert_array_equal(tape.growth, np.r_[first.growth, second.growth])
    assert (tape.symbol.dtype, tape.run.dtype) == (np.int16, np.int32)
    with pytest.raises(ValueError, match="features differ"):
        first.join(MarketTape.from_frame(frame([0, 1, 2]), ["g"]))


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.integers(1, 2), min_size=0, max_size=30),
    cut=st.tuples(st.integers(0, 40), st.integers(1, 40)),
)
def test_agrees_with_a_row_by_row_reading(steps: list[int], cut: tuple[int, int]) -> None:
    hours = [0, 1, *np.cumsum([2, *steps]).tolist()] if steps else [0, 1]
    r = np.random.default_rng(len(steps))
    rows = frame(hours, open=r.uniform(1, 2, len(hours)), funding=r.normal(size=len(hours)))
    start, end = START + cut[0] * HOUR, START + (cut[0] + cut[1]) * HOUR
    whole = MarketTape.from_frame(rows, ["f"])
    for tape, seen in (
        (whole, rows),
        (whole.between(start, end), rows.filter(pl.col("ts").is_between(start, end, closed="left"))),
    ):
        price = dict(zip(seen["ts"], seen["open"], strict=True))
        due = dict(zip(seen["ts"], seen["funding"], strict=True))
        for row, ts in enumerate(seen["ts"]):
            left = 0
            while all(ts + k * HOUR in price for k in range(left + 3)):
                left += 1
            assert tape.decisions_left[row] == left
            if left:
                assert tape.growth[row] == pytest.approx(
                    price[ts + 2 * HOUR] / price[ts + HOUR] - 1.0, abs=1e-12
                )
                assert tape.funding[row] == due[ts + 2 * HOUR]
            else:
                assert np.isnan(tape.growth[row])
                assert tape.funding[row] == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"volatility": [0.1, 0.0, 0.1]},
            r"row 2, column 'scale': 0\.0 on BTC/USDT at 2024-01-01T01:00.*positive",
        ),
        ({"volatility": [0.1, 0.1, None]}, "row 3, column 'scale': nan"),
        ({"open": [1.0, -1.0, 1.0]}, "row 2, column 'open'"),
        ({"close": [1.0, 1.0, None]}, "row 3, column 'close'"),
        ({"p_trend": [0.2, 0.9, 0.2]}, "row 2, column 'p_trend'.*sum to 1"),
        ({"p_trend": [-0.1] * 3, "p_range": [0.8] * 3}, "row 1, column 'p_trend'"),
        ({"f": [1.0, 2.0, np.inf]}, "row 3, column 'f': inf"),
        ({"funding": [0.0, 0.0, np.inf]}, "row 1, column 'funding'"),
        ({"ts": [START, START + HOUR, START + HOUR]}, "row 3, column 'ts'.*later"),
        ({"ts": [START, START + HOUR, START]}, "row 3, column 'ts'.*later"),
        ({"segment": [0, 1, 0]}, "sort by symbol, segment, ts"),
    ],
)
def test_refuses_rows_that_cannot_be_traded(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        MarketTape.from_frame(frame([0, 1, 2], **change), ["f"])


def test_refuses_wrong_shapes_and_missing_columns() -> None:
    tape = MarketTape.from_frame(frame([0, 1, 2]), ["f"])
    with pytest.raises(DataError, match=r"column 'growth': shape \(2,\), expected \(3,\)"):
        replace(tape, growth=tape.growth[:2])
    with pytest.raises(DataError, match=r"column 'x': shape \(3, 1\), expected \(3, 2\)"):
        replace(tape, features=("f", "g"))
    with pytest.raises(DataError, match=r"column 'growth': nan.*decisions are left"):
        replace(tape, decisions_left=np.ones(3, dtype=np.int32))
    for column in ("open", "p_panic", "volatility", "f"):
        with pytest.raises(DataError, match=f"column '{column}': missing"):
            MarketTape.from_frame(frame([0, 1, 2]).drop(column), ["f"])


def two_symbols() -> MarketTape:
    first, second = frame([*range(12), *range(15, 25)]), frame([*range(9)], symbol="ETH/USDT")
    return MarketTape.from_frame(pl.concat([first, second]), ["f", "g"])


def test_the_tape_of_a_symbol_is_that_of_its_rows_alone() -> None:
    whole = two_symbols()
    alone = MarketTape.from_frame(frame([*range(9)], symbol="ETH/USDT"), ["f", "g"])
    part = whole.of_symbol("ETH/USDT")
    for field in fields(MarketTape):
        np.testing.assert_array_equal(getattr(part, field.name), getattr(alone, field.name), field.name)
    with pytest.raises(ValueError, match="'SOL/USDT' is not one of"):
        whole.of_symbol("SOL/USDT")


def test_episodes_are_cut_and_reach_no_further() -> None:
    whole = two_symbols()
    cut = whole.episodes(7)
    lengths = np.bincount(cut.run)
    assert lengths.tolist() == [7, 5, 7, 3, 7, 2]
    expected = np.concatenate([np.maximum(np.arange(n, 0, -1) - 2, 0) for n in lengths])
    np.testing.assert_array_equal(cut.decisions_left, expected)
    assert np.isnan(cut.growth[cut.decisions_left == 0]).all()
    kept = cut.decisions_left > 0
    np.testing.assert_array_equal(cut.growth[kept], whole.growth[kept])
    with pytest.raises(ValueError, match="at least 3"):
        whole.episodes(2)
