"""Observations of one table for the symbols asked for, out of all files that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from engine.alternative.series import MARKET_WIDE, OBSERVATION_COLUMNS, SERIES, TABLES
from engine.market.finding import Finding, FindingKind, Reading, Severity
from resources.feeds.formats.agreement import Comparison, Stretch, compare
from resources.feeds.formats.catalogue import Catalogue, Entry
from resources.feeds.formats.observed import OBSERVATION_SCHEMA, changes
from resources.feeds.formats.symbols import asset_of
from resources.feeds.formats.timestamps import span

__all__ = ["observations_of"]

_TOLERANCE = {"value": 0.01}
_LEVEL_JUMP = 1.5
_SEAM_ROWS = 30


@dataclass(frozen=True)
class _Claim:
    """Series of one source for one symbol: as the file holds it, and as it is asked for."""

    entry: Entry
    held: str
    source: str
    likeness: int
    frame: pl.DataFrame

    @property
    def rank(self) -> tuple[int, int, int, str]:
        """Order: how well the symbol fits, the format, the number of rows, the name."""
        return self.likeness, self.entry.format.precedence, -self.frame.height, self.source

    def series(self, name: str) -> pl.DataFrame:
        """Last vintage of each period of one series, sorted."""
        rows = self.frame.filter(pl.col("series") == name).sort("ts", "available_at")
        return rows.unique("ts", keep="last", maintain_order=True)


def observations_of(catalogue: Catalogue, table: str, symbols: Sequence[str]) -> Reading:
    """Read all vintages of a table's series.

    A row is delivered under the symbol asked for: a perpetual's funding and a coin's flows belong to every
    pair of that coin. Sources are taken in order: the fit of the symbol, the format (vintages before last
    known values, tidy tables before vendors' own), the number of rows, the name. A later source adds periods
    that the earlier ones lack, if it agrees with them on those that they share, and never within the time of
    a source with vintages of the same series: a last known value there would be known too early.

    Raises
    ------
    ValueError
        If the table is unknown.
    DataError
        If a file cannot be read.
    """
    if table not in TABLES:
        raise ValueError(f"table = {table!r} is unknown; known are {', '.join(TABLES)}")
    findings: tuple[Finding, ...] = ()
    parts: list[_Claim] = []
    for entry in catalogue.of_table(table):
        reading = entry.read()
        findings += reading.findings
        for key, rows in reading.frame.group_by("symbol", "source", maintain_order=True):
            parts.append(_Claim(entry, str(key[0]), str(key[1]), 0, rows))
    frames: list[pl.DataFrame] = []
    for symbol in dict.fromkeys([*symbols, MARKET_WIDE]):
        if claims := _claims(parts, symbol):
            merged, notes = _merge(claims, table, symbol)
            frames.append(merged)
            findings += notes
    frame = pl.concat(frames) if frames else pl.DataFrame(schema=OBSERVATION_SCHEMA)
    lacking = sorted(set(symbols) - set(frame["symbol"].unique()))
    if lacking and MARKET_WIDE not in frame["symbol"]:
        detail = f"no file holds {table} of {', '.join(lacking)}"
        findings += (
            Finding(f"raw.{table}", table, "missing_value", "info", None, None, len(lacking), detail),
        )
    return Reading(frame.sort(OBSERVATION_COLUMNS[:4]), findings)


def _claims(parts: list[_Claim], symbol: str) -> list[_Claim]:
    """Take the sources that speak of a symbol in order; files of one format with vintages are one source."""
    claims = []
    for part in parts:
        if (likeness := _likeness(part.held, symbol)) is not None:
            frame = part.frame.with_columns(pl.lit(symbol).alias("symbol"))
            claims.append(replace(part, likeness=likeness, frame=frame))
    joined: dict[str, _Claim] = {}
    for claim in sorted(claims, key=lambda claim: claim.rank):
        key = claim.entry.format.name if claim.entry.format.vintages else f"{claim.source} {claim.held}"
        before = joined.get(key)
        both = (
            claim if before is None else replace(claim, frame=changes(pl.concat([before.frame, claim.frame])))
        )
        joined[key] = both
    return list(joined.values())


def _likeness(held: str, asked: str) -> int | None:
    """Rank how a symbol in a file fits: 0 the pair or its perpetual, 1 the coin, 2 another pair of it."""
    if MARKET_WIDE in (held, asked):
        return 0 if held == asked else None
    if held == asked or held.split(":")[0] == asked.split(":")[0]:
        return 0
    if asset_of(held) != asset_of(asked):
        return None
    return 1 if "/" not in held else 2


def _merge(claims: list[_Claim], table: str, symbol: str) -> tuple[pl.DataFrame, tuple[Finding, ...]]:
    """One set of series out of several sources."""
    findings: tuple[Finding, ...] = ()
    used = [claims[0]]
    for claim in claims[1:]:
        seen = [(_compare(better, claim), better) for better in used]
        refused = next(((c, better) for c, better in seen if not c.same), None)
        if refused is not None:
            findings += (_refusal(claim, table, symbol, *refused),)
            continue
        own = claim.frame
        for comparison, better in seen:
            own = own.join(better.frame.select("series", "ts").unique(), on=["series", "ts"], how="anti")
            for stretch in comparison.foreign:
                own = own.filter(~pl.col("ts").is_between(stretch.first, stretch.last))
                findings += (_stretch(table, symbol, claim, better, stretch),)
            if better.entry.format.vintages:
                known = better.frame["ts"]
                shared = pl.col("series").is_in(better.frame["series"].unique().implode())
                own = own.filter(~(shared & pl.col("ts").is_between(known.min(), known.max())))
        if own.height:
            added = replace(claim, frame=own)
            apart = [better for comparison, better in seen if not comparison.shared]
            findings += tuple(note for better in apart for note in _seam(better, added, table, symbol))
            used.append(added)
    return pl.concat([claim.frame for claim in used]), findings


def _compare(better: _Claim, other: _Claim) -> Comparison:
    """Compare two sources on the first series that both have."""
    both = set(better.frame["series"].unique()) & set(other.frame["series"].unique())
    name = next((series for series in SERIES if series in both), "")
    return compare(better.series(name), other.series(name), _TOLERANCE)


def _stretch(table: str, symbol: str, claim: _Claim, better: _Claim, stretch: Stretch) -> Finding:
    """Report a stretch in which a source is not what it is elsewhere."""
    detail = (
        f"{claim.source} differs from {better.source} on {stretch.unlike} of {stretch.rows} periods; left out"
    )
    cause = "the source changed what it serves"
    series = _series(claim, symbol)
    return Finding(
        f"raw.{table}",
        series,
        "venue_switch",
        "error",
        stretch.first,
        stretch.last,
        stretch.rows,
        detail,
        cause,
    )


def _refusal(claim: _Claim, table: str, symbol: str, seen: Comparison, better: _Claim) -> Finding:
    """Report a source that is not the series that a better one is, as one of another venue need not be."""
    kind: FindingKind = "local_time" if seen.off_grid else "venue_switch"
    names_venue = " " in claim.source
    severity: Severity = "info" if names_venue and not seen.off_grid else "error"
    if seen.off_grid:
        few = f"only {seen.shared} of {seen.inside} periods of {claim.source}"
        detail = f"{few} are at stamps of {better.source}; not used"
        cause = "another zone or interval"
    else:
        ratio = seen.apart["value"]
        apart = "" if ratio is None else f", {ratio:.3g} times in the median"
        unlike = seen.shared - seen.agreeing
        differ = f"{unlike} of {seen.shared} periods of {claim.source}"
        detail = f"{differ} differ from {better.source}{apart}; not used"
        cause = "another venue" if names_venue else "another venue or quantity"
    stamps = claim.frame["ts"]
    series = _series(claim, symbol)
    return Finding(f"raw.{table}", series, kind, severity, *span(stamps), stamps.len(), detail, cause)


def _seam(better: _Claim, added: _Claim, table: str, symbol: str) -> tuple[Finding, ...]:
    """Report a jump of the level where a source continues another that it never overlaps."""
    notes: tuple[Finding, ...] = ()
    for name in added.frame["series"].unique(maintain_order=True):
        old, new = better.series(name), added.series(name)
        if not old.height or not new.height:
            continue
        if new["ts"][0] < old["ts"][0]:
            old, new = new, old
        left, right = old.tail(_SEAM_ROWS), new.head(_SEAM_ROWS)
        before, after = (part.select(pl.col("value").median()).item() for part in (left, right))
        if not before or not after or 1 / _LEVEL_JUMP < after / before < _LEVEL_JUMP:
            continue
        names = left["source"][0], right["source"][0]
        detail = f"{name}: {names[0]} ends around {before:.4g}, {names[1]} begins around {after:.4g}"
        cause = "the sources may not measure the same"
        moments = left["ts"][-1], right["ts"][0]
        notes += (Finding(f"raw.{table}", symbol, "unit_jump", "warn", *moments, 1, detail, cause),)
    return notes


def _series(claim: _Claim, symbol: str) -> str:
    """Name what a finding is about: the symbol, or the series of the whole market."""
    return str(claim.frame["series"][0]) if symbol == MARKET_WIDE else symbol
