"""What a change point asks for, and from which probability on."""

from __future__ import annotations

from typing import Literal

__all__ = ["ACTIONS", "EXIT_AT", "REDUCE_AT", "Action"]

Action = Literal["hold", "reduce", "exit"]
ACTIONS: tuple[Action, ...] = ("hold", "reduce", "exit")
REDUCE_AT, EXIT_AT = 0.70, 0.90
"""Probabilities of a change from which on to reduce and to exit: of the detector and of all who read it."""
