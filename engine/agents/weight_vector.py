"""All weights of a network as one vector, so that an optimiser's step is one operation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["WeightVector"]


class WeightVector:
    """Lay the weights of a module that require gradients side by side in memory.

    The module's parameters become views of the vector: what changes one changes the other.

    Parameters
    ----------
    module : nn.Module
        On its final device; moving it elsewhere takes it out of the vector.

    Attributes
    ----------
    vector : nn.Parameter, shape (total,)
    gradient : Tensor, shape (total,)
        The vector's ``grad``, of which each parameter's own is a view.
    """

    def __init__(self, module: nn.Module) -> None:
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.vector = nn.Parameter(torch.cat([p.detach().flatten() for p in self.parameters]))
        self.gradient = self.vector.grad = torch.zeros_like(self.vector)
        sizes = [p.numel() for p in self.parameters]
        parts = zip(self.vector.detach().split(sizes), self.gradient.split(sizes), strict=True)
        for parameter, (part, slope) in zip(self.parameters, parts, strict=True):
            parameter.data, parameter.grad = part.view_as(parameter), slope.view_as(parameter)

    def differentiate(self, outputs: Sequence[Tensor], slopes: Sequence[Tensor]) -> None:
        """Set the gradient to that of a loss, given its slope in each output of the module.

        It is zero for weights which no output depends on; outputs that depend on no weight are passed over.
        """
        pairs = [pair for pair in zip(outputs, slopes, strict=True) if pair[0].requires_grad]
        gradients = torch.autograd.grad(
            [output for output, _ in pairs],
            self.parameters,
            [slope for _, slope in pairs],
            materialize_grads=True,
        )
        torch.cat([g.flatten() for g in gradients], out=self.gradient)
