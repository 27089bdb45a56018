"""Adam on all weights as one vector, its gradient scaled down on the way."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ClippedAdam"]


class ClippedAdam(torch.optim.Adam):
    """`torch.optim.Adam` of one vector, with the clipping of the gradient's norm in the same pass.

    On networks of some ten thousand weights, a pass to scale the gradient and the bookkeeping of an optimiser
    for any number of tensors cost more than the step itself. State and groups are Adam's own.

    Parameters
    ----------
    vector : nn.Parameter
        With its ``grad``.
    lr, eps : float
        As Adam's (Kingma and Ba 2015).
    """

    def __init__(self, vector: nn.Parameter, lr: float, eps: float = 1e-5) -> None:
        super().__init__([vector], lr=lr, eps=eps, fused=True)
        self.vector = vector
        self.state[vector] = {
            "step": torch.zeros((), device=vector.device),
            "exp_avg": torch.zeros_like(vector),
            "exp_avg_sq": torch.zeros_like(vector),
        }

    @torch.no_grad()
    def step_within(self, max_gradient: float) -> Tensor:
        """Step, the gradient scaled down to a Euclidean norm where it is above; returns what it was before.

        Raises
        ------
        ValueError
            If the vector has no gradient.
        """
        gradient, group, state = self.vector.grad, self.param_groups[0], self.state[self.vector]
        if gradient is None:
            raise ValueError("the vector has no grad to step along; differentiate a loss first")
        norm = torch.linalg.vector_norm(gradient)
        beta1, beta2 = group["betas"]
        state["step"] += 1
        torch._fused_adam_(  # what Adam's own step comes to with fused=True
            [self.vector.detach()],
            [gradient],
            [state["exp_avg"]],
            [state["exp_avg_sq"]],
            [],
            [state["step"]],
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
            grad_scale=(norm / max_gradient).clamp_(min=1.0).float(),
        )
        return norm
