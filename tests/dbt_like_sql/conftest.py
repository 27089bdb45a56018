"""What the tests of SQL models share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest


@pytest.fixture
def write_models(tmp_path: Path) -> Callable[[Mapping[str, str]], Path]:
    """Write ``{"staging/candles.sql": text}`` into a fresh folder and return the folder."""

    def write(files: Mapping[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write
