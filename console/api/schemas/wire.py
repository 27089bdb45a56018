"""What all that goes over the wire has in common: its bounds come from the tables that the library keeps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar, get_args, get_type_hints

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from engine.regimes.names import REGIMES
from engine.tuning.algorithm import TradeDecision
from engine.tuning.parameters import PARAMETERS
from engine.tuning.scenarios import SCENARIOS
from engine_assets.tuning_order import TuneOrder
from resources.parameter_store import Scope

__all__ = [
    "ActionName",
    "Asked",
    "Missing",
    "Moment",
    "OneOf",
    "Page",
    "ParameterName",
    "Reason",
    "ScenarioName",
    "ScopeText",
    "SessionId",
    "SymbolName",
    "Wire",
    "example",
    "ordered",
]

LONGEST_REASON = 2_000
_SYMBOL = r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}"

Item = TypeVar("Item")


class Wire(BaseModel):
    """An answer. A number that is not finite is null."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="null")


class Asked(BaseModel):
    """A body that is posted: nothing but what is named, and finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _truth_is_no_number(cls, body: Any) -> Any:
        for name, value in body.items() if isinstance(body, dict) else ():
            inner = value.values() if isinstance(value, dict) else [value]
            if any(isinstance(each, bool) for each in inner):
                raise ValueError(f"{name}: true and false are no value here")
        return body


@dataclass(frozen=True)
class OneOf:
    """One of some names, which a table has: an enumeration in the document."""

    names: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Accept these names alone."""
        return core_schema.literal_schema(list(self.names))


def ordered(name: str, **more: Any) -> Any:
    """Return a field with the default, the bounds and the description that `TuneOrder` has for it."""
    field = TuneOrder.model_fields[name]
    bounds = {
        bound: getattr(each, bound)
        for each in field.metadata
        for bound in ("ge", "gt", "le", "lt", "min_length", "max_length")
        if hasattr(each, bound)
    }
    return Field(**{"default": field.default, "description": field.description, **bounds, **more})


def example(**values: Any) -> ConfigDict:
    """Return what gives a model an example in the document."""
    return ConfigDict(json_schema_extra={"examples": [values]})


def _scope(text: str) -> str:
    return str(Scope.parse(text))


def _symbol(text: str) -> str:
    # Addresses have BTC-USDT where tables have BTC/USDT.
    return Scope("symbol", text).name


def _writable(text: str) -> str:
    if not text.strip():
        raise ValueError("must say something: the history keeps it")
    return text


Moment = datetime
"""ISO 8601 with Z."""
LaterMoment = AwareDatetime
"""A moment that is posted must have a zone."""
ActionName = Annotated[str, OneOf(get_args(get_type_hints(TradeDecision)["action"]))]
ScenarioName = Annotated[str, OneOf(tuple(SCENARIOS))]
ParameterName = Annotated[str, OneOf(tuple(PARAMETERS))]
ScopeText = Annotated[
    str,
    Field(
        pattern=rf"^(global|symbol:{_SYMBOL}|regime:({'|'.join(REGIMES)}))$",
        description="global, symbol:NAME or regime:NAME.",
        examples=["global", "symbol:BTC/USDT", "regime:PANIC"],
    ),
    AfterValidator(_scope),
]
SymbolName = Annotated[str, Field(pattern=rf"^{_SYMBOL}$", examples=["BTC/USDT"]), AfterValidator(_symbol)]
SessionId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", examples=["56fae58cbaf24572b5c5b06d32de0b3e"])]
Reason = Annotated[
    str,
    Field(
        min_length=1,
        max_length=LONGEST_REASON,
        pattern=r"^[^\x00]*[^\s\x00][^\x00]*$",
        description="Why; it stands in the history for good.",
        examples=["confidence fell after the listing"],
    ),
    AfterValidator(_writable),
]


class Missing(Wire):
    """Something that a view would show and that was not made yet."""

    model_config = example(what="trading.live_decisions", hint="run live_loop")

    what: str = Field(description="A table of the warehouse, or a figure.")
    hint: str = Field(description="What makes it.")


class Page(Wire, Generic[Item]):
    """Items, the newest first, and where the next page begins."""

    items: list[Item]
    next: str | None = Field(description="Give it as before to go on; null at the end.")
    missing: list[Missing] = []
