"""The parts together, on a simulated market: what A8.2 and A8.3 ask for."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from benchmarks.patterns import precision, rows_with_truth
from engine.errors import DataError
from engine.evaluation.splits import Window
from engine.features.catalogue import CATALOGUE
from engine.features.labels import labels
from engine.patterns.alike import newest_alike
from engine.patterns.contrastive import ContrastiveConfig
from engine.patterns.embedding_quality import effective_rank
from engine.patterns.encoder import TransformerPatternMatcher
from engine.patterns.features import pattern_features, remember
from engine.patterns.memory import MemoryStore
from engine.patterns.model import PatternModel, train_pattern_model
from engine.patterns.outcomes import OUTCOME_COLUMNS
from engine.patterns.pattern_plots import embedding_picture, learning_curve, neighbours_picture
from engine.patterns.windows import CANDLE_CHANNELS, LENGTH, PatternWindows
from engine.tensors import pack

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1)
BARS = 4_000
CUT = START + 2_800 * HOUR
HORIZON = 12
SMALL = ContrastiveConfig(batch=64, steps=60, check=20, horizon=HORIZON, embargo=3)


@pytest.fixture(scope="module")
def rows():
    return rows_with_truth(21, BARS, ["BTC/USDT", "ETH/USDT"])


@pytest.fixture(scope="module")
def trained(rows):
    return train_pattern_model(rows, Window(START, CUT), HOUR, SMALL, compact=4, seed=1)


@pytest.fixture(scope="module")
def made(rows, trained):
    model, _ = trained
    windows = model.windows(rows, HOUR)
    memory = remember(model, windows, labels(rows, HORIZON), embargo=3)
    return windows, memory, pattern_features(model, windows, memory)


def test_a_series_that_is_not_published_yet_has_no_channel(rows):
    """A kind of data begins in the middle of a history: encoders before and after it look at the same."""
    window, config = Window(START, CUT), replace(SMALL, steps=2, check=1)
    unknown = rows.with_columns(fear_greed=pl.lit(None, pl.Float64))
    model, _ = train_pattern_model(unknown, window, HOUR, config, compact=4, seed=1)
    assert set(CATALOGUE.columns) - set(model.scaler.columns) == {"fear_greed"}
    again = PatternModel.from_bytes(model.to_bytes())
    embedded = [
        each.encoder.encode_all(windows, windows.ends)
        for each in (model, again)
        for windows in [each.windows(rows, HOUR)]
    ]
    np.testing.assert_array_equal(*embedded)


def test_the_embedding_uses_its_space_and_the_loss_left_that_of_a_collapsed_encoder(trained, made):
    """A8.3, effective rank: on windows that were not trained on, also about their mean."""
    model, report = trained
    windows = made[0]
    later = windows.ends[windows.ts[windows.ends] >= np.datetime64(CUT + (LENGTH - 1) * HOUR)]
    points = model.encoder.encode_all(windows, later)
    assert effective_rank(points) >= 8.0
    assert effective_rank(points - points.mean(axis=0)) >= 8.0
    assert min(loss for _, loss in report.checks) < report.chance - 1.0


def test_windows_found_alike_are_in_the_same_regime_more_often_than_any(rows, trained, made):
    """The sized-down study: by the encoder against by chance; `benchmarks.patterns` has the rest.

    An encoder at its initial weights passes as well, because windows that look alike are often in the same
    regime; what training adds is asked for below.
    """
    model, _ = trained
    windows = made[0]
    points = model.encoder.encode_all(windows)
    random = np.random.default_rng(0).normal(size=points.shape).astype(np.float32)
    found, chance = (precision(rows, windows, windows.ends, p, CUT) for p in (points, random))
    assert found > chance + 0.05


def nearer_than_other_moments(windows: PatternWindows, points: np.ndarray) -> tuple[float, float]:
    """How the windows of two symbols at the same moment compare to those of other moments, after the cut.

    Share of the other moments, those of the same event left out, that are farther away, and share of the
    moments from which all are.
    """
    after = windows.ts[windows.ends] >= np.datetime64(CUT + LENGTH * HOUR)
    first, second = (points[after & (windows.symbol[windows.ends] == symbol)] for symbol in (0, 1))
    cosine = first @ second.T
    moment = np.arange(len(cosine))
    other = np.abs(moment[:, None] - moment) >= SMALL.exclusion
    farther = (cosine < np.diag(cosine)[:, None]) | ~other
    return float(farther[other].mean()), float(farther.all(axis=1).mean())


def test_training_brings_symbols_at_one_moment_together_as_no_untrained_encoder_does(trained, made):
    """What the encoder is taught, on moments that it was not taught by.

    On the markets of seeds 21 to 24 the shares were at least 0.97 and 0.41 trained, at most 0.91 and 0.23
    untrained.
    """
    model, windows = trained[0], made[0]
    untrained = TransformerPatternMatcher(len(CATALOGUE.columns), channels=CANDLE_CHANNELS, seed=1)
    shares, before = (
        nearer_than_other_moments(windows, encoder.encode_all(windows))
        for encoder in (model.encoder, untrained)
    )
    assert shares[0] > 0.95 > before[0]
    assert shares[1] > 2.0 * before[1]


def test_one_row_for_each_bar_and_an_opinion_only_where_there_is_a_past(rows, made):
    windows, _, frame = made
    assert frame.columns == ["symbol", "ts", *OUTCOME_COLUMNS, *(f"pattern_{k}" for k in range(4))]
    assert frame.select("symbol", "ts").equals(rows.select("symbol", "ts"))
    whole = np.zeros(len(frame), bool)
    whole[windows.ends] = True
    assert (frame["pattern_0"].is_not_null().to_numpy() == whole).all()
    counts = frame["pattern_count"].to_numpy()[windows.ends]
    assert (counts[:40] == 0).all()
    assert (counts[-100:] == 10).all()
    assert (frame["pattern_mean"].is_not_null() == (frame["pattern_count"] >= 3).fill_null(value=False)).all()


def test_features_do_not_change_when_the_future_is_cut_off(rows, trained, made):
    """Truncation, through scaling, encoder, memory and outcomes."""
    model, _ = trained
    stop = START + 3_500 * HOUR
    past = rows.filter(pl.col("ts") < stop)
    windows = model.windows(past, HOUR)
    memory = remember(model, windows, labels(past, HORIZON), embargo=3)
    again = pattern_features(model, windows, memory)
    whole = made[2].filter(pl.col("ts") < stop)
    assert again["pattern_count"].equals(whole["pattern_count"])
    for name in [column for column in again.columns if again[column].dtype.is_float()]:
        np.testing.assert_allclose(again[name].to_numpy(), whole[name].to_numpy(), atol=1e-5, err_msg=name)


def test_a_price_in_other_units_changes_no_embedding(rows, trained, made):
    """A8.2, from candles times 1000 to embeddings: illiquidity is the one feature that moves, by ln 1000."""
    model, _ = trained
    dear = rows.with_columns(amihud_24=pl.col("amihud_24") - np.log(1000.0))
    other = model.encoder.encode_all(model.windows(dear, HOUR))
    assert np.abs(other - model.encoder.encode_all(made[0])).max() < 1e-3


def test_training_looks_at_its_window_alone(rows):
    changed = rows.with_columns(
        pl.when(pl.col("ts") >= CUT).then(99.0).otherwise(pl.col(name)).alias(name)
        for name in CATALOGUE.columns
    )
    config = ContrastiveConfig(batch=32, steps=4, check=2)
    window = Window(START, CUT)
    first, second = (train_pattern_model(frame, window, HOUR, config)[0] for frame in (rows, changed))
    assert first.to_bytes() == second.to_bytes()


def test_bytes_bring_back_the_same_model(rows, trained):
    model, _ = trained
    data = model.to_bytes()
    again = PatternModel.from_bytes(data)
    assert again.to_bytes() == data
    assert again.metadata["seed"] == 1
    window = again.windows(rows, HOUR).batch(np.array([1000]))[0]
    np.testing.assert_array_equal(again.encoder.encode_pattern(window), model.encoder.encode_pattern(window))
    with pytest.raises(DataError, match="no pattern model"):
        PatternModel.from_bytes(b"\x80\x04K\x01.")
    with pytest.raises(DataError, match="expected a pattern memory"):
        MemoryStore.from_bytes(data)
    with pytest.raises(DataError, match="no pattern model"):
        PatternModel.from_bytes(pack("pattern model", {}, {})[:40])


def test_the_newest_window_is_shown_with_those_alike_and_what_followed(rows, trained, made):
    model, _ = trained
    windows, memory, _ = made
    found = newest_alike(model, windows, memory, rows["close"].to_numpy(), 5)
    assert found.ts == rows["ts"].max()
    close = rows.filter(pl.col("symbol") == found.symbol)["close"].to_numpy()
    np.testing.assert_array_equal(found.query, close[-LENGTH:])
    assert len(found.matches) == len(found.neighbours) == 5
    for match, neighbour in zip(found.matches, found.neighbours, strict=True):
        own = rows.filter(pl.col("symbol") == match.symbol)
        row = own["ts"].index_of(match.ts)
        known = own["close"].to_numpy()[row - LENGTH + 1 : row + HORIZON + 2]
        np.testing.assert_array_equal(neighbour, known)
        outcome = np.log(own["open"][row + 1 + HORIZON] / own["open"][row + 1])
        assert match.outcome == pytest.approx(outcome, abs=1e-9)


def test_without_a_window_nothing_is_alike(rows, trained, made):
    model, _ = trained
    few = rows.group_by("symbol", maintain_order=True).head(LENGTH - 1)
    windows = model.windows(few, HOUR)
    assert newest_alike(model, windows, made[1], few["close"].to_numpy(), 5) is None


def test_pictures_are_small_pngs(rows, trained, made):
    model, report = trained
    windows, memory, _ = made
    alike = newest_alike(model, windows, memory, rows["close"].to_numpy(), 5)
    distances = [match.distance for match in alike.matches]
    pictures = [
        neighbours_picture(alike.query, alike.neighbours, distances, "Query"),
        learning_curve(report, "Training"),
        embedding_picture(model.encoder.encode_all(windows, windows.every(9)), "Embedding"),
    ]
    for picture in pictures:
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < 100_000


def test_windows_of_a_tape_can_be_used_as_they_are(trained, made):
    """Arrays that were scaled elsewhere."""
    model, _ = trained
    windows = made[0]
    tape = PatternWindows(windows.symbols, windows.symbol, windows.ts, windows.x, HOUR, windows.known)
    np.testing.assert_array_equal(model.encoder.encode_all(tape), model.encoder.encode_all(windows))
