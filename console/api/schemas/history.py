"""The audit trail."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from console.api.schemas.wire import Moment, Wire, example

__all__ = ["HistoryRow"]


class HistoryRow(Wire):
    """A row of the history."""

    model_config = example(
        seq=5, at="2026-11-22T02:12:41Z", kind="version.apply", scope="global", version=1,
        subject="56fae58cbaf24572b5c5b06d32de0b3e", actor="ann", reason="mean improves by 0.00287",
        content={"changes": {"socialGo": [0.75, 0.87]}}, hash="9f86d081884c7d65...",
    )  # fmt: skip

    seq: int
    at: Moment
    kind: str
    scope: str | None
    version: int | None = Field(description="Where the row is a version of the parameters.")
    subject: str | None = Field(description="Session, journal key, experiment or path that it is about.")
    actor: str
    reason: str
    content: dict[str, Any]
    hash: str
