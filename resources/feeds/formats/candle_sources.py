"""Candles of one symbol out of all files that claim to hold it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import polars as pl

from engine.errors import DataError
from engine.market.candles import CANDLE_COLUMNS, CANDLE_SCHEMA, resample
from engine.market.finding import Finding, FindingKind, Reading, Severity
from resources.feeds.formats.agreement import Comparison, compare
from resources.feeds.formats.bars import CANDLES
from resources.feeds.formats.catalogue import Catalogue, Entry
from resources.feeds.formats.symbols import Market
from resources.feeds.formats.timestamps import span

__all__ = ["candles_of", "default_universe", "symbols_at"]

# Two files of one venue have the same high, low and close in nearly every bar; of two venues all three
# coincide in fewer than 1 % of the bars recorded. Vendors of one venue may still differ in open and volume.
_SAME_BAR = {"high": 1e-6, "low": 1e-6, "close": 1e-6}
_SAME_VOLUME = 0.01


@dataclass(frozen=True)
class _Claim:
    """One series of one file, as read."""

    entry: Entry
    venue: str
    frame: pl.DataFrame

    @property
    def rank(self) -> tuple[int, int, str, str]:
        """Order of precedence: the format, then the number of bars, then the name."""
        return self.entry.format.precedence, -self.frame.height, self.entry.name, self.venue

    @property
    def name(self) -> str:
        """File, and venue where the file has several."""
        return f"{self.entry.name} {self.venue}" if self.shares_file else self.entry.name

    @property
    def shares_file(self) -> bool:
        """Whether the file holds several venues."""
        return len({held.venue for held in self.entry.held}) > 1


def symbols_at(
    catalogue: Catalogue, bar: timedelta, market: Market | None = None
) -> dict[str, set[timedelta]]:
    """Symbols that can be had at a bar size, natively or from smaller bars, and the sizes they come in."""
    found: dict[str, set[timedelta]] = {}
    for entry in catalogue.of_table("candles"):
        if entry.bar is not None and entry.bar <= bar and not bar % entry.bar:
            for held in entry.held:
                if held.market != "mark" and market in (None, held.market):
                    found.setdefault(held.symbol, set()).add(entry.bar)
    return found


def default_universe(catalogue: Catalogue, bar: timedelta) -> tuple[str, ...]:
    """Spot symbols that the preferred format present holds natively at this bar, with volume."""
    native = [
        e for e in catalogue.of_table("candles") if e.bar == bar and any(h.market == "spot" for h in e.held)
    ]
    best = min((e.format.precedence for e in native), default=None)
    found: set[str] = set()
    for entry in native:
        if entry.format.precedence == best:
            traded = entry.read().frame.filter(pl.col("volume") > 0)["symbol"].unique()
            found |= {h.symbol for h in entry.held if h.market == "spot"} & set(traded)
    return tuple(sorted(found))


def candles_of(catalogue: Catalogue, symbol: str, bar: timedelta) -> Reading:
    """Read the candles of a symbol.

    Files are taken in order of precedence: the format (tidy Parquet, Binance archives, freqtrade, plain CSV,
    CryptoDataDownload), then the number of bars, then the name. A later one adds only bars that the earlier
    ones lack, and only where it agrees with them on the bars that both have. Smaller bars are added up only
    if no file has bars of this size. Mark prices are never used.

    Raises
    ------
    DataError
        If no file holds the symbol at this bar or a smaller one; what is there is listed.
    """
    sizes = symbols_at(catalogue, bar)
    if symbol not in sizes:
        there = ", ".join(sorted(sizes)) or "nothing"
        raise DataError(
            f"no file holds {symbol} at {bar} or a smaller bar; there is: {there}", source="candles"
        )
    findings: tuple[Finding, ...] = ()
    for size in sorted(sizes[symbol], reverse=True):
        reading = _merged(catalogue, symbol, size)
        findings += reading.findings
        if reading.frame.height:
            return Reading(_to_bar(reading.frame, size, bar), findings)
    reasons = "; ".join(f.detail for f in findings if f.severity == "error")
    raise DataError(f"no file that claims to hold {symbol} can be used: {reasons}", source="candles")


def _to_bar(frame: pl.DataFrame, size: timedelta, bar: timedelta) -> pl.DataFrame:
    """Add small bars up; the last bar counts only if it is over."""
    if size == bar:
        return frame
    over = frame["ts"].max() + size  # type: ignore[operator]  # a stamp
    return resample(frame, size, bar).filter(pl.col("ts") + bar <= over)


def _claims(catalogue: Catalogue, symbol: str, bar: timedelta) -> tuple[list[_Claim], tuple[Finding, ...]]:
    """Everything that files of this bar size hold under this symbol, in order of precedence."""
    claims: list[_Claim] = []
    findings: tuple[Finding, ...] = ()
    for entry in catalogue.of_table("candles"):
        venues = [h.venue for h in entry.held if h.symbol == symbol and h.market != "mark"]
        if not venues or entry.bar != bar:
            continue
        reading = entry.read()
        findings += tuple(
            replace(f, detail=f"{entry.name}: {f.detail}") for f in reading.findings if f.series == symbol
        )
        for venue in venues:
            rows = pl.col("symbol") == symbol
            if "venue" in reading.frame.columns:
                rows = rows & (pl.col("venue") == venue)
            claims.append(_Claim(entry, venue, reading.frame.filter(rows).select(CANDLE_COLUMNS)))
    return sorted(claims, key=lambda claim: claim.rank), findings


def _merged(catalogue: Catalogue, symbol: str, bar: timedelta) -> Reading:
    """One series out of all claims of one bar size."""
    claims, findings = _claims(catalogue, symbol, bar)
    merged = pl.DataFrame(schema=CANDLE_SCHEMA)
    other_market: pl.DataFrame | None = None
    for claim in claims:
        if claim.entry.format.precedence > 0:
            other_market = _counterpart(catalogue, symbol, bar) if other_market is None else other_market
            if impostor := _impostor(claim, symbol, other_market):
                findings += impostor
                continue
        if not merged.height:
            merged = claim.frame
            continue
        seen = compare(merged, claim.frame, _SAME_BAR)
        findings += _about(merged, seen, claim, symbol)
        if seen.same:
            merged = _filled(merged, claim.frame, seen)
    return Reading(merged, findings)


def _filled(better: pl.DataFrame, other: pl.DataFrame, seen: Comparison) -> pl.DataFrame:
    """Add the bars that only the other source has, outside its foreign stretches."""
    own = other.join(better.select("ts"), on="ts", how="anti")
    for stretch in seen.foreign:
        own = own.filter(~pl.col("ts").is_between(stretch.first, stretch.last))
    return pl.concat([better, own]).sort("ts") if own.height else better


def _counterpart(catalogue: Catalogue, symbol: str, bar: timedelta) -> pl.DataFrame:
    """Read tidy candles of the same pair in the other market: spot for a perpetual, and the reverse."""
    twin = symbol.split(":")[0] if ":" in symbol else f"{symbol}:{symbol.split('/')[-1]}"
    tidy = Catalogue(tuple(e for e in catalogue.entries if e.format.precedence == 0), ())
    for size in sorted(symbols_at(tidy, bar).get(twin, ()), reverse=True):
        claims, _ = _claims(tidy, twin, size)
        return _to_bar(claims[0].frame, size, bar)
    return pl.DataFrame(schema=CANDLE_SCHEMA)


def _impostor(claim: _Claim, symbol: str, other_market: pl.DataFrame) -> tuple[Finding, ...]:
    """Report a file whose bars are those of the other market, whatever its name says."""
    if not other_market.height or not claim.frame.height:
        return ()
    seen = compare(other_market, claim.frame, _SAME_BAR)
    if seen.agreeing < 2 or not seen.same:
        return ()
    detail = (
        f"{claim.name} claims to be {symbol}, but {seen.agreeing} of {seen.shared} bars are those of "
        f"{other_market['symbol'][0]}; not used"
    )
    cause = "named or filed as another market"
    return (_finding(claim.frame, symbol, "venue_switch", "error", detail, cause, claim.frame.height),)


def _about(better: pl.DataFrame, seen: Comparison, claim: _Claim, symbol: str) -> tuple[Finding, ...]:
    """Report how a source differs from the better ones."""
    bars = claim.frame
    if not bars.height:
        return ()
    if seen.off_grid:
        stamps = f"only {seen.shared} of {seen.inside} bars of {claim.name}"
        detail = f"{stamps} are at stamps of the better source; not used"
        return (_finding(bars, symbol, "local_time", "error", detail, "another zone", bars.height),)
    unlike = seen.shared - seen.agreeing
    if not seen.same:
        apart = _apart(better, bars)
        detail = (
            f"{unlike} of {seen.shared} bars of {claim.name} differ from the better source{apart}; not used"
        )
        severity: Severity = "info" if claim.shares_file else "error"
        return (_finding(bars, symbol, "venue_switch", severity, detail, "another venue", bars.height),)
    notes: tuple[Finding, ...] = ()
    for stretch in seen.foreign:
        rows = bars.filter(pl.col("ts").is_between(stretch.first, stretch.last))
        apart = _apart(better, rows)
        detail = f"{stretch.rows} bars of {claim.name} differ from the better source{apart}; not used"
        notes += (_finding(rows, symbol, "venue_switch", "error", detail, "another venue", stretch.rows),)
    if unlike and not seen.foreign:
        detail = f"{unlike} of {seen.shared} bars of {claim.name} differ from the better source, which counts"
        notes += (_finding(bars, symbol, "duplicate", "info", detail, "rounding or revision", unlike),)
    return notes + _volumes(better, claim, symbol)


def _apart(better: pl.DataFrame, bars: pl.DataFrame) -> str:
    """How far close and volume are from the better source's, in words."""
    both = bars.join(better, on="ts", suffix="_better")
    if not both.height:
        return ""
    away = both.select((pl.col("close") / pl.col("close_better") - 1).abs().median()).item()
    times = both.select((pl.col("volume") / pl.col("volume_better")).median()).item()
    return f" (in the median close is {away:.2%} away and volume {times:.2f} times)"


def _volumes(better: pl.DataFrame, claim: _Claim, symbol: str) -> tuple[Finding, ...]:
    """Report a source whose prices agree while most of its volumes do not."""
    both = claim.frame.join(better, on="ts", suffix="_better").filter(pl.col("volume_better") > 0)
    ratio = pl.col("volume") / pl.col("volume_better")
    unlike = both.filter((ratio - 1).abs() > _SAME_VOLUME)
    if unlike.height <= both.height // 2:
        return ()
    times = unlike.select(ratio.median()).item()
    detail = (
        f"{claim.name}: {unlike.height} of {both.height} volumes are not the better source's, "
        f"{times:.2f} times in the median"
    )
    return (
        _finding(
            unlike, symbol, "unit_jump", "warn", detail, "the vendor counts volume differently", unlike.height
        ),
    )


def _finding(
    bars: pl.DataFrame, symbol: str, kind: FindingKind, severity: Severity, detail: str, cause: str, rows: int
) -> Finding:
    """Report rows of a source between the first and the last of a frame."""
    return Finding(CANDLES, symbol, kind, severity, *span(bars["ts"]), rows, detail, cause)
