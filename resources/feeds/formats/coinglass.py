"""CoinGlass: liquidations, open interest and long/short ratio, as tables or as the vendor's snapshots."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from engine.market.finding import Finding, Reading
from resources.feeds.formats.format import Format, Sample, sample
from resources.feeds.formats.observed import (
    changes,
    drop_repeated,
    final_values,
    found,
    known_after,
    observed,
    source_of,
)
from resources.feeds.formats.tabular import load_table, moments
from resources.feeds.formats.text import ROW
from resources.feeds.formats.timestamps import UTC_ZONE, bar_of, refuse_future

__all__ = ["FORMATS", "read_liquidations", "read_long_short_ratio", "read_open_interest", "read_snapshot"]

_LIQUIDATIONS = {"long_usd": "liquidations_long_usd", "short_usd": "liquidations_short_usd"}
_OPEN_INTEREST = {"oi_close": "open_interest_usd"}
_RATIO = {"ratio": "long_short_ratio"}
_PERIOD = timedelta(hours=4)
# Columns of the vendor's own snapshot files: the column that holds each series, and the table it belongs to.
_SNAPSHOTS: dict[str, tuple[str, dict[str, str]]] = {
    "aggregated_long_liquidation_usd": (
        "liquidations",
        {"aggregated_long_liquidation_usd": "long_usd", "aggregated_short_liquidation_usd": "short_usd"},
    ),
    "global_account_long_short_ratio": ("long_short_ratio", {"global_account_long_short_ratio": "ratio"}),
    "close": ("open_interest", {"close": "oi_close"}),
}
_PAGE = 1_080
# 82 snapshots in folders named after a day were taken 9 to 24.04 hours after that day began.
_TAKEN_WITHIN = timedelta(hours=25)


def read_liquidations(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Read ``symbol, ts, long_usd, short_usd``, perhaps with ``as_of``.

    The series counts USD in four hours: sums over a longer period are divided by the number of four-hour
    periods in it, and reported.
    """
    frame, period = _load(path, tuple(_LIQUIDATIONS), zone)
    findings: tuple[Finding, ...] = ()
    if period != _PERIOD:
        parts = period / _PERIOD
        frame = frame.with_columns(pl.col(c) / parts for c in _LIQUIDATIONS)
        detail = f"sums over {period} in {source_of(path)} are divided by {parts:g}, to USD per four hours"
        findings = found(
            frame, "liquidations", ", ".join(_LIQUIDATIONS.values()), "unit_jump", "info", detail
        )
    return _known(
        frame, period, "liquidations", _LIQUIDATIONS, path, findings, newest_open="as_of" not in frame.columns
    )


