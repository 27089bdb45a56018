"""RegimeDetector: filtered probabilities of TREND, RANGE and PANIC, without lookahead."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from engine.errors import DataError, NotEnoughDataError
from engine.evaluation.splits import Window
from engine.regimes.hmm import FitSettings, RegimeChain, filter_chain, fit_chain
from engine.regimes.names import REGIMES
from engine.regimes.observations import OBSERVATIONS, ObservationSpans

__all__ = ["PROBABILITIES", "RegimeConfig", "RegimeDetector", "filtered_frame"]

PROBABILITIES = tuple(f"p_{name.lower()}" for name in REGIMES)

# The definition of the regimes, in their order and in standard deviations from a symbol's usual state:
# a trend is directed, a range is quiet and undirected, a panic is violent and takes everything along.
ANCHORS = {"volatility": (0.0, -0.5, 3.0), "direction": (0.8, -0.5, 0.0), "stress": (0.0, -0.3, 1.5)}


@dataclass(frozen=True)
class RegimeConfig:
    """Settings of the detector.

    Parameters
    ----------
    bar : timedelta
        Length of a bar.
    spans : ObservationSpans
        Memory of the observations.
    fit : FitSettings
        How the model is fitted.
    clip : float
        Largest standardised observation; heavier tails say no more than this.
    least_rows : int
        Fewest rows to fit on, and fewest of a symbol to be standardised by itself.
    most_rows : int
        Most rows of one fit. Beyond it, stretches of time take turns among the symbols.
    stretch : int
        Rows in each such stretch.
    """

    bar: timedelta = timedelta(hours=1)
    spans: ObservationSpans = field(default_factory=ObservationSpans)
    fit: FitSettings = field(default_factory=FitSettings)
    clip: float = 4.0
    least_rows: int = 500
    most_rows: int = 20_000
    stretch: int = 1_000


class RegimeDetector:
    """Hidden Markov model over all symbols at once, filtered forward only.

    One model is fitted on the pooled observations of all symbols, each standardised by its own training
    statistics. Probabilities come from the forward pass: they use the bar and what precedes it, never what
    follows, unlike the smoothed ones of a library's ``predict_proba``. An observation that is missing is no
    evidence, so belief drifts by the transition matrix towards its long-run shares and no further.

    Parameters
    ----------
    config : RegimeConfig, optional
        Settings.

    References
    ----------
    Hamilton (1989), A new approach to the economic analysis of nonstationary time series and the business
    cycle.
    """

    def __init__(self, config: RegimeConfig | None = None) -> None:
        self.config = config or RegimeConfig()
        self.columns: tuple[str, ...] = ()
        self.scales: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.pooled_scale: tuple[np.ndarray, np.ndarray] = (np.empty(0), np.empty(0))
        self.chain: RegimeChain | None = None
        self._latest: pl.DataFrame | None = None

    def fit(self, observed: pl.DataFrame, window: Window) -> RegimeDetector:
        """Fit on the rows of a window; a detector that was fitted before starts from its model.

        Observations that hardly vary or are mostly unknown in the window (stress, where there is one symbol)
        are left out.

        Parameters
        ----------
        observed : DataFrame
            From `observations`.
        window : Window
            Rows whose `ts` lies inside are used, and no others.

        Raises
        ------
        NotEnoughDataError
            If fewer than `least_rows` rows are complete.
        """
        rows = observed.filter(window.mask()).sort("symbol", "ts")
        usable = rows.select(
            (pl.col(name).is_not_null().mean() > 0.5) & (pl.col(name).std() > 1e-6) for name in OBSERVATIONS
        )
        columns = tuple(name for name in OBSERVATIONS if usable.height and usable[name][0])
        complete = rows.drop_nulls(columns)
        if len(columns) < 2 or complete.height < self.config.least_rows:
            raise NotEnoughDataError(
                f"{complete.height} complete rows of {columns} from {window.start} to {window.end}; "
                f"the regime model needs {self.config.least_rows} of at least two observations"
            )
        previous = self.chain if columns == self.columns else None
        self.columns = columns
        self.pooled_scale = _scale(complete, columns)
        self.scales = {
            str(symbol): _scale(part, columns)
            for (symbol,), part in complete.group_by("symbol", maintain_order=True)
            if part.height >= self.config.least_rows
        }
        anchors = np.array([ANCHORS[name] for name in columns]).T
        thinned, lengths = self._training_rows(complete)
        self.chain = fit_chain(thinned, lengths, anchors, self.config.fit, previous)
        return self

    def _training_rows(self, complete: pl.DataFrame) -> tuple[np.ndarray, list[int]]:
        """Every `thinning`-th bar of each symbol, in stretches that fit into `most_rows`."""
        thinning, stretch = self.config.fit.thinning, self.config.stretch
        values = self._standardised(complete)
        stretches: list[tuple[int, np.ndarray]] = []
        for number, symbol in enumerate(complete["symbol"].unique(maintain_order=True)):
            own = values[(complete["symbol"] == symbol).to_numpy()][::thinning]
            stretches += [(number + k // stretch, own[k : k + stretch]) for k in range(0, len(own), stretch)]
        turns = -(-sum(len(rows) for _, rows in stretches) // self.config.most_rows)
        chosen = [rows for turn, rows in stretches if turn % turns == 0]
        return np.concatenate(chosen), [len(rows) for rows in chosen]

    def _standardised(self, rows: pl.DataFrame) -> np.ndarray:
        """[n, d], by the statistics of each symbol or, for one unknown in training, of all of them pooled."""
        values = rows.select(self.columns).to_numpy().astype(float)
        names, index = np.unique(rows["symbol"].to_numpy().astype(str), return_inverse=True)
        scales = [self.scales.get(str(name), self.pooled_scale) for name in names]
        centre, spread = (np.stack(part)[index] for part in zip(*scales, strict=True))
        return np.clip((values - centre) / spread, -self.config.clip, self.config.clip)

    def filter(self, observed: pl.DataFrame, after: pl.DataFrame | None = None) -> pl.DataFrame:
        """Probabilities of every row given the observations up to it.

        Parameters
        ----------
        observed : DataFrame
            From `observations`.
        after : DataFrame, optional
            Earlier rows of this method's result; each symbol continues from its last one.

        Returns
        -------
        DataFrame
            ``symbol, ts, p_trend, p_range, p_panic, regime``, sorted by symbol and ts.

        Raises
        ------
        ValueError
            If the detector was not fitted.
        DataError
            If a symbol's rows repeat or do not follow those of `after`.
        """
        if self.chain is None:
            raise ValueError("the detector was not fitted; call fit first")
        rows = observed.sort("symbol", "ts")
        if rows.is_empty():
            return filtered_frame(rows, np.empty((0, len(REGIMES))))
        begins = (rows["symbol"] != rows["symbol"].shift(1)).fill_null(value=True).to_numpy()
        before = rows["ts"].shift(1).to_numpy().copy()
        first = np.tile(self.chain.stationary, (rows.height, 1))
        before[begins] = rows["ts"].to_numpy()[begins]
        if after is not None:
            last = after.drop_nulls(PROBABILITIES).sort("ts").group_by("symbol").last()
            known = rows.select("symbol").join(last, on="symbol", how="left", maintain_order="left")
            carried = begins & known["ts"].is_not_null().to_numpy()
            before[carried] = known["ts"].to_numpy()[carried]
            first[carried] = known.select(PROBABILITIES).to_numpy()[carried]
        else:
            carried = np.zeros(rows.height, dtype=bool)
        steps = (rows["ts"].to_numpy() - before) // np.timedelta64(self.config.bar)
        wrong = (steps < 1) & (~begins | carried)
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(f"{rows.row(row)[:2]} does not follow {before[row]}", row=row + 1, column="ts")
        weight = 1.0 / self.config.fit.thinning
        beliefs = filter_chain(self.chain, self._standardised(rows), begins, first, steps, weight)
        return filtered_frame(rows, beliefs)

    def detect(self, observed: pl.DataFrame) -> pl.DataFrame:
        """Probabilities of the newest bars, continued from the last call: `filter` one step at a time.

        Parameters
        ----------
        observed : DataFrame
            Observations of one or more new bars of any number of symbols.

        Returns
        -------
        DataFrame
            As `filter`, with identical numbers.
        """
        found = self.filter(observed, self._latest)
        latest = found if self._latest is None else pl.concat([self._latest, found])
        self._latest = latest.group_by("symbol", maintain_order=True).last()
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return settings and model as lists and numbers, ready for JSON, without the state of `detect`."""
        if self.chain is None:
            raise ValueError("the detector was not fitted; call fit first")
        config = asdict(self.config) | {"bar": self.config.bar.total_seconds()}
        return {
            "config": config,
            "columns": list(self.columns),
            "scales": {name: [part.tolist() for part in scale] for name, scale in self.scales.items()},
            "pooled_scale": [part.tolist() for part in self.pooled_scale],
            "transition": self.chain.transition.tolist(),
            "means": self.chain.means.tolist(),
            "covariances": self.chain.covariances.tolist(),
            "fallback": self.chain.fallback,
        }

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> RegimeDetector:
        """Restore what `to_dict` returned."""
        config = dict(saved["config"])
        fit = config.pop("fit")
        detector = cls(
            RegimeConfig(
                **config
                | {
                    "bar": timedelta(seconds=config["bar"]),
                    "spans": ObservationSpans(**config["spans"]),
                    "fit": FitSettings(**fit | {"spreads": tuple(fit["spreads"])}),
                }
            )
        )
        detector.columns = tuple(saved["columns"])
        detector.scales = {
            name: (np.array(centre), np.array(spread)) for name, (centre, spread) in saved["scales"].items()
        }
        centre, spread = saved["pooled_scale"]
        detector.pooled_scale = (np.array(centre), np.array(spread))
        detector.chain = RegimeChain(
            transition=np.array(saved["transition"]),
            means=np.array(saved["means"]),
            covariances=np.array(saved["covariances"]),
            fallback=saved["fallback"],
        )
        return detector


def _scale(rows: pl.DataFrame, columns: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    values = rows.select(columns).to_numpy()
    return values.mean(axis=0), np.maximum(values.std(axis=0), 1e-6)


def filtered_frame(rows: pl.DataFrame, beliefs: np.ndarray) -> pl.DataFrame:
    """``symbol, ts`` of `rows` with the probabilities [n, 3] and the likeliest regime."""
    names = np.array(REGIMES, dtype=object)[beliefs.argmax(axis=1)]
    return rows.select("symbol", "ts").with_columns(
        *(pl.Series(name, beliefs[:, k]) for k, name in enumerate(PROBABILITIES)),
        pl.Series("regime", names, dtype=pl.String),
    )
