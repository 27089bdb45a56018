"""How large a network is, and how to make another of the same size: comparisons ask for equal capacity."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

__all__ = ["matching_width", "parameter_count"]


def parameter_count(module: nn.Module) -> int:
    """Count the trained coefficients."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def matching_width(make: Callable[[int], nn.Module], target: int) -> int:
    """Width whose network comes nearest to a target count of parameters.

    Parameters
    ----------
    make : callable
        Builds the network of a given width, from 1 on; its count must grow with the width.
    target : int
        See `parameter_count`.
    """

    def count(width: int) -> int:
        # Networks on the meta device have shapes and no storage, and draw nothing at random.
        with torch.device("meta"):
            return parameter_count(make(width))

    high = 1
    while count(high) < target:
        high *= 2
    low = high // 2 + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if count(middle) < target else (low, middle)
    return min(max(low - 1, 1), low, key=lambda width: abs(count(width) - target))
