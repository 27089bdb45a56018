"""Who gets in, and how much of it."""

from __future__ import annotations

import getpass
from typing import Any

import pytest

from console.api.security.callers import Caller, identify, new_token

READ, MARK = "/api/things", "/api/things/a/mark"
BODY = {"reason": "because"}


def kind(response: Any) -> str:
    return str(response.json()["type"]).removeprefix("urn:engine:problem:")


def test_a_viewer_reads_and_an_operator_changes_things(serve: Any) -> None:
    operator = serve()
    viewer, nobody = (serve(role, app=operator.app) for role in ("viewer", None))
    assert operator.get(READ).json() == {"caller": "ann", "role": "operator"}
    assert viewer.get(READ).json() == {"caller": "vic", "role": "viewer"}
    assert operator.post(MARK, json=BODY).status_code == 202
    refused = viewer.post(MARK, json=BODY)
    assert (refused.status_code, kind(refused)) == (403, "forbidden")
    for response in (nobody.get(READ), nobody.post(MARK, json=BODY)):
        assert (response.status_code, kind(response)) == (401, "unauthorized")
        assert response.headers["www-authenticate"] == "Bearer"
    assert operator.app.state.done == {"a": 1}


def test_a_route_that_forgot_to_ask_is_guarded_all_the_same(serve: Any) -> None:
    operator = serve()
    viewer, nobody = (serve(role, app=operator.app) for role in ("viewer", None))
    path = f"{READ}/unguarded"
    assert [client.get(path).status_code for client in (operator, viewer, nobody)] == [200, 200, 401]
    assert [client.post(path).status_code for client in (operator, viewer, nobody)] == [200, 403, 401]
    assert nobody.get("/api/things/nothing-here").status_code == 401
    assert nobody.delete(READ).status_code == 401


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic TOKEN",
        "TOKEN",
        "Bearer TOKENx",
        "Bearer x",
        "Bearer TOKEN TOKEN",
        "Bearer é",
    ],
)
def test_nothing_but_the_token_is_one(serve: Any, tokens: dict[str, str], sent: str) -> None:
    client = serve(None)
    header = sent.replace("TOKEN", tokens["operator"]).encode("latin-1")
    assert client.get(READ, headers=[(b"Authorization", header)]).status_code == 401


def test_one_of_two_tokens_is_none(serve: Any, tokens: dict[str, str]) -> None:
    both = [("Authorization", f"Bearer {tokens[role]}") for role in ("viewer", "operator")]
    assert serve(None).get(READ, headers=both).status_code == 401


def test_a_token_is_not_taken_from_the_address(serve: Any, tokens: dict[str, str]) -> None:
    secret = tokens["operator"]
    assert serve(None).get(f"{READ}?access_token={secret}&token={secret}").status_code == 401


def test_a_refusal_does_not_tell_what_was_wrong(serve: Any, tokens: dict[str, str]) -> None:
    client = serve(None)
    missing = client.get(READ)
    wrong = client.get(READ, headers={"Authorization": f"Bearer {tokens['operator'][:-1]}"})
    assert missing.json() == wrong.json()


def test_every_token_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    import hmac

    made = [new_token(Caller(f"n{i}", "viewer")) for i in range(5)]
    compared = []

    def watched(a: bytes, b: bytes) -> bool:
        compared.append(b)
        return hmac.compare_digest(a, b)

    monkeypatch.setattr(
        "console.api.security.callers.hmac", type("h", (), {"compare_digest": staticmethod(watched)})
    )
    for secret, hashed in made:
        compared.clear()
        assert identify(secret, [each for _, each in made]) == hashed.caller
        assert compared == [each.digest for _, each in made]


def test_tokens_are_long_and_their_hashes_do_not_hold_them() -> None:
    made = [new_token(Caller("ann", "viewer")) for _ in range(50)]
    assert len({secret for secret, _ in made}) == 50
    assert all(len(secret) == 50 and secret not in str(hashed) for secret, hashed in made)


def test_without_tokens_whoever_is_on_this_machine_is_an_operator(serve: Any) -> None:
    client = serve(None, tokens=())
    assert client.get(READ).json() == {"caller": getpass.getuser(), "role": "operator"}
    assert serve(None, tokens=(), address="::1").get(READ).status_code == 200


@pytest.mark.parametrize(
    "address", ["192.168.1.5", "10.0.0.1", "2001:db8::1", "not an address", "127.0.0.1.example"]
)
def test_without_tokens_nobody_else_is(serve: Any, address: str) -> None:
    client = serve(None, tokens=(), address=address)
    assert client.get(READ).status_code == 401
    assert client.post(MARK, json=BODY).status_code == 401


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_without_tokens_a_proxy_on_this_machine_lets_nobody_in(serve: Any, header: str) -> None:
    assert serve(None, tokens=()).get(READ, headers={header: "203.0.113.9"}).status_code == 401


def test_wrong_tokens_are_slowed_and_whoever_was_let_in_stays_in(serve: Any, tokens: dict[str, str]) -> None:
    known = serve()
    assert known.get(READ).status_code == 200
    guesser = serve(None, app=known.app)
    wrong = {"Authorization": "Bearer engine_guess"}
    found = [guesser.get(READ, headers=wrong).status_code for _ in range(14)]
    assert found == [401] * 10 + [429] * 4
    refused = guesser.get(READ, headers=wrong)
    assert (kind(refused), 1 <= int(refused.headers["retry-after"]) <= 10) == ("too-many-requests", True)
    # Not even a right guess gets through, unless it was known from there before.
    right = {"Authorization": f"Bearer {tokens['viewer']}"}
    assert guesser.get(READ, headers=right).status_code == 429
    assert known.get(READ).status_code == 200
    assert guesser.get(READ).status_code == 401  # no guess
    assert serve(None, app=known.app, address="127.0.0.2").get(READ, headers=right).status_code == 200


def test_changes_are_limited_apart_from_reads(serve: Any) -> None:
    client = serve(writes_per_minute=6, reads_per_second=1_000)
    found = [client.post(MARK, json=BODY) for _ in range(4)]
    assert [one.status_code for one in found] == [202, 202, 429, 429]
    assert 1 <= int(found[-1].headers["retry-after"]) <= 10
    assert found[-1].json()["retry_after"] == int(found[-1].headers["retry-after"])
    assert client.get(READ).status_code == 200
    assert client.app.state.done == {"a": 2}


def test_reads_are_limited_for_each_client(serve: Any) -> None:
    client = serve(reads_per_second=1.0)
    assert [client.get(READ).status_code for _ in range(4)] == [200, 200, 429, 429]
    assert serve("viewer", app=client.app).get(READ).status_code == 200
    assert serve(app=client.app, address="127.0.0.2").get(READ).status_code == 200


def test_open_requests_are_limited_for_each_client(serve: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    client = serve(open_requests=1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.get, "/api/things/stream")
        client.portal.call(client.app.state.entered.wait)
        assert client.get(READ).status_code == 429
        client.portal.call(client.app.state.proceed.set)
        assert first.result().text == "firstsecond"
    assert client.get(READ).status_code == 200
