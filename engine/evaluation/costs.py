"""What a trade costs."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Costs"]


@dataclass(frozen=True)
class Costs:
    """Fee and slippage of one fill, as fractions of its value given in basis points.

    Slippage is half the spread plus the square-root impact of the order's share in the bar's volume (Almgren,
    Thum, Hauptmann and Li 2005; Toth et al. 2011).

    Parameters
    ----------
    fee_bps : float
        Taker's fee.
    half_spread_bps : float
        Half the quoted spread.
    impact_bps : float
        Impact of an order as large as the bar's whole volume; about one standard deviation of the bar's
        return. Only charged where volumes are given.
    """

    fee_bps: float = 5.0
    half_spread_bps: float = 1.0
    impact_bps: float = 100.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0.0 <= value < 1e4:
                raise ValueError(f"{name}={value} must lie in [0, 10000)")
