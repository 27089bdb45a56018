"""AlphaEngineBandit: Thompson sampling over engines, one Beta law per engine and regime, with forgetting.

Only evidence is forgotten, never the prior: an engine that was not heard of for long is unknown again, not
impossible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.alpha.bandit_evidence import Evidence, Forgetting, credit, laws, with_interval
from engine.errors import DataError
from engine.regimes.names import REGIMES

__all__ = ["AlphaEngineBandit", "BanditConfig", "reward_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BanditConfig:
    """Prior, forgetting and reward of the bandit.

    Parameters
    ----------
    prior : tuple of two floats
        Both parameters of the Beta law before any evidence, positive.
    forgetting : {"discount", "window", "none"}
        Evidence loses weight with age, counts in full for the last events only, or for ever. Forgetting costs
        regret where nothing changes.
    gamma : float
        Weight that a step of the clock leaves; about ``1 / (1 - gamma)`` steps are remembered.
    clock : {"events", "hours"}
        A step of the discount is an outcome credited in that regime, by default: what is known of PANIC must
        not fade during calm months. With ``hours`` it fades with time whether or not anything happens.
    window : int
        Outcomes of that regime, of all engines together, that a window holds.
    bound : float
        Of the reward, see `reward_of`.
    weight : float
        Observations of win or loss that an outcome counts for. At 1 the laws are those of the textbook, made
        for rewards of 0 or 1. `reward_of` gives rewards whose standard deviation is only ``1 / (2 bound)``;
        each then says as much of the mean as ``bound**2`` wins or losses do, if trades are independent.

    References
    ----------
    Raj and Kalyani 2017 (discount); Trovo, Paladino, Restelli and Gatti 2020 (window).
    """

    prior: tuple[float, float] = (1.0, 1.0)
    forgetting: Literal["discount", "window", "none"] = "discount"
    gamma: float = 0.998
    clock: Literal["events", "hours"] = "events"
    window: int = 500
    bound: float = 2.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.forgetting not in ("discount", "window", "none") or self.clock not in ("events", "hours"):
            raise ValueError(
                f"forgetting={self.forgetting!r} must be discount, window or none, "
                f"clock={self.clock!r} events or hours"
            )
        if len(self.prior) != 2 or not all(0.0 < p < np.inf for p in self.prior):
            raise ValueError(f"prior={self.prior} must be two positive numbers")
        positive = 0.0 < self.bound < np.inf and 0.0 < self.weight < np.inf
        if not 0.0 < self.gamma <= 1.0 or self.window < 1 or not positive:
            raise ValueError(
                f"gamma={self.gamma} must lie in (0, 1], window={self.window} be at least 1 and "
                f"bound={self.bound} and weight={self.weight} positive"
            )

    @property
    def compiled(self) -> Forgetting:
        """The same, as compiled code takes it."""
        discounts, windows = self.forgetting == "discount", self.forgetting == "window"
        return Forgetting(
            *self.prior,
            self.weight,
            self.gamma if discounts else 1.0,
            discounts and self.clock == "hours",
            self.window if windows else 0,
        )


def reward_of(net: Floats, risk: Floats, bound: float) -> Floats:
    """Map net returns to rewards: ``1/2 + net / (2 bound risk)``, cut to [0, 1].

    A line keeps the order of expected results, which a sigmoid or a close cut does not. It is a line in units
    of the risk expected at entry, so that engines are ranked by net return over risk and one wild trade in
    PANIC does not outweigh a hundred calm ones; only results beyond `bound` standard deviations are cut. One
    half is to break even.

    Parameters
    ----------
    net : ndarray
        Return of each trade after all costs, fraction of its value at entry.
    risk : ndarray
        Standard deviation of such a return as expected at entry, positive.
    bound : float
        Standard deviations.
    """
    return np.clip(0.5 + net / (2.0 * bound * risk), 0.0, 1.0)


class AlphaEngineBandit:
    """Thompson sampling: draw once from each engine's law and follow the largest draw.

    Parameters
    ----------
    engines : sequence of str
    config : BanditConfig, optional
    seed : int

    References
    ----------
    Thompson 1933; Chapelle and Li 2011; fractional rewards after Agrawal and Goyal 2012.
    """

    def __init__(self, engines: Sequence[str], config: BanditConfig | None = None, *, seed: int = 0) -> None:
        if not engines or len(set(engines)) != len(engines):
            raise ValueError(f"engines={list(engines)} must be at least one, each named once")
        self.engines = tuple(engines)
        self.config = config or BanditConfig()
        self.rule = self.config.compiled
        self.rng = np.random.default_rng(seed)
        self.evidence = Evidence.none(len(self.engines), len(REGIMES), self.rule.window)

    def draw(self, engines: Sequence[str], regime: str, now: float = 0.0) -> dict[str, float]:
        """Draw an expected reward for each of the engines that could act now.

        Parameters
        ----------
        engines : sequence of str
            Drawn in the order of the bandit's own engines, whatever the order given.
        regime : str
            One of `REGIMES`.
        now : float
            Hours on the clock of the discount; not read where events are counted.
        """
        r = self._regime(regime, now)
        asked = sorted(self._engine(name) for name in engines)
        wins, losses = laws(self.evidence, self.rule, r, now)
        drawn = self.rng.beta(wins[asked], losses[asked]).tolist()
        return dict(zip([self.engines[e] for e in asked], drawn, strict=True))

    def choose(self, engines: Sequence[str], regime: str, now: float = 0.0) -> str:
        """Return the engine with the largest draw; parameters as in `draw`."""
        drawn = self.draw(engines, regime, now)
        return max(drawn, key=drawn.__getitem__)

    def credit(self, engine: str, regime: str, reward: float, now: float = 0.0) -> None:
        """Enter the outcome of a closed trade of the engine that acted, and of no other.

        Parameters
        ----------
        engine : str
        regime : str
            At the trade's entry.
        reward : float
            In [0, 1].
        now : float
            When it became known; see `draw`.

        Raises
        ------
        ValueError
            If the reward is outside of [0, 1] or unknown, a name is, or `now` lies before the last outcome.
        """
        if not 0.0 <= reward <= 1.0:
            raise ValueError(f"reward={reward} must lie in [0, 1]; map net returns with reward_of")
        credit(self.evidence, self.rule, self._engine(engine), self._regime(regime, now), reward, now)

    def posterior(self, now: float = 0.0) -> pl.DataFrame:
        """Laws at `now`.

        Returns
        -------
        polars.DataFrame
            ``engine, regime, wins, losses`` (parameters of the Beta law, prior included), ``outcomes`` ever
            credited, ``mean``, ``low, high`` (95 % interval).
        """
        found = [laws(self.evidence, self.rule, self._regime(name, now), now) for name in REGIMES]
        frame = pl.DataFrame(
            {
                "engine": np.repeat(self.engines, len(REGIMES)),
                "regime": np.tile(REGIMES, len(self.engines)),
                "wins": np.column_stack([wins for wins, _ in found]).ravel(),
                "losses": np.column_stack([losses for _, losses in found]).ravel(),
                "outcomes": self.evidence.outcomes.ravel(),
            }
        )
        return with_interval(frame)

    def to_dict(self) -> dict[str, Any]:
        """State as JSON types; a bandit restored from it draws the very same numbers."""
        return {
            "engines": list(self.engines),
            "config": asdict(self.config) | {"prior": list(self.config.prior)},
            "random": self.rng.bit_generator.state,
            "evidence": {name: values.tolist() for name, values in self.evidence._asdict().items()},
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> AlphaEngineBandit:
        """Restore what `to_dict` gave.

        Raises
        ------
        DataError
            If it is not such a state.
        """
        try:
            config = BanditConfig(**{**stored["config"], "prior": tuple(stored["config"]["prior"])})
            restored = cls(stored["engines"], config)
            restored.rng.bit_generator.state = stored["random"]
            for name, empty in restored.evidence._asdict().items():
                values = np.array(stored["evidence"][name], empty.dtype).reshape(empty.shape)
                empty[...] = values
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"not the state of a bandit: {error}") from error
        return restored

    def _engine(self, name: str) -> int:
        if name not in self.engines:
            raise ValueError(f"engine={name!r} must be one of {list(self.engines)}")
        return self.engines.index(name)

    def _regime(self, name: str, now: float) -> int:
        if name not in REGIMES:
            raise ValueError(f"regime={name!r} must be one of {list(REGIMES)}")
        regime = REGIMES.index(name)
        if self.rule.by_hours and not now >= self.evidence.hours[regime]:
            raise ValueError(
                f"now={now} lies before the last outcome in {name}, at hour {self.evidence.hours[regime]}"
            )
        return regime
