"""The page that is committed: built from the sources beside it, small, and made for the API as it is."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest

from console.api.openapi import document

CONSOLE = Path(__file__).parents[2] / "console"
WEB, PAGE = CONSOLE / "web", CONSOLE / "static"
# The list of finish.mjs, which writes what is compared here.
SOURCES = (
    "client.mjs",
    "finish.mjs",
    "index.html",
    "openapi.json",
    "package-lock.json",
    "package.json",
    "tsconfig.json",
    "vite.config.ts",
)
FOLDERS = ("src", "public")
MOST_BYTES = 300_000
AGAIN = "run make web and commit console/static"


def digest_of(web: Path) -> str:
    files = [web / name for name in SOURCES]
    for folder in FOLDERS:
        files += [file for file in (web / folder).rglob("*") if file.is_file()]
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(web).as_posix()}\n"
        for file in files
    ]
    return hashlib.sha256("".join(sorted(lines, key=lambda line: line[66:])).encode()).hexdigest()


def first_load() -> list[Path]:
    """All that the browser reads to show the overview: what the page names, and the chart it draws."""
    named = re.findall(r'(?:src|href)="/(assets/[^"]+)"', (PAGE / "index.html").read_text())
    return [PAGE / name for name in named] + sorted((PAGE / "assets").glob("LineChart-*[sj]s"))


def test_the_page_was_built_from_these_sources() -> None:
    built = json.loads((PAGE / "build.json").read_text())["sources"]
    assert built == digest_of(WEB), AGAIN


def test_another_source_is_noticed(tmp_path: Path) -> None:
    for name in SOURCES:
        (tmp_path / name).write_text(name)
    (tmp_path / "src").mkdir()
    (tmp_path / "public").mkdir()
    before = digest_of(tmp_path)
    (tmp_path / "src" / "new.ts").write_text("")
    assert digest_of(tmp_path) != before


def test_the_document_of_the_client_is_that_of_the_api() -> None:
    again = "run python -m console.api.openapi, then npm run client in console/web, then make web"
    assert (WEB / "openapi.json").read_text() == document(), again


def test_bounds_of_the_start_dialog_are_those_of_the_document() -> None:
    asked = json.loads((WEB / "src" / "api" / "order.json").read_text())
    kept = json.loads((WEB / "openapi.json").read_text())
    schema = kept["components"]["schemas"]["StartScenario"]["properties"]
    assert set(asked) == set(schema)
    for name in ("days", "method", "mode"):
        assert asked[name] == {key: schema[name][key] for key in asked[name]}
        assert {"enum", "minimum", "maximum"} & set(asked[name])


def test_first_load_is_small() -> None:
    files = first_load()
    assert {file.suffix for file in files} == {".css", ".js"}
    assert sum(len(Path(f"{file}.gz").read_bytes()) for file in files) < MOST_BYTES


@pytest.mark.parametrize("path", sorted(PAGE.rglob("*.gz")), ids=lambda path: path.name)
def test_what_is_packed_is_what_is_there_and_bears_no_time(path: Path) -> None:
    packed = path.read_bytes()
    assert gzip.decompress(packed) == path.with_suffix("").read_bytes(), AGAIN
    assert packed[4:8] == bytes(4)


def test_everything_that_can_be_packed_is() -> None:
    plain = [file for file in PAGE.rglob("*") if file.suffix in (".css", ".html", ".js", ".svg")]
    assert plain
    assert all(Path(f"{file}.gz").is_file() for file in plain), AGAIN


def test_the_page_names_nothing_of_other_hosts_and_has_no_script_in_itself() -> None:
    text = (PAGE / "index.html").read_text()
    assert not re.search(r'(?:src|href)="(?!/(?!/))', text)
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", text)
    for style in (PAGE / "assets").glob("*.css"):
        assert not re.search(r"url\(\s*[\"']?(?:https?:)?//|@import", style.read_text())


def test_the_lock_names_no_registry() -> None:
    lock = json.loads((WEB / "package-lock.json").read_text())
    assert lock["packages"]
    assert not any("resolved" in package for package in lock["packages"].values())


def test_versions_are_exact() -> None:
    package = json.loads((WEB / "package.json").read_text())
    versions = {**package["dependencies"], **package["devDependencies"]}
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions.values())
