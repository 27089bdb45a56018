"""Learning rate that follows warm restarts, falls when the win rate stands still and rises in a new regime.

The shape is that of SGDR (Loshchilov & Hutter 2017): cycle i is cycle * growth^i steps long and inside it the
rate falls from `hi` to `lo` along half a cosine. It is scaled:

- by `factor` whenever the win rate stands still, as `engine.agents.win_rates` tells.
- by `boost` for a while when a new regime begins. One boost at a time: regimes that alternate neither
  compound nor prolong it.

Neither moves the phase, and no rate leaves [lo, hi]. Winning more often is not earning more: the expectancy
stands beside the win rate in the history.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch.optim import Optimizer

from engine.agents.win_rates import WinRateWindow

__all__ = ["AdaptiveLRScheduler", "LearningRateConfig", "LearningRateStep"]


@dataclass(frozen=True)
class LearningRateConfig:
    """Every threshold of the schedule.

    Parameters
    ----------
    cycle : int
        Steps of the first cycle, >= 1.
    growth : int
        Each cycle is so many times as long as the one before it, >= 1.
    floor : float
        `lo` as a share of `hi`, in [0, 1).
    patience : int
        Evaluations in each of the two windows compared, >= 1.
    least_trades : int
        Trades that each window must have, >= 1; windows grow until they do.
    errors : float
        The win rate stands still where it gained less than so many standard errors.
    factor : float
        Scale after a plateau over that before it, in (0, 1).
    boost : float
        Scale in a new regime over that before it, >= 1.
    trades : int
        Trades behind a win rate where `step` is not told, >= 1.

    Raises
    ------
    ValueError
        A parameter is out of its bounds.
    """

    cycle: int = 50
    growth: int = 2
    floor: float = 0.01
    patience: int = 10
    least_trades: int = 1000
    errors: float = 0.5
    factor: float = 0.5
    boost: float = 1.5
    trades: int = 100

    def __post_init__(self) -> None:
        for name in ("cycle", "growth", "patience", "least_trades", "trades"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0.0 <= self.floor < 1.0:
            raise ValueError(f"floor must be in [0, 1), got {self.floor}")
        if not 0.0 < self.factor < 1.0:
            raise ValueError(f"factor must be in (0, 1), got {self.factor}")
        if not (1.0 <= self.boost < math.inf and math.isfinite(self.errors)):
            raise ValueError(
                f"boost must be at least 1 and errors finite, got {self.boost} and {self.errors}"
            )


@dataclass(frozen=True)
class LearningRateStep:
    """What one step saw, compared and did.

    Parameters
    ----------
    step : int
        Steps since the start.
    learning_rate : float
        Of the first parameter group.
    scale : float
        On the cosine; above 1 where a boost outweighs the reductions.
    win_rate, expectancy : float
        As given; NaN where unknown.
    trades : int
        Behind the win rate; 0 where it is unknown.
    gain, gain_error : float
        Pooled win rate of the later window less that of the earlier, and its standard error; NaN where there
        were not yet enough trades to compare.
    expectancy_gain : float
        The same difference of the expectancies, weighted by trades; NaN where one is unknown.
    reduced, boosted : bool
        Whether the scale fell for a plateau, and whether a boost is in force.
    """

    step: int
    learning_rate: float
    scale: float
    win_rate: float
    expectancy: float
    trades: int
    gain: float
    gain_error: float
    expectancy_gain: float
    reduced: bool
    boosted: bool


class AdaptiveLRScheduler:
    """Set the learning rates of an optimiser step by step.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Its parameter groups' present rates are their `hi`; groups keep their proportions.
    config : LearningRateConfig

    Attributes
    ----------
    history : list of LearningRateStep
        One a step; not part of the state.
    """

    def __init__(self, optimizer: Optimizer, config: LearningRateConfig | None = None) -> None:
        self.optimizer, self.config = optimizer, config or LearningRateConfig()
        self.history: list[LearningRateStep] = []
        self._base = [float(group["lr"]) for group in optimizer.param_groups]
        self._step = self._phase = 0
        self._length = self.config.cycle
        self._reduction = 1.0
        self._since_boost = 2 * self.config.patience
        self._regime: str | bool | None = None
        self._window = WinRateWindow(self.config.patience, self.config.least_trades)
        self._apply()

    @property
    def boosted(self) -> bool:
        """Whether a boost is in force: for `patience` steps from the start of a new regime."""
        return self._since_boost < self.config.patience

    @property
    def scale(self) -> float:
        """Factor on the cosine now."""
        return self._reduction * (self.config.boost if self.boosted else 1.0)

    @property
    def learning_rate(self) -> float:
        """Rate in force, of the first parameter group."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(
        self,
        win_rate: float | None = None,
        regime_exploration: str | bool | None = None,
        *,
        trades: int | None = None,
        expectancy: float = math.nan,
    ) -> float:
        """Go on by one update of the parameters.

        Parameters
        ----------
        win_rate : float, optional
            Share of trades won at this evaluation; None or NaN where there was none, which is no evidence.
        regime_exploration : str or bool, optional
            The regime that the agent now explores, by name or as True; None or False where it explores none.
            A value other than that of the step before begins a new regime. A boost follows, unless the last
            one began less than 2 `patience` steps ago: the win rates since then have to be compared first.
        trades : int, optional
            Behind this win rate; `config.trades` without.
        expectancy : float
            Mean profit of these trades, for the history.

        Returns
        -------
        float
            The learning rate now in force, of the first parameter group.

        Raises
        ------
        ValueError
            The win rate is not in [0, 1], or trades is negative.
        """
        known = win_rate is not None and not math.isnan(win_rate)
        count = (self.config.trades if trades is None else trades) if known else 0
        if known and not 0.0 <= win_rate <= 1.0:  # type: ignore[operator]
            raise ValueError(f"win_rate must be in [0, 1], got {win_rate}")
        if count < 0:
            raise ValueError(f"trades must not be negative, got {trades}")
        self._advance()
        rate = float(win_rate) if count else math.nan  # type: ignore[arg-type]
        if count:
            self._window.add(rate, count, expectancy)
        gain, error, expectancy_gain = self._window.gain()
        reduced = gain < self.config.errors * error or (gain <= 0.0 and error == 0.0)
        if reduced:
            self._reduction = max(self._reduction * self.config.factor, self.config.floor)
            self._window.clear()
        self._explore(regime_exploration)
        self._apply()
        self.history.append(
            LearningRateStep(
                self._step,
                self.learning_rate,
                self.scale,
                rate,
                expectancy,
                count,
                gain,
                error,
                expectancy_gain,
                reduced,
                self.boosted,
            )
        )
        return self.learning_rate

    def state_dict(self) -> dict[str, Any]:
        """Phase, scale, window, base rates and thresholds, in plain Python types."""
        return {
            "config": asdict(self.config),
            "base": list(self._base),
            "step": self._step,
            "phase": self._phase,
            "length": self._length,
            "reduction": self._reduction,
            "since_boost": self._since_boost,
            "regime": self._regime,
            "window": [list(evaluation) for evaluation in self._window.evaluations],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on exactly from where `state_dict` was taken; the optimiser's rates are set at once.

        Raises
        ------
        ValueError
            The optimiser has another number of parameter groups.
        """
        if len(state["base"]) != len(self.optimizer.param_groups):
            raise ValueError(
                f"the optimiser must have the {len(state['base'])} parameter groups of the state, "
                f"got {len(self.optimizer.param_groups)}"
            )
        self.config = LearningRateConfig(**state["config"])
        self._base = [float(rate) for rate in state["base"]]
        self._step, self._phase, self._length = state["step"], state["phase"], state["length"]
        self._reduction, self._since_boost = float(state["reduction"]), state["since_boost"]
        self._regime = state["regime"]
        self._window = WinRateWindow(self.config.patience, self.config.least_trades)
        for rate, trades, expectancy in state["window"]:
            self._window.add(float(rate), int(trades), float(expectancy))
        self._apply()

    def _advance(self) -> None:
        """Go on in the cycle; a finished one is followed by a longer one."""
        self._step += 1
        self._since_boost += 1
        self._phase += 1
        if self._phase == self._length:
            self._phase, self._length = 0, self._length * self.config.growth

    def _explore(self, regime: str | bool | None) -> None:
        """Boost at the start of a new regime; win rates of the old one are no measure for it."""
        begins = regime not in (None, False) and regime != self._regime
        if begins and self._since_boost >= 2 * self.config.patience:
            self._since_boost = 0
            self._window.clear()
        self._regime = regime

    def _apply(self) -> None:
        share = (1.0 + math.cos(math.pi * self._phase / self._length)) / 2.0
        for group, hi in zip(self.optimizer.param_groups, self._base, strict=True):
            lo = self.config.floor * hi
            group["lr"] = min(max(self.scale * (lo + (hi - lo) * share), lo), hi)
