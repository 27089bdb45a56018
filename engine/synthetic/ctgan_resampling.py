"""Density-ratio resampling: of many candidates, keep those that training rows are more like.

A classifier that tells training rows from a generator's with odds p / (1 - p) has found the ratio of their
densities (Sugiyama, Suzuki and Kanamori 2012). Candidates kept with odds in proportion to it follow the law
of the training rows as far as the classifier can tell: discriminator rejection sampling (Azadi et al. 2019),
with a discriminator that is not part of the game.
"""

from __future__ import annotations

import copy

import lightgbm as lgb
import numpy as np
import torch
from torch import nn
from torch.nn.functional import softplus

from engine.synthetic.ctgan_threads import one_thread
from engine.synthetic.tabular import Integers
from engine.synthetic.window_generator import Floats

__all__ = ["network_ratio", "resample", "tree_ratio"]

_ASIDE = 0.2
_TREES, _PATIENCE = 300, 30
_TREE_PARAMETERS: dict[str, object] = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 20,
    "lambda_l2": 1.0,
    "feature_fraction": 0.8,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}
_WIDTH, _DROPOUT, _BATCH, _CHECK_EVERY = 128, 0.2, 500, 50


class TreeRatio:
    """Logarithm of the density ratio from boosted trees, up to a constant."""

    def __init__(self, booster: lgb.Booster) -> None:
        self._booster = booster

    def __call__(self, rows: Floats) -> Floats:
        return np.asarray(self._booster.predict(rows, raw_score=True, num_threads=1))


class NetworkRatio:
    """Logarithm of the density ratio from a network, up to a constant."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network.eval()

    def __call__(self, rows: Floats) -> Floats:
        with torch.no_grad(), one_thread():
            scores = self._network(torch.from_numpy(rows.astype(np.float32)))
        return scores[:, 0].numpy().astype(float)


def tree_ratio(real: Floats, candidates: Floats, seed: int) -> TreeRatio:
    """Learn the ratio by boosted trees: for few rows of many columns.

    Parameters
    ----------
    real, candidates : ndarray, shape (n, features), (m, features)
        Training rows and rows of the generator; nothing held out. A fifth of both is set aside and says when
        more trees only learn single rows by heart.
    seed : int
    """
    rng = np.random.default_rng(seed)
    rows = np.concatenate([real, candidates])
    is_real = np.concatenate([np.ones(len(real)), np.zeros(len(candidates))])
    weight = np.where(is_real > 0.0, len(candidates) / len(real), 1.0)
    aside = rng.random(len(rows)) < _ASIDE
    parameters = {**_TREE_PARAMETERS, "seed": seed}
    learned = lgb.Dataset(rows[~aside], is_real[~aside], weight=weight[~aside], params=parameters)
    judged = lgb.Dataset(rows[aside], is_real[aside], weight=weight[aside], reference=learned)
    stop = lgb.early_stopping(_PATIENCE, verbose=False)
    return TreeRatio(lgb.train(parameters, learned, _TREES, valid_sets=[judged], callbacks=[stop]))


def network_ratio(real: Floats, candidates: Floats, steps: int, seed: int) -> NetworkRatio:
    """Learn the ratio by a network of two layers: for many rows, where columns act together.

    Parameters
    ----------
    real, candidates : ndarray, shape (n, features), (m, features)
        As in `tree_ratio`; columns of about unit size. What was best on the fifth set aside is kept,
        which is the network as it began if nothing was better than to call all rows alike.
    steps : int
        At most.
    seed : int
    """
    rng = np.random.default_rng(seed)
    learned, judged = [], []
    for rows in (real, candidates):
        aside = rng.random(len(rows)) < _ASIDE
        learned.append(torch.from_numpy(rows[~aside].astype(np.float32)))
        judged.append(torch.from_numpy(rows[aside].astype(np.float32)))
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            *(nn.Linear(real.shape[1], _WIDTH), nn.SiLU(), nn.Dropout(_DROPOUT)),
            *(nn.Linear(_WIDTH, _WIDTH), nn.SiLU(), nn.Dropout(_DROPOUT)),
            nn.Linear(_WIDTH, 1),
        )
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
        best, least = copy.deepcopy(network), 2.0 * float(np.log(2.0))
        for step in range(1, steps + 1):
            batch = (part[torch.from_numpy(rng.integers(len(part), size=_BATCH))] for part in learned)
            optimizer.zero_grad()
            _cross_entropy(network, *batch).backward()
            optimizer.step()
            if step % _CHECK_EVERY == 0:
                network.eval()
                with torch.no_grad():
                    loss = float(_cross_entropy(network, *judged))
                if loss < least:
                    best, least = copy.deepcopy(network), loss
                network.train()
    return NetworkRatio(best)


def _cross_entropy(network: nn.Module, real: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    return softplus(-network(real)).mean() + softplus(network(candidates)).mean()


def resample(log_ratio: Floats, count: int, rng: np.random.Generator) -> Integers:
    """Draw ``count`` indices, none twice, with weights of the logarithms given; in random order.

    The largest of log weights with Gumbel noise are such a draw (Efraimidis and Spirakis 2006).
    """
    keys = log_ratio + rng.gumbel(size=len(log_ratio))
    return rng.permutation(np.argsort(-keys)[:count])
