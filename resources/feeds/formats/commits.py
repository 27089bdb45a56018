"""Commit activity: commits and authors a day, counted from the history of a coin's repository."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl

from engine.market.finding import Finding, Reading
from resources.feeds.formats.format import Format, sample
from resources.feeds.formats.observed import drop_repeated, found, known_after, observed, source_of
from resources.feeds.formats.tabular import load_table, moments
from resources.feeds.formats.text import ROW
from resources.feeds.formats.timestamps import UTC_ZONE, refuse_future

__all__ = ["FORMATS", "read_commits"]

_SERIES = {"commits": "commits", "authors": "commit_authors"}
_SILENT = timedelta(days=90)


def read_commits(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Read ``asset, repo, ts, commits, authors``; a day without commits has no row in the file.

    Days without a row are 0 between the first and the last row of a repository. What follows its last row is
    missing, not 0: a repository that fell silent may have been archived, and the work moved elsewhere.
    """
    cells = load_table(sample(path), ("commits", "authors"), ("asset", "repo", "ts"))
    stamps, _ = moments(cells, "ts", zone, path)
    rows = cells.with_columns(
        stamps.dt.truncate("1d").alias("ts"), pl.col("asset").str.to_uppercase().alias("symbol")
    )
    refuse_future(rows["ts"], rows[ROW], str(path))
    rows, repeated = drop_repeated(rows, ["repo", "ts"], list(_SERIES), "commits", "commits", path)
    findings: list[Finding] = [*repeated]
    days = (
        rows.sort("symbol", "repo", "ts")
        .upsample("ts", every="1d", group_by=["symbol", "repo"], maintain_order=True)
        .with_columns(pl.col("symbol", "repo").forward_fill())
    )
    newest = rows["ts"].max()
    for key, part in rows.group_by("symbol", "repo", maintain_order=True):
        last = part.filter(pl.col("ts") == pl.col("ts").max())
        if newest - last["ts"][0] > _SILENT:
            day = f"{last['ts'][0]:%Y-%m-%d}"
            detail = f"{key[1]} has no commit after {day}: missing from then on, not 0 ({source_of(path)})"
            findings += found(
                last, "commits", str(key[0]), "missing_value", "warn", detail, "archived or moved"
            )
    # A day without a row sums to 0.
    total = days.group_by("symbol", "ts").agg(pl.col(*_SERIES).sum()).with_columns(pl.lit(0).alias(ROW))
    total = total.with_columns(known_after("commits", timedelta(days=1)).alias("available_at"))
    return Reading(observed(total, _SERIES, path), tuple(findings))


FORMATS = (
    Format(
        "commit activity",
        "commits",
        0,
        lambda s: s.has("asset", "repo", "ts", "commits", "authors"),
        read_commits,
    ),
)
