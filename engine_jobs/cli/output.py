"""What every command prints: tables for people, JSON for programs, and errors that say what to do."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Any, TypeVar

import click
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from engine.errors import EngineError

__all__ = ["Commands", "as_json", "console", "reason_and_actor", "shown", "table", "wants_json"]

_JSON = "engine.json"
Command = TypeVar("Command", bound=Callable[..., Any])


def console() -> Console:
    """Return the terminal, as it is now."""
    return Console(highlight=False)


class Commands(click.Group):
    """A group whose commands end with exit status 1 and one clear line where they are refused."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (EngineError, ValueError, TypeError) as error:
            message = _message(error)
            if ctx.meta.get(_JSON):
                click.echo(json.dumps({"error": message, "kind": type(error).__name__}))
            else:
                click.echo(f"error: {message}", err=True)
            ctx.exit(1)


def _message(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    said = []
    for each in error.errors():
        where = ".".join(str(part) for part in each["loc"])
        text = each["msg"].removeprefix("Value error, ")
        said.append(f"{where} = {each['input']!r}: {text}" if where else text)
    return "; ".join(said)


def as_json(command: Command) -> Command:
    """Give a command the option ``--json``."""

    def noted(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        ctx.meta[_JSON] = value

    return click.option(
        "--json", is_flag=True, is_eager=True, expose_value=False, callback=noted, help="Print JSON."
    )(command)


def reason_and_actor(*, required: bool = True) -> Callable[[Command], Command]:
    """Give a command the options that the audit trail asks for."""
    reason = click.option("--reason", required=required, help="Why; it stands in the history for good.")
    actor = click.option("--actor", default=getpass.getuser, help="Who; by default this process's user.")
    return lambda command: reason(actor(command))


def shown(value: Any, draw: Callable[[Console], None]) -> None:
    """Print a value as JSON where that was asked for, else draw it."""
    if wants_json():
        click.echo(json.dumps(value, default=_plain))
    else:
        draw(console())


def wants_json() -> bool:
    """Tell whether JSON was asked for."""
    return bool(click.get_current_context().meta.get(_JSON))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """Lay rows out; what is missing is a dash."""
    drawn = Table(*columns, title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for row in rows:
        drawn.add_row(*("-" if value is None else _cell(value) for value in row))
    return drawn


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return str(value).replace("[", r"\[")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return str(value)
