"""Shapley values of single predictions: how much each feature moved the output away from its usual value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from engine.errors import NotEnoughDataError

__all__ = ["Attribution", "attribute"]

Floats = NDArray[np.float64]
Semantics = Literal["path-dependent", "interventional"]

_MOST_BACKGROUND = 100


@dataclass(frozen=True)
class Attribution:
    """Shapley values ``values`` [n, d] and ``base`` [n]; each row and its base add up to the model's output.

    ``semantics`` says what a missing feature means. ``path-dependent``: what the training rows that took the
    same path through the trees say of it (Lundberg et al. 2020). ``interventional``: its values in the
    background, whatever the other features are (Janzing, Minorics & Bloebaum 2020).
    """

    values: Floats
    base: Floats
    semantics: Semantics


def attribute(model: Any, x: Floats, background: Floats | None = None, seed: int = 0) -> Attribution:
    """Explain rows of a model's raw output: log odds, a logit, a value; never a chosen class.

    Parameters
    ----------
    model
        A LightGBM booster, or an object that holds one as ``booster``: exact TreeSHAP, path-dependent. A
        linear model with ``coef_`` and ``intercept_``: exact, interventional. Any function from [n, d] to
        [n]: antithetic permutations, interventional, exact where no more than two features interact.
    x : ndarray [n, d]
        Rows to explain, features in the model's order.
    background : ndarray [m, d], optional
        Rows that stand for a missing feature; needed unless the model is made of trees. Functions use a
        hundred of them at most.
    seed : int
        Of the permutations and of the choice among the background.

    Raises
    ------
    TypeError
        If the model is none of these.
    NotEnoughDataError
        If a background is needed and there is none.

    References
    ----------
    Lundberg & Lee (2017), A unified approach to interpreting model predictions.
    """
    trees = model if isinstance(model, lgb.Booster) else getattr(model, "booster", None)
    if trees is not None:
        contributions = np.asarray(trees.predict(x, pred_contrib=True), dtype=np.float64)
        return Attribution(contributions[:, :-1], contributions[:, -1], "path-dependent")
    if background is None or len(background) == 0:
        raise NotEnoughDataError("this kind of model needs background rows, taken from its training window")
    if hasattr(model, "coef_"):
        weights = np.ravel(model.coef_)
        centre = background.mean(axis=0)
        base = float(np.ravel(model.intercept_)[0] + centre @ weights)
        return Attribution((x - centre) * weights, np.full(len(x), base), "interventional")
    if callable(model):
        return _permutations(model, x, background, seed)
    raise TypeError(
        f"a {type(model).__name__} cannot be explained; give a booster, a linear model or a function"
    )


def _permutations(model: Callable[[Floats], Floats], x: Floats, background: Floats, seed: int) -> Attribution:
    # Loading this library takes seconds, and trees and linear models do without.
    import shap

    if len(background) > _MOST_BACKGROUND:
        chosen = np.random.default_rng(seed).choice(len(background), _MOST_BACKGROUND, replace=False)
        background = background[np.sort(chosen)]
    masker = shap.maskers.Independent(background, max_samples=_MOST_BACKGROUND)
    explained = shap.explainers.Permutation(model, masker, seed=seed)(x, silent=True)
    base = np.broadcast_to(np.asarray(explained.base_values, dtype=np.float64), (len(x),))
    return Attribution(np.asarray(explained.values, dtype=np.float64), base, "interventional")
