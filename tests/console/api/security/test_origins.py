"""From where a request may come: this console's names, and its own pages."""

from __future__ import annotations

from typing import Any

import pytest

from console.api.security.headers import API_POLICY

READ, MARK, STREAM = "/api/things", "/api/things/a/mark", "/api/things/stream"
BODY = {"reason": "because"}
OWN = "http://127.0.0.1:3001"
ANY = ".".join("0000")


@pytest.mark.parametrize(
    "host", ["127.0.0.1:3001", "localhost", "LOCALHOST:3001", "[::1]:3001", "127.0.0.1:9"]
)
def test_it_goes_by_the_names_of_this_machine(serve: Any, host: str) -> None:
    assert serve().get(READ, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:3001",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "192.168.1.5",
        ANY,
        "127.0.0.2",
        "127.1",
        "2130706433",
        "[::]",
        "[::ffff:127.0.0.1]",
    ],
)
@pytest.mark.parametrize("path", [READ, "/", "/assets/a.js"])
def test_a_name_that_somebody_else_lets_resolve_here_is_refused(serve: Any, host: str, path: str) -> None:
    response = serve().get(path, headers={"Host": host})
    assert (response.status_code, response.json()["type"]) == (421, "urn:engine:problem:unknown-host")


@pytest.mark.parametrize(
    "host", ["", "a b", "127.0.0.1:", "127.0.0.1:x", "user@127.0.0.1", "127.0.0.1/x", "é", "-a"]
)
def test_a_host_is_a_name(serve: Any, host: str) -> None:
    assert serve().get(READ, headers=[(b"Host", host.encode())]).status_code == 400


def test_two_hosts_are_none(serve: Any) -> None:
    assert serve().get(READ, headers=[("Host", "127.0.0.1"), ("Host", "127.0.0.1")]).status_code == 400


def test_listed_names_and_the_address_that_was_reached(serve: Any) -> None:
    listed = serve(hosts="engine.example.com, desk", host="10.1.2.3")
    for host, status in (("engine.example.com", 200), ("desk:80", 200), ("10.1.2.3", 200), ("10.1.2.4", 421)):
        assert listed.get(READ, headers={"Host": host}).status_code == status
    anywhere = serve(host=ANY)
    anywhere.base_url = "http://10.9.8.7:3001"
    assert anywhere.get(READ).status_code == 200
    anywhere.base_url = "http://evil.example:3001"
    assert anywhere.get(READ).status_code == 421


FOREIGN = [
    "http://evil.example",
    "null",
    "https://127.0.0.1:3001",
    "http://127.0.0.1:3000",
    "http://127.0.0.1",
    "http://127.0.0.1:3001.evil.example",
    "http://127.0.0.1:3001@evil.example",
    "http://evil.example/127.0.0.1:3001",
    "file://",
    "",
    "http://127.0.0.1:3001/",
    "http://u@127.0.0.1:3001",
    "http://[::1",
    "http://127.0.0.1:x",
]


@pytest.mark.parametrize("origin", FOREIGN)
def test_pages_of_others_change_and_follow_nothing(serve: Any, origin: str) -> None:
    client = serve()
    for send, path, sent in (
        (client.post, MARK, {"json": BODY}),
        (client.get, STREAM, {}),
        (client.get, READ, {}),
    ):
        response = send(path, headers={"Origin": origin}, **sent)
        assert (response.status_code, response.json()["type"]) == (403, "urn:engine:problem:foreign-origin")
        assert "access-control-allow-origin" not in response.headers
    assert not client.app.state.done


@pytest.mark.parametrize("site", ["cross-site", "same-site", "whatever"])
def test_browsers_that_send_no_origin_tell_it_otherwise(serve: Any, site: str) -> None:
    client = serve()
    assert client.get(STREAM, headers={"Sec-Fetch-Site": site}).status_code == 403
    assert client.post(MARK, json=BODY, headers={"Sec-Fetch-Site": site}).status_code == 403


def test_the_own_page_and_programs_may(serve: Any) -> None:
    client = serve()
    for headers in ({"Origin": OWN}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {}):
        assert client.post(MARK, json=BODY, headers=headers).status_code == 202
    both = {"Host": "localhost:3001", "Origin": "http://localhost:3001"}
    assert client.post(MARK, json=BODY, headers=both).status_code == 202
    assert client.post(MARK, json=BODY, headers={**both, "Host": "127.0.0.1:3001"}).status_code == 403


def test_two_origins_are_foreign(serve: Any) -> None:
    assert serve().post(MARK, json=BODY, headers=[("Origin", OWN), ("Origin", OWN)]).status_code == 403


def preflight(client: Any, origin: str) -> Any:
    asks = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "confirmation",
    }
    return client.options(MARK, headers=asks)


def test_no_other_page_may_read_by_default(serve: Any) -> None:
    response = preflight(serve(), "https://desk.example.com")
    assert response.status_code == 403
    assert not any(name.startswith("access-control") for name in response.headers)


def test_only_pages_that_are_listed_may(serve: Any) -> None:
    client = serve(origins="https://desk.example.com")
    allowed = preflight(client, "https://desk.example.com")
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (
        200,
        "https://desk.example.com",
    )
    assert "access-control-allow-credentials" not in allowed.headers
    assert preflight(client, "https://evil.example").status_code == 400
    listed = {"Origin": "https://desk.example.com", "Sec-Fetch-Site": "cross-site"}
    response = client.post(MARK, json=BODY, headers=listed)
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (
        202,
        "https://desk.example.com",
    )
    assert response.headers["vary"] == "Origin"
    refused = client.post("/api/things/refuse", json=BODY, headers=listed)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (
        409,
        "https://desk.example.com",
    )
    foreign = client.post(MARK, json=BODY, headers={"Origin": "https://evil.example"})
    assert (foreign.status_code, "access-control-allow-origin" in foreign.headers) == (403, False)


def test_behind_tls_the_page_of_a_listed_name_is_the_own(serve: Any) -> None:
    client = serve(hosts="engine.example.com")
    sent = {"Host": "engine.example.com", "Origin": "https://engine.example.com"}
    assert client.post(MARK, json=BODY, headers=sent).status_code == 202


@pytest.mark.parametrize("path", [READ, "/", "/api/nothing", "/assets/none.js", f"{READ}/fail"])
def test_every_answer_tells_the_browser_what_not_to_do(serve: Any, path: str) -> None:
    client = serve()
    answers = [
        client.get(path),
        client.post(path, json=BODY),
        client.get(path, headers={"Host": "evil.example"}),
    ]
    for response in answers:
        headers = response.headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "camera=()" in headers["permissions-policy"]
        assert headers["content-security-policy"] == API_POLICY
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers
        assert "strict-transport-security" not in headers
    client.base_url = "https://127.0.0.1:3001"
    assert client.get(path).headers["strict-transport-security"] == "max-age=31536000"
