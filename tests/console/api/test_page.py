"""The built page: its files and no others, its views, and what browsers keep of it."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from console.api.page import STATIC, Page
from console.api.security.headers import PAGE_POLICY

SCRIPT = b"console.log('engine');" * 20
HASHED = "/assets/index-B3xK9_aQ.js"


def client_of(folder: Path) -> TestClient:
    routes = [Route("/api/{rest:path}", lambda request: PlainTextResponse("the API"))]
    return TestClient(Starlette(routes=routes, middleware=[Middleware(Page, folder=folder)]))


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    (tmp_path / "secret.txt").write_text("swordfish")
    folder = tmp_path / "static"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>Engine</title>")
    (folder / "favicon.svg").write_text("<svg/>")
    script = folder / HASHED[1:]
    script.write_bytes(SCRIPT)
    script.with_name(f"{script.name}.gz").write_bytes(gzip.compress(SCRIPT))
    (folder / "assets/plain.css").write_text("body {}")
    (folder / ".hidden.html").symlink_to(tmp_path / "nothing")
    return client_of(folder)


@pytest.mark.parametrize(
    "path", ["/", "/index.html", "/training", "/history/42", "/performance/BTC-USDT", "/apiary"]
)
def test_views_are_the_page(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "<title>Engine</title>" in response.text
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["content-security-policy"] == PAGE_POLICY


def test_the_policy_lets_nothing_in_from_elsewhere() -> None:
    rules = {name: values for name, *values in (rule.split() for rule in PAGE_POLICY.split(";"))}
    assert rules["default-src"] == rules["base-uri"] == rules["frame-ancestors"] == ["'none'"]
    others = {values[0] for name, values in rules.items() if name.endswith("-src")} - {"'none'"}
    assert others == {"'self'"}
    assert all(len(values) == 1 for values in rules.values())
    assert rules["require-trusted-types-for"] == ["'script'"]
    assert not any(word in PAGE_POLICY for word in ("http", "unsafe", "data:", "*"))


def test_hashed_assets_are_kept_for_ever_and_others_asked_for(client: TestClient) -> None:
    hashed = client.get(HASHED)
    assert hashed.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert hashed.headers["content-type"] == "text/javascript; charset=utf-8"
    assert client.get("/assets/plain.css").headers["cache-control"] == "no-cache"
    assert client.get("/favicon.svg").headers["content-type"] == "image/svg+xml"


@pytest.mark.parametrize(
    ("accepts", "packed"),
    [
        ("gzip", True),
        ("br, gzip;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0", False),
        ("br", False),
    ],
)
def test_it_is_packed_for_who_takes_that(client: TestClient, accepts: str, packed: bool) -> None:
    response = client.get(HASHED, headers={"Accept-Encoding": accepts})
    assert (response.headers.get("content-encoding") == "gzip") == packed
    assert int(response.headers["content-length"]) == len(gzip.compress(SCRIPT) if packed else SCRIPT)
    assert (response.content, response.headers["vary"]) == (SCRIPT, "Accept-Encoding")
    plain = client.get("/assets/plain.css", headers={"Accept-Encoding": accepts})
    assert (plain.text, "content-encoding" in plain.headers) == ("body {}", False)


def test_what_the_browser_has_is_not_sent_again(client: TestClient) -> None:
    tag = client.get("/").headers["etag"]
    again = client.get("/", headers={"If-None-Match": f'W/"x", {tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert client.get("/", headers={"If-None-Match": '"x"'}).status_code == 200
    assert client.get(HASHED).headers["etag"] != tag


@pytest.mark.parametrize(
    "path",
    [
        "/assets/none.js",
        "/assets/",
        f"{HASHED}.gz",
        "/assets/../../secret.txt",
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/assets/..%5c..%5csecret.txt",
        "//etc/passwd.txt",
        "/.hidden.html",
        "/favicon.ico",
        "/.git/config.x",
        "/assets/%2e%2e%2fsecret.txt",
        "/C:/secret.txt",
        "/static/index.html",
    ],
)
def test_there_are_no_other_files(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.json()["type"]) == (404, "urn:engine:problem:not-found")
    assert "swordfish" not in response.text


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/rl-training/nothing", "/api/index.html"])
def test_the_api_is_not_the_page(client: TestClient, path: str) -> None:
    assert "<title>" not in client.get(path).text


def test_pages_are_only_read(client: TestClient) -> None:
    assert client.head("/").status_code == 200
    assert client.head("/").content == b""
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
        response = client.request(method, "/")
        assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")


def test_a_page_that_was_not_built_says_so(tmp_path: Path) -> None:
    client = client_of(tmp_path / "nothing")
    page = client.get("/training", headers={"Accept": "text/html,*/*"})
    assert (page.status_code, "make web" in page.text, "text/html" in page.headers["content-type"]) == (
        404,
        True,
        True,
    )
    other = client.get("/")
    assert (other.status_code, other.json()["type"]) == (404, "urn:engine:problem:page-not-built")
    assert client.get("/api/x").text == "the API"


def test_the_package_holds_the_page() -> None:
    if not (STATIC / "index.html").is_file():
        pytest.skip("the page was not built")
    client = client_of(STATIC)
    page = client.get("/").text
    assert "<script>" not in page
    assert "http://" not in page
    assert "https://" not in page
    for path in page.split('"'):
        if path.startswith("/assets/"):
            response = client.get(path, headers={"Accept-Encoding": "gzip"})
            assert response.status_code == 200
            assert "immutable" in response.headers["cache-control"]
            assert response.headers.get("content-encoding") == "gzip"
