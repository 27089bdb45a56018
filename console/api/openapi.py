"""Write the document that describes the API, from which the page's client is generated."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from console.api.app import create_app
from console.api.desk import Desk
from console.api.settings import ConsoleSettings
from resources.settings import Settings

__all__ = ["DOCUMENT", "document", "main"]

DOCUMENT = Path(__file__).parents[1] / "web" / "openapi.json"


def document() -> str:
    """Return the document as it is kept; nothing is opened for it."""
    desk = Desk.open(Settings(), ConsoleSettings(host="127.0.0.1"))
    return json.dumps(create_app(desk).openapi(), indent=2, sort_keys=True) + "\n"


def main() -> None:
    """Write it, or with ``--check`` tell whether what is kept is current."""
    parser = argparse.ArgumentParser(prog="python -m console.api.openapi", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="Write nothing; fail where it is not current.")
    made = document()
    if parser.parse_args().check:
        if not DOCUMENT.exists() or DOCUMENT.read_text() != made:
            raise SystemExit(f"{DOCUMENT} is not current; run python -m console.api.openapi")
        return
    DOCUMENT.parent.mkdir(parents=True, exist_ok=True)
    DOCUMENT.write_text(made)


if __name__ == "__main__":
    main()