def read_open_interest(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Read ``symbol, ts`` and ``oi_usd`` or ``oi_close``, perhaps with ``as_of`` and ``unit``.

    Rows whose ``unit`` is not USD count coins. They are left out: no price of that time stands beside them.
    """
    seen = sample(path)
    value = "oi_usd" if "oi_usd" in seen.columns else "oi_close"
    frame, period = _load(path, (value,), zone, texts=("unit",) if "unit" in seen.columns else ())
    frame = frame.rename({value: "oi_close"})
    findings: tuple[Finding, ...] = ()
    if "unit" in frame.columns:
        in_usd = pl.col("unit").str.starts_with("usd")
        coins = frame.filter(~in_usd)
        units = ", ".join(sorted(coins["unit"].unique()))
        detail = (
            f"{coins.height} of {frame.height} rows of {source_of(path)} are in {units}, not USD; left out"
        )
        findings = found(coins, "open_interest", "open_interest_usd", "unit_jump", "error", detail)
        frame = frame.filter(in_usd)
    newest_open = value == "oi_close" and "as_of" not in frame.columns
    return _known(frame, period, "open_interest", _OPEN_INTEREST, path, findings, newest_open=newest_open)


def read_long_short_ratio(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Read ``symbol, kind, ts, ratio``, perhaps with ``as_of``; of the kinds, ``global_account``."""
    frame, period = _load(path, ("ratio",), zone, texts=("kind",))
    accounts = frame.filter(pl.col("kind") == "global_account")
    newest_open = "as_of" not in frame.columns
    return _known(accounts, period, "long_short_ratio", _RATIO, path, (), newest_open=newest_open)


def read_snapshot(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Read one page as the vendor serves it: ``time`` and values of a coin, in a folder named after its day.

    The coin is the last word of the file name (``..._BTC``); without one the rows cannot be told apart from
    those of other coins and none is returned. The values were known 25 hours after the folder's day began.
    """
    seen = sample(path)
    table, renamed = next(entry for column, entry in _SNAPSHOTS.items() if column in seen.columns)
    cells = load_table(seen, tuple(renamed), ("time",))
    stamps, _ = moments(cells, "time", zone, path)
    frame = cells.drop("time").rename(renamed).with_columns(stamps.alias("ts"))
    series = {"liquidations": _LIQUIDATIONS, "open_interest": _OPEN_INTEREST}.get(table, _RATIO)
    findings: tuple[Finding, ...] = ()
    label = ", ".join(series.values())
    if frame.height != _PAGE:
        detail = f"{frame.height} rows in {source_of(path)}; a full page has {_PAGE}"
        findings += found(frame.head(1), table, label, "missing_value", "info", detail)
    coin = re.search(r"_([A-Z0-9]{2,6})$", path.stem)
    if coin is None:
        detail = f"{source_of(path)} does not say which coin its {frame.height} rows are about; left out"
        findings += found(frame, table, label, "missing_value", "error", detail)
        frame = frame.clear()
    frame = frame.with_columns(pl.lit(coin[1] if coin else "").alias("symbol"))
    if day := re.fullmatch(r"(\d{4})-?(\d\d)-?(\d\d)", path.parent.name):
        taken = datetime(int(day[1]), int(day[2]), int(day[3])) + _TAKEN_WITHIN  # noqa: DTZ001  UTC without zone
        frame = frame.with_columns(pl.lit(taken).cast(pl.Datetime("us")).alias("as_of"))
    return _known(frame, bar_of(stamps, str(path)), table, series, path, findings, newest_open=True)


def _load(
    path: Path, values: tuple[str, ...], zone: str, texts: tuple[str, ...] = ()
) -> tuple[pl.DataFrame, timedelta]:
    """Rows with stamps in UTC, and the length of the period that each describes."""
    seen = sample(path)
    stamp_names = ("ts", "as_of") if "as_of" in seen.columns else ("ts",)
    cells = load_table(seen, values, ("symbol", *stamp_names, *texts))
    stamps = [moments(cells, name, zone, path)[0].alias(name) for name in stamp_names]
    frame = cells.with_columns(stamps)
    refuse_future(frame["ts"], frame[ROW], str(path))
    return frame, bar_of(frame["ts"], str(path))


def _known(
    frame: pl.DataFrame,
    period: timedelta,
    table: str,
    series: Mapping[str, str],
    path: Path,
    findings: tuple[Finding, ...],
    *,
    newest_open: bool,
) -> Reading:
    """Date each value, and leave out the periods that were not over when they were looked at.

    Where nothing tells when a table was taken (``newest_open``), its newest period counts as not over.
    """
    label = ", ".join(series.values())
    key = ["symbol", "ts", *(["as_of"] if "as_of" in frame.columns else [])]
    frame, repeated = drop_repeated(frame, key, list(series), table, label, path)
    findings += repeated
    over = pl.lit(value=True)
    if "as_of" in frame.columns:
        over = pl.col("as_of") >= pl.col("ts") + period
    if newest_open:
        over = over & (pl.col("ts") < pl.col("ts").max().over("symbol"))
    still_open = frame.filter(~over)
    detail = (
        f"{still_open.height} rows of {source_of(path)} were taken before their period was over; left out"
    )
    findings += found(still_open, table, label, "unfinished", "error", detail)
    frame = frame.filter(over)
    if "as_of" in frame.columns:
        frame = frame.with_columns(pl.col("as_of").alias("available_at"))
        findings += _revisions(frame, table, series, path)
        return Reading(changes(observed(frame, series, path)), findings)
    name = next(iter(series.values()))
    frame = frame.with_columns(known_after(name, period).alias("available_at"))
    return Reading(observed(frame, series, path), findings + final_values(frame, table, label, path))


def _revisions(frame: pl.DataFrame, table: str, series: Mapping[str, str], path: Path) -> tuple[Finding, ...]:
    """Report for each symbol how many periods were revised later."""
    times = (pl.struct(list(series)).n_unique() - 1).alias("times")
    counted = frame.group_by("symbol", "ts").agg(times).sort("symbol", "ts")
    notes: tuple[Finding, ...] = ()
    for key, part in counted.group_by("symbol", maintain_order=True):
        revised = part.filter(pl.col("times") > 0)
        share = f"{revised.height} of {part.height} periods of {source_of(path)}"
        detail = f"{share} were revised, up to {max(part['times'])} times"
        notes += found(revised, table, str(key[0]), "revision", "info", detail, "the vendor revises")
    return notes


def _is_snapshot(seen: Sample) -> bool:
    """Tell the vendor's columns; a page of open interest has those of candles and says so in its name."""
    if seen.container == "json" or "time" not in seen.columns:
        return False
    if any(column in seen.columns for column in list(_SNAPSHOTS)[:2]):
        return True
    return (
        set(seen.columns) == {"time", "open", "high", "low", "close"}
        and "openinterest" in seen.path.stem.lower()
    )


def _tables(
    name: str, table: str, columns: tuple[str, ...], read: Callable[[Path, str], Reading]
) -> tuple[Format, Format]:
    """Declare a table with vintages and the same with last known values; the former wins."""
    return (
        Format(
            f"{name}, vintages",
            table,
            0,
            lambda s: s.has("symbol", "ts", "as_of", *columns),
            read,
            vintages=True,
        ),
        Format(f"{name}, last known values", table, 20, lambda s: s.has("symbol", "ts", *columns), read),
    )


FORMATS = (
    *_tables("liquidations", "liquidations", ("long_usd", "short_usd"), read_liquidations),
    *_tables("open interest of CoinGlass", "open_interest", ("oi_close",), read_open_interest),
    *_tables("long/short ratio", "long_short_ratio", ("kind", "ratio"), read_long_short_ratio),
    Format(
        "open interest in USD",
        "open_interest",
        10,
        lambda s: s.has("symbol", "ts", "oi_usd"),
        read_open_interest,
    ),
    Format(
        "CoinGlass snapshot of liquidations",
        "liquidations",
        30,
        lambda s: _is_snapshot(s) and "aggregated_long_liquidation_usd" in s.columns,
        read_snapshot,
        vintages=True,
    ),
    Format(
        "CoinGlass snapshot of long/short ratio",
        "long_short_ratio",
        30,
        lambda s: _is_snapshot(s) and "global_account_long_short_ratio" in s.columns,
        read_snapshot,
        vintages=True,
    ),
    Format(
        "CoinGlass snapshot of open interest",
        "open_interest",
        30,
        lambda s: _is_snapshot(s) and "close" in s.columns,
        read_snapshot,
        vintages=True,
    ),
)
