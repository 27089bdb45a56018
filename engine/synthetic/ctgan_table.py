"""CTGAN made good on a table: a copula before it, density-ratio resampling after it."""

from __future__ import annotations

import numpy as np

from engine.synthetic.ctgan_latent import LatentCTGAN
from engine.synthetic.ctgan_resampling import NetworkRatio, network_ratio, resample
from engine.synthetic.tabular import CategoryCopula, Integers
from engine.synthetic.window_generator import Floats

__all__ = ["CTGANTable"]


class CTGANTable:
    """Synthesiser of rows of continuous columns with one category.

    `CategoryCopula` writes rows as latent columns, `LatentCTGAN` learns what of their law is not Gaussian,
    and of many candidates those are kept that training rows are more like. Margins are put back at the end.

    Parameters
    ----------
    updates : int
        Updates of CTGAN's generator. 0: no CTGAN, the copula alone.
    head_start : int
        Updates before those in which only its discriminator learns.
    candidates : int
        Rows drawn for each one kept. 1: no resampling.
    ratio_steps : int
        Steps, at most, in which the network that chooses among candidates is trained.
    """

    def __init__(
        self, updates: int = 100, head_start: int = 250, candidates: int = 10, ratio_steps: int = 800
    ) -> None:
        if min(updates, head_start) < 0 or candidates < 1:
            raise ValueError(
                f"updates = {updates} and head_start = {head_start} must not be negative and candidates = "
                f"{candidates} at least 1"
            )
        self.updates, self.head_start = updates, head_start
        self.candidates, self.ratio_steps = candidates, ratio_steps
        self._copula: CategoryCopula | None = None
        self._gan: LatentCTGAN | None = None
        self._ratio: NetworkRatio | None = None
        self._categories: Integers = np.empty(0, np.int64)

    def fit(self, rows: Floats, categories: Integers, seed: int) -> CTGANTable:
        """Learn from training rows, shape (n, columns), and the category of each.

        Raises
        ------
        NotEnoughDataError
            If a category has fewer rows than twice the columns.
        """
        self._copula = CategoryCopula(rows, categories)
        self._categories = categories
        self._gan = self._ratio = None
        latents = self._copula.latents(rows, categories)
        if self.updates:
            self._gan = LatentCTGAN(self._copula.root, self.updates, self.head_start).learn(
                latents, categories, seed
            )
        if self.candidates > 1:
            repeated = np.repeat(categories, self.candidates)
            proposed = self._propose(repeated, np.random.default_rng([seed, 1]))
            real = self._features(latents, categories)
            self._ratio = network_ratio(real, self._features(proposed, repeated), self.ratio_steps, seed)
        return self

    def _features(self, latents: Floats, categories: Integers) -> Floats:
        one_hot = categories[:, None] == np.unique(self._categories)
        return np.concatenate([latents, one_hot], axis=1)

    def _propose(self, categories: Integers, rng: np.random.Generator) -> Floats:
        """Latent rows before resampling."""
        if self._copula is None:
            raise ValueError("the synthesiser was not fitted; call fit first")
        if self._gan is not None:
            return self._gan.draw(categories, int(rng.integers(2**63)))
        return rng.standard_normal((len(categories), len(self._copula.root))) @ self._copula.root

    def sample(self, count: int, seed: int) -> tuple[Floats, Integers]:
        """Draw rows, shape (count, columns), and their categories, in random order.

        Categories come in the shares they have in the training rows, whichever candidates are kept, and
        margins are those of the training rows.

        Raises
        ------
        ValueError
            If the synthesiser was not fitted.
        """
        if self._copula is None:
            raise ValueError("the synthesiser was not fitted; call fit first")
        rng = np.random.default_rng(seed)
        categories = rng.choice(self._categories, count)
        repeated = np.repeat(categories, self.candidates)
        latents = self._propose(repeated, rng)
        if self._ratio is not None:
            log_ratio = self._ratio(self._features(latents, repeated))
            members = [np.flatnonzero(repeated == category) for category in np.unique(categories)]
            kept = [own[resample(log_ratio[own], len(own) // self.candidates, rng)] for own in members]
            order = rng.permutation(np.concatenate(kept))
            latents, categories = latents[order], repeated[order]
        rows = self._copula.rows(latents, categories)
        return self._copula.with_training_margins(rows, categories), categories
