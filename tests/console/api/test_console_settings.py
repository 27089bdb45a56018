"""Settings of the console: nobody unknown gets in from elsewhere, and what is written wrongly is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from console.__main__ import main
from console.api.security.callers import Caller, TokenHash, identify, new_token
from console.api.settings import ConsoleSettings
from resources.settings import Settings

ANN = new_token(Caller("ann", "operator"))
ANY = ".".join("0000")
VIC = new_token(Caller("vic", "viewer"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert ConsoleSettings(host=host).on_loopback


@pytest.mark.parametrize(
    "host", [ANY, "::", "192.168.1.5", "2001:db8::1", "example.com", "localhost.example", ""]
)
def test_no_other_address_is_listened_on_without_one(host: str) -> None:
    with pytest.raises(ValidationError, match="no token is configured"):
        ConsoleSettings(host=host)
    assert not ConsoleSettings(host=host, tokens=str(ANN[1])).on_loopback


def test_the_default_is_this_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (ConsoleSettings().host, ConsoleSettings().origins, ConsoleSettings().hosts) == (
        "127.0.0.1",
        (),
        (),
    )
    monkeypatch.setenv("ENGINE_CONSOLE_HOST", ANY)
    with pytest.raises(ValidationError, match="no token is configured"):
        ConsoleSettings()
    Settings()  # is not disturbed


def test_tokens_come_from_the_environment_and_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# who may look\n\n  {VIC[1]}  \n")
    monkeypatch.setenv("ENGINE_CONSOLE_TOKENS", f" {ANN[1]},\n")
    monkeypatch.setenv("ENGINE_CONSOLE_TOKENS_FILE", str(file))
    known = ConsoleSettings().token_hashes()
    assert [identify(secret, known) for secret, _ in (ANN, VIC)] == [ANN[1].caller, VIC[1].caller]


WRONG = [
    "ann",
    "operator:ann",
    f"admin:ann:{'0' * 64}",
    f"operator:ann:{'0' * 63}",
    f"operator:ann:{'G' * 64}",
    f"operator::{'0' * 64}",
    f"operator:an n:{'0' * 64}",
    f"operator:{'a' * 65}:{'0' * 64}",
    ANN[0],
]


@pytest.mark.parametrize("written", WRONG, ids=range(len(WRONG)))
def test_a_token_that_is_written_wrongly_is_refused_and_not_shown(written: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="role:name:sha256") as caught:
        ConsoleSettings(tokens=(written,))
    assert ANN[0] not in str(caught.value)
    (tmp_path / "tokens").write_text(written)
    with pytest.raises(ValidationError, match="role:name:sha256"):
        ConsoleSettings(tokens_file=tmp_path / "tokens")


def test_a_file_that_is_not_there_is_no_empty_one(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="No such file"):
        ConsoleSettings(tokens_file=tmp_path / "tokens")


def test_a_name_has_one_role_and_may_have_two_tokens() -> None:
    again, other = (new_token(Caller("ann", role))[1] for role in ("operator", "viewer"))
    assert len(ConsoleSettings(tokens=f"{ANN[1]} {again}").token_hashes()) == 2
    with pytest.raises(ValidationError, match="ann has two roles"):
        ConsoleSettings(tokens=f"{ANN[1]} {other}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 65_536),
        ("port", -1),
        ("body_bytes", 0),
        ("json_depth", 1),
        ("reads_per_second", 0),
        ("writes_per_minute", -1),
        ("open_requests", 0),
        ("origins", "*"),
        ("origins", "https://a.b/c"),
        ("origins", "null"),
        ("origins", "a.b"),
        ("hosts", "a.b:80"),
        ("hosts", "*"),
        ("hosts", "http://a"),
        ("dagster_url", "javascript:alert(1)"),
        ("dagster_url", "http://u@h"),
        ("body_seconds", float("nan")),
    ],
)
def test_bounds_are_kept(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=name):
        ConsoleSettings(**{name: value})  # type: ignore[arg-type]


def test_a_token_is_made_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    for role in ("operator", "viewer"):
        made = CliRunner().invoke(main, ["token", "--role", role, "--name", f"{role}-1", "--file", str(file)])
        assert made.exit_code == 0
        secret = made.stdout.strip()
        assert secret not in file.read_text()
        known = ConsoleSettings(tokens_file=file).token_hashes()
        assert identify(secret, known) == Caller(f"{role}-1", role)
    shown = CliRunner().invoke(main, ["token", "--role", "viewer", "--name", "vic"])
    hashed = TokenHash.parse(shown.stderr.strip().splitlines()[-1])
    assert identify(shown.stdout.strip(), [hashed]) == Caller("vic", "viewer")


def test_a_token_needs_a_name_and_a_role() -> None:
    assert CliRunner().invoke(main, ["token", "--role", "admin", "--name", "ann"]).exit_code == 2
    refused = CliRunner().invoke(main, ["token", "--role", "viewer", "--name", "a:b"])
    assert (refused.exit_code, refused.stdout) == (1, "")


def test_the_console_does_not_start_where_anybody_reaches_it() -> None:
    refused = CliRunner().invoke(main, ["serve", "--host", ANY])
    assert (refused.exit_code, "no token is configured" in refused.stderr) == (1, True)
