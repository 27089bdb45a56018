import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from engine.errors import NotEnoughDataError
from engine.synthetic import generator as generator_module
from engine.synthetic.generator import SyntheticDataGenerator, content_hash, draw_scales
from engine.synthetic.windows import PanicWindows, as_delivered

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1)
CUT = datetime(2024, 6, 1)
COUNT, LENGTH = 180, 14
Draw = Callable[[int, int], np.ndarray]


class Sampler:
    """A generator that knows the law, or does something else with what it was given."""

    def __init__(self, name: str, sample: Callable[[np.ndarray, int, int], np.ndarray]) -> None:
        self.name, self._sample = name, sample
        self.seen = np.empty((0, 0, 0))

    def fit(self, windows: np.ndarray, seed: int) -> "Sampler":
        self.seen = windows
        return self

    def sample(self, count: int, seed: int) -> np.ndarray:
        return self._sample(self.seen, count, seed)


class Unfit:
    name = "unfit"

    def fit(self, windows: np.ndarray, seed: int) -> "Unfit":
        raise NotEnoughDataError("too few windows for it")

    def sample(self, count: int, seed: int) -> np.ndarray:
        raise AssertionError


@pytest.fixture(scope="module")
def draw(window_law: Callable[..., np.ndarray]) -> Draw:
    """Draw windows of four channels."""

    def drawn(count: int, seed: int) -> np.ndarray:
        three = window_law(count, seed, length=LENGTH)
        wick = np.random.default_rng(seed).standard_normal((count, LENGTH, 1))
        return as_delivered(np.concatenate([three[:, :, :2], wick, three[:, :, 2:]], axis=2))

    return drawn


@pytest.fixture(scope="module")
def windows(draw: Draw) -> PanicWindows:
    values = draw(COUNT, 1)
    rng = np.random.default_rng(0)
    volatility = np.sqrt((values[:, :, 0] ** 2).mean(axis=1))
    opens = np.datetime64(START, "us") + np.arange(COUNT) * np.timedelta64(19, "h")
    return PanicWindows(
        values=values,
        scale=0.01 / volatility * np.exp(0.1 * rng.standard_normal(COUNT)),
        level=np.ones(COUNT),
        before=np.ones(COUNT),
        symbol=np.full(COUNT, "BTC/USDT"),
        opens=opens,
        episode=np.arange(COUNT) // 3,
        bar=HOUR,
    )


@pytest.fixture(scope="module")
def honest(draw: Draw) -> Sampler:
    return Sampler("honest", lambda _, count, seed: draw(count, 500 + seed))


@pytest.fixture(scope="module")
def copier() -> Sampler:
    return Sampler("copier", lambda seen, count, _: seen[:count])


