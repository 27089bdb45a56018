"""What is wrong with a model, and where."""

from __future__ import annotations

from pathlib import Path

from engine.errors import EngineError

__all__ = ["ModelError"]


class ModelError(EngineError, ValueError):
    """A model, its description or its test cannot be used.

    Parameters
    ----------
    reason : str
        What is wrong.
    path : Path
        The file.
    line : int, optional
        One-based line.
    """

    def __init__(self, reason: str, path: Path, line: int | None = None) -> None:
        self.reason, self.path, self.line = reason, path, line
        super().__init__(f"{path}{f':{line}' if line else ''}: {reason}")
