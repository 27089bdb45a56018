"""Regimes of a whole history, each as it could be known at the time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import polars as pl

from engine.errors import NotEnoughDataError
from engine.evaluation.splits import Window, fit_dates, require_positive
from engine.regimes.detector import RegimeConfig, RegimeDetector, filtered_frame
from engine.regimes.names import REGIMES
from engine.regimes.observations import observations

__all__ = ["RegimeHistory", "walk_forward_regimes"]


@dataclass(frozen=True)
class RegimeHistory:
    """Regimes of a whole history, and the detector in use at its end.

    Parameters
    ----------
    rows : DataFrame
        ``symbol, ts, p_trend, p_range, p_panic, regime``, one row for each candle.
    detector : RegimeDetector
        Continues the history with `RegimeDetector.filter`, handed the last rows; not fitted if the history
        was too short.
    """

    rows: pl.DataFrame
    detector: RegimeDetector


def walk_forward_regimes(
    candles: pl.DataFrame,
    bar: timedelta,
    *,
    refit: timedelta,
    warmup: timedelta,
    lookback: timedelta,
    config: RegimeConfig | None = None,
    alternative: pl.DataFrame | None = None,
) -> RegimeHistory:
    """Filter the whole history with models that are refitted on schedule.

    A model is fitted every `refit`, counted from the first bar on. The one fitted at a date has seen only
    bars that had closed by then, starts from the one before, and is in use until the next. Belief carries
    over.

    Parameters
    ----------
    candles : DataFrame
        As `observations` takes them.
    bar : timedelta
        Length of a bar.
    refit : timedelta
        From one fit to the next.
    warmup : timedelta
        History before the first fit. Its rows have null probabilities, and so do those before a first fit has
        rows enough.
    lookback : timedelta
        Most history that a fit sees.
    config : RegimeConfig, optional
        Settings; their `bar` is overridden.
    alternative : DataFrame, optional
        Funding, liquidations and Fear & Greed, as `observations` takes them.

    Raises
    ------
    ValueError
        If a length is not positive.
    """
    require_positive(bar=bar, refit=refit, warmup=warmup, lookback=lookback)
    detector = RegimeDetector(replace(config or RegimeConfig(), bar=bar))
    observed = observations(candles, detector.config.spans, alternative)
    filtered = filtered_frame(observed.head(0), np.empty((0, len(REGIMES))))
    latest: pl.DataFrame | None = None
    parts = [filtered]
    for date in fit_dates(observed["ts"], refit, warmup):
        try:
            detector.fit(observed, Window(date - lookback, date))
        except NotEnoughDataError:
            if detector.chain is None:
                continue
        filtered = detector.filter(observed.filter(Window(date, date + refit).mask()), latest)
        latest = pl.concat([filtered] if latest is None else [latest, filtered])
        latest = latest.group_by("symbol", maintain_order=True).last()
        parts.append(filtered)
    rows = observed.select("symbol", "ts").join(
        pl.concat(parts), on=["symbol", "ts"], how="left", maintain_order="left"
    )
    return RegimeHistory(rows, detector)
