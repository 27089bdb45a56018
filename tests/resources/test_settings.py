from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from resources.settings import PROFILES, Settings


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("ENGINE_SOURCE", "ENGINE_SEED", "ENGINE_PROFILE"):
        monkeypatch.delenv(name, raising=False)


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "settings.toml").write_text('source = "files"\nseed = 11\n[files]\nroot = "archive"\n')
    monkeypatch.setenv("ENGINE_SEED", "12")
    settings = Settings()
    assert (settings.source, settings.seed, settings.files.root) == ("files", 12, Path("archive"))


def test_nested_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_FILES__ROOT", "elsewhere")
    assert Settings().files.root == Path("elsewhere")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("source", "postgres"),
        ("bar", "1 hour"),
        ("bar", "0h"),
        ("seed", -1),
        ("universe", ()),
        ("universe", ("BTC/USDT", "BTC/USDT")),
        ("horizon_bars", 0),
        ("profil", "demo"),
    ],
)
def test_a_bad_value_is_refused_and_named(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        Settings(**{field: value})


def test_an_empty_span_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"end 2024-01-01 must lie after the first day 2024-01-01"):
        Settings(start=date(2024, 1, 1), end=date(2024, 1, 1))


def test_settings_cannot_be_changed_after_the_start() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().seed = 8


def test_the_profile_follows_the_source() -> None:
    assert Settings().profile_name == "demo"
    assert Settings(source="files").profile_name == "standard"
    assert Settings(source="files", profile="full").work == PROFILES["full"]


def test_a_simulated_market_has_an_end_and_an_archive_has_what_it_has() -> None:
    settings = Settings()
    days = timedelta(days=PROFILES["demo"].simulated_days)
    assert settings.last_moment == settings.first_moment + days
    assert Settings(source="files").last_moment is None
    assert Settings(end=date(2024, 2, 1)).last_moment == datetime(2024, 2, 1)


@pytest.mark.parametrize(
    ("bar", "duration"),
    [("5m", timedelta(minutes=5)), ("1h", timedelta(hours=1)), ("1d", timedelta(days=1))],
)
def test_bar_duration(bar: str, duration: timedelta) -> None:
    assert Settings(bar=bar).bar_duration == duration


def test_the_fingerprint_changes_with_results_not_with_places() -> None:
    base = Settings().fingerprint()
    assert Settings(warehouse="elsewhere.duckdb", reports=Path("r")).fingerprint() == base
    assert Settings(seed=8).fingerprint() != base
    assert Settings(profile="standard").fingerprint() != base
