"""What a set of parameters holds for: everything, one symbol, or one regime of the market."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

from engine.regimes.names import REGIMES

__all__ = ["GLOBAL", "Scope", "scopes_of"]

Kind = Literal["global", "symbol", "regime"]

_SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}")


@dataclass(frozen=True)
class Scope:
    """Where parameters hold.

    Parameters
    ----------
    kind : {"global", "symbol", "regime"}
    name : str
        The symbol or the regime; empty for the global scope.

    Raises
    ------
    ValueError
        If the name does not fit the kind.
    """

    kind: Kind = "global"
    name: str = ""

    def __post_init__(self) -> None:
        fits = {
            "global": self.name == "",
            "symbol": _SYMBOL.fullmatch(self.name) is not None,
            "regime": self.name in REGIMES,
        }
        if not fits.get(self.kind, False):
            raise ValueError(
                f"scope {self.kind}:{self.name} must be global, symbol:NAME such as symbol:BTC/USDT, or "
                + ", ".join(f"regime:{regime}" for regime in REGIMES)
            )

    @classmethod
    def parse(cls, text: str | Scope) -> Scope:
        """Read a scope as it is written: ``global``, ``symbol:BTC/USDT``, ``regime:PANIC``."""
        if isinstance(text, Scope):
            return text
        if not isinstance(text, str):
            raise TypeError(f"scope = {text!r} must be text such as global or symbol:BTC/USDT")
        kind, _, name = text.partition(":")
        return cls(cast(Kind, kind), name)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind

    @property
    def fallbacks(self) -> tuple[Scope, ...]:
        """The scope itself and the one whose parameters hold where it has none of its own."""
        return (self,) if self == GLOBAL else (self, GLOBAL)


GLOBAL = Scope()


def scopes_of(symbol: str | None, regime: str | None) -> tuple[Scope, ...]:
    """Return the scopes that hold for a symbol in a regime, the one that comes first in front."""
    return (
        *((Scope("symbol", symbol),) if symbol is not None else ()),
        *((Scope("regime", regime),) if regime is not None else ()),
        GLOBAL,
    )
