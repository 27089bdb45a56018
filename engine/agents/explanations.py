"""Why an agent decided as it did: Shapley values of a network's output, for thousands of decisions at once.

Expected gradients: the gradient somewhere on the straight line from a background row to the decision's
inputs, times their difference, has the Aumann-Shapley value as its mean over background rows and places on
the line. All decisions and samples go through the network as a few large batches. Samples come in pairs that
mirror each other on their line and use every background row equally often, which makes the estimate exact for
functions of second degree and less noisy for others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import NotEnoughDataError

__all__ = [
    "Explanation",
    "ExplanationConfig",
    "explain",
    "top_features",
]

Floats = NDArray[np.float64]
Function = Callable[..., Tensor]


@dataclass(frozen=True)
class ExplanationConfig:
    """How finely to sample.

    Parameters
    ----------
    samples : int
        Gradients for each decision, an even number.
    most_background : int
        Background rows used for each regime, drawn at random beyond it.
    least_background : int
        A regime with fewer rows of its own is explained against all of them.
    points_at_once : int
        Rows in one batch of the network.
    seed : int

    Raises
    ------
    ValueError
        If a number is too small or `samples` odd.
    """

    samples: int = 200
    most_background: int = 100
    least_background: int = 20
    points_at_once: int = 8_192
    seed: int = 7

    def __post_init__(self) -> None:
        if self.samples < 2 or self.samples % 2:
            raise ValueError(f"samples={self.samples} must be even and at least 2, for they come in pairs")
        if min(self.most_background, self.least_background, self.points_at_once) < 1:
            raise ValueError("most_background, least_background and points_at_once must be at least 1")


@dataclass(frozen=True)
class Explanation:
    """Shapley values of n decisions.

    Parameters
    ----------
    values : ndarray, shape (n, F)
        What each input moved the output by, away from its mean over the background.
    base : ndarray, shape (n,)
        That mean.
    output : ndarray, shape (n,)
    """

    values: Floats
    base: Floats
    output: Floats

    @property
    def completeness_error(self) -> Floats:
        """Output less base less the sum of the values, shape (n,): zero but for the sampling."""
        return self.output - self.base - self.values.sum(axis=1)


def explain(
    function: Function,
    x: Tensor,
    background: Tensor,
    *,
    column: Tensor | int | None = None,
    context: Sequence[Tensor] = (),
    regime: NDArray[np.int8] | None = None,
    background_regime: NDArray[np.int8] | None = None,
    config: ExplanationConfig | None = None,
) -> Explanation:
    """Explain outputs of a differentiable function: a logit, a log-probability, a value; never a choice.

    Parameters
    ----------
    function : callable
        From inputs [B, ...] and the rows of `context` to outputs [B], or [B, L] with a `column`. Rows do not
        influence each other.
    x : Tensor, shape (n, F) or (n, T, F)
        Inputs of the decisions; values of windows are summed over their time T.
    background : Tensor, shape (m, F) or (m, T, F)
        Inputs in the training window, which stand for what is usual.
    column : int or Tensor of int64, shape (n,), optional
        Which output, such as the action chosen by each decision.
    context : sequence of Tensor, shape (n, ...)
        What the function needs beside the inputs and what is held as it was, also in the base.
    regime, background_regime : ndarray of int, shapes (n,) and (m,), optional
        Explains each decision against the background of its own regime. Unknown (negative) ones, and those
        with too little background, are explained against all of it.
    config : ExplanationConfig, optional

    Raises
    ------
    NotEnoughDataError
        Without background rows.
    ValueError
        If shapes do not fit, or only one of the two regimes is given.

    References
    ----------
    Erion, Janizek, Sturmfels, Lundberg and Lee (2021), "Improving performance of deep learning models with
    axiomatic attribution priors and expected gradients".
    """
    settings = config or ExplanationConfig()
    _check(x, background, regime, background_regime)
    generator = torch.Generator().manual_seed(settings.seed)
    columns = None if column is None else torch.as_tensor(column, device=x.device).expand(len(x))
    everything = _Chosen(function, x, columns, tuple(context))
    values = np.empty((len(x), x.shape[-1]))
    base, output = np.empty(len(x)), np.empty(len(x))
    codes = np.full(len(x), -1) if regime is None else np.asarray(regime)
    for code in np.unique(codes):
        own = _own_background(background, background_regime, int(code), settings, generator)
        decisions = np.flatnonzero(codes == code)
        for part in _batches(decisions, settings.points_at_once // settings.samples):
            values[part] = _expected_gradients(everything.at(part), own, settings.samples // 2, generator)
        for part in _batches(decisions, settings.points_at_once // len(own)):
            output[part], base[part] = _outputs(everything.at(part), own)
    return Explanation(values, base, output)


@dataclass(frozen=True)
class _Chosen:
    """Some decisions: their inputs, and the chosen output as a function of K other inputs each."""

    function: Function
    x: Tensor
    column: Tensor | None
    context: tuple[Tensor, ...]

    def at(self, decisions: NDArray[np.int64]) -> _Chosen:
        """Pick some of them."""
        rows = torch.as_tensor(decisions, device=self.x.device)
        column = None if self.column is None else self.column[rows]
        return _Chosen(self.function, self.x[rows], column, tuple(part[rows] for part in self.context))

    def __call__(self, points: Tensor) -> Tensor:
        """Map inputs (n, K, ...) to outputs (n, K)."""
        n, k = points.shape[:2]
        repeated = (rows.repeat_interleave(k, 0) for rows in self.context)
        out = self.function(points.flatten(0, 1), *repeated)
        if (out.ndim == 2) != (self.column is not None) or out.ndim > 2:
            raise ValueError(f"the function gives {tuple(out.shape)}; columns [B, L] need a column, [B] none")
        if self.column is None:
            return out.view(n, k)
        return out.view(n, k, -1).gather(2, self.column.view(n, 1, 1).expand(n, k, 1)).squeeze(2)


def _expected_gradients(
    chosen: _Chosen, background: Tensor, pairs: int, generator: torch.Generator
) -> Floats:
    x = chosen.x.unsqueeze(1)
    rows, place = _lines(len(x), len(background), pairs, generator)
    way = x - background[rows.to(x.device)]
    step = way * place.to(x).view(*place.shape, *(1,) * (x.ndim - 2))
    # From the background towards the decision, and as far from the decision towards the background.
    points = torch.cat([x - way + step, x - step], 1).requires_grad_()
    (gradient,) = torch.autograd.grad(chosen(points).sum(), points)
    both = gradient[:, :pairs] + gradient[:, pairs:]
    values = both.mul_(way).sum(1, dtype=torch.float64) / (2 * pairs)
    return values.flatten(1, -2).sum(1).cpu().numpy() if values.ndim > 2 else values.cpu().numpy()


@torch.no_grad()
def _outputs(chosen: _Chosen, background: Tensor) -> tuple[Floats, Floats]:
    """Output of each decision, and its mean over the background."""
    output = chosen(chosen.x.unsqueeze(1))[:, 0].double()
    if chosen.context:
        usual = chosen(background.unsqueeze(0).expand(len(output), *background.shape)).double().mean(1)
    else:
        means = chosen.function(background).double().mean(0)
        usual = means.expand(len(output)) if chosen.column is None else means[chosen.column]
    return output.cpu().numpy(), usual.cpu().numpy()


def _batches(decisions: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(decisions), max(size, 1)):
        yield decisions[start : start + max(size, 1)]


def _lines(n: int, rows: int, pairs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Background row and place of each pair, shapes (n, pairs): rows equally often, places spread evenly."""
    whole, rest = divmod(pairs, rows)
    some = torch.rand(n, rows if rest else 0, generator=generator).argsort(1)[:, :rest]
    row = torch.cat([torch.arange(rows).repeat(whole).expand(n, -1), some], 1)
    stratum = torch.rand(n, pairs, generator=generator).argsort(1)
    return row, (stratum + torch.rand(n, pairs, generator=generator)) / (2 * pairs)


