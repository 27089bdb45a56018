"""What the views show, against figures known beforehand, and what they show where nothing was made yet."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

from console.api.dagster_runs import Run, Seen
from console.api.desk import Desk
from console.api.reads.status import status
from console.api.schemas.status import Health
from engine.evaluation.metrics import performance as figures_of
from engine.tuning.live_figures import daily_returns
from engine.tuning.parameters import DEFAULTS, PARAMETERS, ParameterSet
from engine.tuning.scenarios import SCENARIOS
from engine_assets.live_tables import LIVE_DECISIONS, LIVE_EQUITY
from resources.warehouse import Warehouse

P = "/api/rl-training"
WHO: dict[str, Any] = {"actor": "bob", "reason": "because"}
EPISODE = {
    "episodes": 10, "mean_score": -0.4, "best_score": 0.2, "best_so_far": 0.3, "searched": 33,
    "elapsed_s": 0.1, **DEFAULTS.to_dict(),
}  # fmt: skip
EVIDENCE: dict[str, Any] = {
    "promoted": True, "reasons": ["it improves"], "statistic": "mean", "periods": 250, "trades": 43,
    "searched": 65, "tested": 38, "alpha": 0.03, "judged": DEFAULTS.to_dict() | {"socialGo": 0.87},
    "figures": {"improvement": 0.00287, "low": 0.0016, "high": 0.0038, "p_value": 9e-5},
    "guardrails": [
        {"name": "max_drawdown", "baseline": 0.42, "candidate": 0.02, "limit": 0.53, "passed": True}
    ],
    "changes": {"socialGo": [0.75, 0.87]},
    "windows": {
        "search": ["2023-01-01T00:00:00", "2023-06-28T00:00:00"],
        "evidence": ["2023-07-30T00:00:00", "2024-04-05T00:00:00"],
    },
}  # fmt: skip


def get(client: TestClient, path: str, **asked: Any) -> Any:
    response = client.get(f"{P}{path}", params=asked)
    assert response.status_code == 200, response.text
    return response.json()


def a_session(desk: Desk, scope: str = "global", episodes: int = 2, **result: Any) -> str:
    """A session that has ended."""
    order = {"order": {"mode": "apply", "method": "pgpe", "symbols": [], "episodes": 10}}
    held = desk.store.sessions.start(scope, "quick_tune", configuration=order, **WHO)
    for number in range(1, episodes + 1):
        held.report({**EPISODE, "episode": number})
    held.finish("applied", result=result, **WHO)
    return held.id


def looked_at(desk: Desk) -> Health:
    """The health once the warehouse was looked at, which nobody waits for."""
    for _ in range(100):
        health, _ = desk.watch.health()
        if health.data.symbols:
            return health
        time.sleep(0.1)
    raise AssertionError("nobody looked")


def moment(text: str) -> datetime:
    assert text.endswith("Z")
    return datetime.fromisoformat(text)


# Nothing was made yet


@pytest.fixture
def empty(desk: Desk, tmp_path: Path) -> Desk:
    """No warehouse at all."""
    Path(desk.settings.warehouse).unlink()
    return desk


@pytest.mark.parametrize(
    ("path", "hints"),
    [
        ("/status", ["run ingest", "run live_loop", "run nightly_retraining"]),
        ("/scenarios", ["run ingest", "run live_loop", "run live_loop"]),
        ("/symbols", ["run ingest", "run live_loop"]),
        ("/performance/BTC-USDT", ["run live_loop"] * 3),
        ("/performance/all", ["run live_loop"] * 3),
        ("/decisions", ["run live_loop"]),
    ],
)
def test_where_nothing_was_made_the_views_say_what_makes_it(
    empty: Desk, viewer: TestClient, path: str, hints: list[str]
) -> None:
    answer = get(viewer, path)
    assert [one["hint"] for one in answer["missing"]] == hints


@pytest.mark.parametrize("path", ["/sessions", "/versions", "/history", "/experiments", "/overrides"])
def test_what_nobody_did_yet_is_an_empty_list(empty: Desk, viewer: TestClient, path: str) -> None:
    assert get(viewer, path)["items"] == []


def test_candles_alone_are_enough_for_a_recommendation(desk: Desk, viewer: TestClient) -> None:
    with desk.warehouse.write() as connection:
        connection.execute("DROP SCHEMA trading CASCADE")
    found = get(viewer, "/scenarios")
    assert found["recommendation"]["figures"]["confidence"] is None
    assert found["recommendation"]["reasons"][0] == "decisions' confidence: not known"
    assert found["missing"][0] == {"what": "trading.live_decisions", "hint": "run live_loop"}
    [gap] = get(viewer, "/decisions")["missing"]
    assert gap["hint"] == "run live_loop"


# The market and the account


@pytest.mark.parametrize("path", ["BTC-USDT", "BTC/USDT", "BTC%2FUSDT"])
def test_a_symbol_is_found_with_a_slash_or_a_dash(viewer: TestClient, path: str) -> None:
    assert get(viewer, f"/performance/{path}")["symbol"] == "BTC/USDT"


def test_a_symbol_that_is_not_stored_is_told_with_those_that_are(viewer: TestClient) -> None:
    response = viewer.get(f"{P}/performance/DOGE-USDT")
    assert (response.status_code, response.json()["stored"]) == (404, ["BTC/USDT", "ETH/USDT"])


def test_equity_and_figures_are_those_of_the_account(desk: Desk, viewer: TestClient) -> None:
    found = get(viewer, "/performance/BTC-USDT")
    rows = desk.warehouse.frame(
        "SELECT symbol, ts, equity FROM trading.live_equity WHERE symbol = 'BTC/USDT' ORDER BY ts"
    )
    equity = rows["equity"].to_numpy()
    points = found["equity"]
    assert [point["equity"] for point in points] == pytest.approx(equity.tolist())
    fall = 1 - equity[-1] / max(equity.max(), 1.0)
    assert points[-1]["drawdown"] == pytest.approx(fall)
    assert moment(points[-1]["ts"]) == rows["ts"][-1].replace(tzinfo=UTC)

    figures = {one["name"]: one for one in found["figures"]}
    days = daily_returns(rows, rows["ts"][0], rows["ts"][0] + timedelta(days=60))
    assert figures["sharpe"]["value"] == pytest.approx(figures_of(days)["sharpe"])
    assert figures["sharpe"]["low"] < figures["sharpe"]["value"] < figures["sharpe"]["high"]
    assert figures["total_return"]["value"] == pytest.approx(equity[-1] - 1)
    ledger = desk.warehouse.frame("FROM trading.live_ledger").filter(symbol="BTC/USDT")
    closed = ledger["net_return"].drop_nulls()
    assert figures["trades"]["value"] == len(closed) == 59
    assert figures["win_rate"]["value"] == pytest.approx((closed > 0).mean())
    assert figures["win_rate"]["low"] < figures["win_rate"]["value"] < figures["win_rate"]["high"]
    assert figures["costs"]["value"] == pytest.approx(118 * 1.2e-4)
    by_version = {one["version"]: one for one in found["versions"]}
    assert by_version.keys() == {0, 1}
    assert sum(one["trades"] for one in by_version.values()) == 59


def test_a_large_answer_is_packed_for_whoever_unpacks_it(viewer: TestClient) -> None:
    packed = viewer.get(f"{P}/performance/all", headers={"Accept-Encoding": "gzip"})
    plain = viewer.get(f"{P}/performance/all", headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) < len(plain.content) / 2
    assert "content-encoding" not in viewer.get(f"{P}/me", headers={"Accept-Encoding": "gzip"}).headers


def test_calibration_holds_confidence_against_what_came_of_it(desk: Desk, viewer: TestClient) -> None:
    found = get(viewer, "/performance/all")["calibration"]
    assert found["trades"] == 2 * 59 == sum(one["trades"] for one in found["bins"])
    assert "no probability" in found["caveat"]
    for one in found["bins"]:
        assert 0 <= one["low"] <= one["gained"] <= one["high"] <= 1
    stated = [one["confidence"] for one in found["bins"]]
    assert stated == sorted(stated)
    joined = desk.warehouse.frame(
        "SELECT avg(confidence), avg((net_return > 0)::INT) FROM trading.live_ledger AS l "
        "JOIN trading.live_decisions AS d ON d.symbol = l.symbol AND d.ts = decided_ts "
        "WHERE net_return IS NOT NULL"
    ).row(0)
    for name, mean in zip(("confidence", "gained"), joined, strict=True):
        weighted = sum(one[name] * one["trades"] for one in found["bins"]) / found["trades"]
        assert weighted == pytest.approx(mean)


def test_a_long_account_is_thinned_with_its_end_and_its_drawdown(desk: Desk, viewer: TestClient) -> None:
    start = datetime(2020, 1, 1)
    ts = [start + timedelta(hours=i) for i in range(5_000)]
    equity = [2.0 if i == 1234 else 1.0 for i in range(5_000)]
    rows = pl.DataFrame({"symbol": "BTC/USDT", "ts": ts, "equity": equity, "exposure": 0.0})
    desk.warehouse.replace(LIVE_EQUITY, LIVE_EQUITY.of(rows))
    points = get(viewer, "/performance/BTC-USDT")["equity"]
    assert len(points) == 1_000
    assert moment(points[-1]["ts"]) == ts[-1].replace(tzinfo=UTC)
    assert points[-1]["drawdown"] == 0.5


def test_decisions_are_paged_once_each_and_by_symbol(desk: Desk, viewer: TestClient) -> None:
    seen: list[tuple[str, str]] = []
    before: dict[str, Any] = {}
    while True:
        page = get(viewer, "/decisions", limit=77, **before)
        seen += [(row["ts"], row["symbol"]) for row in page["items"]]
        if page["next"] is None:
            break
        before = {"before": page["next"]}
    assert len(seen) == len(set(seen)) == 720
    assert [ts for ts, _ in seen] == sorted((ts for ts, _ in seen), reverse=True)
    only = get(viewer, "/decisions", symbol="ETH-USDT", limit=200)["items"]
    assert {row["symbol"] for row in only} == {"ETH/USDT"}
    newest = desk.warehouse.frame("SELECT max(ts) FROM trading.live_decisions").item()
    assert moment(seen[0][0]) == newest.replace(tzinfo=UTC)


def test_decisions_of_one_action_are_paged_over_all_there_are(desk: Desk, viewer: TestClient) -> None:
    stored = desk.warehouse.frame("SELECT * FROM trading.live_decisions WHERE action = 'enter'")
    page = get(viewer, "/decisions", action="enter", limit=100)
    more = get(viewer, "/decisions", action="enter", limit=100, before=page["next"])
    rows = [*page["items"], *more["items"]]
    assert {row["action"] for row in rows} == {"enter"}
    assert (len({(row["ts"], row["symbol"]) for row in rows}), more["next"]) == (stored.height, None)
    one = get(viewer, "/decisions", action="enter", symbol="BTC-USDT", limit=200)["items"]
    assert len(one) == stored.filter(pl.col("symbol") == "BTC/USDT").height
    assert get(viewer, "/decisions", action="hold")["items"] == []
    refused = viewer.get(f"{P}/decisions", params={"action": "exit"})
    assert (refused.status_code, "'enter', 'hold' or 'none'" in refused.json()["detail"]) == (422, True)


def test_what_was_decided_meanwhile_is_shown(desk: Desk, viewer: TestClient) -> None:
    assert len(get(viewer, "/decisions", limit=200)["items"]) == 200
    rows = desk.warehouse.frame("FROM trading.live_decisions LIMIT 3")
    desk.warehouse.replace(LIVE_DECISIONS, rows)
    desk.answers.moved()
    assert len(get(viewer, "/decisions", limit=200)["items"]) == 3


def test_while_a_step_writes_the_views_show_what_they_showed(desk: Desk, viewer: TestClient) -> None:
    before = get(viewer, "/decisions")
    step = desk.warehouse
    desk.warehouse = Warehouse(address=desk.settings.warehouse, lock_timeout_s=0.2)
    desk.versions._warehouse = desk.warehouse
    with step.write() as connection:
        connection.execute("DELETE FROM trading.live_decisions")
        # The file is touched before the change is committed.
        Path(desk.settings.warehouse).touch()
        for _ in range(3):
            assert get(viewer, "/decisions") == before
            time.sleep(0.3)
        unknown = viewer.get(f"{P}/decisions", params={"limit": 7})
        assert (unknown.status_code, unknown.json()["type"].split(":")[-1]) == (503, "warehouse-unavailable")


def test_symbols_say_what_is_stored_and_what_is_live(desk: Desk, viewer: TestClient) -> None:
    desk.store.commit("symbol:ETH/USDT", DEFAULTS, expected=None, evidence={}, **WHO)
    rows = {row["symbol"]: row for row in get(viewer, "/symbols")["items"]}
    assert [(row["bars"], row["live"], row["own_parameters"]) for row in rows.values()] == [
        (360, True, False),
        (360, True, True),
    ]


# Scenarios, sessions, evidence


def test_the_scenarios_are_the_tables(viewer: TestClient, desk: Desk) -> None:
    identity = a_session(desk)
    found = get(viewer, "/scenarios")
    assert [card["name"] for card in found["items"]] == list(SCENARIOS)
    assert [card["recommended"] for card in found["items"]].count(True) == 1
    quick = found["items"][0]
    assert (quick["minutes"], quick["episodes"], quick["last_session"]) == (15, 10, identity)
    assert quick["last_verdict"] == "applied"
    assert found["recommendation"]["reasons"]
    assert found["market"]["mode"] in ("bull", "bear", "sideways", "volatile")


def test_the_targets_are_the_tables(viewer: TestClient) -> None:
    found = get(viewer, "/targets")
    assert [row["name"] for row in found["parameters"]] == list(PARAMETERS)
    assert found["parameters"][0]["low"] == PARAMETERS["volPctBreakout"].low
    targets = {row["scenario"]: tuple(row["targets"]) for row in found["scenarios"]}
    assert targets == {name: one.targets for name, one in SCENARIOS.items()}


def test_results_tell_the_evidence_and_what_followed(viewer: TestClient, desk: Desk) -> None:
    identity = a_session(
        desk, evidence=EVIDENCE, promoted=EVIDENCE["judged"], reason="it improves", attempt=2, expected=0,
        elapsed_s=1.5, evaluations=65,
    )  # fmt: skip
    for which in (identity, "quick_tune"):
        found = get(viewer, f"/scenarios/results/{which}")
        assert (found["session"]["id"], found["session"]["verdict"]) == (identity, "applied")
        assert [one["episode"] for one in found["episodes"]] == [1, 2]
        assert found["episodes"][0]["best"] == DEFAULTS.to_dict()
        evidence = found["evidence"]
        assert (evidence["improvement"], evidence["p_value"], evidence["trades"]) == (0.00287, 9e-5, 43)
        assert evidence["changes"] == [
            {"parameter": "socialGo", "before": 0.75, "after": 0.87, "unit": "score"}
        ]
        assert evidence["evidence"]["start"] == "2023-07-30T00:00:00Z"
        assert (found["attempt"], found["can_apply"]) == (2, True)
        assert [row["kind"] for row in found["followed"]] == ["session.started", "session.ended"]
    response = viewer.get(f"{P}/scenarios/results/risk_optimizer")
    assert (response.status_code, "risk_optimizer" in response.json()["detail"]) == (404, True)
    assert viewer.get(f"{P}/scenarios/results/{'0' * 32}").status_code == 404


def test_sessions_are_paged_once_each(viewer: TestClient, desk: Desk) -> None:
    made = [a_session(desk, episodes=0) for _ in range(7)]
    seen: list[str] = []
    before: dict[str, Any] = {}
    while True:
        page = get(viewer, "/sessions", limit=3, **before)
        seen += [row["id"] for row in page["items"]]
        if page["next"] is None:
            break
        before = {"before": page["next"]}
    assert seen == made[::-1]
    assert get(viewer, "/sessions", scenario="risk_optimizer")["items"] == []


def test_episodes_go_on_from_the_last_one_known(viewer: TestClient, desk: Desk) -> None:
    identity = a_session(desk, episodes=5)
    found = get(viewer, f"/sessions/{identity}/episodes", after=3)
    assert [one["number"] for one in found["items"]] == [4, 5]
    assert viewer.get(f"{P}/sessions/{'0' * 32}/episodes").status_code == 404
    assert viewer.get(f"{P}/sessions/..%2F..%2Fetc/episodes").status_code in (404, 422)


# Parameters, versions, history


def test_each_value_says_where_it_comes_from(viewer: TestClient, desk: Desk) -> None:
    store = desk.store
    store.commit("global", ParameterSet(social_go=0.8), expected=None, evidence={}, **WHO)
    store.override("symbol:BTC/USDT", {"costCapBps": 6.0}, **WHO)
    found = get(viewer, "/parameters", scope="symbol:BTC/USDT")
    assert (found["version"], found["comes_from"], found["own"], found["actor"]) == (
        1,
        "global",
        False,
        "bob",
    )
    rows = {row["name"]: row for row in found["items"]}
    assert (rows["socialGo"]["value"], rows["socialGo"]["source"]) == (0.8, "version")
    assert rows["socialGo"]["difference"] == 0.05
    held = rows["costCapBps"]
    assert (held["value"], held["source"], held["comes_from"]) == (6.0, "override", "symbol:BTC/USDT")
    assert held["held"]["actor"] == "bob"
    assert [row["parameter"] for row in get(viewer, "/overrides")["items"]] == ["costCapBps"]
    assert get(viewer, "/overrides", scope="global")["items"] == []
    assert viewer.get(f"{P}/parameters", params={"scope": "planet:Mars"}).status_code == 422


def test_versions_and_history_are_paged_once_each(viewer: TestClient, desk: Desk) -> None:
    for number in range(5):
        values = ParameterSet(social_go=0.5 + number / 100)
        desk.store.commit("global", values, expected=number, evidence={}, **WHO)
    for path, key, wanted in (
        ("/versions", "version", [5, 4, 3, 2, 1]),
        ("/history", "seq", [5, 4, 3, 2, 1]),
    ):
        seen: list[int] = []
        before: dict[str, Any] = {}
        while True:
            page = get(viewer, path, limit=2, **before)
            seen += [row[key] for row in page["items"]]
            if page["next"] is None:
                break
            before = {"before": page["next"]}
        assert seen == wanted
    rows = get(viewer, "/versions")["items"]
    assert [row["in_force"] for row in rows] == [True, False, False, False, False]
    assert rows[0]["changes"] == {"socialGo": [0.53, 0.54]}
    assert viewer.get(f"{P}/history", params={"before": "1e3"}).status_code == 422
    assert get(viewer, "/history", scope="symbol:BTC/USDT")["items"] == []


def test_the_chain_is_walked_up_to_a_noted_head(viewer: TestClient, desk: Desk) -> None:
    desk.store.override("global", {"socialGo": 0.8}, **WHO)
    head = desk.store.head()[1]
    found = get(viewer, "/verify", head=head)
    assert (found["intact"], found["rows"], found["head"]) == (True, 1, head)
    assert get(viewer, "/verify", head="f" * 64)["intact"] is False


# Experiments


def test_experiments_are_shown_paged_and_stopped(
    viewer: TestClient, operator: TestClient, desk: Desk
) -> None:
    about: dict[str, Any] = {
        "baseline": 0, "metric": "net return per day", "horizon": timedelta(days=30), "seed": 1, **WHO,
    }  # fmt: skip
    made = [
        desk.store.experiments.register("shadow", f"symbol:S{i}", ParameterSet(social_go=0.9), **about).id
        for i in range(3)
    ]
    desk.store.experiments.observe(made[0], "2026-01-01", {"live": 0.1, "shadow": 0.2})
    first = get(viewer, "/experiments", limit=2)
    rest = get(viewer, "/experiments", limit=2, before=first["next"])
    assert [row["id"] for row in (*first["items"], *rest["items"])] == made[::-1]
    assert rest["next"] is None
    found = get(viewer, f"/experiments/{made[0]}")
    assert found["observations"][0]["content"] == {"live": 0.1, "shadow": 0.2}
    assert found["changes"] == [{"parameter": "socialGo", "before": 0.75, "after": 0.9, "unit": "score"}]
    assert (found["state"], found["result"]) == ("running", None)
    stopped = operator.post(f"{P}/experiments/{made[0]}/stop", json={"reason": "pointless"})
    assert (stopped.status_code, stopped.json()["state"]) == (200, "stopped")
    assert get(viewer, f"/experiments/{made[0]}")["state"] == "stopped"
    again = operator.post(f"{P}/experiments/{made[0]}/stop", json={"reason": "pointless"})
    assert again.status_code == 409
    assert viewer.get(f"{P}/experiments/{'0' * 32}").status_code == 404
    gone = operator.post(f"{P}/experiments/{'0' * 32}/stop", json={"reason": "pointless"})
    assert gone.status_code == 404


# Status


def test_status_is_read_from_the_store_and_dagster_alone(
    viewer: TestClient, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = desk.store.sessions.start("global", "quick_tune", configuration={"order": {"episodes": 10}}, **WHO)
    held.report({**EPISODE, "episode": 1})
    held.advance("search")
    run = Run("r1", "STARTED", "global", "quick_tune", "bob", held.id, datetime.now(UTC))
    queued = Run("r2", "QUEUED", "symbol:BTC/USDT", "risk_optimizer", "ann", None, None)
    monkeypatch.setattr(desk.runs, "seen", lambda within_s=0.0: Seen(True, None, (queued, run)))
    desk.store.override("global", {"socialGo": 0.8}, **WHO)
    found = get(viewer, "/status")
    [session] = found["sessions"]
    assert (session["id"], session["status"], session["alive"]) == (held.id, "search", True)
    assert session["last_episode"]["episode"] == 1
    assert session["run_url"].endswith("/runs/r1")
    assert [(one["run_id"], one["state"]) for one in found["runs"]] == [("r2", "queued"), ("r1", "started")]
    assert found["overridden"][0]["parameter"] == "socialGo"
    assert found["row"] == 2

    # A console that has just been started says the same.
    other = Desk.open(desk.settings, desk.access)
    monkeypatch.setattr(other.runs, "seen", lambda within_s=0.0: Seen(True, None, (queued, run)))
    again = json.loads(status(other).model_dump_json())
    assert again["sessions"] == found["sessions"]
    assert again["runs"] == found["runs"]
    other.close()


def test_health_knows_the_data_and_says_what_dagster_needs(viewer: TestClient, desk: Desk) -> None:
    looked_at(desk)
    found = get(viewer, "/status")
    data = found["health"]["data"]
    assert (data["symbols"], data["bar_s"], data["age_s"], data["stale"]) == (2, 4 * 3600, None, False)
    assert moment(data["known_at"]) - moment(data["newest_bar"]) == timedelta(hours=4)
    assert found["health"]["dagster"]["reachable"] is None, "it may be starting"
    assert "make ui" in found["health"]["dagster"]["detail"]


def test_a_live_market_whose_bars_stay_away_is_stale(desk: Desk) -> None:
    desk.settings = desk.settings.model_copy(update={"source": "exchange"})
    known = desk.warehouse.frame("SELECT max(known_at) FROM staging.candles").item().replace(tzinfo=UTC)
    health = looked_at(desk)
    assert health.data.age_s == pytest.approx((datetime.now(UTC) - known).total_seconds(), abs=60)
    assert health.data.stale is (datetime.now(UTC) - known > timedelta(hours=12))


def test_who_asks_is_told_so(viewer: TestClient, operator: TestClient, desk: Desk) -> None:
    assert get(operator, "/me")["role"] == "operator"
    found = get(viewer, "/me")
    assert (found["name"], found["role"], found["source"]) == ("vic", "viewer", "simulated")
    assert found["dagster_url"] == desk.runs.url
