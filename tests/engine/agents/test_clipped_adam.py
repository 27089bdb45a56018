from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from engine.agents.clipped_adam import ClippedAdam

LIMIT = 2.0


def gradients() -> list[Tensor]:
    """Some below the limit, some far above."""
    torch.manual_seed(3)
    return [size * torch.randn(50) for size in (0.01, 0.1, 1.0, 10.0, 0.2, 3.0)]


def test_a_step_is_clipping_and_then_adam() -> None:
    plain, fused = nn.Parameter(torch.ones(50)), nn.Parameter(torch.ones(50))
    fused.grad = torch.zeros(50)
    adam, clipped = torch.optim.Adam([plain], lr=0.1, eps=1e-5), ClippedAdam(fused, lr=0.1)
    for i, gradient in enumerate(gradients()):
        plain.grad = gradient.clone()
        fused.grad.copy_(gradient)
        before = nn.utils.clip_grad_norm_([plain], LIMIT)
        adam.step()
        torch.testing.assert_close(clipped.step_within(LIMIT), before)
        torch.testing.assert_close(fused, plain, rtol=0.0, atol=2e-6)
        for optimizer in (adam, clipped):
            optimizer.param_groups[0]["lr"] = 0.1 / (i + 2)
    assert float(clipped.state[fused]["step"]) == len(gradients())


def test_it_goes_on_from_its_state_bit_for_bit() -> None:
    def steps(optimizer: ClippedAdam, some: list[Tensor]) -> None:
        for gradient in some:
            assert optimizer.vector.grad is not None
            optimizer.vector.grad.copy_(gradient)
            optimizer.step_within(LIMIT)

    whole, begun = (nn.Parameter(torch.ones(50)) for _ in range(2))
    whole.grad, begun.grad = torch.zeros(50), torch.zeros(50)
    steps(ClippedAdam(whole, lr=0.1), gradients())
    first = ClippedAdam(begun, lr=0.1)
    steps(first, gradients()[:3])
    second = ClippedAdam(begun, lr=0.1)
    second.load_state_dict(first.state_dict())
    steps(second, gradients()[3:])
    assert torch.equal(whole, begun)


def test_it_asks_for_a_gradient() -> None:
    with pytest.raises(ValueError, match="no grad"):
        ClippedAdam(nn.Parameter(torch.ones(2)), lr=0.1).step_within(1.0)
