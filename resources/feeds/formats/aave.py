"""On-chain liquidations of Aave loans, one row an event."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl

from engine.alternative.series import OBSERVATION_COLUMNS
from engine.market.finding import Finding, Reading
from resources.feeds.formats.format import Format, sample
from resources.feeds.formats.observed import found, known_after, observed, source_of
from resources.feeds.formats.symbols import asset_of
from resources.feeds.formats.tabular import load_table, moments
from resources.feeds.formats.text import ROW
from resources.feeds.formats.timestamps import UTC_ZONE, refuse_future

__all__ = ["FORMATS", "read_liquidation_events"]

_PERIOD = timedelta(hours=4)
_TABLE, _SERIES = "liquidations", "liquidations_long_usd"
_PRINTS = "liquidation_print_usd"


def read_liquidation_events(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Add up events ``asset, ts, amount_usd, market`` by block, and to USD in four hours from first to last.

    A loan that loses its collateral is a long position closed by force. Rows may come in any order. Of rows
    that are equal in every column one counts. The vendor's profit column is not read. Four hours without
    events are 0; a block without any has no row. The prints by block are a source of their own, since other
    tables of liquidations hold nothing that they could be compared with.
    """
    cells = load_table(sample(path), ("amount_native", "amount_usd"), ("asset", "ts", "market"))
    stamps, _ = moments(cells, "ts", zone, path)
    events = cells.with_columns(stamps.alias("ts"))
    refuse_future(events["ts"], events[ROW], str(path))
    where = source_of(path)
    findings: tuple[Finding, ...] = ()
    back = events.filter(pl.col("ts") < pl.col("ts").shift(1))
    findings += found(
        back,
        _TABLE,
        _SERIES,
        "order",
        "info",
        f"{back.height} events of {where} precede the one before; sorted",
    )
    every = ["asset", "ts", "amount_native", "amount_usd", "market"]
    single = events.unique(every, keep="first", maintain_order=True)
    surplus = events.join(single.select(ROW), on=ROW, how="anti")
    findings += found(
        surplus,
        _TABLE,
        _SERIES,
        "duplicate",
        "warn",
        f"{surplus.height} events of {where} repeat another exactly; dropped",
    )
    empty = single.filter(pl.col("amount_usd") == 0)
    findings += found(
        empty, _TABLE, _SERIES, "implausible", "info", f"{empty.height} events of {where} with an amount of 0"
    )
    coins = {text: asset_of(text) for text in single["asset"].unique()}
    named = single.with_columns(pl.col("asset").replace_strict(coins, return_dtype=pl.String).alias("symbol"))
    sums = (
        named.sort("symbol", "ts")
        .group_by_dynamic("ts", every=_PERIOD, group_by="symbol")
        .agg(pl.col("amount_usd").sum())
    )
    filled = sums.upsample("ts", every="4h", group_by="symbol", maintain_order=True).with_columns(
        pl.col("symbol").forward_fill(), pl.col("amount_usd").fill_null(0.0), pl.lit(0).alias(ROW)
    )
    filled = filled.with_columns(known_after(_SERIES, _PERIOD).alias("available_at"))
    prints = (
        named.filter(pl.col("amount_usd") > 0)
        .group_by("symbol", "ts")
        .agg(pl.col("amount_usd").sum(), pl.col(ROW).first())
        .with_columns(
            known_after(_PRINTS, timedelta(0)).alias("available_at"), pl.lit("prints").alias("venue")
        )
    )
    frames = [
        observed(filled, {"amount_usd": _SERIES}, path),
        observed(prints, {"amount_usd": _PRINTS}, path),
    ]
    return Reading(pl.concat(frames).sort(OBSERVATION_COLUMNS[:4]), findings)


FORMATS = (
    Format(
        "on-chain liquidation events",
        _TABLE,
        40,
        lambda s: s.has("asset", "ts", "amount_usd", "market"),
        read_liquidation_events,
    ),
)