@pytest.fixture(scope="module", autouse=True)
def _few_splits() -> Iterator[None]:
    """Fewer splits find a smaller largest distance: the margin makes up for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("engine.synthetic.validation.SPLITS", 8)
        patch.setattr("engine.synthetic.validation.MARGIN", 2.0)
        yield


@pytest.fixture(scope="module")
def fitted(windows: PanicWindows, copier: Sampler, honest: Sampler) -> SyntheticDataGenerator:
    wild = Sampler("wild", lambda seen, *_: 1.5 * seen)
    return SyntheticDataGenerator([Unfit(), copier, honest, wild]).fit(windows, CUT, 1)


def test_what_fails_is_refused_and_the_next_is_used(
    windows: PanicWindows, fitted: SyntheticDataGenerator
) -> None:
    assert fitted.chosen == "honest"
    assert [attempt.generator for attempt in fitted.attempts] == ["unfit", "copier", "honest"]
    assert [attempt.passed for attempt in fitted.attempts] == [False, False, True]
    assert "unfit refused (too few windows for it)" in fitted.words
    assert "copier refused (" in fitted.words
    assert "too near to training windows" in fitted.words
    assert "honest used: all 14 tests hold" in fitted.words

    frame = fitted.attempts_frame()
    assert frame.filter(pl.col("generator") == "unfit")["test"].to_list() == ["fit"]
    assert frame.filter(pl.col("generator") == "honest")["passed"].all()
    assert not frame.filter(pl.col("generator") == "copier")["used"].any()

    mix = fitted.augment_training_data(windows.frame(), regime="panic")
    one = mix.frame.filter(pl.col("step") == 0)
    assert one["synthetic"].sum() == COUNT // 4
    assert one.height == COUNT + COUNT // 4
    assert mix.generator == "honest"
    assert mix.report is not None
    assert mix.report.passed
    valid = (pl.col("low") <= pl.min_horizontal("open", "close")) & (
        pl.col("high") >= pl.max_horizontal("open", "close")
    )
    assert mix.frame.select(valid.all()).item()


def test_where_none_passes_nothing_synthetic_is_used(windows: PanicWindows, copier: Sampler) -> None:
    broken = Sampler("broken", lambda seen, *_: np.full_like(seen, np.nan))
    fitted = SyntheticDataGenerator([copier, broken]).fit(windows, CUT, 3)
    mix = fitted.augment_training_data(windows.frame())
    assert fitted.chosen is None
    assert mix.generator is None
    assert not mix.frame["synthetic"].any()
    assert mix.frame["window"].n_unique() == COUNT
    assert mix.content_hash == ""
    assert mix.words.endswith("no synthetic window is used")
    assert "NaN" in mix.words
    assert mix.report is not None
    assert not mix.report.passed


def test_same_seed_same_sample_and_hash(
    windows: PanicWindows, honest: Sampler, fitted: SyntheticDataGenerator
) -> None:
    again, other = (SyntheticDataGenerator([honest]).fit(windows, CUT, seed) for seed in (1, 2))
    assert fitted.content_hash == again.content_hash != other.content_hash
    assert fitted.pool.equals(again.pool)
    real = windows.frame()
    assert fitted.augment_training_data(real).frame.equals(again.augment_training_data(real).frame)


@pytest.mark.usefixtures("fitted")
def test_generators_see_training_episodes_only(windows: PanicWindows, copier: Sampler) -> None:
    place = {window.tobytes(): k for k, window in enumerate(windows.values)}
    seen = {place[window.tobytes()] for window in copier.seen}
    assert len(seen) == pytest.approx(COUNT * 2 / 3, abs=3)
    held_out = set(range(COUNT)) - seen
    assert not set(windows.episode[list(seen)]) & set(windows.episode[list(held_out)])


def test_a_test_that_begins_before_the_cut_is_refused(
    windows: PanicWindows, fitted: SyntheticDataGenerator
) -> None:
    mix = fitted.augment_training_data(windows.frame())
    for known in (fitted, mix):
        known.require_known_before(CUT)
        with pytest.raises(ValueError, match="before the cut"):
            known.require_known_before(CUT - HOUR)


def test_a_window_beyond_the_cut_is_refused(windows: PanicWindows, honest: Sampler) -> None:
    assert windows.known_at is not None
    with pytest.raises(ValueError, match="after the cut"):
        SyntheticDataGenerator([honest]).fit(windows, windows.known_at - HOUR, 1)


def test_scale_keeps_its_relation_to_the_window(windows: PanicWindows, draw: Draw) -> None:
    values = draw(400, 8)
    scale = draw_scales(values, windows, np.random.default_rng(0))
    volatility = np.log((values[:, :, 0] ** 2).mean(axis=1))
    assert np.isin(scale, windows.scale).all()
    assert np.corrcoef(np.log(scale), volatility)[0, 1] < -0.8
    independent = np.random.default_rng(0).permutation(scale)
    assert abs(np.corrcoef(np.log(independent), volatility)[0, 1]) < 0.2


def test_the_hash_is_that_of_the_bytes() -> None:
    array = np.arange(6.0).reshape(2, 3)
    expected = hashlib.sha256(b"(2, 3)" + array.astype("<f8").tobytes()).hexdigest()
    assert content_hash(array) == expected
    assert content_hash(array.reshape(3, 2)) != expected


def test_refusals(windows: PanicWindows, honest: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="generators is empty"):
        SyntheticDataGenerator([])
    with pytest.raises(ValueError, match=r"share 1\.0"):
        SyntheticDataGenerator([honest], share=1.0)
    fresh = SyntheticDataGenerator([honest])
    with pytest.raises(ValueError, match="not fitted"):
        fresh.augment_training_data(windows.frame())
    with pytest.raises(ValueError, match="not fitted"):
        fresh.require_known_before(CUT)
    monkeypatch.setattr(fresh, "cut", CUT)
    with pytest.raises(ValueError, match="regime = 'trend'"):
        fresh.augment_training_data(windows.frame(), regime="trend")
    few = windows.take(np.arange(30))
    with pytest.raises(NotEnoughDataError):
        fresh.fit(few, CUT, 1)


def test_the_order_of_preference() -> None:
    assert [g.name for g in generator_module.default_generators()] == [
        "ctgan",
        "copula",
        "vine copula",
        "block bootstrap",
    ]
