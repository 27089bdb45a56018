"""``python -m console``: serve the training console, or make a token for it."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, cast, get_args

import click
import uvicorn
from pydantic import ValidationError

from console.api.security.callers import Caller, Role, TokenHash, new_token
from console.api.settings import ConsoleSettings
from engine.errors import EngineError

__all__ = ["main"]


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Serve the training console (the default), or make a token for it."""
    if context.invoked_subcommand is None:
        context.invoke(serve)


@main.command()
@click.option("--host", help="Address to listen on; by default ENGINE_CONSOLE_HOST, else 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65_535), help="By default ENGINE_CONSOLE_PORT, else 3001.")
def serve(host: str | None = None, port: int | None = None) -> None:
    """Serve the API and the page; SETTINGS are environment variables ENGINE_CONSOLE_<NAME>."""
    asked: dict[str, Any] = {
        name: value for name, value in (("host", host), ("port", port)) if value is not None
    }
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        server = _server(ConsoleSettings(**asked))
    except (EngineError, ValidationError) as error:
        click.echo(f"error: {_said(error)}", err=True)
        sys.exit(1)
    with suppress(KeyboardInterrupt):  # which comes once all is closed
        server.run()
    if not server.started:
        sys.exit(1)


def _server(access: ConsoleSettings) -> uvicorn.Server:
    from console.api.app import create_app
    from console.api.desk import Desk
    from console.api.server import server, settle
    from resources.settings import load_settings

    app = create_app(Desk.open(load_settings(), access), loaded=settle)
    if not access.token_hashes():
        click.echo("no token is configured: whoever is on this machine is an operator", err=True)
    elif not access.on_loopback:
        click.echo("tokens travel as they are: let TLS end in front of the console", err=True)
    click.echo(f"http://{access.host}:{access.port}", err=True)
    return server(app, access)


def _said(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    # Not the input: a token that was configured instead of its hash must not get into a log.
    return "; ".join(
        ": ".join(filter(None, [".".join(map(str, each["loc"])), each["msg"].removeprefix("Value error, ")]))
        for each in error.errors()
    )


@main.command()
@click.option("--role", type=click.Choice(get_args(Role)), required=True)
@click.option("--name", required=True, help="Whom it is for, as it will stand in the audit trail.")
@click.option("--file", type=click.Path(dir_okay=False, path_type=Path), help="Add its hash to this file.")
def token(role: str, name: str, file: Path | None) -> None:
    """Make a token; it is shown once, and only its hash is configured."""
    secret, hashed = new_token(Caller(name, cast(Role, role)))
    try:
        TokenHash.parse(str(hashed))
    except ValueError:
        click.echo(f"error: name = {name!r} must be 1 to 64 letters, digits, '.', '_', '@' or '-'", err=True)
        sys.exit(1)
    if file is None:
        click.echo(
            "The token, shown this once, goes to its user; its hash into ENGINE_CONSOLE_TOKENS (several with "
            f"commas), or as a line into the file ENGINE_CONSOLE_TOKENS_FILE:\n{hashed}",
            err=True,
        )
    else:
        with file.open("a", encoding="utf-8") as lines:
            lines.write(f"{hashed}\n")
    click.echo(secret)


if __name__ == "__main__":
    main()
