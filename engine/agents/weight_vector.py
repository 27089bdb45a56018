"""All weights of a network as one vector, so that an optimiser's step is one operation."""

from __future__ import annotations

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
    """

    def __init__(self, module: nn.Module) -> None:
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.vector = nn.Parameter(torch.cat([p.detach().flatten() for p in self.parameters]))
        parts = self.vector.detach().split([p.numel() for p in self.parameters])
        for parameter, part in zip(self.parameters, parts, strict=True):
            parameter.data = part.view_as(parameter)

    def differentiate(self, loss: Tensor) -> None:
        """Set the vector's gradient to that of a loss; zero for weights which it does not depend on."""
        gradients = torch.autograd.grad(loss, self.parameters, materialize_grads=True)
        self.vector.grad = torch.cat([g.flatten() for g in gradients])
