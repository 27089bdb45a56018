"""Audit of values: observations, and the net exchange flow, that are far from what the series knows."""

from __future__ import annotations

import polars as pl

from engine.market.audit_rows import report
from engine.market.finding import Finding

__all__ = ["NET_FLOW", "latest_values", "outliers"]

WINDOW, WARM_UP = 180, 60  # past observations that one is judged by
DEVIATIONS = 20.0
FLOOR = 0.5  # smallest scale, as a share of the usual size of the series
NORMAL_MEDIAN = 0.6745  # median of |x| of a standard normal x
NET_FLOW = "exchange_netflow"


def latest_values(rows: pl.DataFrame) -> pl.DataFrame:
    """Newest plausible value of each period, with the net exchange flow as a series of its own."""
    latest = rows.filter(pl.col("value").is_between("lower", "upper")).unique(
        ["symbol", "ts"], keep="last", maintain_order=True
    )
    latest = latest.select("symbol", "series", "ts", "value")
    inflow = latest.filter(pl.col("series") == "exchange_inflow")
    outflow = latest.filter(pl.col("series") == "exchange_outflow")
    asset = pl.col("symbol").str.split_exact(" ", 1).struct[1]
    net = inflow.with_columns(asset.alias("asset")).join(
        outflow.select(asset.alias("asset"), "ts", outflow="value"), on=["asset", "ts"]
    )
    net = net.select(
        pl.concat_str(pl.lit(NET_FLOW), "asset", separator=" ").alias("symbol"),
        pl.lit(NET_FLOW).alias("series"),
        "ts",
        pl.col("value") - pl.col("outflow"),
    )
    return pl.concat([latest, net]).sort("symbol", "ts").with_row_index("row").cast({"row": pl.Int64})


def outliers(latest: pl.DataFrame) -> list[Finding]:
    """Values far from the median of the past, measured by the median deviation of the past."""

    def past(x: pl.Expr) -> pl.Expr:
        return x.rolling_median(WINDOW, min_samples=WARM_UP).shift().over("symbol")

    value = pl.col("value")
    measured = latest.with_columns(usual=past(value)).with_columns(off=value - pl.col("usual"))
    scale = pl.max_horizontal(
        past(pl.col("off").abs()) / NORMAL_MEDIAN, FLOOR * value.abs().median().over("symbol")
    )
    measured = measured.with_columns(z=pl.when(scale > 0).then(pl.col("off") / scale))
    worst = pl.col("z").abs().arg_max()
    return report(
        measured,
        pl.col("z").abs() > DEVIATIONS,
        "outlier",
        "warn",
        lambda run: (
            f"value {run['value']:,.6g}, usual {run['usual']:,.6g}: {run['z']:+.0f} robust deviations"
        ),
        value=value.get(worst),
        usual=pl.col("usual").get(worst),
        z=pl.col("z").get(worst),
    )
