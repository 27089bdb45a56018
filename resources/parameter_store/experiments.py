"""Shadow runs and A/B tests: what is measured, how and for how long is fixed before they start."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import func, insert, select

from engine.tuning.parameters import ParameterSet
from resources.parameter_store.canonical import canonical
from resources.parameter_store.chain import ChainReport
from resources.parameter_store.errors import RefusedError, StoreError, UnknownError
from resources.parameter_store.experiment_records import (
    Experiment,
    ExperimentKind,
    Observation,
    experiment_of,
)
from resources.parameter_store.ledger import Ledger, Transaction
from resources.parameter_store.models import events, observations
from resources.parameter_store.moments import from_text, readable, to_text
from resources.parameter_store.scopes import Scope
from resources.parameter_store.triggers import RollbackTrigger

__all__ = ["Experiment", "ExperimentKind", "Experiments", "Observation", "verify_observations"]


@dataclass(frozen=True)
class Experiments:
    """All experiments of a store."""

    ledger: Ledger

    def register(
        self,
        kind: ExperimentKind,
        scope: Scope | str,
        candidate: ParameterSet,
        *,
        baseline: int,
        metric: str,
        horizon: timedelta,
        seed: int,
        actor: str,
        reason: str,
        block: timedelta = timedelta(days=1),
        trigger: RollbackTrigger | None = None,
        session: str | None = None,
    ) -> Experiment:
        """Fix an experiment and start it.

        Raises
        ------
        RefusedError
            If one of the same kind already runs in the scope: they would disturb each other.
        """
        if kind not in ("shadow", "ab"):
            raise ValueError(f"kind = {kind!r} must be 'shadow' or 'ab'")
        if not metric.strip():
            raise ValueError("an experiment must name the metric that it is judged by")
        if not timedelta(0) < block <= horizon:
            raise ValueError(f"block = {block} must be longer than nothing and at most the horizon {horizon}")
        where, identity = Scope.parse(scope), uuid.uuid4().hex
        with self.ledger.attempt(f"register {kind}", actor=actor, scope=where) as transaction:
            for other in _running(transaction):
                if other.scope == where and other.kind == kind:
                    raise RefusedError(
                        f"{where}: {kind} {other.id} of {other.actor} runs until {readable(other.end)}; "
                        "stop it, or wait"
                    )
            content = {
                "kind": kind,
                "candidate": candidate.to_dict(),
                "baseline": baseline,
                "metric": metric,
                "end": transaction.now + horizon,
                "seed": seed,
                "block_s": block.total_seconds(),
                "trigger": None if trigger is None else trigger.to_dict(),
                "session": session,
            }
            started = transaction.append(
                "experiment.started",
                actor=actor,
                reason=reason,
                scope=where,
                subject=identity,
                content=content,
            )
            return experiment_of([started])

    def observe(self, experiment: str, key: str, content: Mapping[str, Any]) -> Observation:
        """Append what was seen, once under each key.

        Raises
        ------
        ValueError
            If something else was seen under the key.
        StoreError
            If the experiment is over.
        """
        text = canonical(content, "observation")
        with self.ledger.write() as transaction:
            found = _known(transaction, experiment)
            mine = observations.c.experiment == experiment
            query = select(observations).where(mine, observations.c.key == key)
            row = transaction.connection.execute(query).one_or_none()
            if row is not None:
                if row.content != text:
                    raise ValueError(
                        f"{found.kind} {experiment}: {key!r} was already seen otherwise: {row.content}"
                    )
                return Observation(row.number, row.key, from_text(row.at), json.loads(row.content))
            if found.state != "running":
                raise StoreError(f"{found.kind} {experiment} is {found.state}; nothing is added to it")
            newest = select(func.max(observations.c.number)).where(mine)
            number = (transaction.connection.execute(newest).scalar() or 0) + 1
            values = {"number": number, "key": key, "at": to_text(transaction.now), "content": text}
            transaction.connection.execute(insert(observations).values(experiment=experiment, **values))
            return Observation(number, key, transaction.now, json.loads(text))

    def observed(self, experiment: str, after: int = 0) -> list[Observation]:
        """Return what was seen after a number, in order."""
        mine = (observations.c.experiment == experiment) & (observations.c.number > after)
        query = select(observations).where(mine).order_by(observations.c.number)
        with self.ledger.read() as transaction:
            _known(transaction, experiment)
            rows = transaction.connection.execute(query).all()
        return [Observation(row.number, row.key, from_text(row.at), json.loads(row.content)) for row in rows]

    def conclude(self, experiment: str, result: Mapping[str, Any], *, actor: str, reason: str) -> Experiment:
        """Write down what came of it, once and not before the horizon is reached.

        Raises
        ------
        RefusedError
            If the horizon is not reached: to look early and stop is what the horizon is fixed against.
        """
        with self.ledger.attempt(f"conclude {experiment}", actor=actor, subject=experiment) as transaction:
            found = _known(transaction, experiment)
            if transaction.now < found.end:
                raise RefusedError(
                    f"{found.kind} {experiment} was registered to run until {readable(found.end)}; "
                    "wait, or stop it without a result"
                )
            return _ended(transaction, found, "concluded", actor=actor, reason=reason, result=result)

    def stop(self, experiment: str, *, actor: str, reason: str) -> Experiment:
        """End it without a result."""
        with self.ledger.write() as transaction:
            found = _known(transaction, experiment)
            return _ended(transaction, found, "stopped", actor=actor, reason=reason, result=None)

    def get(self, experiment: str) -> Experiment:
        """Return one experiment."""
        with self.ledger.read() as transaction:
            return _known(transaction, experiment)

    def running(self) -> list[Experiment]:
        """Return those that have not ended, the oldest first."""
        with self.ledger.read() as transaction:
            return _running(transaction)

    def recent(self, limit: int = 50, *, before: str | None = None) -> list[Experiment]:
        """Return the newest, those that were registered before one."""
        query = select(events).where(events.c.kind == "experiment.started").order_by(events.c.seq.desc())
        with self.ledger.read() as transaction:
            if before is not None:
                _known(transaction, before)
                mine = (events.c.kind == "experiment.started") & (events.c.subject == before)
                query = query.where(events.c.seq < select(events.c.seq).where(mine).scalar_subquery())
            started = transaction.events(query.limit(limit))
            return [_known(transaction, event.subject or "") for event in started]


def verify_observations(transaction: Transaction, rows: int, head: str) -> ChainReport | None:
    """Find the first end of an experiment that does not fit what is kept of what was seen."""
    ended = events.c.kind.in_(("experiment.concluded", "experiment.stopped"))
    for event in transaction.events(select(events).where(ended).order_by(events.c.seq)):
        if event.content["observations"] != _digest(transaction, event.subject or ""):
            why = (
                f"what was observed in experiment {event.subject} is not what row {event.seq} was written of"
            )
            return ChainReport(False, rows, head, event.seq, why)
    return None


def _ended(
    transaction: Transaction,
    experiment: Experiment,
    state: Literal["concluded", "stopped"],
    *,
    actor: str,
    reason: str,
    result: Mapping[str, Any] | None,
) -> Experiment:
    if experiment.state != "running":
        raise StoreError(f"{experiment.kind} {experiment.id} is already {experiment.state}")
    transaction.append(
        f"experiment.{state}",
        actor=actor,
        reason=reason,
        scope=experiment.scope,
        subject=experiment.id,
        content={"result": result, "observations": _digest(transaction, experiment.id)},
    )
    return _known(transaction, experiment.id)


def _digest(transaction: Transaction, experiment: str) -> dict[str, Any]:
    columns = observations.c.number, observations.c.key, observations.c.at, observations.c.content
    query = select(*columns).where(observations.c.experiment == experiment).order_by(observations.c.number)
    digest, count = hashlib.sha256(), 0
    for row in transaction.connection.execute(query):
        digest.update(canonical(list(row)).encode())
        count += 1
    return {"count": count, "sha256": digest.hexdigest()}


def _running(transaction: Transaction) -> list[Experiment]:
    end = events.alias()
    ended = select(end.c.seq).where(
        end.c.subject == events.c.subject, end.c.kind.in_(("experiment.concluded", "experiment.stopped"))
    )
    query = select(events).where(events.c.kind == "experiment.started", ~ended.exists())
    return [experiment_of([event]) for event in transaction.events(query.order_by(events.c.seq))]


def _known(transaction: Transaction, experiment: str) -> Experiment:
    moves = transaction.about(experiment, "experiment")
    if not moves:
        raise UnknownError(f"there is no experiment {experiment!r}")
    return experiment_of(moves)
