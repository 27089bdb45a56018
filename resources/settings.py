"""Settings of a run: one frozen object from ``settings.toml`` and the environment."""

from __future__ import annotations

import hashlib
import os
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

__all__ = ["PROFILES", "Profile", "Settings", "load_settings"]

SIMULATION_START = date(2024, 1, 1)
ARCHIVE_START = date(2018, 1, 1)


class AblationWork(BaseModel):
    """What the ablation compares, in which worlds, with how many seeds, and how much work each run does.

    All improvements where none is named; the rest is as `engine.ablation.setup.AblationSetup` has it.
    """

    model_config = ConfigDict(frozen=True)

    improvements: tuple[str, ...] = ()
    worlds: tuple[Literal["simulator", "recorded"], ...] = ("simulator",)
    seeds: int = 10
    train_days: int = 540
    calibrate_days: int = 90
    test_days: int = 120
    starts: int = 32
    updates_per_evaluation: int = 4
    final_evaluations: int = 6
    encoder_steps: int = 40
    boosting_rounds: int = 60
    ctgan_updates: int = 60


class Profile(BaseModel):
    """How much work a run does.

    Windows are in days; models are fitted on every `row_stride`-th bar. Synthetic windows are drawn for the
    newest `synthetic_folds` folds, each after `ctgan_updates` updates of CTGAN.

    Agents are trained for the newest `agent_folds` folds: `agent_warm_up_steps` of the exact gradient, then
    `agent_updates` updates before each of at most `agent_stage_evaluations` evaluations of a stage,
    `agent_final_evaluations` of the last one and `agent_tuning_evaluations` for each symbol, each update on
    `agent_starts` start points with sixteen accounts. Encoders of patterns take `pattern_updates`, an
    explanation `explanation_samples` gradients.
    """

    model_config = ConfigDict(frozen=True)

    symbols: tuple[str, ...]
    simulated_days: int
    train_days: int
    calibrate_days: int
    test_days: int
    regime_refit_days: int
    boosting_rounds: int
    row_stride: int
    bootstrap_draws: int
    synthetic_folds: int
    ctgan_updates: int
    agent_folds: int
    agent_warm_up_steps: int
    agent_starts: int
    agent_updates: int
    agent_stage_evaluations: int
    agent_final_evaluations: int
    agent_tuning_evaluations: int
    pattern_updates: int
    explanation_samples: int
    ablation: AblationWork = AblationWork()


_FOUR = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT")
_TEN = (*_FOUR, "ADA/USDT", "AVAX/USDT", "BNB/USDT", "DOGE/USDT", "DOT/USDT", "LINK/USDT")

_DEMO = Profile(
    symbols=_FOUR,
    simulated_days=540,
    train_days=240,
    calibrate_days=90,
    test_days=60,
    regime_refit_days=60,
    boosting_rounds=120,
    row_stride=4,
    bootstrap_draws=500,
    synthetic_folds=1,
    ctgan_updates=100,
    agent_folds=1,
    agent_warm_up_steps=240,
    agent_starts=40,
    agent_updates=4,
    agent_stage_evaluations=1,
    agent_final_evaluations=6,
    agent_tuning_evaluations=0,
    pattern_updates=60,
    explanation_samples=40,
    ablation=AblationWork(
        improvements=("bandit", "changepoint_guard", "risk_budget"),
        seeds=5,
        train_days=365,
        final_evaluations=3,
    ),
)
# Everything once, as small as it can be: what end-to-end tests run.
_SMOKE = _DEMO.model_copy(
    update={
        "simulated_days": 450,
        "bootstrap_draws": 200,
        "ctgan_updates": 10,
        "agent_warm_up_steps": 4,
        "agent_starts": 8,
        "agent_updates": 1,
        "agent_final_evaluations": 1,
        "agent_tuning_evaluations": 1,
        "pattern_updates": 5,
        "explanation_samples": 4,
        "ablation": AblationWork(
            improvements=("changepoint_guard", "risk_budget"),
            seeds=5,
            train_days=110,
            calibrate_days=20,
            test_days=20,
            starts=4,
            updates_per_evaluation=1,
            final_evaluations=1,
            encoder_steps=2,
            boosting_rounds=5,
            ctgan_updates=2,
        ),
    }
)

PROFILES: dict[str, Profile] = {
    "smoke": _SMOKE,
    "demo": _DEMO,
    "standard": Profile(
        symbols=_TEN,
        simulated_days=1_460,
        train_days=730,
        calibrate_days=180,
        test_days=180,
        regime_refit_days=180,
        boosting_rounds=150,
        row_stride=8,
        bootstrap_draws=1_000,
        synthetic_folds=1,
        ctgan_updates=100,
        agent_folds=2,
        agent_warm_up_steps=480,
        agent_starts=64,
        agent_updates=6,
        agent_stage_evaluations=2,
        agent_final_evaluations=8,
        agent_tuning_evaluations=1,
        pattern_updates=160,
        explanation_samples=100,
    ),
    "full": Profile(
        symbols=_TEN,
        simulated_days=2_800,
        train_days=730,
        calibrate_days=180,
        test_days=90,
        regime_refit_days=90,
        boosting_rounds=400,
        row_stride=4,
        bootstrap_draws=2_000,
        synthetic_folds=4,
        ctgan_updates=300,
        agent_folds=4,
        agent_warm_up_steps=480,
        agent_starts=64,
        agent_updates=10,
        agent_stage_evaluations=4,
        agent_final_evaluations=16,
        agent_tuning_evaluations=3,
        pattern_updates=400,
        explanation_samples=200,
        ablation=AblationWork(worlds=("simulator", "recorded")),
    ),
}


