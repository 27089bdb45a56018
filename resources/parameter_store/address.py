"""What the address of a parameter store says, and how it is shown without its secrets."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from resources.parameter_store.errors import StoreError

__all__ = ["parse_address", "secrets_of", "shown"]

_FORMS = (
    "it must have the form sqlite:///data/parameters.sqlite (a file on this machine), or "
    "postgresql://user@host/database where several machines share the parameters"
)
_MASK = "***"


def parse_address(address: str) -> URL:
    """Read an address; nothing is opened.

    Raises
    ------
    StoreError
        If it is no address of SQLite or PostgreSQL, or PostgreSQL's driver is not installed. The text does
        not repeat the address: there may be a password in it.
    """
    try:
        url = make_url(address)
        kind = url.get_backend_name()
    except (ArgumentError, ValueError, AttributeError):
        raise StoreError(f"the address of the parameter store cannot be read: {_FORMS}") from None
    if kind == "sqlite":
        file = url.database
        if not file or file == ":memory:" or file.startswith("file:") or url.host or url.query:
            raise StoreError(
                f"the address of the parameter store names no file, and processes share a file only: {_FORMS}"
            )
        return URL.create("sqlite", database=str(Path(file).expanduser().absolute()))
    if kind != "postgresql":
        raise StoreError(f"the parameter store is kept in SQLite or PostgreSQL, not in {kind}: {_FORMS}")
    if importlib.util.find_spec("psycopg") is None:
        raise StoreError(
            "the parameter store is to be in PostgreSQL, and psycopg is not installed: "
            "pip install 'engine-pipeline[postgres]'"
        )
    return url.set(drivername="postgresql+psycopg")


def shown(url: URL) -> str:
    """Return the place for messages: no password, and no option but which server and database."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    hosts = url.query.get("host", ())
    host = url.host or (hosts if isinstance(hosts, str) else ",".join(hosts))
    plain = URL.create("postgresql", username=url.username, host=None, port=None, database=url.database)
    text = plain.render_as_string(hide_password=True)
    return f"{text} at {host}{f':{url.port}' if url.port else ''}" if host else text


def secrets_of(url: URL) -> tuple[str, ...]:
    """Return what must not be shown."""
    query = [value for name, value in url.query.items() if "password" in name.lower()]
    flat = [text for value in query for text in ((value,) if isinstance(value, str) else value)]
    return tuple(text for text in (str(url.password) if url.password else "", *flat) if text)


def masked(text: str, secrets: tuple[str, ...]) -> str:
    """Return a text without the secrets."""
    for secret in secrets:
        text = text.replace(secret, _MASK)
    return text
