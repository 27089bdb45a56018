"""One session of parameter training, as a machine of stages that can be stopped and taken up anywhere.

    snapshot -> searching -> judging -> refused
                                     -> promoted -> apply | shadow | ab
    any of the first three -> stopped | failed

A session never touches the live algorithm. It ends with a word about what is to be done; until somebody acts
on ``apply``, what was in force stays in force.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from engine.evaluation.costs import Costs
from engine.tuning.evidence import Evidence
from engine.tuning.market_state import StateTape
from engine.tuning.parameters import ParameterSet
from engine.tuning.search import EPISODES, Search, SearchPrior
from engine.tuning.session_config import SessionConfig
from engine.tuning.session_stages import NEXT, OVER, SessionResult, Stage
from engine.tuning.session_task import Task, task_of

__all__ = [
    "NEXT",
    "OVER",
    "SessionConfig",
    "SessionResult",
    "Stage",
    "Task",
    "TuningSession",
    "run_session",
    "task_of",
]


class TuningSession:
    """A session, one step at a time.

    Parameters
    ----------
    config : SessionConfig
    incumbent : ParameterSet
        In force, as the live algorithm loads it.
    task : Task
    prior : SearchPrior, optional
        Where the search begins.
    clock : callable
        Seconds that only go up.
    stop : callable
        Whether somebody asked to stop; asked before each step, so between episodes.
    progress : callable
        Told of each episode.
    """

    def __init__(
        self,
        config: SessionConfig,
        incumbent: ParameterSet,
        task: Task,
        *,
        prior: SearchPrior | None = None,
        clock: Callable[[], float] = time.monotonic,
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[Mapping[str, Any]], None] = lambda event: None,
    ) -> None:
        self.config, self.incumbent, self.task, self.prior = config, incumbent, task, prior
        self.stage: Stage = "snapshot"
        self.reason = ""
        self.evidence: Mapping[str, Any] | None = None
        self.judged: Evidence | None = None
        self._search = Search(config.search, incumbent, prior)
        self._clock, self._stop, self._progress = clock, stop, progress
        self._spent, self._since = 0.0, clock()

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        return self.stage in OVER

    @property
    def elapsed(self) -> float:
        """Seconds spent, those before an interruption included."""
        return self._spent + self._clock() - self._since

    def step(self) -> Stage:
        """Do what comes next, an episode at a time, and return the stage that the session is in then.

        An error makes the session ``failed``, with the reason, and goes on to the caller.

        Raises
        ------
        ValueError
            If the session is over.
        """
        if self.over:
            raise ValueError(f"the session is over: {self.stage}; start another one")
        if "stopped" in NEXT[self.stage] and self._stop():
            self._go("stopped", f"asked to stop while {self.stage}, {self._done()}")
            return self.stage
        try:
            {
                "snapshot": self._snapshot,
                "searching": self._searching,
                "judging": self._judging,
                "promoted": self._promoted,
            }[self.stage]()
        except Exception as error:
            # Nothing of it is swallowed: the stage is set for whoever keeps the state, then it is raised on.
            self.reason, self.stage = f"{type(error).__name__} while {self.stage}: {error}", "failed"
            raise
        return self.stage

    def _snapshot(self) -> None:
        self.task.check()
        self._go("searching", f"{self.config.scenario}: from {self.incumbent.content_hash[:12]}")

    def _searching(self) -> None:
        episodes = len(self._search.history)
        late = self.elapsed >= 60.0 * self.config.minutes
        if late and not episodes:
            self._go("stopped", f"{self.config.minutes:g} minutes were over before the first episode")
        elif late or self._search.finished:
            why = f"{self.config.minutes:g} minutes are over" if late else "the search is over"
            self._go("judging", f"{why}: {self._done()}")
        else:
            row = self._search.episode(self.task.objective)
            self._progress(
                {**row, "episodes": self.config.search.episodes, "elapsed_s": round(self.elapsed, 3)}
            )

    def _judging(self) -> None:
        found = self._search.result()
        if len(found.candidates) < 2:
            self._go("refused", "the search proposed nothing but what is in force")
            return
        self.judged = self.task.judge(found)
        self.evidence = self.judged.to_dict()
        self._go("promoted" if self.judged.promoted else "refused", "; ".join(self.judged.reasons))

    def _promoted(self) -> None:
        self._go(self.config.then, self.reason)

    def _go(self, stage: Stage, reason: str) -> None:
        if stage not in NEXT[self.stage]:
            raise ValueError(f"a session that is {self.stage} cannot become {stage}")
        self.stage, self.reason = stage, reason

    def _done(self) -> str:
        return f"{len(self._search.history)} of {self.config.search.episodes} episodes"

    def result(self) -> SessionResult:
        """Sum up a session that is over.

        Raises
        ------
        ValueError
            If it is not.
        """
        if not self.over:
            raise ValueError(f"the session is not over: {self.stage}")
        promoted = self.evidence is not None and self.evidence["promoted"]
        searched = self._search.result().episodes if self._search.history else EPISODES.to_frame()
        return SessionResult(
            self.stage,
            self.reason,
            self.incumbent,
            ParameterSet.from_mapping(self.evidence["judged"]) if promoted and self.evidence else None,
            self.evidence,
            searched,
            self.elapsed,
            self.judged,
        )

    def state_dict(self) -> dict[str, Any]:
        """All that a session needs to go on elsewhere, in plain values."""
        return {
            "stage": self.stage,
            "reason": self.reason,
            "config": self.config.to_dict(),
            "incumbent": self.incumbent.to_dict(),
            "incumbent_hash": self.incumbent.content_hash,
            "prior": None if self.prior is None else asdict(self.prior),
            "data_hash": self.task.data_hash,
            "history": [list(scores) for scores in self._search.history],
            "elapsed_s": self.elapsed,
            "evidence": self.evidence,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken: what follows is the same, bit for bit.

        Raises
        ------
        ValueError
            If this session already went on, or the state is of another: other settings, another incumbent,
            other data.
        """
        if self.stage != "snapshot" or self._search.history:
            raise ValueError(f"this session is already {self.stage}; load the state into a new one")
        mine = self.state_dict()
        for name in ("config", "prior", "incumbent_hash", "data_hash"):
            if _plain_hash(state[name]) != _plain_hash(mine[name]):
                raise ValueError(
                    f"the state is of another session: its {name} is {state[name]}, not {mine[name]}; "
                    "start a new one"
                )
        self._search.replay(state["history"])
        self.stage, self.reason = state["stage"], state["reason"]
        self.evidence = state["evidence"]
        self._spent, self._since = float(state["elapsed_s"]), self._clock()


