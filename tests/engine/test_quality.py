"""The bridge to Great Expectations: what it accepts, what it refuses, and what every table must satisfy."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from engine.alternative.series import SERIES
from engine.quality import Report, Rule, data_docs_html, validate
from engine.quality_suites import RULES, Suite, suite
from engine.regimes.names import REGIMES

duckdb = pytest.importorskip("duckdb")

NOT_NULL = Rule("expect_column_values_to_not_be_null", {"column": "close"})
POSITIVE = Rule(
    "expect_column_values_to_be_between",
    {"column": "close", "min_value": 0, "strict_min": True},
    "close is positive",
)
QUANTILE = Rule(
    "expect_column_quantile_values_to_be_between",
    {"column": "close", "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[1, 3]]}},
)


@pytest.fixture(scope="module")
def good() -> Report:
    return validate(pl.DataFrame({"close": [1.0, 2.0, 3.0]}), "good", [NOT_NULL, POSITIVE, QUANTILE])


@pytest.fixture(scope="module")
def bad() -> Report:
    frame = pd.DataFrame({"close": [1.0, -2.0, np.nan, 4.0]})
    return validate(frame, "bad", [QUANTILE, NOT_NULL, POSITIVE])


def test_good_data_pass(good: Report) -> None:
    assert good.ok
    assert good.failed == 0
    assert [row.ok for row in good.rows] == [True, True, True]


def test_bad_data_fail_with_their_share(bad: Report) -> None:
    assert not bad.ok
    assert bad.failed == 2
    rows = {row.rule: row for row in bad.rows}
    assert rows["close is positive"].bad_percent == pytest.approx(100 / 3)
    assert rows["close is positive"].column == "close"
    assert rows["close is positive"].observed == "-2.0"
    assert rows["column_values_to_not_be_null"].bad_percent == 25.0


def test_markdown_shows_what_failed_first(bad: Report, good: Report) -> None:
    lines = bad.markdown().splitlines()
    assert [line[:4] for line in lines[2:]] == ["| ❌ ", "| ❌ ", "| ✅ "]
    assert {line.count("|") for line in lines} == {6}
    assert "❌" not in good.markdown()


def test_the_summary_names_what_was_broken_worst_first(bad: Report, good: Report) -> None:
    assert good.summary() == "all 3 rules hold"
    said = bad.summary()
    assert said.startswith("2 of 3 rules are broken: close is positive (close: 33.3 % of rows, such as -2.0)")
    assert "column_values_to_not_be_null" in said


def test_markdown_cell_cannot_break_the_table() -> None:
    rule = Rule("expect_column_values_to_match_regex", {"column": "pair", "regex": "x"}, "a | b")
    report = validate(pl.DataFrame({"pair": ["c|d"]}), "pipes", [rule])
    assert r"a \| b" in report.markdown()
    assert r"c\|d" in report.markdown()


def test_raw_result_is_plain_json(bad: Report) -> None:
    assert json.loads(json.dumps(bad.raw))["success"] is False


def test_rule_that_cannot_be_computed_is_an_error_and_no_bad_data() -> None:
    typo = Rule("expect_column_values_to_not_be_null", {"column": "clsoe"})
    with pytest.raises(RuntimeError, match="clsoe"):
        validate(pl.DataFrame({"close": [1.0]}), "typo", [typo])


def test_unknown_expectation_and_empty_suite_are_refused() -> None:
    with pytest.raises(ValueError, match="expect_the_best"):
        validate(pl.DataFrame({"close": [1.0]}), "unknown", [Rule("expect_the_best")])
    with pytest.raises(ValueError, match="no expectations"):
        validate(pl.DataFrame({"close": [1.0]}), "empty", [])


def test_data_docs_is_one_page_that_needs_no_network(bad: Report) -> None:
    page = data_docs_html(bad)
    assert "close is positive" in page
    assert "<title>Data quality: bad</title>" in page
    assert not re.search(r"https?://", page)
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!#)', page)


def test_importing_the_bridge_imports_nothing_heavy() -> None:
    code = "import engine.quality_suites, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"great_expectations", "pandas", "polars"} & set(loaded.split())


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    full_name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()


CANDLES = Table(
    "raw.candles",
    (
        Column("symbol", "VARCHAR"),
        Column("ts", "TIMESTAMP"),
        *(Column(name, "DOUBLE") for name in ("open", "high", "low", "close", "volume")),
        Column("bar_seconds", "BIGINT"),
        Column("source", "VARCHAR"),
    ),
    ("symbol", "ts"),
)


def candles(bars: int = 48) -> pl.DataFrame:
    start = datetime.fromisoformat("2024-01-01")
    ts = [start + timedelta(hours=i) for i in range(bars)]
    price = pl.Series([100.0 + i for i in range(bars)])
    return pl.DataFrame(
        {
            "symbol": "BTC/USDT",
            "ts": ts,
            "open": price,
            "high": price + 2,
            "low": price - 2,
            "close": price + 1,
            "volume": 1.0,
            "bar_seconds": 3600,
            "source": "test",
        },
        schema_overrides={"ts": pl.Datetime("us"), "bar_seconds": pl.Int64},
    )


def judged(rules: Suite, stored: pl.DataFrame) -> set[str]:
    """Broken rules of a suite on rows as the warehouse would deliver them."""
    with duckdb.connect() as connection:
        schema, _, table = rules.table.partition(".")
        connection.register("stored", stored.to_arrow())
        connection.execute(f'CREATE SCHEMA "{schema}"; CREATE TABLE "{schema}"."{table}" AS FROM stored')
        frame = connection.sql(rules.sql).pl()
    report = validate(frame, rules.name, rules.expectations)
    return {row.rule for row in report.rows if not row.ok}


def changed(frame: pl.DataFrame, *rows: dict[str, Any]) -> pl.DataFrame:
    """Set values of the first rows, each with its own."""
    head = [
        frame[i].with_columns(pl.lit(v).cast(frame.schema[k]).alias(k) for k, v in values.items())
        for i, values in enumerate(rows)
    ]
    return pl.concat([*head, frame[len(rows) :]])


def test_clean_candles_satisfy_their_suite() -> None:
    assert judged(suite(CANDLES), candles()) == set()
    assert judged(suite(CANDLES, ["BTC/USDT"]), candles()) == set()


def test_each_defect_of_candles_breaks_its_rule() -> None:
    broken = changed(
        candles(),
        {"low": -1.0},
        {"volume": -1.0},
        {"close": 104.5},
        {"open": 100.0},
        {"symbol": "BTCUSDT"},
        {"source": None},
        {"ts": datetime.fromisoformat("2024-01-01T06:05")},
        {"ts": datetime.fromisoformat("2024-01-01T08:00")},
    )
    assert judged(suite(CANDLES), broken) == {
        "low is positive",
        "volume is not negative",
        "high is not below close",
        "low is not above open",
        "the symbol is BASE/QUOTE, or *",
        "no value is missing",
        "bars open on the grid of their size",
        "the key is unique",
    }


def test_candles_outside_the_universe_and_empty_candles() -> None:
    assert judged(suite(CANDLES, ["ETH/USDT"]), candles()) == {"the symbol is in the universe"}
    assert judged(suite(CANDLES), candles().clear()) == {"the table is not empty"}


def test_declared_types_and_columns_are_checked() -> None:
    as_text = candles().with_columns(pl.col("volume").cast(pl.Int64))
    assert judged(suite(CANDLES), as_text) == {"type is DOUBLE"}
    assert judged(suite(CANDLES), candles().with_columns(extra=1)) == {"the columns are the declared ones"}


def test_nullable_columns_may_be_empty_and_large_ones_are_not_read() -> None:
    table = Table(
        "models.blobs",
        (
            Column("model", "VARCHAR"),
            Column("rows", "BIGINT", nullable=True),
            Column("champion", "BOOLEAN", nullable=True),
            Column("weights", "BLOB"),
            Column("losses", "DOUBLE[]"),
        ),
        ("model",),
    )
    frame = pl.DataFrame(
        {
            "model": ["a", "b"],
            "rows": [1, None],
            "champion": [True, None],
            "weights": [b"x", b"y"],
            "losses": [[1.0], [2.0]],
        }
    )
    rules = suite(table)
    assert "weights" not in {column for rule in rules.expectations for column in rule.columns}
    assert judged(rules, frame) == set()
    assert judged(rules, frame.with_columns(model=pl.lit("a"))) == {"the key is unique"}


def probabilities(days: int = 4) -> pl.DataFrame:
    start = datetime.fromisoformat("2024-01-01")
    return pl.DataFrame(
        {
            "symbol": "BTC/USDT",
            "ts": [start + timedelta(days=i) for i in range(days)],
            "p_trend": 0.2,
            "p_range": 0.3,
            "p_panic": 0.5,
            "regime": "PANIC",
        },
        schema_overrides={"ts": pl.Datetime("us")},
    )


REGIME_TABLE = Table(
    "regimes.market_regimes",
    (
        Column("symbol", "VARCHAR"),
        Column("ts", "TIMESTAMP"),
        *(Column(f"p_{name.lower()}", "DOUBLE") for name in REGIMES),
        Column("regime", "VARCHAR"),
    ),
    ("symbol", "ts"),
)


def test_probabilities_sum_to_one() -> None:
    assert judged(suite(REGIME_TABLE), probabilities()) == set()
    too_much = changed(probabilities(), {"p_trend": 0.3})
    assert judged(suite(REGIME_TABLE), too_much) == {"the probabilities sum to 1"}
    strange = changed(probabilities(), {"p_trend": -0.2, "p_range": 0.7}, {"regime": "CALM"})
    assert judged(suite(REGIME_TABLE), strange) == {
        "a probability lies between 0 and 1",
        "the regime is one of the three",
    }


def observations(rows: int = 200) -> pl.DataFrame:
    start = datetime.fromisoformat("2024-01-01")
    return pl.DataFrame(
        {
            "series": "fear_greed",
            "symbol": "*",
            "ts": [start + timedelta(days=i) for i in range(rows)],
            "available_at": [start + timedelta(days=i) for i in range(rows)],
            "value": 50.0,
            "source": "test",
        },
        schema_overrides={"ts": pl.Datetime("us"), "available_at": pl.Datetime("us")},
    )


FEAR_GREED = Table(
    "raw.fear_greed",
    (
        Column("series", "VARCHAR"),
        Column("symbol", "VARCHAR"),
        Column("ts", "TIMESTAMP"),
        Column("available_at", "TIMESTAMP"),
        Column("value", "DOUBLE"),
        Column("source", "VARCHAR"),
    ),
    ("series", "symbol", "ts", "available_at"),
)


def test_observations_belong_to_their_table() -> None:
    assert judged(suite(FEAR_GREED), changed(observations(), {"value": 100.0})) == set()
    early = {"available_at": datetime.fromisoformat("2023-12-31")}
    assert judged(suite(FEAR_GREED), changed(observations(), early, {"series": "funding_rate"})) == {
        "nothing is known before the period begins",
        "the series belongs to the table",
    }


def test_a_few_implausible_values_pass_and_many_do_not() -> None:
    assert judged(suite(FEAR_GREED), changed(observations(), {"value": 101.0})) == set()
    many = {"values lie in the plausible range of their series"}
    assert judged(suite(FEAR_GREED), changed(observations(20), {"value": 101.0})) == many


def test_rule_on_an_undeclared_column_is_refused_when_the_suite_is_built() -> None:
    without = Table("raw.candles", tuple(c for c in CANDLES.columns if c.name != "high"), CANDLES.key)
    with pytest.raises(ValueError, match="high"):
        suite(without)


def test_every_raw_series_table_has_rules_of_its_own() -> None:
    assert {f"raw.{series.table}" for series in SERIES.values()} <= set(RULES)
