"""The live loop over a real warehouse and parameter store: what decides, what waits, what goes back."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import polars as pl
import pytest

from engine.evaluation.costs import Costs
from engine.market.segments import segments
from engine.market.simulator import MarketSimulator
from engine.tuning.kernel import trades_of
from engine.tuning.live_account import InUse
from engine.tuning.live_walk import live_walk
from engine.tuning.market_state import state_tape
from engine.tuning.parameters import DEFAULTS, ParameterSet
from engine_assets import live_decisions as module
from engine_assets.live_ab import ab_result, design_of
from engine_assets.live_decisions import decides_every_bar, live_decisions, names_what_was_in_force
from engine_assets.live_lookahead import decisions as lookahead
from engine_assets.live_tables import TABLES, stored_accounts
from engine_assets.live_trigger import watch_changes
from engine_assets.regimes import MARKET_REGIMES
from engine_assets.tuning_promotions import TRIGGER_RATIO
from resources.parameter_store import ParameterStore
from resources.parameter_store.triggers import RollbackTrigger
from resources.settings import PROFILES, CostSettings, Settings
from resources.table import Column, SqlType, Table
from resources.warehouse import Warehouse

START, HOUR, DAY = datetime.fromisoformat("2024-01-01"), timedelta(hours=1), timedelta(days=1)
DAYS = 48
HALF = 40_000.0
"""Quote units of each symbol's account."""
BEGIN = START + 40 * DAY
END = START + DAYS * DAY
BUSY = ParameterSet.from_mapping(
    {"volPctBreakout": 50, "volPctMeanRevert": 50, "costCapBps": 30, "tpBreakout": 1.5, "socialGo": 0.6}
)
WIDE = ParameterSet.from_mapping(
    {"tpBreakout": 9.0, "slBreakout": 5.0, "slRevert": 5.0, "tpNews": 9.0, "slNews": 5.0}, BUSY
)
SQL: dict[Any, SqlType] = {
    pl.String(): "VARCHAR", pl.Datetime("us"): "TIMESTAMP", pl.Int64(): "BIGINT", pl.Float64(): "DOUBLE"
}  # fmt: skip
NAMES = [table.full_name for table in TABLES]
drawn = module._drawn


def put(warehouse: Warehouse, name: str, frame: pl.DataFrame, key: tuple[str, ...]) -> None:
    """Keep a frame as a table that is declared elsewhere by SQL."""
    integers = [column for column, dtype in frame.schema.items() if dtype.is_integer()]
    frame = frame.with_columns(pl.col(integers).cast(pl.Int64), pl.col(pl.Float64).fill_nan(None))
    columns = [Column(c, SQL[dtype], "A column.", nullable=c not in key) for c, dtype in frame.schema.items()]
    schema, table = name.split(".")
    warehouse.replace(Table(schema, table, "What the asset reads.", tuple(columns), key), frame)


