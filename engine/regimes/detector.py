"""RegimeDetector: filtered probabilities of TREND, RANGE and PANIC, without lookahead."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.errors import DataError, NotEnoughDataError
from engine.evaluation.splits import Window
from engine.regimes.chain import FitSettings, RegimeChain, regime_probabilities
from engine.regimes.chain_fit import fit_chain
from engine.regimes.channels import ChannelLaw, channel_evidence, fear_greed_shift, fit_channels, tilted
from engine.regimes.emissions import Definition, ReturnLaw, bar_sums, log_densities
from engine.regimes.hmm import forward
from engine.regimes.names import REGIME_COLUMNS, REGIMES
from engine.regimes.observations import CHANNELS, OBSERVATIONS, ObservationSpans
from engine.regimes.scales import SymbolScales

__all__ = ["RegimeConfig", "RegimeDetector", "filtered_frame"]

Floats = NDArray[np.float64]


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
    fear_greed_limit : float
        Most that Fear & Greed may shift the log-odds of PANIC, reached at 0 and 100.
    clip : float
        Largest standardised funding and liquidations; heavier tails say no more than this.
    least_bars : int
        Fewest bars to fit on, and fewest of a symbol to be standardised by itself.
    most_bars : int
        Most bars of one fit, the newest of its window.
    """

    bar: timedelta = timedelta(hours=1)
    spans: ObservationSpans = field(default_factory=ObservationSpans)
    fit: FitSettings = field(default_factory=FitSettings)
    fear_greed_limit: float = 0.25
    clip: float = 4.0
    least_bars: int = 500
    most_bars: int = 20_000


@dataclass(frozen=True)
class _FilterState:
    """Where the filter stopped: the bar, what was believed of every state, and what was reported of it."""

    ts: datetime
    states: Floats
    reported: tuple[float, ...]


