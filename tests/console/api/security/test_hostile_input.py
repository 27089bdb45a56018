"""What is sent to break something is refused with a problem document, before a route sees it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.api.problems import Problem
from console.api.security.bodies import Bodies, strict_json
from console.api.settings import ConsoleSettings

READ, MARK = "/api/things", "/api/things/a/mark"
JSON = {"Content-Type": "application/json"}

NOT_JSON = {
    "nothing meant": b" ",
    "cut off": b'{"a":',
    "a comma too many": b'{"a": 1,}',
    "single quotes": b"{'a': 1}",
    "two documents": b"{} {}",
    "a comment": b'{"a": 1 /* b */}',
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": Infinity}',
    "-Infinity": b'{"a": -Infinity}',
    "infinite in disguise": b'{"a": 1e999}',
    "negative infinite in disguise": b'{"a": -1e999}',
    "more than 64 bits": b'{"a": 9223372036854775808}',
    "a number of a thousand digits": b'{"a": ' + b"9" * 1_000 + b"}",
    "a number of five thousand digits": b'{"a": ' + b"9" * 5_000 + b"}",
    "a name twice": b'{"a": 1, "a": 2}',
    "a name twice, escaped": b'{"a": 1, "\\u0061": 2}',
    "a name twice, deep": b'{"b": [{"a": 1, "a": 1}]}',
    "not UTF-8": b'{"a": "\xff"}',
    "overlong UTF-8": b'{"a": "\xc0\xaf"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"a": 1}',
    "half a surrogate pair": b'{"a": "\\ud800"}',
    "half a surrogate pair as a name": b'{"\\udc00": 1}',
    "U+0000": b'{"a": "x\\u0000y"}',
    "a control character as it is": b'{"a": "x\x01y"}',
    "a line break as it is": b'{"a": "x\ny"}',
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_json_has_one_meaning_or_none(serve: Any, body: bytes) -> None:
    client = serve()
    response = client.post(MARK, content=body, headers=JSON)
    assert (response.status_code, response.json()["type"]) == (400, "urn:engine:problem:malformed-json")
    assert response.headers["content-type"] == "application/problem+json"
    assert not client.app.state.done


@pytest.mark.parametrize("opening", ['{"a":', "[", '[{"a":'])
@pytest.mark.parametrize("depth", [17, 1_000, 10_000])
def test_json_is_flat(serve: Any, opening: str, depth: int) -> None:
    closing = opening.translate(str.maketrans("[{", "]}", '":a'))[::-1]
    body = opening * depth + "1" + closing * depth
    client = serve()
    for content in (body, opening * depth):  # the second is not JSON either
        response = client.post(MARK, content=content[:65_536], headers=JSON)
        assert response.status_code == 400
    assert not client.app.state.done


def test_depth_is_counted_exactly() -> None:
    for depth in (2, 5):
        for inner in ("[]", "{}", "[1]", '{"a": 1}'):
            body = ("[" * (depth - 1) + inner + "]" * (depth - 1)).encode()
            strict_json(body, depth)
            with pytest.raises(Problem, match=f"at most {depth - 1} objects"):
                strict_json(body, depth - 1)


Plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(Plain)
def test_what_is_json_is_read(content: Any) -> None:
    assert strict_json(json.dumps(content).encode(), 100) == content
    assert strict_json(json.dumps(content, ensure_ascii=False).encode(), 100) == content


@given(st.binary(max_size=60))
def test_what_is_not_is_refused_as_that(body: bytes) -> None:
    try:
        content = strict_json(body, 16)
    except Problem as refused:
        problem = refused
    else:
        assert content == json.loads(body)
        return
    assert problem.status == 400


def test_the_largest_bodies_are_judged_quickly() -> None:
    hard = ['"' + '\\"' * 32_000, "[" * 65_000, '{"a":' * 13_000, "[" + "1," * 32_000, '{"": ' * 9_000 + '"']
    began = time.process_time()
    for body in hard:
        with pytest.raises(Problem):
            strict_json(body.encode(), 16)
    assert time.process_time() - began < 2.0


def test_a_body_is_small(serve: Any) -> None:
    client = serve()
    fits = b'{"a": "' + b"x" * (65_536 - 9) + b'"}'
    assert client.post(MARK, content=fits, headers=JSON).status_code == 202
    response = client.post(MARK, content=fits + b" ", headers=JSON)
    assert (response.status_code, response.json()["high"]) == (413, 65_536)
    assert client.app.state.done == {"a": 1}


def test_a_body_in_pieces_is_small_too(serve: Any) -> None:
    taken = 0

    def pieces() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(1_000):
            taken += 1
            yield b"x" * 1_000

    client = serve()
    response = client.post(MARK, content=pieces(), headers=JSON)
    assert (response.status_code, response.json()["type"]) == (413, "urn:engine:problem:body-too-large")
    in_pieces = client.post(MARK, content=iter([b'{"a"', b": 1", b"}"]), headers=JSON)
    assert in_pieces.status_code == 202


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "1_000", "", "9" * 400, "99999999999"])
def test_a_length_is_a_number(serve: Any, length: str) -> None:
    for send in (serve().post, serve().get):
        path = MARK if send.__name__ == "post" else READ
        response = send(path, headers={"Content-Length": length})
        assert response.status_code == (413 if length.startswith("9") else 400)


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json5",
        "application/json; charset=utf-16",
        "text/json",
        "application/xml",
    ],
)
def test_a_form_of_another_page_is_no_json(serve: Any, kind: str) -> None:
    response = serve().post(MARK, content=b'{"a": 1}', headers={"Content-Type": kind})
    assert (response.status_code, response.json()["type"]) == (415, "urn:engine:problem:not-json")


def test_a_packed_body_is_not_unpacked(serve: Any) -> None:
    assert serve().post(MARK, content=b"{}", headers={**JSON, "Content-Encoding": "gzip"}).status_code == 415
    assert (
        serve()
        .post(MARK, content=b"{}", headers={"Content-Type": 'application/JSON; charset="UTF-8"'})
        .is_success
    )


PATHS = [
    "/api/../../etc/passwd",
    "/api/things/../../../etc/passwd",
    "/api/things/%2e%2e/%2e%2e/etc/passwd",
    "/api/things/..%2f..%2fetc%2fpasswd/mark",
    "/api/things/..;/mark",
    "/api//things",
    "/api/things/",
    "/API/things",
    "/api/things/%5c..%5c",
    "/api/things/{name}/mark",
    "/api/things/" + "a" * 5_000 + "/x",
    "/api/things/%ff%fe/x",
    "/api/things/%F0%9F%92%A3/x",
    "/api/things/$(id)/x",
    "/api/things/'%20OR%201=1--/x",
    "/api/things/%3Cscript%3E/x",
    "/api/things?" + "a=1&" * 2_000,
]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_only_a_name(serve: Any, path: str) -> None:
    response = serve().get(path)
    assert response.status_code in (200, 404, 405)
    assert "root:" not in response.text
    if response.status_code != 200:
        assert response.headers["content-type"] == "application/problem+json"
        assert "<script>" not in response.text or response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("sent", ["%00", "%0d%0aSet-Cookie:%20a=b", "%0a", "%1b[31m", "%7f", "%0D"])
def test_control_characters_do_not_get_in(serve: Any, sent: str) -> None:
    client = serve()
    for path in (f"/api/things/{sent}/mark", f"/api/things?a={sent}", f"/{sent}"):
        response = client.get(path)
        assert (response.status_code, response.json()["type"]) == (400, "urn:engine:problem:malformed-path")
        assert "set-cookie" not in response.headers


def test_nothing_of_a_request_gets_into_a_header(serve: Any) -> None:
    marked = "swordfish"
    response = serve().get(
        f"/api/things/{marked}?{marked}",
        headers={"X-Request-Id": marked, "Accept": marked, "Referer": marked},
    )
    assert marked not in str(response.headers)


METHODS = ["PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "OPTIONS", "HEAD", "X" * 99]


@pytest.mark.parametrize("method", METHODS)
def test_other_methods_do_nothing(serve: Any, method: str) -> None:
    client = serve()
    assert client.request(method, MARK).status_code == 405
    assert client.request(method, f"{READ}/refuse").status_code == 405
    assert not client.app.state.done


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    sent: list[Any] = []

    async def never() -> Any:
        await asyncio.Event().wait()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("nothing was there to be served")

    bodies = Bodies(app, ConsoleSettings(body_seconds=0.05))
    scope = {"type": "http", "method": "POST", "path": MARK, "headers": [], "state": {}}

    async def keep(message: Any) -> None:
        sent.append(message)

    with pytest.raises(Problem, match="did not come within") as caught:
        asyncio.run(bodies(scope, never, keep))
    assert (caught.value.status, sent) == (408, [])


def test_a_client_that_goes_is_not_answered() -> None:
    async def gone() -> Any:
        return {"type": "http.disconnect"}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("nobody is there to be served")

    scope = {"type": "http", "method": "POST", "path": MARK, "headers": [], "state": {}}

    async def silent(message: Any) -> None:
        raise AssertionError("nobody is there to be answered")

    asyncio.run(Bodies(app, ConsoleSettings())(scope, gone, silent))


def test_what_fails_without_being_foreseen_tells_nothing(
    serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    response = serve().post("/api/things/fail", json={"reason": "x"})
    assert response.status_code == 500
    assert "swordfish" not in response.text
    assert "RuntimeError: swordfish" in caplog.text
    assert response.headers["x-content-type-options"] == "nosniff"
