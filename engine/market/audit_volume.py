"""Audit of volume: bars without trade, series without volume, impossible values."""

from __future__ import annotations

import polars as pl

from engine.market.audit_rows import CANDLES, report, trading_share
from engine.market.finding import Finding

__all__ = ["volumes"]


def volumes(rows: pl.DataFrame, life: pl.DataFrame) -> list[Finding]:
    """Report what is wrong with volume; a series that never has any (marks, currencies) is one finding."""
    zero = pl.col("volume") == 0
    empty = (
        rows.group_by("symbol", maintain_order=True)
        .agg(pl.col("volume").null_count().alias("missing"), zero.sum().alias("zero"), bars=pl.len())
        .filter((pl.col("missing") + pl.col("zero") == pl.col("bars")) & (pl.col("bars") > 1))
        .join(life.select("symbol", "born", "died"), on="symbol", maintain_order="left")
    )
    found = [
        Finding(
            CANDLES,
            row["symbol"],
            "zero_volume",
            "info",
            row["born"],
            row["died"],
            row["bars"],
            "no bar of the series has a volume",
            "the source has no volume",
        )
        for row in empty.iter_rows(named=True)
    ]
    traded = ~pl.col("symbol").is_in(empty["symbol"].implode())
    suspects = rows.with_columns(before=pl.col("close").shift().over("symbol"))
    normal = (pl.col("volume").is_finite() & (pl.col("volume") > 0)).fill_null(value=False)
    suspects = suspects.filter(traded & ~normal)
    if suspects.is_empty():
        return found
    found += report(
        suspects,
        pl.col("volume").is_null(),
        "missing_value",
        "warn",
        lambda _: "volume is missing",
    )
    found += report(
        suspects,
        (pl.col("volume") < 0) | ~pl.col("volume").is_finite(),
        "implausible",
        "error",
        lambda run: f"volume is negative or not a number; lowest {run['lowest']}",
        lowest=pl.col("volume").min(),
    )
    return found + _no_trade(suspects.filter(zero), life)


def _no_trade(rows: pl.DataFrame, life: pl.DataFrame) -> list[Finding]:
    """Bars with volume 0: the price stands still, or (odder) moves."""
    if rows.is_empty():
        return []
    flat = pl.all_horizontal(pl.col(p) == pl.col("close") for p in ("open", "high", "low"))
    stale = flat & (pl.col("close") == pl.col("before").fill_null(pl.col("close")))
    perpetual = pl.col("symbol").str.contains(":", literal=True).alias("perpetual")
    rows = rows.with_columns(perpetual, stale.alias("stale"))
    shares = trading_share(rows.filter("stale"), life)
    rows = rows.join(shares, on=["perpetual", "ts"], how="left", maintain_order="left")
    away = (pl.col("trading") > 1) & (pl.col("hit") >= 0.8 * pl.col("trading"))
    return report(
        rows,
        pl.col("stale"),
        "zero_volume",
        "warn",
        lambda run: (
            f"no trade, stale price {run['price']:.6g}; {run['hit']} of {run['trading']} symbols alike"
        ),
        cause=pl.when(away).then(pl.lit("outage")).otherwise(pl.lit("unknown")),
        price=pl.col("close").first(),
        hit=pl.col("hit").max(),
        trading=pl.col("trading").max(),
    ) + report(
        rows,
        ~pl.col("stale"),
        "zero_volume",
        "warn",
        lambda _: "volume 0 though the price moved",
        cause=pl.lit("price moved without volume"),
    )
