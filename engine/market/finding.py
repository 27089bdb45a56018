"""What reading or auditing data found: a defect with its place, count and cause."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import polars as pl

__all__ = ["Finding", "FindingKind", "Reading", "Severity", "findings_frame"]

Severity = Literal["info", "warn", "error"]
FindingKind = Literal[
    "gap",
    "duplicate",
    "order",
    "ohlc",
    "price",
    "zero_volume",
    "outlier",
    "unit_jump",
    "relisting",
    "unfinished",
    "future",
    "implausible",
    "revision",
    "interval_change",
    "timestamp_unit",
    "local_time",
    "damage",
    "venue_switch",
    "missing_value",
    "filled_outage",
]


@dataclass(frozen=True)
class Finding:
    """One defect, or one run of the same defect.

    Parameters
    ----------
    table : str
        Warehouse table the rows belong to, ``schema.name``.
    series : str
        Symbol, or name of the alternative series.
    kind : FindingKind
        What was found.
    severity : Severity
        ``info``: worth knowing. ``warn``: rows are kept and flagged. ``error``: the rows must not be used.
    first, last : datetime or None
        Open of the first and last bar concerned, UTC without zone.
    count : int
        Number of rows (for a gap: of missing bars).
    detail : str
        Figures a person needs to judge it.
    cause : str
        Where the defect comes from, if known; ``unknown`` otherwise.
    """

    table: str
    series: str
    kind: FindingKind
    severity: Severity
    first: datetime | None
    last: datetime | None
    count: int
    detail: str
    cause: str = "unknown"


@dataclass(frozen=True)
class Reading:
    """Rows as a feed delivers them, with everything that was noticed while reading them."""

    frame: pl.DataFrame
    findings: tuple[Finding, ...] = ()


def findings_frame(findings: Iterable[Finding]) -> pl.DataFrame:
    """Turn findings into a frame with one row each, columns as the fields of `Finding`."""
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "table": pl.String,
        "series": pl.String,
        "kind": pl.String,
        "severity": pl.String,
        "first": pl.Datetime("us"),
        "last": pl.Datetime("us"),
        "count": pl.Int64,
        "detail": pl.String,
        "cause": pl.String,
    }
    return pl.DataFrame([vars(finding) for finding in findings], schema=schema)
