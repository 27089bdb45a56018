"""What a person changes by hand: apply, roll back, hold a value and let go of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
from rich.console import Console

from engine.tuning.parameters import PARAMETERS, check_names
from engine_assets.tuning_inputs import open_store
from engine_assets.tuning_promotions import apply_session
from engine_jobs.cli.output import as_json, reason_and_actor, shown, table
from resources.settings import load_settings

__all__ = ["COMMANDS"]

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SCOPE = click.option(
    "--scope", default="global", show_default=True, help="global, symbol:NAME, regime:NAME."
)


@click.command()
@click.argument("session")
@reason_and_actor()
@as_json
def apply(session: str, actor: str, reason: str) -> None:
    """Put into force what SESSION promoted, such as after a shadow."""
    store = open_store(load_settings())
    entry = apply_session(store, session, actor=actor, reason=reason)
    value = {"key": entry.key, "state": entry.state, "scope": str(entry.scope), "version": entry.version}
    shown(value, lambda screen: screen.print(f"version {entry.version} is in force for {entry.scope}"))


@click.command()
@click.argument("version", type=int)
@_SCOPE
@reason_and_actor()
@as_json
def rollback(version: int, scope: str, actor: str, reason: str) -> None:
    """Put the parameters of VERSION into force again; 0 means the defaults."""
    made = open_store(load_settings()).rollback(scope, version, actor=actor, reason=reason)
    value = {"version": made.version, "scope": str(made.scope), "changes": made.changes, "back_to": version}

    def draw(screen: Console) -> None:
        screen.print(f"version {made.version} is in force for {made.scope}: the parameters of {version}")
        rows = [(name, *both) for name, both in made.changes.items()]
        screen.print(table("changes", ("parameter", "before", "after"), rows))

    shown(value, draw)


@click.command()
@click.argument("values", nargs=-1, required=True, metavar="NAME=VALUE...")
@click.option(
    "--until", help="2026-12-01T00:00Z, or a time from now: 12h, 3d; by default until it is lifted."
)
@_SCOPE
@reason_and_actor()
@as_json
def override(values: tuple[str, ...], until: str | None, scope: str, actor: str, reason: str) -> None:
    """Hold NAME at VALUE, whatever training finds."""
    held = open_store(load_settings()).override(
        scope,
        dict(map(_pair, values)),
        actor=actor,
        reason=reason,
        until=None if until is None else _moment(until),
    )
    value = {"held": [{"name": one.name, "value": one.value, "until": one.until} for one in held]}
    lines = "\n".join(map(str, held))
    shown(value, lambda screen: screen.print(lines, markup=False, soft_wrap=True))


@click.command()
@click.argument("names", nargs=-1)
@_SCOPE
@reason_and_actor()
@as_json
def lift(names: tuple[str, ...], scope: str, actor: str, reason: str) -> None:
    """Let go of NAMES, by default of all that is held in the scope."""
    freed = open_store(load_settings()).lift(scope, names or None, actor=actor, reason=reason)
    text = f"{', '.join(one.name for one in freed)} no longer held for {scope}"
    shown({"lifted": [one.name for one in freed]}, lambda screen: screen.print(text))


def _pair(text: str) -> tuple[str, float]:
    name, sign, value = text.partition("=")
    if not sign:
        raise ValueError(f"{text!r} must be NAME=VALUE, such as {next(iter(PARAMETERS))}=70")
    check_names([name])
    try:
        return name, float(value)
    except ValueError:
        of = PARAMETERS[name]
        raise ValueError(
            f"{text}: {value!r} is no number; it must lie between {of.low:g} and {of.high:g} ({of.unit})"
        ) from None


def _moment(text: str) -> datetime:
    """Read a moment, or a time from now."""
    if text[-1:] in _UNITS and text[:-1].isdigit():
        return datetime.now(UTC) + timedelta(**{_UNITS[text[-1]]: int(text[:-1])})
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"until = {text!r} must be a moment such as 2026-12-01T00:00Z, or a time from now such as 12h"
        ) from None


COMMANDS = (apply, rollback, override, lift)
