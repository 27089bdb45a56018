"""Coins held by exchanges, as CoinGlass shows them on a day."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from engine.errors import DataError
from engine.market.finding import Reading
from resources.feeds.formats.format import Format, sample
from resources.feeds.formats.observed import drop_repeated, found, source_of
from resources.feeds.formats.tabular import load_table, moments
from resources.feeds.formats.timestamps import UTC_ZONE

__all__ = ["FORMATS", "read_balance_list", "read_balances"]

_COLUMNS = ("asset", "exchange", "ts", "as_of", "total_balance")
_TAKEN_WITHIN = timedelta(hours=25)


def read_balances(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Read ``asset, exchange, ts, as_of, total_balance`` in native units.

    A day may have been looked at twice: ``as_of`` tells the rows apart and both are kept.

    Returns
    -------
    Reading
        ``asset, exchange, ts, as_of, total_balance``, sorted.
    """
    cells = load_table(sample(path), ("total_balance",), ("asset", "exchange", "ts", "as_of"))
    frame = cells.with_columns(moments(cells, name, zone, path)[0].alias(name) for name in ("ts", "as_of"))
    key = ["asset", "exchange", "ts", "as_of"]
    single, findings = drop_repeated(frame, key, ["total_balance"], "exchange_flows", "balances", path)
    again = single.filter(~single.select(pl.struct(key[:3]).is_first_distinct()).to_series())
    detail = f"{again.height} rows of {source_of(path)} look at a day again; as_of tells them apart"
    findings += found(again, "exchange_flows", "balances", "revision", "info", detail)
    return Reading(single.select(_COLUMNS).sort(_COLUMNS), findings)


def read_balance_list(path: Path, zone: str = UTC_ZONE) -> Reading:
    """Read the vendor's list for one coin, in a folder named after its day.

    It was known 25 hours after the day began.

    Raises
    ------
    DataError
        If the name lacks the coin or the folder the day.
    """
    cells = load_table(sample(path), ("total_balance",), ("exchange_name",))
    coin = re.search(r"_([A-Z0-9]{2,6})$", path.stem)
    day = re.fullmatch(r"(\d{4})-?(\d\d)-?(\d\d)", path.parent.name)
    if coin is None or day is None:
        raise DataError(
            "needs the coin in its name and a folder named after its day (20250828)", source=str(path)
        )
    taken = datetime(int(day[1]), int(day[2]), int(day[3]))  # noqa: DTZ001  UTC without zone
    moment = pl.lit(taken).cast(pl.Datetime("us"))
    frame = cells.select(
        pl.lit(coin[1]).alias("asset"),
        pl.col("exchange_name").alias("exchange"),
        moment.alias("ts"),
        (moment + _TAKEN_WITHIN).alias("as_of"),
        "total_balance",
    )
    return Reading(frame.sort(_COLUMNS))


FORMATS = (
    Format("exchange balances, table", "balances", 0, lambda s: s.has(*_COLUMNS), read_balances),
    Format(
        "CoinGlass exchange balance list",
        "balances",
        10,
        lambda s: s.has("exchange_name", "total_balance"),
        read_balance_list,
    ),
)
