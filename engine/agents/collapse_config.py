"""The bounds that an agent keeps as long as it decides."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CollapseConfig"]


@dataclass(frozen=True)
class CollapseConfig:
    """Bounds of a healthy agent.

    Parameters
    ----------
    least_entropy : float
        Mean entropy of the policy as a share of that of a uniform one.
    most_action_share : float
        Of the decisions that one level takes.
    least_levels : int
        Levels that take at least `level_counts` of the decisions.
    level_counts : float
        Share from which a level counts as used.
    least_turnover, most_turnover : float
        Mean absolute change of position per bar.
    least_expert_share, most_expert_share : float
        Of the gate's weight, over all bars.
    least_expert_spread : float
        Deviation over bars of the gate's weights, the largest of all experts: a gate that never moves mixes
        and does not choose.
    least_option_share : float
        Of the bars that each option is in charge.
    least_option_bars, most_option_bars : float
        Mean duration of each option.
    least_distance_to_hold : float
        Mean absolute difference of the positions from the constant nearest to them.
    most_correlation_to_hold : float
        Of the positions' returns with the market's.
    least_bars : int
        Decisions needed to judge at all.
    """

    least_entropy: float = 0.05
    most_action_share: float = 0.95
    least_levels: int = 2
    level_counts: float = 0.01
    least_turnover: float = 1e-3
    most_turnover: float = 0.5
    least_expert_share: float = 0.02
    most_expert_share: float = 0.95
    least_expert_spread: float = 0.01
    least_option_share: float = 0.02
    least_option_bars: float = 1.5
    most_option_bars: float = 1_000.0
    least_distance_to_hold: float = 0.02
    most_correlation_to_hold: float = 0.98
    least_bars: int = 100
