"""What a run of ``optimize_parameters`` is asked for: one session of one scenario."""

from datetime import timedelta
from typing import Any, Literal

import dagster as dg
from pydantic import Field, field_validator, model_validator

from engine.tuning.scenarios import SCENARIOS, Scenario, scenario
from resources.parameter_store import Scope

__all__ = ["TuneOrder"]


class TuneOrder(dg.Config):
    """One session: which scenario, on which symbols, and what is to follow a promotion.

    Raises
    ------
    pydantic.ValidationError
        If a value is out of its bounds or unknown; the bound or the known values are named.
    """

    scenario: str = Field(default="quick_tune", description="Which of the scenarios.")
    symbols: list[str] = Field(default=[], description="Symbols to train on; all that are stored by default.")
    scope: str | None = Field(
        default=None,
        description="global, symbol:NAME or regime:NAME; by default that of the one symbol, else global.",
    )
    method: Literal["pgpe", "cma-es", "tpe", "random"] = Field(default="pgpe", description="How to search.")
    mode: Literal["apply", "shadow", "ab"] = Field(default="apply", description="What follows a promotion.")
    episodes: int | None = Field(
        default=None, ge=1, description="At most the scenario's, which is the default."
    )
    minutes: float | None = Field(
        default=None, gt=0.0, description="At most the scenario's, which is the default."
    )
    days: int = Field(
        default=30, ge=1, le=365, description="How long a shadow, an A/B test or a trigger is watched."
    )
    seed: int | None = Field(default=None, ge=0, description="By default that of the settings.")
    actor: str = Field(default="optimize_parameters", min_length=1, description="Who asks for it.")
    reason: str = Field(default="asked for", min_length=1, description="Why.")
    session: str | None = Field(
        default=None, description="Session that was interrupted and is to be taken up again."
    )

    @field_validator("scenario")
    @classmethod
    def _known(cls, name: str) -> str:
        return scenario(name).name

    @field_validator("scope")
    @classmethod
    def _is_a_scope(cls, text: str | None) -> str | None:
        return None if text is None else str(Scope.parse(text))

    @model_validator(mode="after")
    def _within_the_budget(self) -> "TuneOrder":
        for name in ("episodes", "minutes"):
            asked, most = getattr(self, name), getattr(self.what, name)
            if asked is not None and asked > most:
                raise ValueError(f"{name} = {asked:g} is more than the {most:g} of {self.scenario}")
        if self.where.kind == "symbol" and self.symbols not in ([], [self.where.name]):
            raise ValueError(
                f"symbols = {self.symbols}: parameters of {self.where} are trained on {self.where.name} alone"
            )
        if len(set(self.symbols)) < len(self.symbols):
            raise ValueError(f"symbols = {self.symbols} names one twice")
        return self

    @property
    def what(self) -> Scenario:
        """The scenario."""
        return SCENARIOS[self.scenario]

    @property
    def where(self) -> Scope:
        """Scope whose parameters are trained."""
        if self.scope is not None:
            return Scope.parse(self.scope)
        return Scope("symbol", self.symbols[0]) if len(self.symbols) == 1 else Scope()

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Symbols to train on; none stands for all."""
        return (self.where.name,) if self.where.kind == "symbol" else tuple(self.symbols)

    @property
    def watched_for(self) -> timedelta:
        """How long what follows a promotion is watched."""
        return timedelta(days=self.days)

    def described(self) -> dict[str, Any]:
        """Plain values of what decides the session's course: not who asks, nor why."""
        return self.model_dump(exclude={"actor", "reason", "session"})
