"""Fear & Greed: alternative.me's JSON, tidy tables of it, and the variant that CoinGlass serves."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from engine.alternative.series import MARKET_WIDE
from engine.market.finding import Finding, Reading
from resources.feeds.formats.format import Format, Sample, sample
from resources.feeds.formats.jsontext import read_array, to_numbers
from resources.feeds.formats.observed import drop_repeated, found, observed, source_of
from resources.feeds.formats.tabular import load_table, moments
from resources.feeds.formats.text import ROW
from resources.feeds.formats.timestamps import UTC_ZONE, from_epoch, refuse_future, to_utc

__all__ = ["FORMATS", "read_fear_greed", "read_fng_json"]

_SERIES = {"value": "fear_greed"}


def read_fng_json(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Read the answer of alternative.me: objects whose numbers are texts, newest first."""
    cells = read_array(path, ("value", "timestamp"))
    cells = to_numbers(cells, path, integers=("timestamp",), numbers=("value",))
    stamps, _ = from_epoch(cells["timestamp"], cells[ROW], str(path))
    return _index(cells.with_columns(to_utc(stamps, zone, cells[ROW], str(path))), path)


def read_fear_greed(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Read a table of ``ts, value``.

    Without alternative.me's ``classification`` it may be another vendor's index of the same name.
    """
    seen = sample(path)
    cells = load_table(seen, ("value",), ("ts",))
    stamps, _ = moments(cells, "ts", zone, path)
    reading = _index(cells.drop("ts").with_columns(stamps.alias("ts")), path)
    if "classification" in seen.columns:
        return reading
    detail = f"{source_of(path)} lacks alternative.me's classification: perhaps another index"
    return Reading(
        reading.frame,
        reading.findings + found(reading.frame, "fear_greed", "fear_greed", "implausible", "warn", detail),
    )


def _index(cells: pl.DataFrame, path: Path) -> Reading:
    """One value a day, published at the stamp."""
    refuse_future(cells["ts"], cells[ROW], str(path))
    day = pl.col("ts").dt.truncate("1d")
    late = cells.filter(pl.col("ts") != day)
    findings: list[Finding] = []
    findings += found(
        late,
        "fear_greed",
        "fear_greed",
        "order",
        "info",
        f"{late.height} stamps of {source_of(path)} are not midnight; the day counts",
    )
    daily = cells.with_columns(
        pl.lit(MARKET_WIDE).alias("symbol"), pl.col("ts").alias("available_at"), day.alias("ts")
    )
    daily, repeated = drop_repeated(
        daily.sort("available_at"), ["ts"], ["value"], "fear_greed", "fear_greed", path
    )
    findings += repeated
    step = pl.col("ts").diff().dt.total_days()
    holes = daily.sort("ts").with_columns((step - 1).alias("missing")).filter(pl.col("missing") > 0)
    findings += found(
        holes,
        "fear_greed",
        "fear_greed",
        "gap",
        "warn",
        f"{holes['missing'].sum()} days are missing in {holes.height} places of {source_of(path)}",
    )
    return Reading(observed(daily, _SERIES, path), tuple(findings))


def _is_json(seen: Sample) -> bool:
    """Tell the vendor's keys."""
    return seen.container == "json" and seen.has("value", "value_classification", "timestamp")


def _is_table(seen: Sample) -> bool:
    """Tell a table of a day, a value, and at most the vendor's word for it."""
    return seen.container != "json" and {"ts", "value"} <= set(seen.columns) <= {
        "ts",
        "value",
        "classification",
    }


FORMATS = (
    Format(
        "Fear & Greed, table of alternative.me",
        "fear_greed",
        0,
        lambda s: _is_table(s) and s.has("classification"),
        read_fear_greed,
    ),
    Format("alternative.me JSON", "fear_greed", 10, _is_json, read_fng_json),
    Format("Fear & Greed, other table", "fear_greed", 40, _is_table, read_fear_greed),
)
