"""The ledger of all attempts to replace what is live: what was tried, what it cost, and a chain of hashes.

Every attempt is a row: searches, changes by hand, and runs that failed. Nothing is ever removed, because the
rows set the price of the next attempt:

- the level it is tested at, ``alpha_k = budget * 6 / (pi^2 k^2)`` for the k-th attempt on a subject: over
  any number of nights the chance of one false promotion stays below `budget`, also if nights share data;
- the number of trials and the variance of their Sharpe ratios, for the deflated Sharpe ratio.

Each row carries the hash of the row before and its own. A row that is changed, removed or put elsewhere
breaks the chain; only rows cut off at the end leave a whole one, which is why the last hash belongs in a
second place as well (`head`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

import numpy as np
import polars as pl

from engine.errors import DataError
from engine.evaluation.decision import Decision

__all__ = [
    "ATTEMPTS",
    "Attempt",
    "Trials",
    "append",
    "attempt_of",
    "empty",
    "head",
    "level_of",
    "next_alpha",
    "trials",
    "verify",
]

GENESIS = "0" * 64
ATTEMPTS = pl.Schema(
    {
        "number": pl.Int64(),
        "moment": pl.Datetime("us"),
        "subject": pl.String(),
        "kind": pl.String(),
        "searched": pl.Int64(),
        "statistic": pl.Float64(),
        "p_value": pl.Float64(),
        "alpha": pl.Float64(),
        "promoted": pl.Boolean(),
        "reason": pl.String(),
        "sharpe_mean": pl.Float64(),
        "sharpe_variance": pl.Float64(),
        "previous_hash": pl.String(),
        "hash": pl.String(),
    }
)


@dataclass(frozen=True)
class Attempt:
    """One attempt, before it has its place in the chain.

    Parameters
    ----------
    moment : datetime
        When it was decided, UTC without a zone.
    subject : str
        What would have been replaced: a model, a parameter set.
    kind : {"search", "manual", "failed"}
    searched : int
        Candidates looked at, not only those that reached the gate; at least 1, because a failed run may have
        shown something too.
    promoted : bool
    reason : str
    alpha : float
        Level it was tested at, or would have been.
    statistic, p_value : float, optional
        Of the best candidate: improvement in standard errors, and adjusted p-value.
    sharpe_mean, sharpe_variance : float, optional
        Mean and variance over the candidates of their Sharpe ratios per period.

    Raises
    ------
    ValueError
        If a field is out of range.
    """

    moment: datetime
    subject: str
    kind: Literal["search", "manual", "failed"]
    searched: int
    promoted: bool
    reason: str
    alpha: float
    statistic: float | None = None
    p_value: float | None = None
    sharpe_mean: float | None = None
    sharpe_variance: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("search", "manual", "failed"):
            raise ValueError(f"kind={self.kind!r} must be 'search', 'manual' or 'failed'")
        if self.moment.tzinfo is not None:
            raise ValueError(f"moment={self.moment} must be UTC without a zone")
        if self.searched < 1 or not 0.0 <= self.alpha < 1.0:
            raise ValueError(f"searched={self.searched} must be at least 1, alpha={self.alpha} in [0, 1)")
        numbers = (self.alpha, self.statistic, self.p_value, self.sharpe_mean, self.sharpe_variance)
        if any(value is not None and not np.isfinite(value) for value in numbers):
            raise ValueError("figures of an attempt must be finite; leave out what is unknown")
        if self.kind == "failed" and self.promoted:
            raise ValueError("a failed attempt cannot have promoted anything")


@dataclass(frozen=True)
class Trials:
    """Number of candidates ever searched; variance of their Sharpe ratios per period, NaN if unknown."""

    count: int
    sharpe_variance: float


def attempt_of(
    decision: Decision,
    *,
    moment: datetime,
    subject: str,
    kind: Literal["search", "manual"] = "search",
    sharpes: np.ndarray | None = None,
) -> Attempt:
    """Put a decision of the gate into the words of the ledger.

    Parameters
    ----------
    decision : Decision
    moment : datetime
    subject : str
    kind : {"search", "manual"}
    sharpes : ndarray, optional
        Sharpe ratios per period of all candidates searched.
    """
    nearest = decision.verdict
    return Attempt(
        moment=moment,
        subject=subject,
        kind=kind,
        searched=decision.searched,
        promoted=decision.promote,
        reason="; ".join(decision.reasons),
        alpha=decision.alpha,
        statistic=nearest.statistic if np.isfinite(nearest.statistic) else None,
        p_value=nearest.p_value if np.isfinite(nearest.p_value) else None,
        sharpe_mean=None if sharpes is None else float(np.mean(sharpes)),
        sharpe_variance=None if sharpes is None else float(np.var(sharpes)),
    )


def empty() -> pl.DataFrame:
    """Return a ledger without rows."""
    return pl.DataFrame(schema=ATTEMPTS)


def append(attempts: pl.DataFrame, attempt: Attempt) -> pl.DataFrame:
    """Add an attempt at the end of the chain.

    Parameters
    ----------
    attempts : polars.DataFrame
        The whole ledger, columns `ATTEMPTS`.
    attempt : Attempt

    Returns
    -------
    polars.DataFrame
        One row longer.

    Raises
    ------
    DataError
        If the chain is broken.
    ValueError
        If the attempt is older than the last row.
    """
    verify(attempts)
    if attempts.height and attempt.moment < attempts["moment"][-1]:
        raise ValueError(f"moment={attempt.moment} is before the last attempt's {attempts['moment'][-1]}")
    row = {"number": attempts.height + 1, **asdict(attempt), "previous_hash": head(attempts)}
    return attempts.vstack(pl.DataFrame([{**row, "hash": _hash(row)}], schema=ATTEMPTS))


def head(attempts: pl.DataFrame) -> str:
    """Hash of the last row; kept elsewhere too, it shows whether rows were cut off."""
    return attempts["hash"][-1] if attempts.height else GENESIS


def verify(attempts: pl.DataFrame, *, last: str | None = None) -> None:
    """Check that no row was changed, removed, moved or added behind the chain's back.

    Parameters
    ----------
    attempts : polars.DataFrame
    last : str, optional
        The hash that `head` gave when the ledger was last written.

    Raises
    ------
    DataError
        With the first row that does not fit.
    """
    if attempts.schema != ATTEMPTS:
        raise DataError(f"columns are {dict(attempts.schema)}, {dict(ATTEMPTS)} needed", source="attempts")
    previous = GENESIS
    for position, row in enumerate(attempts.iter_rows(named=True), start=1):
        if row["number"] != position or row["previous_hash"] != previous:
            raise DataError(
                "does not follow the row before: one was removed, moved or rewritten",
                source="attempts",
                row=position,
            )
        if row["hash"] != _hash(row):
            raise DataError("was changed after it was written", source="attempts", row=position)
        previous = row["hash"]
    if last is not None and previous != last:
        raise DataError(f"the ledger ends with {previous}, not {last}: rows were cut off", source="attempts")


def next_alpha(attempts: pl.DataFrame, subject: str, budget: float = 0.05) -> float:
    """Level of the next attempt on a subject; every row of it counts, failed and manual ones too."""
    return level_of(1 + int((attempts["subject"] == subject).sum()), budget)


def level_of(k: int, budget: float = 0.05) -> float:
    """Level of the k-th attempt on a subject: ``budget * 6 / (pi^2 k^2)``.

    Levels add up to `budget` over all time, and the union bound needs no independence between nights.

    Raises
    ------
    ValueError
        If `k` is below 1, or the budget does not lie between 0 and 1.
    """
    if k < 1 or not 0.0 < budget < 1.0:
        raise ValueError(f"k={k} must be at least 1, budget={budget} between 0 and 1")
    return budget * 6.0 / (np.pi**2 * k**2)


def trials(attempts: pl.DataFrame, subject: str) -> Trials:
    """Count what was searched for a subject, and pool the variance of the Sharpe ratios.

    Attempts whose Sharpe ratios are not recorded count as trials and leave the variance to the others; a
    variance within attempts and one between their means add up to that of all candidates.
    """
    rows = attempts.filter(pl.col("subject") == subject)
    known = rows.drop_nulls(["sharpe_mean", "sharpe_variance"])
    count = int(rows["searched"].sum())
    if known.height == 0:
        return Trials(count, float("nan"))
    weight = known["searched"].to_numpy() / known["searched"].sum()
    mean, variance = known["sharpe_mean"].to_numpy(), known["sharpe_variance"].to_numpy()
    return Trials(count, float(weight @ (variance + (mean - weight @ mean) ** 2)))


def _hash(row: Mapping[str, object]) -> str:
    content = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
        if name != "hash"
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()
