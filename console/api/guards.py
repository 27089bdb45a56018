"""What a request passes on its way to a route, in this order."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from console.api.page import Page
from console.api.problems import Problems
from console.api.reads.answers import Answers
from console.api.security.admission import Admission
from console.api.security.audit import Audit
from console.api.security.bodies import Bodies
from console.api.security.headers import SecurityHeaders
from console.api.security.idempotency import Idempotency
from console.api.security.origins import Hosts, Origins
from console.api.settings import ConsoleSettings
from console.api.shortcut import Shortcut
from resources.parameter_store import ParameterStore

__all__ = ["guards"]

_WORTH_PACKING = 4_096


def guards(
    access: ConsoleSettings,
    store: ParameterStore,
    answers: Answers,
    prefix: str,
    paths: Iterable[str],
    static: Path,
) -> list[Middleware]:
    """Return the middleware of an API, the outermost first.

    Parameters
    ----------
    access : ConsoleSettings
    store : ParameterStore
        Holds the history and the answers to requests with a key.
    answers : Answers
        What the views were answered last.
    prefix : str
        What the paths of the API begin with.
    paths : iterable of str
        Their templates, after the prefix.
    static : Path
        Folder of the built page.
    """
    return [
        Middleware(SecurityHeaders),
        Middleware(Hosts, settings=access),
        Middleware(Page, folder=static),
        Middleware(GZipMiddleware, minimum_size=_WORTH_PACKING, compresslevel=4),
        *_cors(access),
        Middleware(Problems),
        Middleware(Origins, settings=access),
        Middleware(Audit, store=store, prefix=prefix, paths=paths),
        Middleware(Admission, settings=access),
        Middleware(Bodies, settings=access),
        Middleware(Idempotency, requests=store.requests),
        Middleware(Shortcut, answers=answers),
    ]


def _cors(access: ConsoleSettings) -> list[Middleware]:
    """Let pages of the origins that are listed use the API, and none else."""
    if not access.origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=access.origins,
            allow_methods=["GET", "POST"],
            allow_headers=[
                "Authorization",
                "Confirmation",
                "Content-Type",
                "Idempotency-Key",
                "Last-Event-ID",
            ],
            expose_headers=["Idempotent-Replayed", "Retry-After"],
        )
    ]
