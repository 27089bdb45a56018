"""Changes by hand. Each needs a confirmation, given for exactly this change of exactly this state."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body

from console.api import changes
from console.api.routes.parts import Confirmed, TheConfirmations, TheDesk
from console.api.schemas.changes import (
    ApplySession,
    Changed,
    ConfirmationAsked,
    ConfirmationGiven,
    Lift,
    Override,
    Reset,
    Rollback,
    UpdateParameter,
)
from console.api.security.callers import Operator

__all__ = ["router"]

router = APIRouter(tags=["changes"])


@router.post("/confirmations", operation_id="preview_change", status_code=201)
def preview_change(
    desk: TheDesk,
    confirmations: TheConfirmations,
    caller: Operator,
    body: Annotated[ConfirmationAsked, Body()],
) -> ConfirmationGiven:
    """Show what a change would do, and give what confirms it: once, within a minute, by the same caller.

    `change` is the body that will be posted. Should what it replaces move before, it must be shown anew.
    """
    shown = changes.preview(desk, body.change)
    given = confirmations.issue(shown.change, caller)
    return ConfirmationGiven(
        confirmation=given.token,
        expires_at=given.expires_at,
        action=shown.change.action,
        before=dict(shown.change.before),
        after=dict(shown.after),
        changes=shown.changes,
        warnings=shown.warnings,
    )


@router.post("/update-parameter", operation_id="update_parameter")
def update_parameter(
    desk: TheDesk,
    confirmations: TheConfirmations,
    caller: Operator,
    body: Annotated[UpdateParameter, Body()],
    confirmation: Confirmed = None,
) -> Changed:
    """Hold one value in a scope, whatever training finds, until it is lifted or a moment is reached."""
    return changes.made(desk, body, caller, confirmations, confirmation)


@router.post("/override", operation_id="override_parameters")
def override_parameters(
    desk: TheDesk,
    confirmations: TheConfirmations,
    caller: Operator,
    body: Annotated[Override, Body()],
    confirmation: Confirmed = None,
) -> Changed:
    """Hold several values at once."""
    return changes.made(desk, body, caller, confirmations, confirmation)


@router.post("/lift", operation_id="lift_overrides")
def lift_overrides(
    desk: TheDesk,
    confirmations: TheConfirmations,
    caller: Operator,
    body: Annotated[Lift, Body()],
    confirmation: Confirmed = None,
) -> Changed:
    """Let go of values that are held in a scope, by default of all of them."""
    return changes.made(desk, body, caller, confirmations, confirmation)


@router.post("/rollback", operation_id="rollback_parameters")
def rollback_parameters(
    desk: TheDesk,
    confirmations: TheConfirmations,
    caller: Operator,
    body: Annotated[Rollback, Body()],
    confirmation: Confirmed = None,
) -> Changed:
    """Put the parameters of an earlier version into force again, as a new version."""
    return changes.made(desk, body, caller, confirmations, confirmation)


@router.post("/reset", operation_id="reset_parameters")
def reset_parameters(
    desk: TheDesk,
    confirmations: TheConfirmations,
    caller: Operator,
    body: Annotated[Reset, Body()],
    confirmation: Confirmed = None,
) -> Changed:
    """Let the global parameters, or the defaults, hold in a scope."""
    return changes.made(desk, body, caller, confirmations, confirmation)


@router.post("/apply", operation_id="apply_session")
def apply_session(
    desk: TheDesk,
    confirmations: TheConfirmations,
    caller: Operator,
    body: Annotated[ApplySession, Body()],
    confirmation: Confirmed = None,
) -> Changed:
    """Put into force what an ended session promoted, such as after a shadow."""
    return changes.made(desk, body, caller, confirmations, confirmation)
