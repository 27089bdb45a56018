"""Candles fresh from a file: refuse what cannot be a candle, leave out what must not be used, report both."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from engine.errors import DataError
from engine.market.candles import CANDLE_COLUMNS
from engine.market.finding import Finding, FindingKind, Reading, Severity
from resources.feeds.formats.symbols import Market
from resources.feeds.formats.text import ROW
from resources.feeds.formats.timestamps import UTC_ZONE, bar_of, now_utc, refuse_future, span

__all__ = ["CANDLES", "PRICES", "noted", "settle_candles"]

CANDLES = "raw.candles"
PRICES = ("open", "high", "low", "close")
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


def noted(
    rows: pl.DataFrame, kind: FindingKind, severity: Severity, detail: str, cause: str = "unknown"
) -> tuple[Finding, ...]:
    """Report rows of candles, one finding for each symbol; none where there are no rows."""
    return tuple(
        Finding(CANDLES, str(key[0]), kind, severity, *span(part["ts"]), part.height, detail, cause)
        for key, part in rows.group_by("symbol", maintain_order=True)
    )


def settle_candles(frame: pl.DataFrame, source: str, market: Market, zone: str = UTC_ZONE) -> Reading:
    """Check candles and put them in order.

    Of rows that repeat a bar the first in the file is kept. Rows whose high is below, or low above, their
    own open or close are left out, and so is a bar that is not over yet.

    Parameters
    ----------
    frame : DataFrame
        ``symbol, ts`` (UTC), ``open, high, low, close, volume``, ``row`` (place in the file), perhaps
        ``venue``.
    source : str
        The file.
    market : Market
        A mark price has no volume; for the others a missing volume is refused.
    zone : str
        Zone that was declared for the file; undeclared local time is looked for where it is UTC.

    Returns
    -------
    Reading
        Candles sorted by symbol and ts, with ``venue`` where it was given.

    Raises
    ------
    DataError
        If a price is missing, not finite or not above zero, a volume is missing or negative, a stamp lies in
        the future or is not the open of a bar; the row is named.
    """
    findings: tuple[Finding, ...] = ()
    if market == "mark":
        empty = frame.filter(pl.col("volume").is_null())
        detail = f"{empty.height} volumes are missing, read as 0"
        findings += noted(empty, "missing_value", "info", detail, "mark prices have none")
        frame = frame.with_columns(pl.col("volume").fill_null(0.0))
    _refuse_impossible(frame, source)
    refuse_future(frame["ts"], frame[ROW], source)
    key: list[str] = [name for name in ("venue", "symbol", "ts") if name in frame.columns]
    if not _strictly_ordered(frame, key):
        frame, repeated = _first_of_repeated(frame, key)
        frame, unordered = _in_order(frame, key)
        findings += repeated + unordered
    bar = bar_of(frame["ts"], source)
    _refuse_off_grid(frame, bar, source)
    frame, contradictory = _consistent(frame)
    still_open = frame.filter(pl.col("ts") + bar > now_utc())
    findings += contradictory + noted(still_open, "unfinished", "error", "the bar is still open; left out")
    frame = frame.filter(pl.col("ts") + bar <= now_utc())
    findings += _about_the_market(frame, market)
    if zone == UTC_ZONE and bar <= _HOUR:
        findings += _weekly_close_without_summer_time(frame)
    columns = [*CANDLE_COLUMNS, *(["venue"] if "venue" in frame.columns else [])]
    return Reading(frame.select(columns), findings)


def _refuse_impossible(frame: pl.DataFrame, source: str) -> None:
    """Refuse prices and volumes that no market can have."""
    fit = {name: pl.col(name).is_finite() & (pl.col(name) > 0) for name in PRICES}
    fit["volume"] = pl.col("volume").is_finite() & (pl.col("volume") >= 0)
    for name, wrong in frame.select(~ok.fill_null(value=False) for ok in fit.values()).to_dict().items():
        if wrong.any():
            bad = frame.filter(wrong)
            need = (
                "a volume is finite and not negative" if name == "volume" else "a price is finite and above 0"
            )
            raise DataError(
                f"{bad[name][0]} at {bad['ts'][0]}; {need} ({bad.height} such rows)",
                source=source,
                row=bad[ROW][0],
                column=name,
            )


def _strictly_ordered(frame: pl.DataFrame, key: list[str]) -> bool:
    """Whether one series is in order of time without repetition."""
    one_series = all(frame[name].n_unique() == 1 for name in key[:-1])
    return one_series and bool((frame["ts"].diff().drop_nulls() > timedelta(0)).all())


def _first_of_repeated(frame: pl.DataFrame, key: list[str]) -> tuple[pl.DataFrame, tuple[Finding, ...]]:
    """Keep the first row of each bar in the order of the file."""
    single = frame.unique(key, keep="first", maintain_order=True)
    surplus = frame.join(single.select(ROW), on=ROW, how="anti")
    if not surplus.height:
        return frame, ()
    pairs = surplus.join(single, on=key, suffix="_kept")
    apart = [(pl.col(c) / pl.col(f"{c}_kept") - 1).abs().max() for c in PRICES]
    largest = pairs.select(pl.max_horizontal(apart)).item()
    detail = (
        f"{surplus.height} rows repeat a bar, the first of each is kept; prices differ by up to "
        f"{largest:.2g} of the price"
    )
    return single, noted(surplus, "duplicate", "warn" if largest else "info", detail)


def _in_order(frame: pl.DataFrame, key: list[str]) -> tuple[pl.DataFrame, tuple[Finding, ...]]:
    """Sort; say so where the file was not in order of time."""
    back = frame.filter((pl.col("ts") < pl.col("ts").shift(1)).over(key[:-1]))
    newest_first = back.height == frame.height - frame.select(key[:-1]).n_unique()
    detail = "rows are newest first" if newest_first else f"{back.height} rows precede the row before them"
    return frame.sort(key), noted(back, "order", "info", f"{detail}; sorted")


def _refuse_off_grid(frame: pl.DataFrame, bar: timedelta, source: str) -> None:
    """Refuse stamps of intraday candles that are no multiple of the bar."""
    if bar >= _DAY:
        return
    off = frame.filter(pl.col("ts").cast(pl.Int64).mod(bar // timedelta(microseconds=1)) != 0)
    if off.height:
        raise DataError(
            f"{off['ts'][0]} is not the open of a bar of {bar}; {off.height} such rows",
            source=source,
            row=off[ROW][0],
        )


def _consistent(frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[Finding, ...]]:
    """Leave out rows whose high or low contradicts their open or close."""
    o, h, low, c = (pl.col(name) for name in PRICES)
    wrong = (h < pl.max_horizontal(o, c)) | (low > pl.min_horizontal(o, c))
    bad = frame.filter(wrong)
    if not bad.height:
        return frame, ()
    rows = ", ".join(str(row) for row in bad[ROW].head(5))
    detail = f"high below or low above open or close in {bad.height} rows (row {rows}); left out"
    return frame.filter(~wrong), noted(bad, "ohlc", "error", detail)


def _about_the_market(frame: pl.DataFrame, market: Market) -> tuple[Finding, ...]:
    """Find doubts about what kind of price a series is."""
    found: tuple[Finding, ...] = ()
    traded = frame.filter(pl.col("volume") > 0)
    if market == "mark":
        detail = f"named a mark price, but {traded.height} rows have volume: these are traded candles"
        found += noted(traded, "implausible", "warn", detail, "the file is named wrongly")
    elif not traded.height:
        found += noted(frame, "zero_volume", "warn", "no row has volume: the source does not report it")
    flat = pl.all_horizontal(pl.col(c) == pl.col("open") for c in PRICES)
    if frame.height >= 100 and frame.select(flat.all()).item():
        detail = "open, high, low and close are equal in every row: a reference price, not a traded candle"
        found += noted(frame, "implausible", "warn", detail)
    return found


def _weekly_close_without_summer_time(frame: pl.DataFrame) -> tuple[Finding, ...]:
    """Find a market that shuts for the weekend at the same hour all year, which no market does in UTC."""
    found: tuple[Finding, ...] = ()
    day = pl.col("ts").dt.weekday()
    open_at_weekends = frame.filter(day == 6)["symbol"].unique()
    closed = frame.filter(~pl.col("symbol").is_in(open_at_weekends.to_list()))
    for _, part in closed.group_by("symbol", maintain_order=True):
        fridays = part.filter(day == 5)
        if fridays["ts"].dt.date().n_unique() < 52:
            continue
        date, hour = pl.col("ts").dt.date().alias("date"), pl.col("ts").max().dt.hour().alias("hour")
        last = fridays.group_by(date).agg(hour)
        winter, summer = (
            last.filter(pl.col("date").dt.month() == month)["hour"].mode().sort().to_list()
            for month in (1, 7)
        )
        if winter and winter == summer:
            detail = (
                f"the week ends on Fridays at {winter[0]} h in January and in July: local time, read as UTC"
            )
            found += noted(part, "local_time", "warn", detail, "the zone of the file is not declared")
    return found
