"""What was done in time does not depend on what came later."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
from polars.testing import assert_frame_equal

from engine.ablation.agents import tradable
from engine.ablation.system import trade
from engine.ablation.training import decide, train_agent
from engine.ablation.world import PATTERNS, prepare_world
from engine.evaluation.improvements import Improvements
from engine.features.catalogue import CATALOGUE

SEED = 7


def test_what_was_held_stays_when_the_future_changes(world, setup):
    on = Improvements().without("options")
    system = train_agent(world, on, setup, SEED)
    moment = world.split.test.start + timedelta(days=10)
    later = pl.col("ts") >= moment
    names = ("open", "close", "label", "volatility", *CATALOGUE.columns, *PATTERNS)
    factor = pl.Series(np.random.default_rng(3).uniform(0.5, 2.0, world.rows.height))
    other = world.rows.with_columns(
        *(pl.when(later).then(pl.col(name) * factor).otherwise(name).alias(name) for name in names),
        action=pl.when(later).then(pl.lit("exit")).otherwise("action"),
    )
    # Labels that end later are of the future too.
    other = other.with_columns(label=pl.when(pl.col("label_end") >= moment).then(0.0).otherwise("label"))
    seen, changed = (
        trade(each, decide(system, tradable(each)), on, setup, SEED)
        for each in (world, replace(world, rows=other))
    )
    before = (seen.rows["ts"] < moment).to_numpy()
    np.testing.assert_array_equal(seen.position[before], changed.position[before])
    np.testing.assert_array_equal(seen.decided[before], changed.decided[before])
    assert np.any(seen.decided[~before] != changed.decided[~before])


def test_what_is_fitted_sees_the_training_window_alone(market, prepared, setup):
    split = prepared.split
    assert split.train.end < split.calibrate.start < split.calibrate.end < split.test.start
    later = pl.col("ts") >= split.train.end
    factor = pl.Series(np.random.default_rng(4).uniform(0.5, 2.0, market.rows.height))
    names = ("open", "high", "low", "close", "volume", *CATALOGUE.columns)
    rows = market.rows.with_columns(
        pl.when(later).then(pl.col(name) * factor).otherwise(name).alias(name) for name in names
    )
    other = prepare_world(replace(market, rows=rows), setup, SEED)
    assert (other.kept, other.kept_of_market, other.note) == (
        prepared.kept,
        prepared.kept_of_market,
        prepared.note,
    )
    known = split.train.mask()
    columns = ["symbol", "ts", *PATTERNS]
    assert_frame_equal(prepared.rows.filter(known).select(columns), other.rows.filter(known).select(columns))
    assert not prepared.rows.filter(~known).equals(other.rows.filter(~known))
