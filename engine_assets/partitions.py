"""How time is cut: calendar months, symbols as rows.

A month instead of a day, because the event log takes two rows for each partition of each asset:
eight years are 92 partitions instead of 2,800.
"""

from __future__ import annotations

from datetime import date, datetime

import dagster as dg

__all__ = ["month_of", "monthly"]


def monthly(first_day: date, last_moment: datetime | None) -> dg.MonthlyPartitionsDefinition:
    """Months from the first day asked for to the last, or to the current one."""
    start = month_of(first_day)
    if last_moment is None:
        return dg.MonthlyPartitionsDefinition(start_date=start.isoformat(), end_offset=1)
    end = month_of(last_moment)
    after = date(end.year + end.month // 12, end.month % 12 + 1, 1)
    stop = end if last_moment == datetime(end.year, end.month, 1) else after  # noqa: DTZ001  UTC without zone
    return dg.MonthlyPartitionsDefinition(start_date=start.isoformat(), end_date=stop.isoformat())


def month_of(moment: date) -> date:
    """First day of the month a moment lies in: the key of its partition."""
    return date(moment.year, moment.month, 1)
