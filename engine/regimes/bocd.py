"""BOCDRegimeDetector: has the market just changed, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.errors import DataError
from engine.regimes.actions import ACTIONS, EXIT_AT, REDUCE_AT, Action
from engine.regimes.bocd_kernel import MEAN, VOLATILITY, run_streams
from engine.regimes.run_length import EXACT, KNOWN_MEAN, SegmentPrior, empty_runs

__all__ = [
    "BOCDConfig",
    "BOCDRegimeDetector",
    "ChangepointResult",
    "detect_changepoints",
]

# Bars of a batch below which threads cost more than they save.
_WORTH_A_THREAD = 5_000


@dataclass(frozen=True)
class BOCDConfig:
    """Settings of the detector.

    Parameters
    ----------
    hazard : float
        Probability per bar that a new segment begins.
    longest : int
        Segments of 2 to this many bars count as just begun: k.
    warmup : int
        Returns other than zero from which the first scale is taken; no alarm is given before. At least three
        times `longest`, for a run cannot be longer than the history.
    limit : float
        Standardised returns beyond it are cut off in the mean channel and grow only logarithmically in the
        volatility channel.
    scale_step : float
        Fraction by which the slow scale moves at each bar.
    half_life : float
        Of the filtered volatility, in bars.
    mean_prior, volatility_prior : SegmentPrior
        Of a segment of each channel, in standardised units. Of the mean channel the variance is nearly known,
        for its returns are standardised; a new segment of volatility is expected to be a violent one.
    most_kept : int
        Most run lengths kept of each channel; see `engine.regimes.run_length`.
    reduce_at, exit_at : float
        Probabilities of change from which on to reduce and to exit.
    resume_below : float
    resume_after : int
        An action ends once the probability has been below `resume_below` for `resume_after` bars.
    """

    hazard: float = 1.0 / 250.0
    longest: int = 10
    warmup: int = 30
    limit: float = 3.0
    scale_step: float = 0.005
    half_life: float = 24.0
    mean_prior: SegmentPrior = field(default_factory=lambda: SegmentPrior(alpha=10.0, beta=10.0))
    volatility_prior: SegmentPrior = field(
        default_factory=lambda: SegmentPrior(kappa=KNOWN_MEAN, alpha=5.0, beta=50.0)
    )
    most_kept: int = 128
    reduce_at: float = REDUCE_AT
    exit_at: float = EXIT_AT
    resume_below: float = 0.30
    resume_after: int = 6

    def __post_init__(self) -> None:
        if not 0.0 < self.hazard <= 0.05:
            raise ValueError(
                f"hazard={self.hazard} must lie in (0, 0.05]: above, thresholds lose their meaning"
            )
        if not 5 <= self.longest <= 10:
            raise ValueError(f"longest={self.longest} must lie in 5 .. 10 bars")
        if self.warmup < 3 * self.longest:
            raise ValueError(f"warmup={self.warmup} must be at least 3 * longest = {3 * self.longest}")
        if self.most_kept < 2 * EXACT:
            raise ValueError(f"most_kept={self.most_kept} must be at least {2 * EXACT}")
        if self.resume_after < 1:
            raise ValueError(f"resume_after={self.resume_after} must be at least 1 bar")
        if not 0.0 < self.resume_below < self.reduce_at < self.exit_at < 1.0:
            raise ValueError(
                f"0 < resume_below={self.resume_below} < reduce_at={self.reduce_at}"
                f" < exit_at={self.exit_at} < 1 must hold"
            )
        for name in ("limit", "half_life"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive")
        if not 0.0 < self.scale_step < 1.0:
            raise ValueError(f"scale_step={self.scale_step} must lie in (0, 1)")


@dataclass(frozen=True)
class ChangepointResult:
    """What is known after a bar.

    Parameters
    ----------
    p_mean, p_volatility : float
        Probability that the channel's segment began in the last `BOCDConfig.longest` bars; NaN for a missing
        return.
    p_changepoint : float
        The larger of the two.
    run_length_mean, run_length_volatility : int
        Most probable number of bars in the current segment, the newest included; 0 for a missing return.
    action : str
        ``hold``, ``reduce`` or ``exit``.
    """

    p_mean: float
    p_volatility: float
    p_changepoint: float
    run_length_mean: int
    run_length_volatility: int
    action: Action


class BOCDRegimeDetector:
    """Online Bayesian change-point detection of the mean and of the volatility of returns.

    ``p_changepoint`` is the larger of the channels' probabilities. Both look at the same returns, so they are
    far from independent, and the larger one is what is certain of "either": a sum would pass a threshold that
    neither channel reaches.

    For the first `BOCDConfig.warmup` returns the probability is the prior's, that of a change within the last
    bars when nothing was learned, and the action is ``hold``. A return that is missing or not finite, as at
    the first bar after a gap, has no probability; the action is then at least ``reduce``, and the state
    stays as it is: the segment goes on after the gap, and a market that came back different is noticed by
    its returns.

    One detector holds the state of any number of symbols, of constant size each. Symbols in a batch are
    shared among threads; the numbers do not depend on it, nor on how the bars are divided among calls.

    Parameters
    ----------
    config : BOCDConfig, optional

    References
    ----------
    Adams and MacKay (2007), Bayesian online changepoint detection.
    """

    def __init__(self, config: BOCDConfig | None = None) -> None:
        self.config = c = config or BOCDConfig()
        self.symbols: dict[str, int] = {}
        self._law = np.array([c.limit, c.scale_step, 1.0 - 0.5 ** (1.0 / c.half_life), c.hazard])
        self._priors = np.stack([c.mean_prior.as_array(), c.volatility_prior.as_array()])
        quiet = 1.0 - (1.0 - c.hazard) ** (c.longest - 1)
        self._rule = np.array([c.reduce_at, c.exit_at, c.resume_below, c.resume_after, c.longest, quiet])
        self._last = np.empty(0, np.int64)
        self._state = self._fresh(0)

    def _fresh(self, streams: int) -> dict[str, NDArray[Any]]:
        return {
            "seen": np.zeros(streams, np.int64),
            "first": np.zeros((streams, self.config.warmup)),
            "scale": np.zeros(streams),
            "variance": np.zeros(streams),
            "kept": np.zeros((streams, 2), np.int64),
            "runs": empty_runs(streams, 2, most=self.config.most_kept),
            "level": np.zeros(streams, np.int64),
            "calm": np.zeros(streams, np.int64),
        }

    def _streams(self, symbols: Sequence[str]) -> NDArray[np.int64]:
        new = [symbol for symbol in symbols if symbol not in self.symbols]
        if new:
            self.symbols |= {symbol: len(self.symbols) + i for i, symbol in enumerate(new)}
            fresh = self._fresh(len(new))
            self._state = {name: np.concatenate([old, fresh[name]]) for name, old in self._state.items()}
            self._last = np.concatenate([self._last, np.full(len(new), np.iinfo(np.int64).min)])
        return np.array([self.symbols[symbol] for symbol in symbols], np.int64)

    def _run(
        self, returns: NDArray[np.float64], begin: NDArray[np.int64], streams: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
        p, length = np.empty((returns.size, 2)), np.empty((returns.size, 2), np.int64)
        action = np.empty(returns.size, np.int64)
        given = (self._law, self._priors, self._rule, *self._state.values(), p, length, action)

        def run(first: int, last: int) -> None:
            run_streams(returns, begin[first : last + 1], streams[first:last], *given)

        threads = min(numba.config.NUMBA_NUM_THREADS, streams.size)  # type: ignore[attr-defined]
        if threads < 2 or returns.size < _WORTH_A_THREAD:
            run(0, streams.size)
        else:
            cuts = np.searchsorted(begin, np.linspace(0, returns.size, threads + 1))
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(run, cuts[:-1], cuts[1:]))
        return p, length, action

    def update(self, current_return: float | None, symbol: str = "") -> ChangepointResult:
        """Take in one bar's log return of one stream; None or NaN if there is none."""
        return self.update_many({symbol: current_return})[symbol]

    def update_many(self, current_returns: Mapping[str, float | None]) -> dict[str, ChangepointResult]:
        """Take in one bar's log return of each symbol, all at once."""
        symbols = list(current_returns)
        returns = np.array([np.nan if r is None else r for r in current_returns.values()], np.float64)
        p, length, action = self._run(returns, np.arange(len(symbols) + 1), self._streams(symbols))
        return {
            symbol: ChangepointResult(
                float(p[i, MEAN]),
                float(p[i, VOLATILITY]),
                float(p[i].max()),
                int(length[i, MEAN]),
                int(length[i, VOLATILITY]),
                ACTIONS[action[i]],
            )
            for i, symbol in enumerate(symbols)
        }

    def detect(self, candles: pl.DataFrame) -> pl.DataFrame:
        """Take in many bars of many symbols; see `detect_changepoints`."""
        rows = candles.select("symbol", "ts", "log_return").sort("symbol", "ts")
        blocks = rows["symbol"].rle().struct
        streams = self._streams(blocks.field("value").to_list())
        ts = rows["ts"].cast(pl.Datetime("us")).to_physical().to_numpy()
        begin = np.concatenate([[0], np.cumsum(blocks.field("len").to_numpy(), dtype=np.int64)])
        before = np.empty_like(ts)
        before[1:] = ts[:-1]
        before[begin[:-1]] = self._last[streams]
        if (ts <= before).any():
            row = int(np.argmax(ts <= before))
            raise DataError(f"{rows.row(row)[:2]} does not follow the bar before", row=row + 1, column="ts")
        returns = rows["log_return"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        p, length, action = self._run(returns, begin, streams)
        self._last[streams] = ts[begin[1:] - 1]
        names = pl.Series(ACTIONS, dtype=pl.String)
        return rows.select("symbol", "ts").with_columns(
            pl.Series("p_mean", p[:, MEAN], nan_to_null=True),
            pl.Series("p_volatility", p[:, VOLATILITY], nan_to_null=True),
            pl.Series("p_changepoint", np.maximum(p[:, MEAN], p[:, VOLATILITY]), nan_to_null=True),
            pl.Series("run_length_mean", length[:, MEAN]),
            pl.Series("run_length_volatility", length[:, VOLATILITY]),
            names.gather(action).alias("action"),
        )

    def to_arrays(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Everything learned, as arrays and a JSON-able description; `from_arrays` restores it exactly."""
        meta = {"config": asdict(self.config), "symbols": list(self.symbols)}
        return {name: array.copy() for name, array in self._state.items()} | {"last": self._last.copy()}, meta

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> BOCDRegimeDetector:
        """Restore a detector from what `to_arrays` gave.

        Raises
        ------
        DataError
            If the state is that of another layout, as an older version saved it.
        """
        config = dict(meta["config"])
        for name in ("mean_prior", "volatility_prior"):
            config[name] = SegmentPrior(**config[name])
        detector = cls(BOCDConfig(**config))
        detector.symbols = {symbol: i for i, symbol in enumerate(meta["symbols"])}
        expected, found = detector._state["runs"].shape[1:], arrays["runs"].shape[1:]
        if found != expected:
            raise DataError(
                f"run lengths of shape {found}, not {expected}, are another version's: start anew"
            )
        detector._state = {name: np.array(arrays[name]) for name in detector._state}
        detector._last = np.array(arrays["last"])
        return detector


def detect_changepoints(
    candles: pl.DataFrame,
    config: BOCDConfig | None = None,
    detector: BOCDRegimeDetector | None = None,
) -> pl.DataFrame:
    """Run every symbol's returns through a detector.

    Parameters
    ----------
    candles : DataFrame
        ``symbol, ts, log_return`` of staging.candles, in any order.
    config : BOCDConfig, optional
        Of a new detector.
    detector : BOCDRegimeDetector, optional
        Continues from its state, and holds the new state afterwards.

    Returns
    -------
    DataFrame
        ``symbol, ts, p_mean, p_volatility, p_changepoint, run_length_mean, run_length_volatility, action``,
        a row for each candle, sorted by symbol and ts.
    """
    return (detector or BOCDRegimeDetector(config)).detect(candles)