class RegimeDetector:
    """Hidden Markov model of the whole market, filtered forward only.

    There is one regime at a time, the market's, and all symbols that trade are evidence of it: how large
    their returns are, where they lead, how they follow the ones before, and how alike they are, each
    standardised by its own training statistics. Every symbol's row repeats the market's probabilities.
    They come from the forward pass: they use the bar and what precedes it, never what follows, unlike the
    smoothed ones of a library's ``predict_proba``. What is missing is no evidence, so belief drifts by the
    transition matrix towards its long-run shares and no further. Funding and liquidations count as far as
    they proved to help; Fear & Greed tilts what is reported of a bar within a fixed bound, and nothing that
    is carried to the next.

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
        self.scales: dict[str, SymbolScales] = {}
        self.pooled_scale = SymbolScales.unknown()
        self.chain: RegimeChain | None = None
        self.channels: list[ChannelLaw] = []
        self._state: _FilterState | None = None
        self._latest: pl.DataFrame | None = None

    def fit(self, observed: pl.DataFrame, window: Window) -> RegimeDetector:
        """Fit on the rows of a window; a detector that was fitted before starts from its model.

        Parameters
        ----------
        observed : DataFrame
            From `observations`.
        window : Window
            Rows whose `ts` lies inside are used, and no others.

        Raises
        ------
        NotEnoughDataError
            If returns of fewer than `least_bars` bars are known.
        """
        rows = observed.filter(window.mask()).sort("symbol", "ts")
        known = rows.filter(pl.col("log_return").is_not_null())
        if (bars := known["ts"].n_unique()) < self.config.least_bars:
            raise NotEnoughDataError(
                f"{bars} bars with a return from {window.start} to {window.end}; "
                f"the regime model needs {self.config.least_bars}"
            )
        self.pooled_scale = SymbolScales.of(known)
        self.scales = {
            str(symbol): SymbolScales.of(part)
            for (symbol,), part in known.group_by("symbol", maintain_order=True)
            if part.height >= self.config.least_bars
        }
        span = self.config.most_bars * self.config.bar
        rows = rows.filter(pl.col("ts") > pl.col("ts").max() - span)
        sums, values, _ = self._bars(rows, *self._grid(rows, None))
        self.chain = fit_chain(sums, self.config.fit, self.config.bar / timedelta(hours=1), self.chain)
        self.channels = fit_channels(values, sums, self.chain)
        return self

    def _grid(self, rows: pl.DataFrame, after: datetime | None) -> tuple[NDArray[np.int64], int]:
        """Bar of each row counted from the first, or from the one after `after`, and the number of bars."""
        ts = rows["ts"].to_numpy()
        origin = ts.min() if after is None else np.datetime64(after + self.config.bar, "us")
        place = (ts - origin) // np.timedelta64(self.config.bar)
        again = rows["symbol"].eq_missing(rows["symbol"].shift(1)).to_numpy() & (
            np.diff(place, prepend=-1) < 1
        )
        wrong = again | (place < 0)
        if wrong.any():
            row = int(wrong.argmax())
            before = rows["ts"][row - 1] if again[row] else after
            raise DataError(f"{rows.row(row)[:2]} does not follow {before}", row=row + 1, column="ts")
        return place, int(place.max()) + 1

    def _bars(self, rows: pl.DataFrame, place: NDArray[np.int64], bars: int) -> tuple[Floats, Floats, Floats]:
        """Make sums, channels and Fear & Greed of each bar; an unknown symbol is measured by all."""
        names, index = np.unique(rows["symbol"].to_numpy().astype(str), return_inverse=True)
        scales = [self.scales.get(str(name), self.pooled_scale).factors() for name in names]
        unit, swing, *channel_scales = np.stack(scales, axis=1)[:, index]
        centres, spreads = channel_scales[: len(CHANNELS)], channel_scales[len(CHANNELS) :]
        known = {name: rows[name].cast(pl.Float64).to_numpy() for name in OBSERVATIONS}
        sums = bar_sums(
            place,
            bars,
            known["log_return"] / unit,
            known["previous_return"] / unit,
            known["excursion"] / swing,
        )
        limit = self.config.clip
        channels = [
            _mean_of_known(place, bars, np.clip((known[name] - centre) / spread, -limit, limit))
            for name, centre, spread in zip(CHANNELS, centres, spreads, strict=True)
        ]
        return sums, np.stack(channels, axis=1), _mean_of_known(place, bars, known["fear_greed"])

    def filter(self, observed: pl.DataFrame, after: pl.DataFrame | None = None) -> pl.DataFrame:
        """Probabilities of every bar given the observations up to it.

        Parameters
        ----------
        observed : DataFrame
            From `observations`.
        after : DataFrame, optional
            Earlier rows of this method's result; the market continues from the newest. Where those are what
            this detector, or the one that it was restored from, filtered last, it continues exactly; from
            any other it knows the probabilities alone, and takes direction and volatility as usual in each
            regime.

        Returns
        -------
        DataFrame
            ``symbol, ts, p_trend, p_range, p_panic, regime``, sorted by symbol and ts.

        Raises
        ------
        ValueError
            If the detector was not fitted.
        DataError
            If a symbol's rows repeat, or rows do not all follow those of `after`.
        """
        if self.chain is None:
            raise ValueError("the detector was not fitted; call fit first")
        rows = observed.sort("symbol", "ts")
        if rows.is_empty():
            return filtered_frame(rows, np.empty((0, len(REGIMES))))
        last, first = self._continued(after, self.chain)
        place, bars = self._grid(rows, last)
        sums, values, index = self._bars(rows, place, bars)
        states, _ = forward(
            log_densities(sums, self.chain.law, self.chain.levels),
            channel_evidence(values, self.channels),
            first,
            self.chain.modes,
            self.chain.level_moves,
        )
        reported = tilted(regime_probabilities(states), fear_greed_shift(index, self.config.fear_greed_limit))
        newest = rows["ts"].sort()[-1]
        self._state = _FilterState(newest, states[-1], tuple(reported[-1].tolist()))
        return filtered_frame(rows, reported[place])

    def _continued(self, after: pl.DataFrame | None, chain: RegimeChain) -> tuple[datetime | None, Floats]:
        """Newest bar that was filtered, and what was believed of every state then."""
        usual = chain.state_shares
        known = None if after is None else after.drop_nulls(REGIME_COLUMNS).sort("ts")
        if known is None or known.is_empty():
            return None, usual
        ts, probabilities = known["ts"][-1], known.select(REGIME_COLUMNS).row(-1)
        state = self._state
        if state and state.ts == ts and np.allclose(state.reported, probabilities, rtol=0.0, atol=1e-12):
            return ts, chain.carried(state.states)
        shares = regime_probabilities(np.diag(usual)) * usual[:, None]
        return ts, (shares / shares.sum(axis=0)) @ np.array(probabilities)

    def detect(self, observed: pl.DataFrame) -> pl.DataFrame:
        """Probabilities of the newest bars, continued from the last call: `filter` one step at a time.

        Parameters
        ----------
        observed : DataFrame
            Observations of one or more new bars, of all symbols that traded in them.

        Returns
        -------
        DataFrame
            As `filter`, with identical numbers.
        """
        found = self.filter(observed, self._latest)
        if found.height:
            self._latest = found.filter(pl.col("ts") == pl.col("ts").max())
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return settings, model and where the filter stopped as lists and numbers, ready for JSON."""
        if self.chain is None:
            raise ValueError("the detector was not fitted; call fit first")
        chain, state = self.chain, self._state
        return {
            "config": asdict(self.config) | {"bar": self.config.bar.total_seconds()},
            "scales": {name: _plain(scale) for name, scale in self.scales.items()},
            "pooled_scale": _plain(self.pooled_scale),
            "chain": _plain(chain) | {"law": _plain(chain.law)},
            "channels": [_plain(law) for law in self.channels],
            "state": _plain(state) | {"ts": state.ts.isoformat()} if state else None,
        }

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> RegimeDetector:
        """Restore what `to_dict` returned."""
        config = dict(saved["config"])
        fit = _tuples(config["fit"]) | {"definition": Definition(**_tuples(config["fit"]["definition"]))}
        config |= {
            "bar": timedelta(seconds=config["bar"]),
            "spans": ObservationSpans(**config["spans"]),
            "fit": FitSettings(**fit),
        }
        detector = cls(RegimeConfig(**config))
        detector.scales = {name: SymbolScales(**_tuples(scale)) for name, scale in saved["scales"].items()}
        detector.pooled_scale = SymbolScales(**_tuples(saved["pooled_scale"]))
        law = ReturnLaw(**_arrays(saved["chain"]["law"]))
        detector.chain = RegimeChain(**_arrays(saved["chain"]) | {"law": law})
        detector.channels = [ChannelLaw(**_arrays(channel)) for channel in saved["channels"]]
        if state := saved["state"]:
            detector._state = _FilterState(
                datetime.fromisoformat(state["ts"]), np.array(state["states"]), tuple(state["reported"])
            )
        return detector


def _mean_of_known(place: NDArray[np.int64], bars: int, values: Floats) -> Floats:
    """Mean over the symbols of each bar that know the value; NaN where none does."""
    known = np.isfinite(values)
    count = np.bincount(place, known.astype(float), bars)
    total = np.bincount(place, np.where(known, values, 0.0), bars)
    return np.divide(total, count, out=np.full(bars, np.nan), where=count > 0.0)


def filtered_frame(rows: pl.DataFrame, beliefs: Floats) -> pl.DataFrame:
    """``symbol, ts`` of `rows` with the probabilities [n, 3] and the likeliest regime."""
    names = np.array(REGIMES, dtype=object)[beliefs.argmax(axis=1)]
    return rows.select("symbol", "ts").with_columns(
        *(pl.Series(name, beliefs[:, k]) for k, name in enumerate(REGIME_COLUMNS)),
        pl.Series("regime", names, dtype=pl.String),
    )


def _plain(part: object) -> dict[str, Any]:
    """Fields of a dataclass as JSON has them."""
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(part).items()
    }


def _arrays(saved: dict[str, Any]) -> dict[str, Any]:
    return {name: np.array(value) if isinstance(value, list) else value for name, value in saved.items()}


def _tuples(saved: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in saved.items()}
