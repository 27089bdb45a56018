"""Audit of alternative observations: what is impossible, missing, late, revised or far out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import polars as pl

from engine.alternative.audit_cadence import cadence
from engine.alternative.audit_outliers import NET_FLOW, latest_values, outliers
from engine.alternative.series import MARKET_WIDE, OBSERVATION_COLUMNS, SERIES
from engine.errors import DataError
from engine.market.audit_rows import report
from engine.market.finding import Finding

__all__ = ["audit_observations", "revisions"]


def audit_observations(observations: pl.DataFrame, now: datetime | None = None) -> tuple[Finding, ...]:
    """Find what is wrong with alternative observations; nothing is changed and nothing is dropped.

    Parameters
    ----------
    observations : polars.DataFrame
        ``series, symbol, ts, available_at, value, source``, stamps UTC without zone, every vintage a row.
    now : datetime, optional
        The present, to tell future stamps and stale series; without it neither is looked for.

    Returns
    -------
    tuple of Finding
        ``series`` is ``name symbol`` (the name alone where market-wide). Kinds: ``damage`` (series not
        declared), ``missing_value``, ``implausible`` (outside the plausible range of `SERIES`), ``order``
        (known before the period began), ``future``, ``duplicate``, ``revision``, ``gap`` (a hole, or a stale
        end), ``interval_change``, ``outlier`` (also of the net exchange flow).

    Raises
    ------
    DataError
        If a column is missing or a stamp is not in microseconds without zone.
    """
    _check(observations)
    declared = pl.col("series").is_in(list(SERIES))
    found = [
        Finding(f"raw.{name}", name, "damage", "error", None, None, rows, "no such series is declared")
        for name, rows in observations.filter(~declared).group_by("series").len().sort("series").iter_rows()
    ]
    bounds = pl.DataFrame(
        [(s.name, s.lower, s.upper, s.max_age) for s in SERIES.values()],
        schema={"series": pl.String, "lower": pl.Float64, "upper": pl.Float64, "max_age": pl.Duration("us")},
        orient="row",
    )
    rows = (
        observations.filter(declared)
        .sort("series", "symbol", "ts", "available_at")
        .join(bounds, on="series", how="left", maintain_order="left")
        .with_columns(symbol=_label())
        .with_row_index("row")
        .with_columns(pl.col("row").cast(pl.Int64))
    )
    if rows.is_empty():
        return tuple(found)
    if now is not None:
        present = now.astimezone(UTC).replace(tzinfo=None) if now.tzinfo else now
        found += _future(rows, present) + _stale(rows, present)
    found += _impossible(rows) + _duplicates(rows) + _revised(rows)
    found += cadence(rows.unique(["symbol", "ts"], keep="first", maintain_order=True))
    found += outliers(latest_values(rows))
    return tuple(sorted((_placed(finding) for finding in found), key=_place))


def revisions(observations: pl.DataFrame) -> pl.DataFrame:
    """Count, per series and symbol, how many periods were given more than one value.

    Returns
    -------
    polars.DataFrame
        ``series, symbol, first, last`` (periods covered), ``periods``, ``revised`` (periods with more than
        one value), ``values`` (most values of a period), ``factor`` (largest ratio of two values of a period
        that are of one sign), ``zeroed`` (periods that changed from or to zero or changed sign).
    """
    value = pl.col("value")
    low, high = value.abs().min(), value.abs().max()
    one_sign = (value.min() > 0) | (value.max() < 0)
    periods = (
        observations.filter(value.is_not_null())
        .group_by("series", "symbol", "ts")
        .agg(values=value.n_unique(), factor=pl.when(one_sign).then(high / low), one_sign=one_sign)
    )
    revised = pl.col("values") > 1
    return (
        periods.group_by("series", "symbol")
        .agg(
            pl.col("ts").min().alias("first"),
            pl.col("ts").max().alias("last"),
            pl.len().alias("periods"),
            revised.sum().alias("revised"),
            pl.col("values").max(),
            pl.col("factor").max(),
            (revised & ~pl.col("one_sign")).sum().alias("zeroed"),
        )
        .sort("series", "symbol")
    )


def _check(observations: pl.DataFrame) -> None:
    """Refuse what cannot be audited."""
    for name in OBSERVATION_COLUMNS:
        if name not in observations.columns:
            raise DataError(
                f"missing; the frame has {observations.columns}", source="observations", column=name
            )
    for name in ("ts", "available_at"):
        if (dtype := observations.schema[name]) != pl.Datetime("us"):
            raise DataError(
                f"has type {dtype}; stamps are UTC without zone in microseconds",
                source="observations",
                column=name,
            )


def _label() -> pl.Expr:
    """Name and symbol as one text."""
    whole = pl.col("symbol") == MARKET_WIDE
    return pl.when(whole).then("series").otherwise(pl.concat_str("series", "symbol", separator=" "))


def _placed(finding: Finding) -> Finding:
    """Put a finding in the table of its series."""
    name = finding.series.partition(" ")[0]
    table = "exchange_flows" if name == NET_FLOW else SERIES[name].table if name in SERIES else name
    return replace(finding, table=f"raw.{table}")


def _place(finding: Finding) -> tuple[str, str, datetime]:
    """Key to sort findings by."""
    return finding.table, finding.series, finding.first or datetime.min  # noqa: DTZ901


def _impossible(rows: pl.DataFrame) -> list[Finding]:
    """Values that are missing, not a number or out of range, and values known before their period began."""
    missing = pl.col("value").is_null() | pl.col("value").is_nan()
    return (
        report(rows, missing, "missing_value", "warn", lambda _: "no value")
        + report(
            rows,
            ~missing & ~pl.col("value").is_between("lower", "upper"),
            "implausible",
            "error",
            lambda run: (
                f"values {run['least']:.6g} to {run['most']:.6g}, "
                f"plausible {run['lower']:g} to {run['upper']:g}"
            ),
            least=pl.col("value").min(),
            most=pl.col("value").max(),
            lower=pl.col("lower").first(),
            upper=pl.col("upper").first(),
        )
        + report(
            rows,
            pl.col("available_at") < pl.col("ts"),
            "order",
            "error",
            lambda run: f"known up to {run['early']} before the period began: looks ahead",
            cause=pl.lit("known before its period"),
            early=(pl.col("ts") - pl.col("available_at")).max(),
        )
    )


def _future(rows: pl.DataFrame, now: datetime) -> list[Finding]:
    """Stamps after ``now``."""
    ahead = pl.max_horizontal("ts", "available_at")
    return report(
        rows,
        ahead > now,
        "future",
        "error",
        lambda run: f"stamped up to {run['ahead'] - now} after {now}",
        cause=pl.lit("stamp is wrong"),
        ahead=ahead.max(),
    )


def _stale(rows: pl.DataFrame, now: datetime) -> list[Finding]:
    """Series whose newest value has been known for longer than it stays valid."""
    last = (
        rows.filter(pl.col("value").is_not_null() & (pl.col("available_at") <= now))
        .group_by("symbol", maintain_order=True)
        .agg(pl.col("available_at").max(), pl.col("ts").last(), pl.col("max_age").first())
        .filter(now - pl.col("available_at") > pl.col("max_age"))
    )
    return [
        Finding(
            "",
            row["symbol"],
            "gap",
            "warn",
            row["ts"],
            now,
            1,
            f"newest value known since {row['available_at']}, older than {row['max_age']}: counts as missing",
            "stale",
        )
        for row in last.iter_rows(named=True)
    ]


def _duplicates(rows: pl.DataFrame) -> list[Finding]:
    """Rows that repeat a key; two values known at the same moment contradict each other."""
    key = ["symbol", "ts", "available_at"]
    again = rows.filter(pl.struct(key).is_duplicated())
    again = again.group_by(key, maintain_order=True).agg(
        pl.col("row").first(), surplus=pl.len() - 1, differ=pl.col("value").n_unique() > 1
    )
    earlier = (pl.col("surplus").cum_sum() - pl.col("surplus")).cast(pl.Int64)
    again = again.with_columns(row=pl.col("row") - earlier)  # neighbouring periods are neighbours again
    found: list[Finding] = []
    for differ, cause in ((False, "same values"), (True, "values differ")):
        found += report(
            again,
            pl.col("differ") == differ,
            "duplicate",
            "error" if differ else "warn",
            lambda run: f"{run['surplus']} surplus rows with the same period and moment of knowledge",
            cause=pl.lit(cause),
            surplus=pl.col("surplus").sum(),
        )
    return found


def _revised(rows: pl.DataFrame) -> list[Finding]:
    """One finding per series that was revised."""
    return [
        Finding(
            "",
            row["symbol"],
            "revision",
            "info",
            row["first"],
            row["last"],
            row["revised"],
            f"{row['revised'] / row['periods']:.1%} of {row['periods']} periods revised, up to "
            f"{row['values']} values each, largest factor {row['factor'] or 1.0:.3g}, "
            f"{row['zeroed']} from or to zero; use what was known at the time",
            "the source revises",
        )
        for row in revisions(rows).filter(pl.col("revised") > 0).iter_rows(named=True)
    ]
