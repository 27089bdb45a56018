"""Coin Metrics community data: coins that moved to and from exchanges, per day."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl

from engine.market.finding import Finding, Reading
from resources.feeds.formats.format import Format, sample
from resources.feeds.formats.observed import drop_repeated, final_values, found, observed, source_of
from resources.feeds.formats.tabular import load_table, moments
from resources.feeds.formats.text import ROW, read_cells
from resources.feeds.formats.timestamps import UTC_ZONE, refuse_future

__all__ = ["FORMATS", "read_coinmetrics", "read_exchange_flows"]

_SERIES = {"inflow": "exchange_inflow", "outflow": "exchange_outflow"}
_VENDOR = {"flowinexntv": "inflow", "flowoutexntv": "outflow"}
# A day was complete 28.4 h after its start in the median and 39.5 h at the 99th percentile of the 1,654 days
# that the vendor stamped as they came (since 2021-02-20); a later stamp is a recomputation of the past.
KNOWN_AFTER = timedelta(hours=40)
_RECOMPUTED_AFTER = timedelta(days=7)
# Days in a row with inflow, from which on the vendor knows exchanges; before, 0 means that none was labelled.
_LABELLED_DAYS = 30


def read_coinmetrics(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Read the vendor's wide CSV; the coin is the file name (``btc.csv``).

    A day is known when the vendor stamped it complete (``AssetEODCompletionTime``), or after `KNOWN_AFTER`
    where that stamp is a recomputation.
    """
    seen = sample(path)
    done = "asseteodcompletiontime"
    numbers = (*_VENDOR, *([done] if done in seen.columns else []))
    cells = read_cells(path, seen.columns, seen.skip, numbers=numbers, texts=("time",), may_be_empty=numbers)
    stamps, _ = moments(cells, "time", zone, path)
    cells = cells.rename(_VENDOR).with_columns(stamps, pl.lit(path.stem.upper()).alias("symbol"))
    known = pl.col("ts") + KNOWN_AFTER
    if done in cells.columns:
        complete = pl.from_epoch(pl.col(done).cast(pl.Int64), "s").cast(pl.Datetime("us"))
        known = pl.when(complete - pl.col("ts") <= _RECOMPUTED_AFTER).then(complete).otherwise(known)
    return _flows(cells.with_columns(known.alias("available_at")), path)


def read_exchange_flows(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Read a table of ``asset, ts, inflow, outflow`` in native units; a day is known after `KNOWN_AFTER`."""
    cells = load_table(sample(path), ("inflow", "outflow"), ("asset", "ts"))
    stamps, _ = moments(cells, "ts", zone, path)
    cells = cells.with_columns(stamps.alias("ts"), pl.col("asset").str.to_uppercase().alias("symbol"))
    return _flows(cells.with_columns((pl.col("ts") + KNOWN_AFTER).alias("available_at")), path)


def _flows(cells: pl.DataFrame, path: Path) -> Reading:
    """Observations, without the days before the vendor knew any exchange."""
    refuse_future(cells["ts"], cells[ROW], str(path))
    findings: list[Finding] = []
    kept = []
    for key, part in cells.group_by("symbol", maintain_order=True):
        asset = str(key[0])
        single, repeated = drop_repeated(part, ["ts"], list(_SERIES), "exchange_flows", asset, path)
        days = single.sort("ts")
        findings += repeated
        before = days.head(_unlabelled(days["inflow"]))
        zeros = before.filter(pl.col("inflow") == 0).height
        findings += found(
            before,
            "exchange_flows",
            asset,
            "missing_value",
            "warn",
            f"the first {before.height} days of {source_of(path)} ({zeros} of them 0) count as missing",
            "no exchange was labelled yet",
        )
        days = days.tail(days.height - before.height)
        findings += _outliers(days, asset, path)
        kept.append(days)
    flows = pl.concat(kept)
    findings += final_values(flows, "exchange_flows", "exchange_inflow, exchange_outflow", path)
    return Reading(observed(flows, _SERIES, path), tuple(findings))


def _unlabelled(inflow: pl.Series) -> int:
    """Count the leading days before the first stretch in which every day has inflow."""
    nonzero = (inflow.fill_null(0.0) > 0).cast(pl.Int64)
    full = nonzero.rolling_sum(_LABELLED_DAYS) == _LABELLED_DAYS
    if inflow.len() < _LABELLED_DAYS or not full.any():
        leading = (inflow.fill_null(0.0) > 0).arg_max() if nonzero.sum() else inflow.len()
        return int(leading or 0)
    return int(full.fill_null(value=False).arg_max() or 0) - _LABELLED_DAYS + 1


def _outliers(days: pl.DataFrame, asset: str, path: Path) -> tuple[Finding, ...]:
    """Report days whose net flow is far beyond the spread of the year around them; they are kept."""
    net = (pl.col("inflow") - pl.col("outflow")).alias("net")
    spread = pl.col("net").abs().rolling_median(365, min_samples=30).shift(1)
    odd = (
        days.with_columns(net)
        .with_columns(spread.alias("usual"))
        .filter(pl.col("net").abs() > 20 * pl.col("usual"))
    )
    worst = odd.sort(pl.col("net").abs(), descending=True).head(3)
    spelled = ", ".join(f"{ts:%Y-%m-%d} {value:,.0f}" for ts, value in worst.select("ts", "net").iter_rows())
    detail = f"{odd.height} days of {source_of(path)} beyond 20 times the year's median net flow: {spelled}"
    return found(odd, "exchange_flows", asset, "outlier", "warn", detail)


FORMATS = (
    Format(
        "exchange flows, table",
        "exchange_flows",
        0,
        lambda s: s.has("asset", "ts", "inflow", "outflow"),
        read_exchange_flows,
    ),
    Format("Coin Metrics CSV", "exchange_flows", 10, lambda s: s.has("time", *_VENDOR), read_coinmetrics),
)
