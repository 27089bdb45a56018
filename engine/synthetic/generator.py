"""SyntheticDataGenerator: PANIC windows that passed every test, mixed into training data, or none."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl

from engine.errors import EngineError
from engine.synthetic.block_bootstrap import BlockBootstrap
from engine.synthetic.mixing import mix_windows
from engine.synthetic.validation import RealWindows, ValidationReport
from engine.synthetic.validation_splits import split_groups
from engine.synthetic.window_generator import Floats, WindowGenerator
from engine.synthetic.windows import PanicWindows, as_delivered, window_frame

__all__ = [
    "Attempt",
    "SyntheticDataGenerator",
    "SyntheticMix",
    "content_hash",
    "default_generators",
    "draw_scales",
]

_LOG = logging.getLogger(__name__)
_ALIKE = 20


@dataclass(frozen=True)
class Attempt:
    """What became of one generator.

    Parameters
    ----------
    generator : str
    report : ValidationReport or None
        None where the generator could not be fitted.
    refusal : str
        Why it was refused; empty where it was not.
    """

    generator: str
    report: ValidationReport | None
    refusal: str

    @property
    def passed(self) -> bool:
        """Whether its windows may be used."""
        return not self.refusal


@dataclass(frozen=True, eq=False)
class SyntheticMix:
    """Training windows, real and synthetic, and where the synthetic ones come from.

    Parameters
    ----------
    frame : DataFrame
        `engine.synthetic.windows.WINDOW_COLUMNS`; the real windows alone where every generator was refused.
    generator : str or None
        Whose windows they are.
    report : ValidationReport or None
        Of the generator used, or of the last one that was judged.
    words : str
        Which generator was used and why.
    cut : datetime
        Nothing from this date on was looked at.
    seed : int
    content_hash : str
        Of the sample that the synthetic windows were drawn from; empty where there is none.
    """

    frame: pl.DataFrame
    generator: str | None
    report: ValidationReport | None
    words: str
    cut: datetime
    seed: int
    content_hash: str

    def require_known_before(self, test_start: datetime) -> None:
        """Refuse a test that begins before the cut; see `SyntheticDataGenerator.require_known_before`."""
        _require_known_before(self.cut, test_start)


def default_generators(ctgan_updates: int = 100) -> tuple[WindowGenerator, ...]:
    """Return CTGAN, its copula without it, the vine copula and the block bootstrap; loads torch."""
    from engine.synthetic.ctgan_generator import CTGANGenerator
    from engine.synthetic.vine_copula import VineCopulaGenerator

    return (
        CTGANGenerator(updates=ctgan_updates),
        CTGANGenerator(components=0),
        VineCopulaGenerator(),
        BlockBootstrap(),
    )


class SyntheticDataGenerator:
    """Fit generators on PANIC windows of the past and use the first whose windows pass every test.

    A third of the episodes is held out: generators never see it, and are judged by it. Those refused say why.
    Where none passes, nothing synthetic is used.

    Parameters
    ----------
    generators : sequence of WindowGenerator, optional
        In order of preference; `default_generators` unless given.
    share : float
        Of synthetic windows in the training data, inside (0, 1).
    holdout : float
        Share of the windows that generators are judged by.

    Raises
    ------
    ValueError
        If a share is not inside (0, 1) or there is no generator.
    """

    def __init__(
        self,
        generators: Sequence[WindowGenerator] | None = None,
        share: float = 0.20,
        holdout: float = 1 / 3,
    ) -> None:
        self.generators = tuple(default_generators() if generators is None else generators)
        if not self.generators:
            raise ValueError("generators is empty; give at least one")
        if not (0.0 < share < 1.0 and 0.0 < holdout < 1.0):
            raise ValueError(f"share {share} and holdout {holdout} must lie between 0 and 1")
        self.share, self.holdout = share, holdout
        self.attempts: tuple[Attempt, ...] = ()
        self.chosen: str | None = None
        self.cut: datetime | None = None
        self.seed = 0
        self.values: Floats = np.empty((0, 0, 0))
        self.pool = pl.DataFrame()
        self.content_hash = ""

    def fit(self, windows: PanicWindows, cut: datetime, seed: int) -> SyntheticDataGenerator:
        """Fit, sample once and judge, one generator after another until one passes.

        Parameters
        ----------
        windows : PanicWindows
            All closed by the cut.
        cut : datetime
            UTC. The end of what may be known.
        seed : int
            Same windows and same seed, same sample.

        Raises
        ------
        ValueError
            If a window reaches beyond the cut.
        NotEnoughDataError
            If there are too few windows or episodes to judge anything.
        """
        cut = cut.astimezone(UTC).replace(tzinfo=None) if cut.tzinfo else cut
        if windows.known_at is not None and windows.known_at > cut:
            raise ValueError(
                f"a window closes at {windows.known_at}, after the cut {cut}; take windows before the cut"
            )
        rng = np.random.default_rng(seed)
        parts = split_groups(windows.episode, (1.0 - self.holdout, self.holdout), rng)
        train, held_out = (windows.take(part) for part in parts)
        _LOG.info("%d training and %d held-out windows set the thresholds", len(train), len(held_out))
        real = RealWindows(
            train.values, held_out.values, np.concatenate([train.episode, held_out.episode]), seed
        )
        self.cut, self.seed, self.chosen, self.content_hash = cut, seed, None, ""
        self.values, self.pool = (
            windows.values[:0],
            window_frame(windows.values[:0], np.empty(0), synthetic=True),
        )
        attempts: list[Attempt] = []
        for generator in self.generators:
            _LOG.info("fitting %s on %d windows", generator.name, len(train))
            try:
                sample = generator.fit(train.values, seed).sample(len(train), seed)
                values = as_delivered(sample)
                report = real.judge(values)
            except EngineError as error:
                attempts.append(Attempt(generator.name, None, str(error)))
                _LOG.info("%s refused: %s", generator.name, error)
                continue
            attempts.append(Attempt(generator.name, report, "" if report.passed else str(report)))
            _LOG.info("%s: %s", generator.name, report)
            if report.passed:
                scale = draw_scales(values, train, rng)
                self.chosen, self.values = generator.name, values
                self.pool = window_frame(values, scale, synthetic=True)
                self.content_hash = content_hash(values, scale)
                break
        self.attempts = tuple(attempts)
        return self

    @property
    def words(self) -> str:
        """Which generator is used and why, in words."""
        refused = [f"{a.generator} refused ({a.refusal})" for a in self.attempts if not a.passed]
        last = (
            f"{self.chosen} used: {self.attempts[-1].report}"
            if self.chosen
            else "no synthetic window is used"
        )
        return "; ".join([*refused, last])

    def attempts_frame(self) -> pl.DataFrame:
        """Return ``generator, used, test, distance, threshold, passed, detail`` of every generator tried.

        One that could not be fitted has a single row, without figures, whose test is ``fit``.
        """
        schema = {"test": pl.String, "distance": pl.Float64, "threshold": pl.Float64, "passed": pl.Boolean}
        parts = [
            pl.DataFrame(
                {"test": ["fit"], "distance": [None], "threshold": [None], "passed": [False]}, schema=schema
            ).with_columns(detail=pl.lit(a.refusal))
            if a.report is None
            else a.report.to_frame()
            for a in self.attempts
        ]
        named = [
            part.select(pl.lit(a.generator).alias("generator"), pl.lit(a.passed).alias("used"), pl.all())
            for a, part in zip(self.attempts, parts, strict=True)
        ]
        return pl.concat(named)

    def augment_training_data(self, real: pl.DataFrame, regime: str = "panic") -> SyntheticMix:
        """Mix synthetic windows into real ones of training, so that they are `share` of the result.

        Parameters
        ----------
        real : DataFrame
            Real PANIC windows for training, of the length fitted on: `PanicWindows.frame`.
        regime : str
            The regime of the windows. Only that of the fit, PANIC, is known.

        Returns
        -------
        SyntheticMix
            Without synthetic windows where every generator was refused.

        Raises
        ------
        ValueError
            If nothing was fitted, or the regime is another.
        DataError
            If `real` has other columns, or synthetic rows in it.
        NotEnoughDataError
            If the windows wanted are more than were judged.
        """
        if self.cut is None:
            raise ValueError("the generator was not fitted; call fit first")
        if regime.upper() != "PANIC":
            raise ValueError(
                f"regime = {regime!r}; generators were fitted on windows that open in 'panic' only"
            )
        share = self.share if self.chosen else 0.0
        report = next((a.report for a in reversed(self.attempts) if a.report is not None), None)
        return SyntheticMix(
            frame=mix_windows(real, self.pool, share, self.seed),
            generator=self.chosen,
            report=report,
            words=self.words,
            cut=self.cut,
            seed=self.seed,
            content_hash=self.content_hash,
        )

    def require_known_before(self, test_start: datetime) -> None:
        """Refuse a test on data that the generators, or the choice between them, may have seen.

        Raises
        ------
        ValueError
            If the test starts before the cut, or nothing was fitted.
        """
        if self.cut is None:
            raise ValueError("the generator was not fitted; call fit first")
        _require_known_before(self.cut, test_start)


def _require_known_before(cut: datetime, test_start: datetime) -> None:
    start = test_start.astimezone(UTC).replace(tzinfo=None) if test_start.tzinfo else test_start
    if start < cut:
        raise ValueError(
            f"the test starts at {start}, before the cut {cut} of the synthetic data; fit with an earlier cut"
        )


def draw_scales(values: Floats, train: PanicWindows, rng: np.random.Generator) -> Floats:
    """Draw the usual return before each synthetic window, from training windows of alike volatility.

    A window is measured in what was usual before it, and the wilder that was, the less the window exceeds it.
    Drawn from the 20 training windows nearest in relative volatility, scale and window keep that relation.

    Parameters
    ----------
    values : ndarray, shape (n, length, 4)
    train : PanicWindows
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (n,)
    """
    own, known = ((np.square(w[:, :, 0])).mean(axis=1) for w in (values, train.values))
    order = np.argsort(known, kind="stable")
    count = min(_ALIKE, len(order))
    first = np.clip(np.searchsorted(known[order], own) - count // 2, 0, len(order) - count)
    found: Floats = train.scale[order][first + rng.integers(0, count, len(values))]
    return found


def content_hash(*arrays: Floats) -> str:
    """SHA-256 of the shapes and the little-endian float64 bytes of arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array, "<f8").tobytes())
    return digest.hexdigest()
