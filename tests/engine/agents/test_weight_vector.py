from __future__ import annotations

import torch
from torch import nn

from engine.agents.weight_vector import WeightVector


def test_the_vector_and_the_weights_are_one() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    x = torch.randn(5, 3)
    before = module(x)
    weights = WeightVector(module)
    assert weights.vector.shape == (3 * 4 + 4 + 4 * 2 + 2,)
    assert torch.equal(module(x), before)
    with torch.no_grad():
        weights.vector.zero_()
    assert (module(x) == 0).all()
    state = {name: torch.ones_like(value) for name, value in module.state_dict().items()}
    module.load_state_dict(state)
    assert (weights.vector == 1).all()


def test_its_gradient_is_that_of_all_weights_zero_where_unused() -> None:
    torch.manual_seed(0)
    used, idle = nn.Linear(3, 2), nn.Linear(2, 2)
    idle.bias.requires_grad_(False)
    weights = WeightVector(nn.ModuleList((used, idle)))
    loss = used(torch.randn(5, 3)).square().mean()
    by_weight, by_bias = torch.autograd.grad(loss, (used.weight, used.bias), retain_graph=True)
    # The second output depends on no weight.
    weights.differentiate([loss, torch.ones(())], [torch.ones(()), torch.ones(())])
    assert weights.vector.grad is weights.gradient
    assert torch.equal(used.weight.grad, by_weight)  # type: ignore[arg-type]
    assert torch.equal(weights.gradient, torch.cat((by_weight.flatten(), by_bias, torch.zeros(4))))