@pytest.fixture(scope="module")
def market() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Candles and observations of two symbols."""
    made = MarketSimulator(("AAA/USDT", "BBB/USDT"), HOUR, 6).simulate(START, 24 * DAYS)
    return made.candles.with_columns(segment=segments(made.candles, HOUR)), made.observations


def checked(check: Any, loop: "Loop") -> dg.AssetCheckResult:
    result = check(warehouse=loop.warehouse, settings=loop.settings)
    assert isinstance(result, dg.AssetCheckResult)
    return result


class Loop:
    """The hourly job in a small world, whose clock the test moves."""

    instance: dg.DagsterInstance
    """Dagster's own storage, which says nothing of a world and takes long to make: one for all."""

    def __init__(
        self,
        folder: Path,
        market: tuple[pl.DataFrame, pl.DataFrame],
        source: Literal["simulated", "exchange"] = "simulated",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.candles, self.observations = market
        self.warehouse = Warehouse(address=str(folder / "t.duckdb"))
        self.settings = Settings(
            source=source,
            warehouse=str(folder / "t.duckdb"),
            profile="smoke",
            reports=folder / "reports",
            # Orders of a symbol's half are small beside the volumes here.
            costs=CostSettings(capital=2 * HALF),
        )
        self.now = datetime(2024, 1, 1, tzinfo=UTC)
        self.store = ParameterStore(self.settings.parameter_store, clock=lambda: self.now)
        put(self.warehouse, "staging.alternative", self.observations, ())

    def until(self, end: datetime) -> "Loop":
        """Let the market come so far, and the store's clock with it."""
        self.now = max(self.now, end.replace(tzinfo=UTC))
        put(self.warehouse, "staging.candles", self.candles.filter(pl.col("ts") < end), ("symbol", "ts"))
        return self

    def run(self, checks: bool = False) -> Mapping[str, Any]:
        """Run the job; return what the page of the decisions shows."""
        chosen: list[Any] = [live_decisions, *(module.CHECKS if checks else ())]
        resources = {"warehouse": self.warehouse, "settings": self.settings}
        result = dg.materialize(chosen, resources=resources, instance=self.instance)
        assert result.success
        if checks:
            self.passed = {e.check_name: e.passed for e in result.get_asset_check_evaluations()}
        return result.asset_materializations_for_node("live_decisions")[0].metadata

    def rows(self, name: str) -> pl.DataFrame:
        return self.warehouse.frame(f"SELECT * FROM trading.{name} ORDER BY ALL")

    def all_rows(self) -> dict[str, pl.DataFrame]:
        return {name: self.warehouse.frame(f"SELECT * FROM {name} ORDER BY ALL") for name in NAMES}

    def commit(self, parameters: ParameterSet, expected: int, scope: str = "global", **more: Any) -> int:
        made = self.store.commit(
            scope, parameters, expected=expected, actor="test", reason="because", evidence={}, **more
        )
        return made.version


@pytest.fixture(autouse=True, scope="module")
def _instance() -> Iterator[None]:
    with dg.DagsterInstance.ephemeral() as Loop.instance:
        yield


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replays begin seven days before the newest, and their account is drawn where a test asks for it."""
    monkeypatch.setitem(PROFILES, "smoke", PROFILES["smoke"].model_copy(update={"test_days": 7}))
    monkeypatch.setattr(module, "_drawn", lambda warehouse: b"")


@pytest.fixture
def loop(tmp_path: Path, market: tuple[pl.DataFrame, pl.DataFrame]) -> Loop:
    return Loop(tmp_path, market)


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Set what the asset takes for the present."""

    def present(now: datetime) -> None:
        class At(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
                return now.replace(tzinfo=tz)

        monkeypatch.setattr(module, "datetime", At)

    return present


def test_a_replay_decides_every_bar_and_trades_as_the_kernel_does(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures: list[bytes] = []

    def kept(warehouse: Warehouse) -> bytes:
        pictures.append(drawn(warehouse))
        return pictures[-1]

    monkeypatch.setattr(module, "_drawn", kept)
    loop.commit(BUSY, 0)
    shown = loop.until(END).run(checks=True)
    assert loop.passed == {"names_what_was_in_force": True, "decides_every_bar": True}
    decisions = loop.rows("live_decisions")
    assert decisions.height == 2 * 8 * 24 == shown["new decisions"].value
    assert decisions["ts"].min() == BEGIN
    assert decisions["version"].unique().to_list() == [1]
    assert decisions["scope"].unique().to_list() == ["global"]
    assert decisions["parameters_hash"].unique().to_list() == [BUSY.content_hash]
    tape = state_tape(loop.candles, loop.observations, HOUR, Costs(), capital=HALF).between(BEGIN, END)
    expected = trades_of(tape, BUSY, Costs()).filter(pl.col("reason") != "open")
    ended = loop.rows("live_ledger").filter(pl.col("net_return").is_not_null()).sort("entry_ts", "symbol")
    assert ended.height == expected.height > 5
    for mine, theirs in {"event": "reason", "ts": "exit_ts", "decided_ts": "decided_ts"}.items():
        assert ended[mine].to_list() == expected[theirs].to_list()
    assert ended["net_return"].to_list() == pytest.approx(expected["net_return"].to_list(), abs=1e-12)
    assert {record.data["symbol"] for record in shown["last decision"].records} == {"AAA/USDT", "BBB/USDT"}
    assert [picture[:4] for picture in pictures] == [b"\x89PNG"]


@pytest.mark.slow
def test_running_twice_adds_nothing_and_two_runs_are_as_good_as_one(
    tmp_path: Path, market: tuple[pl.DataFrame, pl.DataFrame], moment: Callable[[datetime], None]
) -> None:
    """On a live market all begin with the same day."""
    once, split = (Loop(tmp_path / name, market, "exchange") for name in ("once", "split"))
    borders = [BEGIN + 5 * HOUR, BEGIN + 30 * HOUR, BEGIN + 60 * HOUR]
    for border in borders:
        moment(border)
        split.until(border).run()
    before = split.all_rows()
    assert split.run()["new decisions"].value == 0
    assert all(frame.equals(before[name]) for name, frame in split.all_rows().items())
    for border in borders[::2]:
        moment(border)
        once.until(border).run()
    assert all(frame.equals(before[name]) for name, frame in once.all_rows().items())
    assert before["trading.live_decisions"].height == 2 * 60


def held_over(loop: Loop) -> tuple[str, datetime]:
    """Find a symbol and a moment at which the loop holds a position that the next bar does not end."""
    tape = state_tape(loop.candles, loop.observations, HOUR, capital=HALF)
    for border in pl.datetime_range(BEGIN + 4 * DAY, END, HOUR, eager=True):
        begin = (border - HOUR).replace(hour=0) - 7 * DAY
        now, then = (
            live_walk(tape.between(begin, end), {}, lambda state: InUse(BUSY), start=begin).accounts
            for end in (border, border + HOUR)
        )
        for symbol, account in now.items():
            later = then[symbol].held
            if account.held and later and account.held.position == later.position:
                return symbol, border
    raise AssertionError("no position is held over a bar")


def test_new_parameters_decide_from_the_next_bar_and_an_open_position_keeps_its_own(loop: Loop) -> None:
    """The market stops while a position is open, other parameters come into force, the market goes on."""
    symbol, border = held_over(loop)
    first = loop.commit(BUSY, 0)
    loop.until(border).run()
    before = loop.rows("live_decisions")
    held = stored_accounts(loop.warehouse)[symbol].held
    assert held is not None
    second = loop.commit(WIDE, first)
    loop.until(END).run(checks=True)
    assert loop.passed["names_what_was_in_force"]
    after = loop.rows("live_decisions")
    assert after.filter(pl.col("ts") < border).equals(before)
    new = after.filter(pl.col("ts") >= border)
    assert new["version"].unique().to_list() == [second]
    assert new["parameters_hash"].unique().to_list() == [WIDE.content_hash]
    mine = new.filter(symbol=symbol).sort("ts")
    still = mine.row(0, named=True)
    assert (still["action"], still["kind"]) == ("hold", held.position.kind)
    assert (still["stop"], still["target"]) == (held.position.stop, held.position.target)
    changes = {
        name: both
        for name, both in BUSY.changes(WIDE).items()
        if name.lower().endswith(still["kind"].lower())
    }
    assert still["waits"] == list(changes)
    assert still["reasons"][1:] == [
        f"{name} {old:g} -> {new_:g} waits until this position is closed"
        for name, (old, new_) in changes.items()
    ]
    trade = loop.rows("live_ledger").filter(symbol=symbol, decided_ts=held.decided_ts)
    exit_ = trade.filter(pl.col("net_return").is_not_null()).row(0, named=True)
    reached = {"stop": held.position.stop_price, "target": held.position.target_price}
    assert exit_["price"] == pytest.approx(reached[exit_["event"]], rel=5e-3)
    assert exit_["version"] == first
    stops = {"BREAKOUT": 0.05, "REVERT": 0.05, "NEWS": 0.05}
    entries = new.filter(action="enter")
    assert entries.height > 0
    assert entries["stop"].to_list() == [stops[kind] for kind in entries["kind"]]
    versions = (
        loop.rows("live_ledger").filter(event="entry").filter(pl.col("decided_ts") >= border)["version"]
    )
    assert versions.unique().to_list() == [second]


def test_overrides_regimes_and_symbols_decide_and_are_named(loop: Loop) -> None:
    loop.commit(BUSY, 0)
    own = loop.commit(WIDE, 1, "symbol:BBB/USDT")
    panic = loop.commit(DEFAULTS, 1, "regime:PANIC")
    loop.store.override("global", {"baseRiskPct": 0.1}, actor="ann", reason="calm down")
    rows = loop.candles.select("symbol", "ts").with_columns(
        p_trend=pl.lit(0.2), p_range=pl.lit(0.2), p_panic=pl.lit(0.6),
        regime=pl.when(pl.col("ts") < BEGIN + 4 * DAY).then(pl.lit("PANIC")).otherwise(pl.lit("RANGE")),
    )  # fmt: skip
    loop.warehouse.replace(MARKET_REGIMES, MARKET_REGIMES.of(rows))
    loop.until(END).run(checks=True)
    assert loop.passed["names_what_was_in_force"]
    decisions = loop.rows("live_decisions")
    named = decisions.group_by("symbol", pl.col("ts") < BEGIN + 4 * DAY).agg(pl.col("version").unique())
    found = {(symbol, early): versions for symbol, early, versions in named.rows()}
    assert found == {
        ("AAA/USDT", True): [panic], ("AAA/USDT", False): [1],
        ("BBB/USDT", True): [own], ("BBB/USDT", False): [own],
    }  # fmt: skip
    assert decisions["overridden"].to_list() == [["baseRiskPct"]] * decisions.height
    assert decisions["held_values"].to_list() == [[0.1]] * decisions.height
    mixed = ParameterSet.from_mapping({"baseRiskPct": 0.1}, BUSY).content_hash
    assert set(decisions.filter(version=1)["parameters_hash"]) == {mixed}


def test_a_missed_bar_of_a_live_market_is_decided_with_what_was_in_force_then(
    tmp_path: Path, market: tuple[pl.DataFrame, pl.DataFrame], moment: Callable[[datetime], None]
) -> None:
    loop = Loop(tmp_path, market, "exchange")
    first = loop.commit(BUSY, 0)
    loop.until(BEGIN + 2 * HOUR)
    moment(BEGIN + timedelta(hours=2, minutes=5))
    loop.run()
    assert loop.rows("live_decisions")["ts"].unique().sort().to_list() == [BEGIN, BEGIN + HOUR]
    # Nobody looks for twelve hours; in the middle of them other parameters come into force.
    change = BEGIN + timedelta(hours=8, minutes=30)
    loop.now = change.replace(tzinfo=UTC)
    second = loop.commit(WIDE, first)
    loop.until(BEGIN + 14 * HOUR)
    moment(BEGIN + timedelta(hours=14, minutes=5))
    loop.run()
    decisions = loop.rows("live_decisions")
    assert decisions["ts"].n_unique() == 14
    named = {(ts, version) for ts, version in decisions.select("ts", "version").rows()}
    assert named == {
        (BEGIN + k * HOUR, second if BEGIN + (k + 1) * HOUR >= change else first) for k in range(14)
    }


def test_a_commit_after_the_close_decides_the_newest_bar(
    tmp_path: Path, market: tuple[pl.DataFrame, pl.DataFrame], moment: Callable[[datetime], None]
) -> None:
    loop = Loop(tmp_path, market, "exchange")
    first = loop.commit(BUSY, 0)
    loop.until(BEGIN + 2 * HOUR)
    loop.now = (BEGIN + timedelta(hours=2, minutes=3)).replace(tzinfo=UTC)
    second = loop.commit(WIDE, first)
    moment(BEGIN + timedelta(hours=2, minutes=5))
    loop.run()
    assert dict(loop.rows("live_decisions").select("ts", "version").rows()) == {
        BEGIN: first,
        BEGIN + HOUR: second,
    }


def test_a_killed_run_leaves_the_old_rows(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    loop.commit(BUSY, 0)
    loop.until(BEGIN + 6 * DAY).run()
    before = loop.all_rows()
    loop.until(END)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("engine_assets.table_asset.provenance.record", killed)
        with pytest.raises(KeyboardInterrupt):
            loop.run()
    assert all(frame.equals(before[name]) for name, frame in loop.all_rows().items())
    loop.run()
    assert loop.rows("live_decisions")["ts"].max() == END - HOUR


def test_a_replay_of_other_settings_begins_anew(loop: Loop) -> None:
    loop.commit(BUSY, 0)
    loop.until(BEGIN + 6 * DAY).run()
    first = loop.rows("live_decisions")["ts"].to_list()[0]
    loop.settings = loop.settings.model_copy(update={"seed": 8})
    loop.until(END).run()
    assert loop.rows("live_decisions")["ts"].to_list()[0] == BEGIN > first
    assert loop.rows("live_accounts")["settings"].n_unique() == 1


@pytest.mark.slow
def test_a_shadow_cannot_touch_live_decisions(
    loop: Loop, tmp_path: Path, market: tuple[pl.DataFrame, pl.DataFrame]
) -> None:
    other = Loop(tmp_path / "other", market)
    for one in (loop, other):
        one.commit(BUSY, 0)
        one.until(BEGIN + 4 * DAY).run()
    # The asset's own store has the wall clock: the horizon must not be over by it.
    loop.now = datetime.now(UTC)
    shadow = loop.store.experiments.register(
        "shadow", "global", WIDE, baseline=1, metric="net return per day", horizon=30 * DAY, seed=1,
        actor="test", reason="side by side",
    )  # fmt: skip
    for border in (BEGIN + 5 * DAY, END):
        for one in (loop, other):
            one.until(border).run()
    days = [one for one in loop.store.experiments.observed(shadow.id) if "shadow" in one.content]
    assert len(days) >= 2
    assert any(day.content["shadow"] != day.content["live"] for day in days)
    theirs = other.all_rows()
    assert all(frame.equals(theirs[name]) for name, frame in loop.all_rows().items())


@pytest.mark.slow
def test_an_ab_test_decides_by_the_set_that_was_drawn_and_is_judged_at_its_end(loop: Loop) -> None:
    loop.commit(BUSY, 0)
    loop.until(BEGIN + 2 * DAY).run()
    experiment = loop.store.experiments.register(
        "ab", "global", WIDE, baseline=1, metric="net return per block and symbol", horizon=5 * DAY, seed=3,
        block=6 * HOUR, actor="test", reason="which is better",
    )  # fmt: skip
    loop.store.override("global", {"baseRiskPct": 0.2}, actor="ann", reason="calm down")
    loop.until(BEGIN + 4 * DAY).run()
    test = design_of(loop.store, experiment)
    assert test is not None
    assert (test.start, test.end, test.symbols) == (
        BEGIN + 2 * DAY, BEGIN + 7 * DAY, ("AAA/USDT", "BBB/USDT"),
    )  # fmt: skip
    assert ab_result(loop.store, experiment, loop.warehouse) is None
    loop.until(END).run(checks=True)
    assert loop.passed["names_what_was_in_force"]
    decisions = loop.rows("live_decisions")
    inside = decisions.filter(pl.col("ts").is_between(test.start, test.end, closed="left"))
    assert decisions.filter(pl.col("experiment").is_not_null()).equals(inside)
    hashes = {
        arm: ParameterSet.from_mapping({"baseRiskPct": 0.2}, each).content_hash
        for arm, each in {"live": BUSY, "candidate": WIDE}.items()
    }
    for row in inside.iter_rows(named=True):
        assert row["arm"] == test.arm(row["symbol"], row["ts"])
        assert row["parameters_hash"] == hashes[row["arm"]]
        assert row["version"] == 1
    assert set(inside["arm"]) == {"live", "candidate"}
    result = ab_result(loop.store, experiment, loop.warehouse)
    assert result is not None
    assert result.verdict in ("promote", "keep"), result.reasons
    assert sum(result.counts.values()) == test.units


def test_an_ab_test_that_cannot_be_held_is_stopped_with_the_reason(loop: Loop) -> None:
    loop.commit(BUSY, 0)
    experiment = loop.store.experiments.register(
        "ab",
        "global",
        WIDE,
        baseline=1,
        metric="net return",
        horizon=3 * DAY,
        seed=3,
        actor="test",
        reason="x",
    )
    loop.until(END).run()
    stopped = loop.store.experiments.get(experiment.id)
    assert stopped.state == "stopped"
    assert "at least 30" in next(e for e in loop.store.history() if e.subject == experiment.id).reason


TRIGGER = {"horizon": 30, "alpha": 0.05, "fall": 0.5, "bound": 0.01, "worst": 0.02}
WATCH = RollbackTrigger(TRIGGER_RATIO, 1.0, 30 * DAY, "above")


def change_watched(loop: Loop, fall: float) -> int:
    """Decide some days by one set, then put another under watch; its version."""
    first = loop.commit(BUSY, 0)
    loop.until(BEGIN + 2 * DAY).run()
    evidence = {"trigger": {**TRIGGER, "fall": fall}}

    def change(expected: int) -> int:
        made = loop.store.commit(
            "global",
            WIDE,
            expected=expected,
            actor="test",
            reason="better",
            evidence=evidence,
            triggers=[WATCH],
        )
        return made.version

    change(first)
    # The asset's own store has the wall clock: the change must be recent by it.
    loop.now = datetime.now(UTC)
    return change(loop.store.rollback("global", first, actor="test", reason="set up").version)


@pytest.mark.parametrize(("fall", "fires"), [(0.5, False), (1e-6, True)])
def test_a_trigger_that_fires_rolls_back_with_the_figures(loop: Loop, fall: float, fires: bool) -> None:
    watched = change_watched(loop, fall)
    shown = loop.until(END).run()
    newest = loop.store.versions()[0]
    told = str(shown["changes that are watched"].value)
    assert loop.rows("live_decisions").filter(pl.col("ts") >= BEGIN + 2 * DAY)[
        "version"
    ].unique().to_list() == [watched]
    if fires:
        assert (newest.kind, newest.parameters, newest.actor) == ("rollback", BUSY, "live_loop")
        assert newest.replaces == watched
        assert newest.evidence["ratio"] > 1.0
        assert newest.evidence["alarm"] == "fall"
        assert "fell" in newest.reason
        assert "was rolled back" in told
        assert watch_changes(loop.store, loop.warehouse, loop.settings) == []
    else:
        assert newest.version == watched
        assert f"version {watched} of global stays" in told


def test_what_came_into_force_meanwhile_is_not_rolled_back(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = change_watched(loop, 1e-6)
    made: list[int] = []
    plain = ParameterStore.rollback

    def after_another(store: ParameterStore, *arguments: Any, **options: Any) -> Any:
        made.append(loop.commit(BUSY, watched))
        return plain(store, *arguments, **options)

    monkeypatch.setattr(ParameterStore, "rollback", after_another)
    shown = loop.until(END).run()
    assert made == [watched + 1], "it fired once"
    assert loop.store.in_force().version == watched + 1
    assert "was rolled back" not in str(shown["changes that are watched"].value)


def test_a_decision_with_a_half_applied_set_is_found(loop: Loop) -> None:
    loop.commit(BUSY, 0)
    loop.commit(WIDE, 1)
    loop.until(BEGIN + DAY).run()
    assert checked(names_what_was_in_force, loop).passed
    assert checked(decides_every_bar, loop).passed
    half = ParameterSet.from_mapping({"tpBreakout": 9.0}, BUSY).content_hash
    with loop.warehouse.write(["trading.live_decisions"]) as connection:
        connection.execute(
            "UPDATE trading.live_decisions SET parameters_hash = ? WHERE ts = (SELECT max(ts) FROM "
            "trading.live_decisions)",
            [half],
        )
    found = checked(names_what_was_in_force, loop)
    assert not found.passed
    assert "2 decisions of version 2" in str(found.metadata["wrong"].value)
    with loop.warehouse.write(["trading.live_decisions"]) as connection:
        connection.execute("UPDATE trading.live_decisions SET version = 77")
    assert "no version 77" in str(checked(names_what_was_in_force, loop).metadata["wrong"].value)


def test_bars_that_were_not_decided_are_found(loop: Loop) -> None:
    loop.commit(BUSY, 0)
    loop.until(BEGIN + DAY).run()
    loop.until(BEGIN + DAY + 2 * HOUR)
    found = checked(decides_every_bar, loop)
    assert not found.passed


def test_what_is_decided_does_not_reach_ahead(loop: Loop) -> None:
    loop.commit(BUSY, 0)
    loop.until(END)
    found = checked(lookahead, loop)
    assert found.passed, found.metadata["finding"].value
    compared = found.metadata["rows compared"].value
    assert isinstance(compared, int)
    assert compared > 100
