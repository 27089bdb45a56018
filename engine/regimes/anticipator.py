"""RegimeTransitionAnticipator: how likely the regime is to change soon, in calibrated probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.calibration.coverage import effective_outcomes
from engine.errors import NotEnoughDataError
from engine.evaluation.splits import Window, fit_dates, require_positive, select
from engine.regimes.transition_features import TRANSITION_FEATURES
from engine.regimes.transition_model import (
    LinearScore,
    Recalibration,
    Sources,
    fit_recalibration,
    fit_score,
    usable_sources,
)
from engine.regimes.transitions import OUTCOMES, transition_labels

__all__ = [
    "AnticipatorConfig",
    "RegimeTransitionAnticipator",
    "TransitionHistory",
    "independent_outcomes",
    "train_and_calibrate",
    "walk_forward_transitions",
]


@dataclass(frozen=True)
class AnticipatorConfig:
    """Settings of the anticipator.

    Parameters
    ----------
    bar : timedelta
        Length of a bar.
    horizon : int
        Bars in which a transition may begin.
    hold : int
        Bars for which another regime must last; see `transition_labels`.
    calibration_share : float
        Share of a window, its end, that is calibrated on; the beginning is fitted on.
    thinning : int
        Every how many bars are fitted on. Neighbours tell nearly the same twice.
    warning_prior : float
        Prior standard deviation of the coefficients of change points and early warnings; see `fit_score`.
    least_rows : int
        Fewest labelled rows to fit on, and to calibrate on.
    """

    bar: timedelta = timedelta(hours=1)
    horizon: int = 24
    hold: int = 3
    calibration_share: float = 0.3
    thinning: int = 4
    warning_prior: float = 0.1
    least_rows: int = 1_000

    def __post_init__(self) -> None:
        if self.bar <= timedelta(0):
            raise ValueError(f"bar={self.bar} must be positive")
        for name in ("horizon", "hold", "thinning", "least_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if not 0.0 < self.calibration_share < 1.0:
            raise ValueError(f"calibration_share={self.calibration_share} must lie in (0, 1)")
        if not self.warning_prior > 0.0:
            raise ValueError(f"warning_prior={self.warning_prior} must be positive")


def train_and_calibrate(
    rows: pl.DataFrame, window: Window, config: AnticipatorConfig
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Cut ``train | purge | calibrate`` out of a window, with the labels known by the end of each part.

    Parameters
    ----------
    rows : DataFrame
        From `transition_features`. Rows outside the window are not looked at, not even for labels.
    window : Window
        What is known.
    config : AnticipatorConfig
        Definition of the labels and share of the calibration.

    Returns
    -------
    train, calibrate : DataFrame
        Rows with `OUTCOMES` and ``label_end``.

    Raises
    ------
    NotEnoughDataError
        If either part has fewer than `AnticipatorConfig.least_rows` rows.
    """
    inside = rows.filter(window.mask()).sort("symbol", "ts")
    labels = transition_labels(inside, config.bar, config.horizon, config.hold)
    labelled = select(
        inside.with_columns(labels.select(*OUTCOMES, "label_end")), window, label_end="label_end"
    ).drop_nulls(TRANSITION_FEATURES["regime"][0])
    begin = labelled["ts"].min()
    if isinstance(begin, datetime):
        border = window.end - config.calibration_share * (window.end - begin)
        train = labelled.filter(pl.col("label_end") <= border)
        calibrate = labelled.filter(pl.col("ts") >= border)
        if min(train.height, calibrate.height) >= config.least_rows:
            return train, calibrate
    raise NotEnoughDataError(
        f"{labelled.height} labelled rows from {window.start} to {window.end}; the transition risk needs "
        f"{config.least_rows} to fit on and as many later ones to calibrate on"
    )


def independent_outcomes(rows: pl.DataFrame, outcome: str, horizon: int) -> float:
    """Independent outcomes per row: labels overlap in time, and symbols change together."""
    return effective_outcomes(rows, outcome, overlap=float(horizon)) / max(rows.height, 1)