class FilesSettings(BaseModel):
    """The ``files`` source: a folder, and the zones of stamps that are not UTC."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Path = Path("market")
    zones: dict[str, str] = Field(default_factory=dict)


class ExchangeSettings(BaseModel):
    """The ``exchange`` source: a venue that ccxt knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    venue: str = "binance"


class CostSettings(BaseModel):
    """What a trade costs: fee and half spread in basis points, and impact at full participation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fee_bps: Annotated[float, Field(ge=0, le=500)] = 5.0
    half_spread_bps: Annotated[float, Field(ge=0, le=500)] = 1.0
    impact_bps: Annotated[float, Field(ge=0, le=10_000)] = 100.0
    capital: Annotated[float, Field(gt=0)] = 1_000_000.0

    @property
    def fill_bps(self) -> float:
        """Fee and half spread, in basis points of what is filled."""
        return self.fee_bps + self.half_spread_bps


class Settings(BaseSettings):
    """Everything a run can be told; see ``settings.toml`` for the meaning of each field.

    Raises
    ------
    pydantic.ValidationError
        If a value is out of its bounds or a name is unknown; the field is named.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="ENGINE_",
        env_nested_delimiter="__",
        toml_file=os.environ.get("ENGINE_SETTINGS", "settings.toml"),
    )

    source: Literal["simulated", "files", "exchange"] = "simulated"
    mode: Literal["regimes", "null"] = "regimes"
    bar: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,3}[mhd]$")] = "1h"
    universe: tuple[str, ...] | None = None
    start: date | None = None
    end: date | None = None
    warehouse: str = "data/engine.duckdb"
    parameters: str | None = None
    reports: Path = Path("data/reports")
    profile: Literal["smoke", "demo", "standard", "full"] | None = None
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 7
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    horizon_bars: Annotated[int, Field(ge=1, le=1_000)] = 24
    gates: Literal["conservative", "balanced", "aggressive"] = "balanced"
    costs: CostSettings = CostSettings()
    files: FilesSettings = FilesSettings()
    exchange: ExchangeSettings = ExchangeSettings()

    @field_validator("universe")
    @classmethod
    def _no_symbol_twice(cls, universe: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if universe is not None and (not universe or len(set(universe)) != len(universe)):
            raise ValueError("universe needs at least one symbol and none twice")
        return universe

    @model_validator(mode="after")
    def _start_before_end(self) -> Settings:
        if self.end is not None and self.end <= self.first_day:
            raise ValueError(f"end {self.end} must lie after the first day {self.first_day}")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, the environment over the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def profile_name(self) -> str:
        """The profile asked for, or the one that fits the source."""
        return self.profile or ("demo" if self.source == "simulated" else "standard")

    @property
    def work(self) -> Profile:
        """The profile in force."""
        return PROFILES[self.profile_name]

    @property
    def parameter_store(self) -> str:
        """Address of the live parameters: by default SQLite beside the warehouse's file."""
        if self.parameters is not None:
            return self.parameters
        folder = Path("data") if ":" in self.warehouse else Path(self.warehouse).parent
        return f"sqlite:///{folder / 'parameters.sqlite'}"

    @property
    def bar_duration(self) -> timedelta:
        """Size of a candle."""
        unit = {"m": "minutes", "h": "hours", "d": "days"}[self.bar[-1]]
        return timedelta(**{unit: int(self.bar[:-1])})

    @property
    def first_day(self) -> date:
        """First day of data asked for."""
        return self.start or (SIMULATION_START if self.source == "simulated" else ARCHIVE_START)

    @property
    def first_moment(self) -> datetime:
        """Start of the first day, UTC without zone."""
        day = self.first_day
        return datetime(day.year, day.month, day.day)  # noqa: DTZ001

    @property
    def last_moment(self) -> datetime | None:
        """End (exclusive) of the data asked for; ``None`` means all that the source has."""
        end = self.end
        if end is None and self.source == "simulated":
            end = self.first_day + timedelta(days=self.work.simulated_days)
        return None if end is None else datetime(end.year, end.month, end.day)  # noqa: DTZ001  UTC without zone

    def fingerprint(self) -> str:
        """Short text that changes with every setting that can change a result."""
        content = self.model_dump_json(exclude={"warehouse", "parameters", "reports", "workers"})
        return hashlib.sha256((content + self.work.model_dump_json()).encode()).hexdigest()[:16]


@cache
def load_settings(**overrides: Any) -> Settings:
    """Read ``settings.toml`` and the environment once per process."""
    return Settings(**overrides)
