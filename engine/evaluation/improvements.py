"""The improvements that the ablation puts to the test: what was claimed for each, and its switch.

One table: the fields of `Improvements`. A switch, its title and its claims are written there and nowhere
else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from engine.regimes.names import REGIMES

__all__ = ["ALL", "IMPROVEMENTS", "METRICS", "Claim", "Improvement", "Improvements"]

ALL = "all"
"""Scope of a score that is not one regime's."""

METRICS: Mapping[str, str] = {
    "net_return": "mean net return per bar, in expected sizes of a bar's return",
    "sharpe": "Sharpe ratio of net returns per year",
    "volatility": "standard deviation of net returns per year",
    "edge": "net return per unit of position changed",
    "tail_drawdown": "mean of the worst 5 % of drawdowns, as a positive fraction",
    "transition_drawdown": "largest drawdown around changes of regime, as a positive fraction",
    "calibration_error": "expected calibration error of the stated confidence",
    "match_quality": "skill of what followed the patterns found over what usually follows",
    "learning_speed": "one over the updates until the target score was first held, 0 if never",
    "sample_efficiency": "one over the bars decided on until the target score was first held, 0 if never",
    "training_speed": "bars trained on per second",
}
"""Scores that claims are about. A score takes part in the ablation if a cell delivers it."""


@dataclass(frozen=True)
class Claim:
    """What was said of an improvement before anything was measured.

    Parameters
    ----------
    text : str
        As it was stated.
    metric : str
        One of `METRICS`.
    low, high : float
        Relative change of the metric: 0.08 and 0.15 for "+8-15 %", -0.3 and -0.2 for "-20-30 %".
    scope : str
        `ALL`, or the regime that the claim is about.

    Raises
    ------
    ValueError
        If the metric is unknown, or the range is empty or holds zero.
    """

    text: str
    metric: str
    low: float
    high: float
    scope: str = ALL

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"metric={self.metric!r} of the claim {self.text!r} must be one of {[*METRICS]}")
        if not self.low < self.high or self.low * self.high <= 0.0:
            raise ValueError(
                f"claim {self.text!r}: {self.low} to {self.high} must be a range on one side of 0"
            )


@dataclass(frozen=True)
class Improvement:
    """One row of the table.

    Parameters
    ----------
    key : str
        Name of its switch in `Improvements`.
    title : str
    claims : tuple of Claim
        Empty where no effect was stated.
    """

    key: str
    title: str
    claims: tuple[Claim, ...]

    @property
    def claim(self) -> str:
        """All that was stated, in words."""
        return ", ".join(dict.fromkeys(claim.text for claim in self.claims)) or "none stated"


def _row(title: str, *claims: Claim) -> dict[str, Any]:
    return {"title": title, "claims": claims}


@dataclass(frozen=True)
class Improvements:
    """Which improvements are on; all of them unless said otherwise."""

    adaptive_lr: bool = field(
        default=True,
        metadata=_row(
            "Adaptive learning rate", Claim("+8-15 % faster convergence", "learning_speed", 0.08, 0.15)
        ),
    )
    bandit: bool = field(
        default=True,
        metadata=_row("Bandit over alpha engines", Claim("+12-18 %", "net_return", 0.12, 0.18)),
    )
    conformal: bool = field(
        default=True,
        metadata=_row(
            "Conformal confidence", Claim("+30-50 % calibration", "calibration_error", -0.50, -0.30)
        ),
    )
    prioritized_replay: bool = field(
        default=True,
        metadata=_row(
            "Prioritized replay", Claim("+15-25 % sample efficiency", "sample_efficiency", 0.15, 0.25)
        ),
    )
    shap_pruning: bool = field(
        default=True,
        metadata=_row(
            "Inputs pruned by SHAP",
            Claim("20-30 % faster training", "training_speed", 0.20, 0.30),
            Claim("+10-15 % from noise reduction", "net_return", 0.10, 0.15),
        ),
    )
    alternative_data: bool = field(
        default=True, metadata=_row("Alternative data", Claim("+5-10 % edge", "edge", 0.05, 0.10))
    )
    options: bool = field(
        default=True,
        metadata=_row("Options SCALP, SWING, RUNNER", Claim("+10-15 % Sharpe", "sharpe", 0.10, 0.15)),
    )
    experts: bool = field(
        default=True,
        metadata=_row(
            "Mixture of experts",
            *(Claim("+15-25 % per regime", "net_return", 0.15, 0.25, regime) for regime in REGIMES),
        ),
    )
    pattern_matcher: bool = field(
        default=True,
        metadata=_row("Pattern matcher", Claim("+20-30 % match quality", "match_quality", 0.20, 0.30)),
    )
    curriculum: bool = field(
        default=True,
        metadata=_row("Curriculum", Claim("+25-35 % faster learning", "learning_speed", 0.25, 0.35)),
    )
    synthetic_panic: bool = field(
        default=True,
        metadata=_row(
            "Synthetic PANIC data",
            Claim("+30-50 % in PANIC", "net_return", 0.30, 0.50, "PANIC"),
            Claim("-20-30 % tail drawdown", "tail_drawdown", -0.30, -0.20),
        ),
    )
    changepoint_guard: bool = field(
        default=True,
        metadata=_row(
            "Change-point guard",
            Claim("-40-60 % drawdown in transitions", "transition_drawdown", -0.60, -0.40),
        ),
    )
    risk_budget: bool = field(
        default=True,
        metadata=_row(
            "Risk budgeting",
            Claim("+15-25 % risk-adjusted return", "sharpe", 0.15, 0.25),
            Claim("-20-30 % volatility", "volatility", -0.30, -0.20),
        ),
    )
    fear_greed: bool = field(default=True, metadata=_row("Fear & Greed as input"))
    sentiment_gate: bool = field(default=True, metadata=_row("Sentiment gate"))

    @classmethod
    def only(cls, *keys: str) -> Improvements:
        """Turn these on, all others off.

        Raises
        ------
        ValueError
            If a key is unknown.
        """
        _check(keys)
        return cls(**{key: key in keys for key in IMPROVEMENTS})

    @classmethod
    def none(cls) -> Improvements:
        """All off: the base system."""
        return cls.only()

    def without(self, *keys: str) -> Improvements:
        """Turn these off as well; raises ValueError if a key is unknown."""
        _check(keys)
        return replace(self, **dict.fromkeys(keys, False))

    @property
    def enabled(self) -> tuple[str, ...]:
        """Keys of those that are on, in the order of the table."""
        return tuple(key for key in IMPROVEMENTS if getattr(self, key))


IMPROVEMENTS: Mapping[str, Improvement] = {
    row.name: Improvement(row.name, row.metadata["title"], row.metadata["claims"])
    for row in fields(Improvements)
}
"""The table by key."""


def _check(keys: tuple[str, ...]) -> None:
    unknown = [key for key in keys if key not in IMPROVEMENTS]
    if unknown:
        raise ValueError(f"key={unknown[0]!r} is not an improvement; known are {[*IMPROVEMENTS]}")
