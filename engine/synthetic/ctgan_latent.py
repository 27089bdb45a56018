"""CTGAN on columns that are close to Gaussian, started from the Gaussian law, averaged over its training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from ctgan import CTGAN
from ctgan.data_sampler import DataSampler
from ctgan.data_transformer import SpanInfo
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from engine.synthetic.ctgan_threads import one_thread
from engine.synthetic.tabular import Integers
from engine.synthetic.window_generator import Floats

__all__ = ["LatentCTGAN"]

# The generator ends in a tanh, which is nearly a straight line up to a third of this many deviations.
_REACH = 4.0
# Batches from which the averaged generator gets the means and variances of its normalisation.
_NORMALISING = 20
_PARAMETERS: dict[str, Any] = {
    "batch_size": 500,
    "generator_dim": (128, 128),
    "discriminator_dim": (128, 128),
    "generator_lr": 1e-5,
    "discriminator_lr": 1e-3,
    "pac": 1,
}


class _GaussianColumns:
    """Stands in for CTGAN's transformer: continuous columns through tanh, the last column one-hot."""

    def __init__(self) -> None:
        self.output_info_list: list[list[SpanInfo]] = []
        self.output_dimensions = 0

    def fit(self, table: pd.DataFrame, discrete_columns: list[str]) -> None:
        (self._discrete,) = discrete_columns
        self._continuous = [name for name in table if name != self._discrete]
        self.categories = np.unique(table[self._discrete])
        self.output_info_list = [[SpanInfo(1, "tanh")] for _ in self._continuous]
        self.output_info_list.append([SpanInfo(len(self.categories), "softmax")])
        self.output_dimensions = len(self._continuous) + len(self.categories)

    def transform(self, table: pd.DataFrame) -> Floats:
        one_hot = table[self._discrete].to_numpy()[:, None] == self.categories
        return np.concatenate([np.tanh(table[self._continuous].to_numpy() / _REACH), one_hot], axis=1)


class _QuickSampler(DataSampler):
    """CTGAN's sampler of training rows, without its loop over rows."""

    def sample_data(self, data: Floats, n: int, col: Integers | None, opt: Integers | None) -> Floats:
        if col is None or opt is None:
            chosen: Floats = super().sample_data(data, n, col, opt)
            return chosen
        members = self._rid_by_cat_cols[0]
        size = np.array([len(rows) for rows in members])[opt]
        start = np.cumsum([0] + [len(rows) for rows in members[:-1]])[opt]
        return data[np.concatenate(members)[start + (np.random.random(n) * size).astype(int)]]  # noqa: NPY002 - CTGAN seeds this one


class LatentCTGAN(CTGAN):
    """CTGAN (Xu et al. 2019) for latent columns of a known Gaussian law, with one category.

    Network, losses, packing and training by sampling are CTGAN's. Changed is what comes before and after:

    - no mode-specific normalisation, since the columns have one mode;
    - the generator starts as the Gaussian law itself: its last layer, which also sees the noise, passes on
      noise times ``root`` and nothing of the hidden layers. Training learns departures from that;
    - the discriminator has a head start of ``head_start`` updates, without which it leads the generator away
      from a start better than anything it knows;
    - sampled from is the exponential moving average of the generator over its training, as the iterates of a
      game circle round its solution (Yazici et al. 2019);
    - batch normalisation uses means of many batches when sampling, so that a row does not depend on its
      neighbours.

    Parameters
    ----------
    root : ndarray, shape (columns, columns)
        Standard normal rows times it have the latents' law, as far as that is Gaussian.
    updates : int
        Updates of the generator, after those of the head start; rounded up to whole epochs.
    averaging : float
        Share of the average that stays at each pass of the generator.
    head_start : int
        Updates, counted like the generator's, in which only the discriminator learns.
    parameters
        CTGAN's own, in place of what was found to work here. ``embedding_dim`` must be at least the number of
        columns.
    """

    def __init__(
        self, root: Floats, updates: int, head_start: int, averaging: float = 0.99, **parameters: Any
    ) -> None:
        super().__init__(enable_gpu=False, **{**_PARAMETERS, **parameters})
        if len(root) > self._embedding_dim:
            raise ValueError(
                f"embedding_dim = {self._embedding_dim} must be at least the number of columns, {len(root)}"
            )
        self._root, self._updates = root, updates
        self._averaging, self._head_start = averaging, head_start

    # `CTGAN.fit` builds its parts and assigns them to these three attributes: here they are exchanged.
    @property
    def _transformer(self) -> _GaussianColumns:
        return self._columns

    @_transformer.setter
    def _transformer(self, _: Any) -> None:
        self._columns = _GaussianColumns()

    @property
    def _data_sampler(self) -> DataSampler:
        return self._sampler

    @_data_sampler.setter
    def _data_sampler(self, sampler: DataSampler | None) -> None:
        if sampler is not None:
            sampler.__class__ = _QuickSampler
        self._sampler = sampler

    @property
    def _generator(self) -> torch.nn.Module | None:
        return self._network

    @_generator.setter
    def _generator(self, network: torch.nn.Module | None) -> None:
        self._network = network
        if network is None:
            return
        columns, hidden = len(self._root), sum(self._generator_dim)
        with torch.no_grad():
            layers: Any = network.seq
            last = layers[-1]
            last.weight[:columns] = 0.0
            last.bias[:columns] = 0.0
            last.weight[:columns, hidden : hidden + columns] = torch.from_numpy(self._root.T / _REACH)
        self._average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(self._averaging))
        self._passes = 0
        network.register_forward_pre_hook(self._before_pass)

    def _before_pass(self, network: torch.nn.Module, _: Any) -> None:
        """Put the generator back while the discriminator has its head start; average it from then on."""
        self._passes += 1
        if self._passes > self._head_start * (self._discriminator_steps + 1):
            self._average.update_parameters(network)
            return
        with torch.no_grad():
            for now, start in zip(network.parameters(), self._average.parameters(), strict=True):
                now.copy_(start)

    def learn(self, latents: Floats, categories: Integers, seed: int) -> LatentCTGAN:
        """Train on latent rows, shape (n, columns), and the category of each."""
        table = pd.DataFrame(latents, columns=[f"latent{j}" for j in range(latents.shape[1])])
        steps = max(len(latents) // self._batch_size, 1)
        self._epochs = -(-(self._head_start + self._updates) // steps)
        self.set_random_state(seed)
        with one_thread():
            self.fit(table.assign(category=categories), ["category"])
            shuffled = np.random.default_rng(seed).permutation(
                np.resize(categories, _NORMALISING * self._batch_size)
            )
            update_bn(self._inputs(shuffled, seed).split(self._batch_size), self._average)
        self._average.eval()
        return self

    def _inputs(self, categories: Integers, seed: int) -> torch.Tensor:
        noise = np.random.default_rng(seed).standard_normal(
            (len(categories), self._embedding_dim), np.float32
        )
        one_hot = (categories[:, None] == self._columns.categories).astype(np.float32)
        return torch.from_numpy(np.concatenate([noise, one_hot], axis=1))

    def draw(self, categories: Integers, seed: int) -> Floats:
        """Draw a latent row for each of the categories, shape (n, columns)."""
        with torch.no_grad(), one_thread():
            output = self._average(self._inputs(categories, seed))[:, : len(self._root)]
        latents: Floats = output.numpy().astype(float) * _REACH
        return latents
