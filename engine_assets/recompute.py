"""Compute a journalled decision once more, from what the journal holds, and compare every bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from engine.errors import DataError
from engine_assets.calibration import predicted
from engine_assets.journal import line_hash
from engine_assets.windows import read_splits
from resources.settings import Settings
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from engine.calibration.conformal import ConformalPredictor
    from engine.portfolio.decide import Decision

__all__ = ["Recomputed", "broken_line", "recompute"]


@dataclass(frozen=True)
class Recomputed:
    """Which stages of a decision came out bit for bit as they were stored.

    Parameters
    ----------
    decision : Decision
        Computed anew.
    prediction, confidence, weights, line : bool
        The model's raw confidence, its calibration, the weights, and the hash of the journal's line.
    """

    decision: Decision
    prediction: bool
    confidence: bool
    weights: bool
    line: bool

    @property
    def identical(self) -> bool:
        """True if every stage did."""
        return self.prediction and self.confidence and self.weights and self.line


def recompute(warehouse: Warehouse, settings: Settings, line: Mapping[str, Any]) -> Recomputed:
    """Predict, calibrate and decide again.

    Parameters
    ----------
    warehouse : Warehouse
        For the models, by their hash, and the outcomes that confidences were calibrated on.
    settings : Settings
    line : mapping
        A row of ``trading.decisions``.

    Raises
    ------
    DataError
        If a model of the decision is not kept.
    """
    import numpy as np
    import polars as pl
    from safetensors.numpy import load

    from engine.alpha.boosting import BoostingPredictor
    from engine.calibration.conformal import ConformalPredictor
    from engine.calibration.walk_forward import with_side
    from engine.portfolio.paper_trading import decide_again
    from engine.regimes.names import REGIME_COLUMNS, REGIMES

    signals = pl.DataFrame(json.loads(line["signals"]), infer_schema_length=None)
    names = json.loads(line["feature_names"])
    rows = pl.DataFrame(load(line["features"])["features"], schema=names, nan_to_null=True)
    rows = rows.with_columns(signals["symbol"], pl.lit(line["ts"]).alias("ts"), pl.lit(1.0).alias("scale"))
    forecaster = BoostingPredictor.from_bytes(_artifact(warehouse, line["model"])["content"])
    raw = with_side(forecaster.predict(rows, forecaster.schema_hash))["raw_confidence"].to_numpy()

    probabilities = signals.select(REGIME_COLUMNS).to_numpy()
    known = np.isfinite(probabilities.astype(float)).all(axis=1)
    regime = [REGIMES[int(p.argmax())] if k else None for p, k in zip(probabilities, known, strict=True)]
    kept = _artifact(warehouse, line["calibrator"])
    calibrator = ConformalPredictor.from_arrays(load(kept["content"]), json.loads(kept["meta"]))
    stated = signals["confidence"].to_list()
    changed = _changes(warehouse, settings, signals["symbol"], line["ts"], calibrator.config.alarm)

    def states(of: ConformalPredictor) -> bool:
        again = of.calibrate_rows(raw, regime, *changed)
        return pl.Series(again.confidence).fill_nan(None).to_list() == stated

    decision = decide_again(
        json.loads(line["inputs"]),
        load(line["returns"])["returns"],
        json.loads(line["config"]),
        json.loads(line["state"]),
    )
    return Recomputed(
        decision=decision,
        prediction=raw.tolist() == signals["raw_confidence"].to_list(),
        confidence=states(calibrator) or states(_calibrated_then(warehouse, settings, line)),
        weights=json.dumps(decision.weights) == line["weights"],
        line=line_hash(line) == line["hash"],
    )


def _changes(
    warehouse: Warehouse, settings: Settings, symbols: pl.Series, ts: datetime, alarm: float
) -> tuple[pl.Series, pl.Series]:
    """Change points that each symbol's calibration knew of: probability and clock."""
    from engine.calibration.changepoints import CHANGE_MEMORY, changes_of_bars

    seen = warehouse.frame(
        "SELECT symbol, ts, p_changepoint FROM regimes.changepoints WHERE ts BETWEEN ? AND ?",
        [ts - CHANGE_MEMORY, ts],
    )
    changed = changes_of_bars(seen, settings.bar_duration, alarm)
    rows = symbols.to_frame("symbol").join(
        changed.filter(changed["ts"] == ts), on="symbol", how="left", maintain_order="left"
    )
    return rows["p_changepoint"].fill_null(float("nan")), rows["changed_at"].fill_null(0)


def _calibrated_then(warehouse: Warehouse, settings: Settings, line: Mapping[str, Any]) -> ConformalPredictor:
    """Calibrate on the outcomes known then: the kept calibrator is the newest of its fold."""
    from engine.calibration.walk_forward import calibrator_at

    split = next(split for split in read_splits(warehouse) if split.number == line["fold"])
    rows = predicted(warehouse, split.number)
    return calibrator_at(rows, split, settings.bar_duration, settings.horizon_bars, line["ts"])


def _artifact(warehouse: Warehouse, sha256: str) -> dict[str, Any]:
    found = warehouse.frame("SELECT meta, content FROM models.artifacts WHERE sha256 = ?", [sha256])
    if found.is_empty():
        raise DataError(f"model {sha256[:12]} is not kept", source="models.artifacts", column="sha256")
    return found.row(0, named=True)


def broken_line(warehouse: Warehouse, book: str) -> int | None:
    """Find the first line of a journal that was changed, removed or moved; None if the chain holds."""
    previous = ""
    lines = warehouse.frame("SELECT * FROM trading.decisions WHERE book = ? ORDER BY number", [book])
    for expected, line in enumerate(lines.iter_rows(named=True), start=1):
        intact = line["number"] == expected and line["previous"] == previous
        if not intact or line_hash(line) != line["hash"]:
            return expected
        previous = line["hash"]
    return None
