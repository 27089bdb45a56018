"""Commit activity: commits and authors a day, counted from the history of a coin's repository."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from engine.market.finding import Finding, Reading
from resources.feeds.formats.format import Format, sample
from resources.feeds.formats.observed import drop_repeated, found, known_after, observed, source_of
from resources.feeds.formats.tabular import load_table, moments
from resources.feeds.formats.text import ROW
from resources.feeds.formats.timestamps import UTC_ZONE, refuse_future

__all__ = ["FORMATS", "KNOWN", "Known", "read_commits"]

_SERIES = {"commits": "commits", "authors": "commit_authors", "archived": "repository_archived"}
_SILENT = timedelta(days=90)


@dataclass(frozen=True)
class Known:
    """What a file of commit counts does not say about a repository.

    Parameters
    ----------
    began : datetime, optional
        First day of a fork's own: what its history holds before was committed to its parent. Here the day
        on which its network made its first block.
    archived : datetime, optional
        Day on which the repository was archived; the work went on elsewhere.
    """

    began: datetime | None = None
    archived: datetime | None = None


def _day(text: str) -> datetime:
    return datetime.fromisoformat(text)


KNOWN: dict[str, Known] = {
    "bnb-chain/bsc": Known(began=_day("2020-08-29")),  # of ethereum/go-ethereum
    "litecoin-project/litecoin": Known(began=_day("2011-10-13")),  # of bitcoin/bitcoin
    "paritytech/polkadot": Known(archived=_day("2023-08-25")),
    "solana-labs/solana-program-library": Known(archived=_day("2025-03-10")),
    **dict.fromkeys(
        (
            "IntersectMBO/cardano-node",
            "ava-labs/avalanchego",
            "btcsuite/btcd",
            "ethereum/go-ethereum",
        ),
        Known(),
    ),
}
"""Repositories whose state is known, as of August 2025."""


def read_commits(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Read ``asset, repo, ts, commits, authors``; a day without commits has no row in the file.

    Days without a row are 0 between the first and the last row of a repository. What follows its last row is
    missing, not 0: a repository that fell silent may have been archived, and the work moved elsewhere. Of the
    repositories in `KNOWN`, days before a fork's own beginning are left out, and every day of the file says
    whether the repository was archived by then. What a fork took over from its parent later cannot be told
    from its own in counts, and stays.
    """
    cells = load_table(sample(path), ("commits", "authors"), ("asset", "repo", "ts"))
    stamps, _ = moments(cells, "ts", zone, path)
    rows = cells.with_columns(
        stamps.dt.truncate("1d").alias("ts"), pl.col("asset").str.to_uppercase().alias("symbol")
    )
    refuse_future(rows["ts"], rows[ROW], str(path))
    rows, repeated = drop_repeated(rows, ["repo", "ts"], ["commits", "authors"], "commits", "commits", path)
    own, inherited = _own(rows, path)
    findings: list[Finding] = [*repeated, *inherited, *_silence(own, path)]
    days = (
        own.sort("symbol", "repo", "ts")
        .upsample("ts", every="1d", group_by=["symbol", "repo"], maintain_order=True)
        .with_columns(pl.col("symbol", "repo").forward_fill())
    )
    # A day without a row sums to 0.
    total = days.group_by("symbol", "ts").agg(pl.col("commits", "authors").sum())
    stated = total.join(_archived(own), on=["symbol", "ts"], how="full", coalesce=True).with_columns(
        known_after("commits", timedelta(days=1)).alias("available_at"), pl.lit(0).alias(ROW)
    )
    return Reading(observed(stated, _SERIES, path), tuple(findings))


def _own(rows: pl.DataFrame, path: Path) -> tuple[pl.DataFrame, list[Finding]]:
    """Leave out the days before a fork was one."""
    findings: list[Finding] = []
    began = {repository: known.began for repository, known in KNOWN.items() if known.began is not None}
    for repository, day in began.items():
        before = rows.filter((pl.col("repo") == repository) & (pl.col("ts") < day))
        if before.height:
            rows = rows.join(before.select(ROW), on=ROW, how="anti")
            detail = (
                f"{before['commits'].sum():.0f} commits of {before.height} days of {repository} were made "
                f"to its parent, before {day:%Y-%m-%d}; left out ({source_of(path)})"
            )
            findings += found(
                before, "commits", before["symbol"][0], "venue_switch", "info", detail, "a fork"
            )
    return rows, findings


def _silence(rows: pl.DataFrame, path: Path) -> list[Finding]:
    """Report repositories that fell silent before the file ends."""
    findings: list[Finding] = []
    newest = rows["ts"].max()
    for key, part in rows.group_by("symbol", "repo", maintain_order=True):
        last = part.filter(pl.col("ts") == pl.col("ts").max())
        if newest - last["ts"][0] > _SILENT:
            day = f"{last['ts'][0]:%Y-%m-%d}"
            detail = f"{key[1]} has no commit after {day}: missing from then on, not 0 ({source_of(path)})"
            findings += found(
                last, "commits", str(key[0]), "missing_value", "warn", detail, "archived or moved"
            )
    return findings


def _archived(rows: pl.DataFrame) -> pl.DataFrame:
    """Whether all repositories of a coin were archived, by day to the end of the file, where it is known."""
    states = []
    for key, part in rows.group_by("symbol", "repo", maintain_order=True):
        if (known := KNOWN.get(str(key[1]))) is not None:
            days = pl.datetime_range(part["ts"].min(), rows["ts"].max(), "1d", time_unit="us", eager=True)  # type: ignore[call-overload]
            over = pl.col("ts") > known.archived if known.archived else pl.lit(value=False)
            states.append(
                pl.DataFrame({"ts": days}).select(
                    pl.lit(str(key[0])).alias("symbol"), "ts", over.cast(pl.Float64).alias("archived")
                )
            )
    schema = {"symbol": pl.String(), "ts": pl.Datetime("us"), "archived": pl.Float64()}
    every = pl.concat(states) if states else pl.DataFrame(schema=schema)
    return every.group_by("symbol", "ts").agg(pl.col("archived").min())


FORMATS = (
    Format(
        "commit activity",
        "commits",
        0,
        lambda s: s.has("asset", "repo", "ts", "commits", "authors"),
        read_commits,
    ),
)
