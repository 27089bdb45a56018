"""Prepared worlds as files, made once for each seed and read by every variant."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from engine.ablation.setup import CODE_VERSION, AblationSetup
from engine.ablation.world import World, prepare_world
from engine.agents.market_rows import MarketRows, simulated_market_rows
from engine.errors import DataError
from engine.evaluation.splits import Split, Window

__all__ = [
    "RECORDED",
    "SIMULATOR",
    "content_of",
    "in_one_step",
    "load_world",
    "market_of",
    "place_of",
    "save_world",
    "world_of",
]

SIMULATOR, RECORDED = "simulator", "recorded"
_PARTS = ("train", "calibrate", "test")


def world_of(folder: Path, name: str, seed: int, setup: AblationSetup) -> World:
    """Read a world, or prepare and keep it.

    Parameters
    ----------
    folder : Path
        Of the worlds. A recorded market is handed in as ``recorded.parquet`` in it.
    name : {"simulator", "recorded"}
    seed : int
        Of the market, if it is simulated, and of what is fitted.
    setup : AblationSetup
    """
    place = place_of(folder, name, seed, setup)
    if not place.is_dir():
        save_world(prepare_world(market_of(folder, name, seed, setup), setup, seed), place)
    return load_world(place)


def place_of(folder: Path, name: str, seed: int, setup: AblationSetup) -> Path:
    """Where a world is kept, named by all that it is made from."""
    made_from = hashlib.sha256(
        (CODE_VERSION + setup.fingerprint + content_of(folder, name)).encode()
    ).hexdigest()
    return folder / f"{name}-{seed}-{made_from[:16]}"


def content_of(folder: Path, name: str) -> str:
    """SHA-256 of a recorded market; nothing for a simulated one, which its seed and setup describe."""
    return "" if name != RECORDED else hashlib.sha256(_recorded(folder).read_bytes()).hexdigest()


def _recorded(folder: Path) -> Path:
    return folder / f"{RECORDED}.parquet"


def market_of(folder: Path, name: str, seed: int, setup: AblationSetup) -> MarketRows:
    """Simulate the market of a seed, or read the recorded one.

    Raises
    ------
    ValueError
        If there is no such world.
    """
    if name == SIMULATOR:
        return simulated_market_rows(setup.symbols, setup.days, seed)
    if name != RECORDED:
        raise ValueError(f"world={name!r} must be {SIMULATOR!r} or {RECORDED!r}")
    return MarketRows(pl.read_parquet(_recorded(folder)), pl.DataFrame())


@contextmanager
def in_one_step(place: Path) -> Iterator[Path]:
    """Yield a new folder that becomes the place; where another process was faster, its files stay."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".part-") as part:
        new = Path(part) / "new"
        new.mkdir()
        yield new
        try:
            new.rename(place)
        except OSError:
            if not place.is_dir():
                raise


def save_world(world: World, place: Path) -> None:
    """Write a world in one step; where another process was faster, its files stay."""
    with in_one_step(place) as new:
        world.rows.write_parquet(new / "rows.parquet")
        if world.synthetic is not None:
            world.synthetic.write_parquet(new / "synthetic.parquet")
        facts = {
            "kept": world.kept,
            "kept_of_market": world.kept_of_market,
            "note": world.note,
            "purge_s": world.split.purge.total_seconds(),
            **{
                name: [window.start.isoformat(), window.end.isoformat()]
                for name in _PARTS
                for window in [getattr(world.split, name)]
            },
        }
        (new / "world.json").write_text(json.dumps(facts, indent=1))


def load_world(place: Path) -> World:
    """Read what `save_world` wrote.

    Raises
    ------
    DataError
        If a file is missing or not whole.
    """
    try:
        facts = json.loads((place / "world.json").read_text())
        rows = pl.read_parquet(place / "rows.parquet")
        invented = place / "synthetic.parquet"
        synthetic = pl.read_parquet(invented) if invented.is_file() else None
        train, calibrate, test = (Window(*map(datetime.fromisoformat, facts[name])) for name in _PARTS)
        purge = timedelta(seconds=facts["purge_s"])
    except (OSError, ValueError, KeyError, pl.exceptions.PolarsError) as problem:
        raise DataError(
            f"is not a whole world ({problem}); delete it to prepare it again", source=str(place)
        ) from problem
    return World(
        Split(0, train, calibrate, test, purge, timedelta(0)),
        rows,
        synthetic,
        tuple(facts["kept"]),
        tuple(facts["kept_of_market"]),
        facts["note"],
    )