def _own_background(
    background: Tensor,
    background_regime: NDArray[np.int8] | None,
    code: int,
    config: ExplanationConfig,
    generator: torch.Generator,
) -> Tensor:
    rows = np.arange(len(background))
    if background_regime is not None and code >= 0:
        own = np.flatnonzero(np.asarray(background_regime) == code)
        rows = own if len(own) >= config.least_background else rows
    some = torch.randperm(len(rows), generator=generator)[: config.most_background].sort().values
    return background[torch.as_tensor(rows)[some].to(background.device)].detach()


def _check(
    x: Tensor,
    background: Tensor,
    regime: NDArray[np.int8] | None,
    background_regime: NDArray[np.int8] | None,
) -> None:
    if x.ndim not in (2, 3) or background.shape[1:] != x.shape[1:]:
        raise ValueError(
            f"x {tuple(x.shape)} and background {tuple(background.shape)} must be rows of the same inputs"
        )
    if not len(background):
        raise NotEnoughDataError("there is no background; take it from the training window")
    if (regime is None) != (background_regime is None):
        raise ValueError("regime and background_regime must be given together, or neither")
    if regime is not None and background_regime is not None:
        lengths = (len(regime), len(background_regime))
        if lengths != (len(x), len(background)):
            raise ValueError(f"{lengths} regimes must be those of {len(x)} decisions, {len(background)} rows")


def top_features(explanation: Explanation, names: Sequence[str], count: int = 5) -> pl.DataFrame:
    """List the inputs that moved each decision most.

    Returns
    -------
    polars.DataFrame
        ``decision`` (position), ``rank`` from 1, ``feature, value`` (signed) and ``share`` of all the
        decision's absolute values.

    Raises
    ------
    ValueError
        If `names` are not those of the inputs, or `count` is below 1.
    """
    n, width = explanation.values.shape
    if len(names) != width or count < 1:
        raise ValueError(
            f"{len(names)} names for {width} inputs, count={count}: need one each, and at least 1"
        )
    size = np.abs(explanation.values)
    order = np.argsort(-size, axis=1, kind="stable")[:, :count]
    total = np.maximum(size.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    kept = order.shape[1]
    return pl.DataFrame(
        {
            "decision": np.repeat(np.arange(n), kept),
            "rank": np.tile(np.arange(1, kept + 1), n),
            "feature": np.asarray(names, dtype=np.str_)[order.ravel()],
            "value": np.take_along_axis(explanation.values, order, 1).ravel(),
            "share": np.take_along_axis(size / total, order, 1).ravel(),
        }
    )
