"""What the risk manager remembers from one review to the next: drawdown, daily loss, kill switch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal, get_args

from engine.portfolio.record import Record
from engine.portfolio.risk_limits import RiskLimits

__all__ = ["AUTOMATIC", "RiskState", "SwitchEvent", "advance"]

Mode = Literal["normal", "reduced", "flat"]

AUTOMATIC = "risk manager"


@dataclass(frozen=True)
class SwitchEvent(Record):
    """The kill switch was thrown (`on`) or lifted, by whom and why."""

    on: bool
    actor: str
    reason: str
    day: str


@dataclass(frozen=True)
class RiskState(Record):
    """Memory of the risk manager; a new account starts with ``RiskState()``.

    Parameters
    ----------
    day : str or None
        Of the last review with a known equity, ISO.
    equity : float or None
        At that review.
    day_start : float or None
        Equity last seen on an earlier day: what the daily loss is counted from.
    peak : float or None
        Highest equity since the beginning, or since a person last lifted the kill switch.
    base : float or None
        Highest equity since the beginning or the last re-entry: what the drawdown stop counts from.
    mode : str
        ``normal``, ``reduced`` or ``flat``.
    mode_since : str or None
        Day on which the mode began.
    halted_on : str or None
        Day that is closed for its loss.
    switch : tuple of SwitchEvent
        The whole history of the kill switch.
    """

    day: str | None = None
    equity: float | None = None
    day_start: float | None = None
    peak: float | None = None
    base: float | None = None
    mode: Mode = "normal"
    mode_since: str | None = None
    halted_on: str | None = None
    switch: tuple[SwitchEvent, ...] = ()

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(f"mode={self.mode!r} must be one of {get_args(Mode)}")

    @property
    def killed(self) -> SwitchEvent | None:
        """The event that threw the kill switch, if it is on."""
        return self.switch[-1] if self.switch and self.switch[-1].on else None

    def kill(self, actor: str, reason: str, day: str) -> RiskState:
        """Throw the kill switch: nothing is held until a person lifts it. If it is on, nothing changes."""
        if self.killed:
            return self
        return replace(self, switch=(*self.switch, _event(True, actor, reason, day)))

    def lift(self, actor: str, reason: str, day: str) -> RiskState:
        """Lift the kill switch; trading resumes at reduced exposure, drawdowns counted anew.

        Raises
        ------
        ValueError
            If it is not on, actor or reason is missing, or the actor is the risk manager itself.
        """
        if not self.killed:
            raise ValueError("the kill switch is not on")
        if actor.strip() == AUTOMATIC:
            raise ValueError(f"actor={actor!r}: only a person can lift the kill switch")
        switch = (*self.switch, _event(False, actor, reason, day))
        return replace(self, switch=switch, peak=None, base=None, mode="reduced", mode_since=day)


def _event(on: bool, actor: str, reason: str, day: str) -> SwitchEvent:
    if not actor.strip() or not reason.strip():
        raise ValueError(f"actor={actor!r} and reason={reason!r}: the kill switch needs both")
    return SwitchEvent(on, actor, reason, date.fromisoformat(day).isoformat())


def advance(state: RiskState, limits: RiskLimits, equity: float | None, day: str) -> RiskState:
    """State after equity was seen on a day; unchanged if it is unknown.

    Raises
    ------
    ValueError
        If the day is no ISO date or lies before the last one.
    """
    today = date.fromisoformat(day)
    if state.day is not None and today < date.fromisoformat(state.day):
        raise ValueError(f"day={day} lies before the last review's {state.day}")
    if equity is None or not math.isfinite(equity):
        return state
    seen = replace(
        state,
        day=day,
        equity=equity,
        day_start=_or(state.equity if state.day != day else state.day_start, equity),
        peak=max(_or(state.peak, equity), equity),
        base=max(_or(state.base, equity), equity),
    )
    if equity <= 0.0:
        return seen.kill(AUTOMATIC, f"equity is {equity:.2f}", day)
    if _drop(seen.day_start, equity) >= limits.daily_loss:
        seen = replace(seen, halted_on=day)
    if (fall := _drop(seen.peak, equity)) >= limits.kill_drawdown:
        seen = seen.kill(AUTOMATIC, f"drawdown {fall:.4f}, bound {limits.kill_drawdown:.4f}", day)
    return _drawdown_stop(seen, limits, equity, today)


def _drawdown_stop(state: RiskState, limits: RiskLimits, equity: float, today: date) -> RiskState:
    """Go from normal to reduced to flat as the drawdown grows, and back."""
    drawdown, day = _drop(state.base, equity), today.isoformat()
    waited = state.mode_since is None or (
        (today - date.fromisoformat(state.mode_since)).days >= limits.cooldown_days
    )
    if state.mode == "flat":
        # out of the market equity cannot recover by itself, so the drawdown is counted anew
        return replace(state, mode="reduced", mode_since=day, base=equity) if waited else state
    if drawdown >= limits.flat_drawdown:
        return replace(state, mode="flat", mode_since=day)
    if state.mode == "normal" and drawdown >= limits.reduce_drawdown:
        return replace(state, mode="reduced", mode_since=day)
    if state.mode == "reduced" and drawdown <= limits.restore_drawdown and waited:
        return replace(state, mode="normal", mode_since=day)
    return state


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _drop(top: float | None, equity: float) -> float:
    return 0.0 if top is None or top <= 0.0 else (top - equity) / top