@dataclass(frozen=True)
class _Risk:
    """Probability of one outcome."""

    score: LinearScore
    calibration: Recalibration

    def __call__(self, rows: pl.DataFrame) -> NDArray[np.float64]:
        return self.calibration(self.score(rows))


class RegimeTransitionAnticipator:
    """Risk that the regime is left, and that PANIC is entered, within a horizon.

    One model for all symbols reads the filtered regime's own course, change points and early warnings. It is
    fitted on the beginning of a window and calibrated on its end, with no label of the one reaching into the
    other, so that of all transitions it gives 30 %, 30 % come.

    Parameters
    ----------
    config : AnticipatorConfig, optional
    """

    def __init__(self, config: AnticipatorConfig | None = None) -> None:
        self.config = config or AnticipatorConfig()
        self._risks: dict[str, _Risk] = {}

    @property
    def fitted(self) -> bool:
        """Whether `fit` has succeeded."""
        return bool(self._risks)

    def fit(self, rows: pl.DataFrame, window: Window) -> RegimeTransitionAnticipator:
        """Fit and calibrate on what is known at the end of a window.

        Parameters
        ----------
        rows : DataFrame
            From `transition_features`. Rows outside the window are not looked at, not even for labels.
        window : Window
            ``train | purge | calibrate`` are cut from it.

        Raises
        ------
        NotEnoughDataError
            If either part has fewer than `AnticipatorConfig.least_rows` labelled rows; see
            `train_and_calibrate`.
        """
        train, calibrate = train_and_calibrate(rows, window, self.config)
        sources = usable_sources(train)
        self._risks = {outcome: self._fit_risk(train, calibrate, outcome, sources) for outcome in OUTCOMES}
        return self

    def _fit_risk(
        self, train: pl.DataFrame, calibrate: pl.DataFrame, outcome: str, sources: Sources
    ) -> _Risk:
        config = self.config
        train, calibrate = train.drop_nulls(outcome), calibrate.drop_nulls(outcome)
        turn = pl.col("ts").dt.epoch("us") // (config.bar // timedelta(microseconds=1)) % config.thinning
        score = fit_score(
            train.filter(turn == 0),
            outcome,
            sources,
            config.thinning * independent_outcomes(train, outcome, config.horizon),
            config.warning_prior,
        )
        scores = score(calibrate)
        known = np.isfinite(scores)
        happened = calibrate[outcome].to_numpy().astype(bool)
        weight = independent_outcomes(calibrate, outcome, config.horizon)
        return _Risk(score, fit_recalibration(scores[known], happened[known], weight))

    def anticipate(self, rows: pl.DataFrame) -> pl.DataFrame:
        """State the risk of each row, from that row alone.

        Parameters
        ----------
        rows : DataFrame
            From `transition_features`.

        Returns
        -------
        DataFrame
            ``symbol, ts, horizon, p_transition, p_panic_entry, status``, rows as given. ``horizon`` is in
            bars. ``status`` is ``ok``, or ``unknown`` with null risks where the regime is unknown or what is
            made of candles is missing; a missing funding rate or index makes nothing unknown, see `Sources`.
            In PANIC there is no entry into it and ``p_panic_entry`` is null.

        Raises
        ------
        ValueError
            If the anticipator was not fitted.
        """
        if not self.fitted:
            raise ValueError("the anticipator was not fitted; call fit first")
        leaves, panic = (
            pl.Series(self._risks[outcome](rows), dtype=pl.Float64).fill_nan(None) for outcome in OUTCOMES
        )
        return _risk_frame(rows, self.config.horizon, leaves, panic)

    def to_arrays(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Everything learned, as arrays and a JSON-able description; `from_arrays` restores it exactly."""
        meta: dict[str, Any] = {
            "config": asdict(self.config) | {"bar": self.config.bar.total_seconds()},
            "sources": {},
        }
        arrays: dict[str, NDArray[Any]] = {}
        for outcome, risk in self._risks.items():
            numbers, meta["sources"][outcome] = risk.score.to_arrays()
            numbers["calibration"] = np.array([risk.calibration.slope, risk.calibration.level])
            arrays |= {f"{outcome}.{name}": array for name, array in numbers.items()}
        return arrays, meta

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]
    ) -> RegimeTransitionAnticipator:
        """Restore an anticipator from what `to_arrays` gave."""
        settings = dict(meta["config"])
        restored = cls(AnticipatorConfig(**settings | {"bar": timedelta(seconds=settings["bar"])}))
        for outcome, sources in meta["sources"].items():
            own = {
                name.removeprefix(f"{outcome}."): array
                for name, array in arrays.items()
                if name.startswith(f"{outcome}.")
            }
            slope, level = own["calibration"].tolist()
            restored._risks[outcome] = _Risk(
                LinearScore.from_arrays(own, sources), Recalibration(slope, level)
            )
        return restored


def _risk_frame(rows: pl.DataFrame, horizon: int, leaves: pl.Series, panic: pl.Series) -> pl.DataFrame:
    return rows.select(
        "symbol",
        "ts",
        pl.lit(horizon, pl.Int64).alias("horizon"),
        leaves.alias("p_transition"),
        pl.when(pl.col("regime") != "PANIC").then(panic).alias("p_panic_entry"),
        pl.when(leaves.is_not_null()).then(pl.lit("ok")).otherwise(pl.lit("unknown")).alias("status"),
    )


@dataclass(frozen=True)
class TransitionHistory:
    """Transition risk of a whole history, and the anticipator in use at its end.

    Parameters
    ----------
    rows : DataFrame
        As `RegimeTransitionAnticipator.anticipate` returns them, one for each row of features.
    anticipator : RegimeTransitionAnticipator
        Continues the history, handed the features of new bars; `FEATURE_MEMORY` rows of each symbol before
        them give these. Not fitted if the history was too short.
    """

    rows: pl.DataFrame
    anticipator: RegimeTransitionAnticipator


def walk_forward_transitions(
    rows: pl.DataFrame,
    bar: timedelta,
    *,
    refit: timedelta,
    warmup: timedelta,
    lookback: timedelta,
    config: AnticipatorConfig | None = None,
) -> TransitionHistory:
    """State the risk of each bar by a model that had seen only labels known when it was fitted.

    A model is fitted every `refit`, counted from the first bar on, and is in use until the next one. A window
    with too few labels leaves the model before in use.

    Parameters
    ----------
    rows : DataFrame
        From `transition_features`.
    bar : timedelta
        Length of a bar.
    refit : timedelta
        From one fit to the next.
    warmup : timedelta
        History before the first fit; the risk of its rows is unknown, and so is that of rows before a first
        fit has rows enough.
    lookback : timedelta
        Most history that a fit sees.
    config : AnticipatorConfig, optional
        Settings; their `bar` is overridden.

    Raises
    ------
    ValueError
        If a length is not positive.
    """
    require_positive(bar=bar, refit=refit, warmup=warmup, lookback=lookback)
    anticipator = RegimeTransitionAnticipator(replace(config or AnticipatorConfig(), bar=bar))
    parts = []
    for date in fit_dates(rows["ts"], refit, warmup):
        try:
            anticipator.fit(rows, Window(date - lookback, date))
        except NotEnoughDataError:
            if not anticipator.fitted:
                continue
        parts.append(anticipator.anticipate(rows.filter(Window(date, date + refit).mask())))
    unknown = pl.Series([None], dtype=pl.Float64).new_from_index(0, rows.height)
    nothing = _risk_frame(rows, anticipator.config.horizon, unknown, unknown)
    if not parts:
        return TransitionHistory(nothing, anticipator)
    known = nothing.select("symbol", "ts").join(
        pl.concat(parts), on=["symbol", "ts"], how="left", maintain_order="left"
    )
    return TransitionHistory(
        known.with_columns(
            pl.lit(anticipator.config.horizon, pl.Int64).alias("horizon"),
            pl.col("status").fill_null("unknown"),
        ),
        anticipator,
    )
