"""Sessions of parameter training that are killed with SIGKILL at random instants, and what is left of them.

Run from the project root: ``python -m benchmarks.tuning_faults --kills 100``. A worker runs whole sessions on
one parameter store: search, gate, journal, apply, and back to what was in force, for ever. It is killed, in
turn in each of its phases and there at an instant drawn at random, and another one takes its place. All the
while a reader asks what is in force. Counted is whatever must never happen:

- ``invalid``: what is in force after a kill is no version of the store, or not its parameters
- ``broken``: the chain does not verify up to the row that was last seen
- ``half``: the reader saw parameters that are of no version, or of another one than it was told
- ``lost``: a version that was told of is gone
- ``diverged``: a session that was taken up again differs in a bit from the same one run without a kill
- ``unresolved``: an application is still pending, or a session neither ended nor running, after a last start
- ``twice``: a session's application made more than one version

Run with ``--serve FOLDER`` it is the process that workers are forked from.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from alembic import command  # noqa: F401  imported before the fork, like all else

from engine.evaluation.panel import Panel
from engine.evaluation.promotion_gate import PromotionGate
from engine.evaluation.splits import Window
from engine.tuning.evidence import EvidenceWindows
from engine.tuning.market_state import WARMUP, StateTape
from engine.tuning.parameters import DEFAULTS
from engine.tuning.scenarios import HIGH
from engine.tuning.search import SearchConfig
from engine.tuning.session import SessionResult, run_session
from engine.tuning.session_config import SessionConfig
from resources.parameter_store import ParameterStore
from resources.parameter_store.sessions import HeldSession

DAY = timedelta(days=1)
BEGIN = datetime(2023, 1, 1)  # noqa: DTZ001  moments are UTC without zone
SEARCHED, EVIDENCE = 90 * DAY, 60 * DAY
DAYS = (2 * WARMUP + SEARCHED + EVIDENCE) // DAY
SCOPE, LEASE = "global", timedelta(seconds=2)
WHOLE = 3
"""Sessions that apply something before the first kill: how long they take says when to kill."""
PHASES = ("started", "searching", "judging", "apply", "proposed", "applied", "ended")
"""What a worker says, in this order; a kill comes after one of them and until a little after the next."""
IN_FORCE = replace(DEFAULTS, social_go=0.95)
"""What sessions start from; news pays in the market, and it hears of none."""

Say = Callable[..., None]


# -------------------------------------------------------------------------------------------------- sessions


def made_tape(seed: int) -> StateTape:
    """One symbol in whose market strong news pays well; no frame is touched, so that a process can fork."""
    rng = np.random.default_rng(seed)
    bars = DAYS * 24
    news = np.where(rng.random(bars) < 0.15, rng.uniform(0.4, 0.9, bars), 0.0)
    side = rng.choice([-1, 1], bars).astype(np.int8)
    drift = np.convolve(np.where(news >= 0.6, 0.02 * side, 0.0), np.full(6, 1 / 6))[:bars]
    path = np.cumsum(0.0015 * rng.standard_normal((bars, 4)), axis=1)
    step = path[:, -1] + np.concatenate((np.zeros(1), drift[:-1]))
    close = 100.0 * np.exp(np.cumsum(step))
    opens = np.concatenate((np.array([100.0]), close[:-1]))
    inside = opens[:, None] * np.exp(path)
    times = np.datetime64(BEGIN, "us") + np.arange(bars) * np.timedelta64(1, "h")
    prices = {
        "open": opens,
        "high": np.maximum(np.maximum(opens, close), inside.max(axis=1)),
        "low": np.minimum(np.minimum(opens, close), inside.min(axis=1)),
        "close": close,
        "volume": np.full(bars, 1e7),
    }
    panel = Panel(
        times, ("BTC/USDT",), timedelta(hours=1), **{name: of[:, None] for name, of in prices.items()}
    )
    none, nobody = np.zeros(bars), np.zeros(bars, np.int8)
    return StateTape(
        panel=panel,
        funding=none[:, None],
        symbol=np.zeros(bars, np.int64),
        at=np.arange(bars),
        volatility_percentile=np.full(bars, 45.0),
        breakout_side=nobody,
        zscore=none,
        mean=close,
        social_strength=none,
        social_direction=nobody,
        news_strength=news,
        news_direction=side,
        expected_cost_bps=np.full(bars, 6.0),
        half_spread=none,
        capital=50_000.0,
    )


def config_of(seed: int) -> SessionConfig:
    """All that decides what a session does; a small one."""
    border = BEGIN + WARMUP + SEARCHED
    windows = EvidenceWindows(
        Window(BEGIN + WARMUP, border), Window(border + WARMUP, border + WARMUP + EVIDENCE)
    )
    search = SearchConfig(("socialGo", "tpNews"), 5, aggressiveness=HIGH, pairs=4, seed=seed)
    gate = PromotionGate(min_periods=60, min_trades=10, draws=199, guardrails=None)
    # Worse markets that are made of the one there is; to simulate others would be most of a session.
    return SessionConfig(
        "news_sentiment_pro", "return", search, 10.0, windows, 0.4, gate=gate, stress=("dear", "late")
    )


def outcome(found: SessionResult) -> dict[str, Any]:
    """Return what two runs of a session must have in common, as JSON has it."""
    promoted = None if found.promoted is None else found.promoted.to_dict()
    rows = found.episodes.rows()
    return json.loads(json.dumps({"evidence": found.evidence, "promoted": promoted, "episodes": rows}))


def work(say: Say, tape: StateTape, address: str, life: int, last: bool) -> None:
    """Take up what another left, then run session after session; the last life ends after what it took up."""
    # A life begins when all leases of the one before are over.
    store = ParameterStore(address, clock=lambda: datetime.now(UTC) + life * timedelta(minutes=1))
    store.recover()
    for left in store.sessions.running(SCOPE):
        say("resumed", left.status)
        _session(say, store, store.sessions.resume(left.id, actor="worker", reason="left", lease=LEASE), tape)
    parent = os.getppid()
    while not last and os.getppid() == parent:
        if store.baseline(SCOPE).parameters != IN_FORCE:
            back = store.baseline(SCOPE).version
            store.rollback(SCOPE, 1, actor="worker", reason="the next session", expected=back)
        snapshot = store.baseline(SCOPE)
        held = store.sessions.start(
            SCOPE,
            "news_sentiment_pro",
            actor="worker",
            reason="once more",
            configuration={"seed": store.head()[0], "expected": snapshot.version},
            lease=LEASE,
        )
        _session(say, store, held, tape)


def _session(say: Say, store: ParameterStore, held: HeldSession, tape: StateTape) -> None:
    """Run one session to its end, or take it up; apply what it promotes."""
    say("started")
    given = store.sessions.get(held.id).configuration
    saved = store.sessions.state(held.id)

    def save(state: Mapping[str, Any]) -> None:
        held.save_state(json.dumps(state).encode())
        held.advance(state["stage"])
        say(state["stage"])

    found = run_session(
        tape,
        config_of(given["seed"]),
        IN_FORCE,
        state=None if saved is None else json.loads(saved),
        save=save,
        stop=held.heartbeat,
    )
    if found.to_apply is not None:
        store.journal.propose(
            held.id,
            SCOPE,
            found.to_apply,
            expected=given["expected"],
            actor="worker",
            reason=found.reason,
            evidence={"judged": found.to_apply.content_hash},
            session=held.id,
        )
        say("proposed")
        say("applied", store.journal.apply(held.id, actor="worker").version)
    held.finish(found.stage, actor="worker", reason=found.reason, result=outcome(found))
    say("ended")


def read(say: Say, tape: StateTape, address: str, life: int, last: bool) -> None:
    """Ask what is in force, for ever; say it when it changes, and now and then how often it was asked."""
    store, seen, asked = ParameterStore(address), (-1, ""), 0
    parent = os.getppid()
    while os.getppid() == parent:
        found = store.in_force("BTC/USDT")
        asked += 1
        now = (found.version, found.parameters.content_hash)
        if now != seen or asked % 50 == 0:
            say(asked, *now, found.hash)
            seen = now
        time.sleep(0.001)


# -------------------------------------------------------------------------------------------------- processes


class Forks:
    """A process of a benchmark that has all imports, and forks workers.

    Parameters
    ----------
    module : str
        Which serves when it is run with ``--serve``: reads tasks, a line of JSON each, and writes the numbers
        of the processes that do them.
    """

    def __init__(self, module: str) -> None:
        self._started = 0
        root = str(Path(__file__).resolve().parents[1])
        places = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        alone = {"PYTHONPATH": places, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            env={**os.environ, **alone, "ENGINE_SETTINGS": os.devnull},
        )

    def fork(self, folder: Path, name: str, task: Mapping[str, Any]) -> Worker:
        """Fork a process that does a task, and says what it does in a file of the folder."""
        self._started += 1
        report = folder / f"{name}-{self._started}.jsonl"
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"report": str(report), **task}), file=self._process.stdin, flush=True)
        return Worker(int(self._process.stdout.readline()), report)

    def close(self) -> None:
        """Let the process end."""
        self._process.communicate(timeout=60)


class Nursery(Forks):
    """A process that has the market as well."""

    def __init__(self, folder: Path) -> None:
        super().__init__("benchmarks.tuning_faults")
        self._folder = folder

    def start(self, role: str, address: str, life: int = 0, *, last: bool = False) -> Worker:
        """Fork a process that plays a role."""
        return self.fork(self._folder, role, {"role": role, "address": address, "life": life, "last": last})


@dataclass(frozen=True)
class Worker:
    """A forked process and what it says."""

    pid: int
    report: Path

    def said(self) -> list[Any]:
        """Return all it has said, without the moments."""
        return [words for _, *words in self.timed()]

    def timed(self) -> list[Any]:
        """Return the moment and the words of all it has said; a line that a kill cut short does not count."""
        text = self.report.read_text() if self.report.exists() else ""
        return [json.loads(line) for line in text.split("\n")[:-1]]

    def alive(self) -> bool:
        """Tell whether it still runs."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def kill(self) -> None:
        """Kill it without a chance to tidy up, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):  # one that ended of an error has said so
            os.kill(self.pid, signal.SIGKILL)
        self.wait(lambda: False)

    def wait(self, until: Callable[[], bool], timeout: float = 120.0) -> None:
        """Wait until something holds or the process has ended."""
        end = time.monotonic() + timeout
        while self.alive() and not until():
            if time.monotonic() > end:
                raise TimeoutError(f"process {self.pid} did not get there in {timeout} s: {self.said()[-5:]}")
            time.sleep(0.002)


def serve() -> None:
    """Fork a process for each line of JSON."""
    tape = made_tape(1)
    # Compiled once, here, for all that are forked; the search alone makes no frame.
    from engine.tuning.kernel import evaluate

    evaluate(tape, IN_FORCE.vector()[None])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel then buries the dead at once
    for line in sys.stdin:
        task = json.loads(line)
        role, said = {"work": work, "read": read}[task.pop("role")], task.pop("report")
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _play(role, tape, said, task)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def _play(role: Callable[..., None], tape: StateTape, report: str, task: dict[str, Any]) -> NoReturn:
    file = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(*words: object) -> None:
        os.write(file, json.dumps((time.monotonic(), *words)).encode() + b"\n")

    try:
        role(say, tape, **task)
    except BaseException as error:
        say("error", type(error).__name__, str(error))
    finally:
        os._exit(0)


# -------------------------------------------------------------------------------------------------- kills


@dataclass
class Faults:
    """What came of the kills; every count but the first seven must be zero."""

    kills: int = 0
    by_phase: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    sessions: int = 0
    applied: int = 0
    reads: int = 0
    versions_read: int = 0
    invalid: int = 0
    broken: int = 0
    half: int = 0
    lost: int = 0
    diverged: int = 0
    unresolved: int = 0
    twice: int = 0
    errors: list[str] = field(default_factory=list)

    @property
    def harm(self) -> dict[str, Any]:
        """What must not have happened and did."""
        never = [each.name for each in fields(self)][-8:]
        return {name: getattr(self, name) for name in never if getattr(self, name)}


def run(folder: Path, kills: int, seed: int, address: str | None = None) -> Faults:
    """Kill workers so many times and count what must not happen; the store is a file unless it is named."""
    address = address or f"sqlite:///{folder}/parameters.sqlite"
    store, found, rng = ParameterStore(address), Faults(), random.Random(seed)  # noqa: S311  no secret
    store.commit(SCOPE, IN_FORCE, expected=None, actor="person", reason="start", evidence={})
    nursery = Nursery(folder)
    try:
        reader = nursery.start("read", address)
        spans = _usual_spans(nursery, address)
        head, newest = store.head()[1], 0
        for life in range(1, kills + 1):
            phase = PHASES[life % len(PHASES)]
            worker = nursery.start("work", address, life)
            worker.wait(lambda: any(words[0] == phase for words in worker.said()))  # noqa: B023
            time.sleep(rng.uniform(0.0, spans[phase]))
            worker.kill()
            said = worker.said()
            found.kills += 1
            found.by_phase[said[-1][0]] += 1
            found.resumed += sum(words[0] == "resumed" for words in said)
            found.errors += [str(words) for words in said if words[0] == "error"]
            newest = max([newest, *(words[1] for words in said if words[0] == "applied")])
            head = _check(store, found, head, newest)
        last = nursery.start("work", address, kills + 1, last=True)
        last.wait(lambda: False)
        said = last.said()
        found.resumed += sum(words[0] == "resumed" for words in said)
        found.errors += [str(words) for words in said if words[0] == "error"]
        reader.kill()
    finally:
        nursery.close()
    _check(store, found, head, newest)
    _check_reader(store, found, reader.said())
    _check_sessions(store, found)
    store.close()
    return found


def _usual_spans(nursery: Nursery, address: str) -> dict[str, float]:
    """Seconds from each phase to the next, of the last of a few sessions that nobody kills."""
    worker = nursery.start("work", address)
    worker.wait(lambda: sum(words[0] == "applied" for words in worker.said()) >= WHOLE)
    worker.wait(lambda: worker.said()[-1][0] in ("started", "searching"))
    if not worker.alive():
        raise RuntimeError(f"a worker ended that nobody had killed: {worker.said()[-1]}")
    worker.kill()
    timed = worker.timed()
    begins = [row for row, (_, word, *_) in enumerate(timed) if word == "started"]
    (*_, applied) = (row for row, (_, word, *_) in enumerate(timed) if word == "applied")
    first = max(row for row in begins if row < applied)
    after = min(row for row in begins if row > applied)
    when: dict[str, float] = {}
    for moment, word, *_ in timed[first:after]:
        when.setdefault(word, moment)
    borders = [when[phase] for phase in PHASES] + [timed[after][0]]
    # A little more than the span, so that the border to the next phase is struck as well.
    return {
        phase: 1.2 * (end - begin) for phase, begin, end in zip(PHASES, borders, borders[1:], strict=False)
    }


def _check(store: ParameterStore, found: Faults, head: str, newest: int) -> str:
    """Look at the store as a kill has left it; return the hash of its last row."""
    report = store.verify(head)
    found.broken += not report.intact
    now = store.in_force("BTC/USDT")
    standing = store.version(now.version)
    expected = (standing.parameters, standing.parameters.content_hash)
    found.invalid += (now.parameters, now.hash) != expected
    found.lost += now.version < newest
    return report.head


def _check_reader(store: ParameterStore, found: Faults, said: list[Any]) -> None:
    versions = {each.version: each.parameters.content_hash for each in store.versions(limit=1_000_000)}
    found.errors += [str(words) for words in said if words[0] == "error"]
    told = [words for words in said if words[0] != "error"]
    found.reads = max((words[0] for words in told), default=0)
    found.versions_read = len({words[1] for words in told})
    found.half = sum(
        versions.get(version) != content or content != shown for _, version, content, shown in told
    )


def _check_sessions(store: ParameterStore, found: Faults) -> None:
    """Run every session that has ended once more, without a kill, and compare."""
    tape = made_tape(1)
    found.unresolved += len(store.journal.pending()) + len(store.sessions.running())
    made = Counter(
        each.evidence["journal"] for each in store.versions(limit=1_000_000) if "journal" in each.evidence
    )
    found.twice = sum(count > 1 for count in made.values())
    for record in store.sessions.recent(1_000_000):
        if record.ended_at is None:
            continue
        found.sessions += 1
        whole = outcome(run_session(tape, config_of(record.configuration["seed"]), IN_FORCE))
        found.diverged += whole != record.result
        promoted = whole["promoted"]
        found.applied += made[record.id]
        if promoted is not None:
            (version,) = (
                each for each in store.versions(limit=1_000_000) if each.evidence.get("journal") == record.id
            )
            found.invalid += version.parameters.to_dict() != promoted


def main() -> None:
    """Kill, count and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--serve", action="store_true", help="be the process that workers are forked from")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--address", help="of an empty store, such as one on PostgreSQL; a file by default")
    given = parser.parse_args()
    if given.serve:
        serve()
        return
    began, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), given.kills, given.seed, given.address)
    facts = {each.name: getattr(found, each.name) for each in fields(found)}
    print(json.dumps({**facts, "seconds": round(time.monotonic() - began, 1), "load": load}))
    if found.harm:
        sys.exit(f"what must not happen did: {found.harm}")


if __name__ == "__main__":
    main()
