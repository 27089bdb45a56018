"""CTGAN as a generator of windows: what it learns are the leading components of a window."""

from __future__ import annotations

import numpy as np

from engine.synthetic.ctgan_latent import LatentCTGAN
from engine.synthetic.ctgan_resampling import TreeRatio, resample, tree_ratio
from engine.synthetic.tabular_windows import WindowCopula
from engine.synthetic.validation_c2st import window_features
from engine.synthetic.window_generator import Floats

__all__ = ["CTGANGenerator"]


class CTGANGenerator:
    """A window is a row: its leading components from CTGAN, the rest from the copula, the best of many kept.

    CTGAN models independent rows, so a window must be one. Flattened, 30 bars of 4 channels are more columns
    than a few hundred windows can teach. Hence

    1. `WindowCopula` writes a window as latent columns that are close to jointly normal, size and sign of a
       return apart, which is where clustering and leverage are kept;
    2. CTGAN learns the first ``components`` principal components of those (the level, slope and texture of
       volatility and volume), started from their normal law; the others stay normal;
    3. of ``candidates`` times as many windows, those are kept that training windows are more like.

    Parameters
    ----------
    components : int
        Columns that CTGAN learns. 0: no CTGAN, the copula alone.
    updates : int
        Updates of CTGAN's generator.
    head_start : int
        Updates before those in which only its discriminator learns.
    candidates : int
        Windows drawn for each one kept. 1: no resampling.

    References
    ----------
    Xu et al. (2019), CTGAN; Azadi et al. (2019), discriminator rejection sampling.
    """

    def __init__(
        self, components: int = 16, updates: int = 100, head_start: int = 250, candidates: int = 10
    ) -> None:
        if min(components, head_start) < 0 or min(updates, candidates) < 1:
            raise ValueError(
                f"components = {components} and head_start = {head_start} must not be negative, updates = "
                f"{updates} and candidates = {candidates} must be at least 1"
            )
        self.name = "ctgan" if components else "copula"
        self.components, self.candidates = components, candidates
        self.updates, self.head_start = updates, head_start
        self._copula: WindowCopula | None = None
        self._gan: LatentCTGAN | None = None
        self._ratio: TreeRatio | None = None

    def fit(self, windows: Floats, seed: int) -> CTGANGenerator:
        """Learn from training windows, shape (n, length, channels), channel 0 the log return.

        Raises
        ------
        NotEnoughDataError
            If there are fewer than 40 windows.
        """
        self._copula = WindowCopula(windows)
        variances, vectors = np.linalg.eigh(self._copula.correlation)
        self._vectors, self._deviations = vectors[:, ::-1], np.sqrt(variances[::-1])
        self._gan = self._ratio = None
        if self.components:
            self._gan = self._learn(self._copula.latents(windows, seed), seed)
        if self.candidates > 1:
            proposed = self._propose(self.candidates * len(windows), np.random.default_rng([seed, 1]))
            self._ratio = tree_ratio(window_features(windows), window_features(proposed), seed)
        return self

    def _learn(self, latents: Floats, seed: int) -> LatentCTGAN:
        deviations = self._deviations[: self.components]
        gan = LatentCTGAN(
            np.diag(deviations / deviations[0]), self.updates, self.head_start, generator_lr=1e-6
        )
        leading = latents @ self._vectors[:, : self.components] / deviations[0]
        return gan.learn(leading, np.zeros(len(latents), np.int64), seed)

    def _propose(self, count: int, rng: np.random.Generator) -> Floats:
        if self._copula is None:
            raise ValueError("the generator was not fitted; call fit first")
        components = rng.standard_normal((count, len(self._deviations))) * self._deviations
        if self._gan is not None:
            drawn = self._gan.draw(np.zeros(count, np.int64), int(rng.integers(2**63)))
            components[:, : self.components] = drawn * self._deviations[0]
        return self._copula.windows(components @ self._vectors.T)

    def sample(self, count: int, seed: int) -> Floats:
        """Draw ``count`` windows, shape (count, length, channels).

        Raises
        ------
        ValueError
            If the generator was not fitted.
        """
        rng = np.random.default_rng(seed)
        if self._ratio is None:
            return self._propose(count, rng)
        proposed = self._propose(self.candidates * count, rng)
        return proposed[resample(self._ratio(window_features(proposed)), count, rng)]