def run_session(
    tape: StateTape,
    config: SessionConfig,
    incumbent: ParameterSet,
    *,
    costs: Costs | None = None,
    prior: SearchPrior | None = None,
    state: Mapping[str, Any] | None = None,
    clock: Callable[[], float] = time.monotonic,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[Mapping[str, Any]], None] = lambda event: None,
    save: Callable[[Mapping[str, Any]], None] = lambda state: None,
    threads: int = 1,
) -> SessionResult:
    """Run a session to its end, or take one up where it was interrupted.

    Parameters
    ----------
    tape : StateTape
        Reaches over both windows.
    config : SessionConfig
    incumbent : ParameterSet
        In force, as the live algorithm loads it.
    costs : Costs, optional
    prior : SearchPrior, optional
    state : mapping, optional
        What `save` was last given by a session that was interrupted.
    clock, stop, progress
        As of `TuningSession`.
    save : callable
        Given the whole state, plain values, after each step and after a failure.
    threads : int
        The result does not depend on it.

    Raises
    ------
    ValueError
        If the state is of another session.
    Exception
        Whatever makes the session fail, after its state was saved.
    """
    task = task_of(tape, config, incumbent, costs, threads)
    session = TuningSession(config, incumbent, task, prior=prior, clock=clock, stop=stop, progress=progress)
    if state is not None:
        session.load_state_dict(state)
    while not session.over:
        try:
            session.step()
        finally:
            save(session.state_dict())
    return session.result()


def _plain_hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
