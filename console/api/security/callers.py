"""Who calls: a token and its role, compared in constant time; without tokens whoever sits at this machine."""

from __future__ import annotations

import getpass
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, cast, get_args

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from console.api.problems import Problem

__all__ = [
    "Caller",
    "Operator",
    "Role",
    "TokenHash",
    "Viewer",
    "forbidden",
    "identify",
    "local_caller",
    "new_token",
    "unauthorized",
]

Role = Literal["viewer", "operator"]
_NAME = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}"


@dataclass(frozen=True)
class Caller:
    """Who a request comes from.

    Parameters
    ----------
    name : str
        As it stands in the audit trail.
    role : {"viewer", "operator"}
        A viewer reads; an operator changes things too.
    """

    name: str
    role: Role


@dataclass(frozen=True)
class TokenHash:
    """A token as it is configured: whose it is, and the SHA-256 of it, which opens nothing.

    Parameters
    ----------
    caller : Caller
    digest : bytes
    """

    caller: Caller
    digest: bytes

    @classmethod
    def parse(cls, text: str) -> TokenHash:
        """Read ``role:name:sha256``.

        Raises
        ------
        ValueError
            If it is not that; the hash is not shown.
        """
        found = re.fullmatch(rf"({'|'.join(get_args(Role))}):({_NAME}):([0-9a-f]{{64}})", text.strip())
        if found is None:
            raise ValueError(
                "a token must be written as role:name:sha256, such as operator:ann:9f86..., with a role of "
                f"{' or '.join(get_args(Role))}; python -m console token prints one"
            )
        role, name, digest = found.groups()
        return cls(Caller(name, cast(Role, role)), bytes.fromhex(digest))

    def __str__(self) -> str:
        return f"{self.caller.role}:{self.caller.name}:{self.digest.hex()}"


def new_token(caller: Caller) -> tuple[str, TokenHash]:
    """Return a token of 256 random bits, which is to be kept secret, and what is to be configured for it."""
    token = f"engine_{secrets.token_urlsafe(32)}"
    return token, TokenHash(caller, hashlib.sha256(token.encode()).digest())


def identify(token: str, known: Iterable[TokenHash]) -> Caller | None:
    """Return whose token it is; the time it takes tells nothing about any of them."""
    digest = hashlib.sha256(token.encode()).digest()
    found = None
    for each in known:
        if hmac.compare_digest(digest, each.digest):
            found = each.caller
    return found


def local_caller() -> Caller:
    """Return the user of this machine who started the console."""
    try:
        return Caller(getpass.getuser(), "operator")
    except (KeyError, OSError):  # a container whose user has no name
        return Caller("local", "operator")


_bearer = HTTPBearer(auto_error=False, scheme_name="token", description="python -m console token makes one.")


async def _viewer(request: Request, _: Annotated[object, Security(_bearer)]) -> Caller:
    caller = getattr(request.state, "caller", None)
    if caller is None:
        raise unauthorized()
    return cast(Caller, caller)


async def _operator(caller: Annotated[Caller, Depends(_viewer)]) -> Caller:
    if caller.role != "operator":
        raise forbidden(caller)
    return caller


def unauthorized() -> Problem:
    """Return the problem of a request without a token that is known; it does not tell one from the other."""
    return Problem(
        401,
        "unauthorized",
        "send a token that is known: Authorization: Bearer TOKEN",
        headers={"WWW-Authenticate": "Bearer"},
    )


def forbidden(caller: Caller) -> Problem:
    """Return the problem of a viewer who wants to change something."""
    return Problem(403, "forbidden", f"{caller.name} is a {caller.role}; this needs an operator's token")


Viewer = Annotated[Caller, Depends(_viewer)]
"""Whoever may read."""
Operator = Annotated[Caller, Depends(_operator)]
"""Whoever may change things."""
