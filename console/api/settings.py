"""Settings of the console: where it listens, who may use it, and how much of it."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from console.api.security.callers import TokenHash

__all__ = ["ConsoleSettings"]

Listed = Annotated[tuple[str, ...], NoDecode]
_HOST = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]+\]"


class ConsoleSettings(BaseSettings):
    """Environment variables ``ENGINE_CONSOLE_<NAME>``; lists are separated by commas or spaces.

    Raises
    ------
    pydantic.ValidationError
        If a value is out of its bounds, or the console would listen beyond this machine without a token.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="ENGINE_CONSOLE_", hide_input_in_errors=True
    )

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=3001, ge=0, le=65_535, description="0 takes one that is free.")
    dagster_url: str = Field(
        default="http://127.0.0.1:3000", pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$", max_length=500
    )
    hosts: Listed = Field(default=(), description="Further names under which the console is reached.")
    origins: Listed = Field(default=(), description="Origins of other pages that may use the API.")
    tokens: Listed = Field(default=(), description="Whom to let in: role:name:sha256.")
    tokens_file: Path | None = Field(default=None, description="The same, one a line.")
    reads_per_second: float = Field(default=1_000.0, gt=0, le=1e6, description="Of one client.")
    writes_per_minute: float = Field(default=60.0, gt=0, le=1e6, description="Of one client.")
    open_requests: int = Field(
        default=400, ge=1, le=10_000, description="Of one client at a time, event streams among them."
    )
    body_bytes: int = Field(default=65_536, ge=1_024, le=1_048_576, description="Of a request.")
    body_seconds: float = Field(default=10.0, gt=0, le=300, description="Until all of it must be there.")
    json_depth: int = Field(default=16, ge=2, le=100)

    @field_validator("hosts", "origins", "tokens", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return (
            tuple(re.split(r"[\s,]+", value.strip(", \n\t"))) if isinstance(value, str) and value else value
        )

    @field_validator("hosts")
    @classmethod
    def _are_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if re.fullmatch(_HOST, host) is None:
                raise ValueError(
                    f"{host!r} must be a name such as engine.example.com, in lower case, no port"
                )
        return hosts

    @field_validator("origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if re.fullmatch(rf"https?://({_HOST})(:[0-9]{{1,5}})?", origin) is None:
                raise ValueError(
                    f"{origin!r} must be an origin such as https://desk.example.com; no path, no *"
                )
        return origins

    @model_validator(mode="after")
    def _nobody_unknown_from_elsewhere(self) -> ConsoleSettings:
        known = self.token_hashes()
        roles: dict[str, str] = {}
        for each in known:
            if roles.setdefault(each.caller.name, each.caller.role) != each.caller.role:
                raise ValueError(f"tokens: {each.caller.name} has two roles; give each a name of its own")
        if not known and not self.on_loopback:
            raise ValueError(
                f"host = {self.host} is reached from other machines, and no token is configured: listen on "
                "127.0.0.1, or make a token with python -m console token --role operator --name NAME"
            )
        return self

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine reaches the console."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    def token_hashes(self) -> tuple[TokenHash, ...]:
        """Return all tokens that are configured.

        Raises
        ------
        ValueError
            If one is written wrongly, or the file cannot be read.
        """
        lines = [*self.tokens]
        if self.tokens_file is not None:
            try:
                text = self.tokens_file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"tokens_file = {self.tokens_file}: {error}") from None
            lines += [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
        return tuple(map(TokenHash.parse, lines))
