"""The models of the pipeline on small tables with known answers, and against their Polars counterparts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

import dbt_like_sql
from dbt_like_sql.model_tests import run_test
from dbt_like_sql.project import Project, load_project
from engine.alternative.series import OBSERVATION_COLUMNS, SERIES, TABLES
from engine.market.finding import Finding, findings_frame
from engine.market.segments import segments

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1)
CANDLE_COLUMNS = {
    "symbol": pl.String(),
    "ts": pl.Datetime("us"),
    **dict.fromkeys(("open", "high", "low", "close", "volume"), pl.Float64()),
    "bar_seconds": pl.Int64(),
    "source": pl.String(),
}
OBSERVATION_SCHEMA = {
    "series": pl.String(),
    "symbol": pl.String(),
    "ts": pl.Datetime("us"),
    "available_at": pl.Datetime("us"),
    "value": pl.Float64(),
    "source": pl.String(),
}
BOUNDS = pl.DataFrame(
    [(s.name, s.table, s.unit, s.lower, s.upper, s.description) for s in SERIES.values()],
    schema=["series", "raw_table", "unit", "lower_bound", "upper_bound", "description"],
    orient="row",
)

Connection = duckdb.DuckDBPyConnection


@pytest.fixture(scope="module")
def project() -> Project:
    return load_project(Path(dbt_like_sql.__file__).parent)


@pytest.fixture
def connection() -> Iterator[Connection]:
    with duckdb.connect() as opened:
        opened.execute("CREATE SCHEMA raw; CREATE SCHEMA meta; CREATE SCHEMA staging; CREATE SCHEMA marts")
        yield opened


def put(connection: Connection, table: str, frame: pl.DataFrame) -> None:
    connection.register("frame", frame.to_arrow())
    connection.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT * FROM frame")


def build(connection: Connection, project: Project, name: str) -> pl.DataFrame:
    connection.execute(f"CREATE OR REPLACE TABLE {name} AS {project[name].sql}")
    return connection.sql(f"FROM {name}").pl()


def bars(symbol: str, hours: list[int], closes: list[float]) -> pl.DataFrame:
    rows = [
        (symbol, START + hour * HOUR, close, close * 1.01, close * 0.99, close, 1.0, 3600, "files")
        for hour, close in zip(hours, closes, strict=True)
    ]
    return pl.DataFrame(rows, schema=CANDLE_COLUMNS, orient="row")


def red_tests(connection: Connection, project: Project, name: str) -> set[str]:
    return {test.name for test in project[name].tests if not run_test(connection, test).passed}


def test_candles_are_cut_at_holes(connection: Connection, project: Project) -> None:
    btc = bars("BTC/USDT", [0, 1, 2, 5, 6, 24 * 40], [1.0, 2.0, 4.0, 4.0, 2.0, 80.0])
    put(connection, "raw.candles", pl.concat([btc, bars("ETH/USDT", [3, 4], [10.0, 10.0])]).reverse())
    made = build(connection, project, "staging.candles")
    assert made["symbol"].to_list() == ["BTC/USDT"] * 6 + ["ETH/USDT"] * 2
    assert made["segment"].to_list() == [0, 0, 0, 1, 1, 2, 0, 0]
    up = math.log(2)
    assert made["log_return"].to_list() == pytest.approx([None, up, up, None, -up, None, None, 0.0])
    assert (made["known_at"] - made["ts"]).unique().to_list() == [HOUR]
    assert made.schema["segment"] == pl.Int64
    assert made.schema["known_at"] == pl.Datetime("us")
    assert red_tests(connection, project, "staging.candles") == set()


@pytest.mark.parametrize(
    "change",
    [
        {"open": 0.0},
        {"low": -1.0},
        {"close": float("inf")},
        {"high": float("nan")},
        {"open": None},
        {"high": 3.9},
        {"low": 4.01},
        {"volume": -1.0},
        {"volume": float("nan")},
    ],
)
def test_an_impossible_bar_is_left_out_and_leaves_a_hole(
    connection: Connection, project: Project, change: dict[str, float | None]
) -> None:
    frame = bars("BTC/USDT", [0, 1, 2, 3], [1.0, 2.0, 4.0, 8.0])
    second = pl.col("ts") == START + 2 * HOUR
    changed = [pl.when(second).then(value).otherwise(name).alias(name) for name, value in change.items()]
    put(connection, "raw.candles", frame.with_columns(changed))
    made = build(connection, project, "staging.candles")
    assert made["close"].to_list() == [1.0, 2.0, 8.0]
    assert made["segment"].to_list() == [0, 0, 1]
    assert made["log_return"].to_list()[-1] is None
    assert red_tests(connection, project, "staging.candles") == {"few_bars_are_excluded"}


def test_a_series_without_volume_is_kept(connection: Connection, project: Project) -> None:
    frame = bars("EUR/USD", [0, 1], [1.0, 1.0]).with_columns(volume=pl.lit(None, pl.Float64))
    put(connection, "raw.candles", frame)
    assert build(connection, project, "staging.candles").height == 2


@pytest.mark.parametrize("seed", range(5))
def test_segments_are_those_of_the_polars_function(
    connection: Connection, project: Project, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    frames = []
    for symbol in ("A/USDT", "B/USDT", "C/USDT"):
        hours = np.flatnonzero(rng.random(400) < 0.97)
        frames.append(bars(symbol, hours.tolist(), rng.uniform(1, 2, len(hours)).tolist()))
    frame = pl.concat(frames)
    put(connection, "raw.candles", frame.sample(fraction=1.0, shuffle=True, seed=seed))
    made = build(connection, project, "staging.candles")
    assert made["segment"].to_list() == segments(frame, HOUR).to_list()
    assert made["segment"].max() > 0  # type: ignore[operator]
    assert red_tests(connection, project, "staging.candles") == set()


def test_a_broken_segment_turns_the_check_red(connection: Connection, project: Project) -> None:
    put(connection, "raw.candles", bars("BTC/USDT", [0, 1, 5], [1.0, 1.0, 1.0]))
    build(connection, project, "staging.candles")
    connection.execute("UPDATE staging.candles SET segment = 0")
    assert red_tests(connection, project, "staging.candles") == {"segments_have_no_hole"}


def observations(*rows: tuple[str, float]) -> pl.DataFrame:
    filled = [(series, "*", START, START + HOUR, value, "files") for series, value in rows]
    return pl.DataFrame(filled, schema=OBSERVATION_SCHEMA, orient="row")


def put_observations(connection: Connection, frame: pl.DataFrame) -> None:
    put(connection, "meta.series", BOUNDS)
    for table in TABLES:
        mine = [name for name, series in SERIES.items() if series.table == table]
        put(connection, f"raw.{table}", frame.filter(pl.col("series").is_in(mine)))


def test_bounds_come_from_the_list_of_series(connection: Connection, project: Project) -> None:
    inside = [
        (s.name, bound) for s in SERIES.values() for bound in (s.lower, s.upper) if math.isfinite(bound)
    ]
    outside = [(s.name, s.lower - 1e-9) for s in SERIES.values()]
    outside += [(s.name, s.upper + 1e-9) for s in SERIES.values() if s.upper < 1e4]
    outside += [(s.name, float(text)) for s in SERIES.values() for text in ("nan", "inf")]
    put_observations(connection, observations(*inside, *outside))
    made = build(connection, project, "staging.alternative")
    assert sorted(made.drop_nulls("value").select("series", "value").rows()) == sorted(inside)
    assert made.filter(pl.col("value").is_null())["series"].unique().sort().to_list() == sorted(SERIES)
    assert "few_values_are_implausible" in red_tests(connection, project, "staging.alternative")


def test_an_unknown_series_is_left_out(connection: Connection, project: Project) -> None:
    put_observations(connection, observations(("fear_greed", 20.0)))
    connection.execute("INSERT INTO raw.social SELECT * REPLACE ('mood' AS series) FROM raw.fear_greed")
    assert build(connection, project, "staging.alternative")["series"].to_list() == ["fear_greed"]


def test_every_vintage_is_kept(connection: Connection, project: Project) -> None:
    first = observations(("fear_greed", 20.0))
    revised = first.with_columns(value=25.0, available_at=pl.lit(START + 24 * HOUR))
    put_observations(connection, pl.concat([first, revised]))
    made = build(connection, project, "staging.alternative")
    assert made["value"].to_list() == [20.0, 25.0]
    assert made.columns == list(OBSERVATION_COLUMNS)


def test_two_values_of_one_vintage_turn_the_check_red(connection: Connection, project: Project) -> None:
    put_observations(connection, observations(("fear_greed", 20.0), ("fear_greed", 21.0)))
    build(connection, project, "staging.alternative")
    key = "unique_series_symbol_ts_available_at"
    assert red_tests(connection, project, "staging.alternative") == {key}


def test_an_observation_known_before_it_began_turns_the_check_red(
    connection: Connection, project: Project
) -> None:
    put_observations(connection, observations(("fear_greed", 20.0)).with_columns(available_at=START - HOUR))
    build(connection, project, "staging.alternative")
    assert red_tests(connection, project, "staging.alternative") == {"known_after_it_began"}


def test_health_counts_bars_holes_and_findings(connection: Connection, project: Project) -> None:
    btc = bars("BTC/USDT", [0, 1, 4, 5, 6, 8], [1.0] * 6)
    bad = bars("XRP/USDT", [0], [1.0]).with_columns(low=pl.lit(0.0))
    put(connection, "raw.candles", pl.concat([btc, bars("ETH/USDT", [0], [1.0]), bad]))

    def finding(series: str, severity: str, table: str = "raw.candles") -> Finding:
        return Finding(table, series, "gap", severity, START, START, 1, "")  # type: ignore[arg-type]

    found = [finding("BTC/USDT", "warn"), finding("BTC/USDT", "warn"), finding("BTC/USDT", "info")]
    found += [finding("XRP/USDT", "error"), finding("BTC/USDT", "error", "raw.funding")]
    put(connection, "raw.audit", findings_frame(found))
    build(connection, project, "staging.candles")
    made = build(connection, project, "marts.data_health")
    assert made.rows() == [
        ("BTC/USDT", 6, 0, 2, 3, pytest.approx(6 / 9), START, START + 8 * HOUR, 0, 2, 1),
        ("ETH/USDT", 1, 0, 0, 0, 1.0, START, START, 0, 0, 0),
        ("XRP/USDT", 0, 1, 0, 0, 0.0, None, None, 1, 0, 0),
    ]
    assert red_tests(connection, project, "marts.data_health") == {"mostly_complete"}


def test_a_day_adds_up_the_returns_inside_segments(connection: Connection, project: Project) -> None:
    closes = [1.0, 2.0, 4.0, 400.0, 200.0]
    put(connection, "raw.candles", bars("BTC/USDT", [22, 23, 24, 30, 31], closes))
    build(connection, project, "staging.candles")
    first, second = build(connection, project, "marts.daily_returns").rows(named=True)
    assert (first["day"], first["bars"], first["open"], first["close"]) == (START, 2, 1.0, 2.0)
    assert first["daily_return"] == pytest.approx(1.0)
    assert (second["day"], second["bars"]) == (START + 24 * HOUR, 3)
    assert (second["high"], second["low"]) == (pytest.approx(404.0), pytest.approx(3.96))
    assert second["daily_return"] == pytest.approx(2.0 * 0.5 - 1.0)
    assert second["realised_volatility"] == pytest.approx(math.log(2) * math.sqrt(2))
    assert red_tests(connection, project, "marts.daily_returns") == set()


@pytest.mark.parametrize(("symbol", "gaps", "missing"), [("BTC_USDT", 27, 122), ("DOGE_USDT", 18, 44)])
def test_recorded_outages_are_found(
    connection: Connection, project: Project, market_data: Path, symbol: str, gaps: int, missing: int
) -> None:
    recorded = pl.read_parquet(market_data / "candles" / "spot_1h" / f"{symbol}.parquet").with_columns(
        pl.col("ts").dt.replace_time_zone(None), bar_seconds=pl.lit(3600, pl.Int64), source=pl.lit("files")
    )
    put(connection, "raw.candles", recorded.select(list(CANDLE_COLUMNS)))
    put(connection, "raw.audit", findings_frame([]))
    made = build(connection, project, "staging.candles")
    [health] = build(connection, project, "marts.data_health").rows(named=True)
    assert (health["bars"], health["excluded_bars"]) == (recorded.height, 0)
    assert (health["gaps"], health["missing_bars"]) == (gaps, missing)
    assert made["segment"].to_list() == segments(recorded.sort("ts"), HOUR).to_list()
