import numpy as np
import polars as pl
import pytest

from engine.errors import DataError, NotEnoughDataError
from engine.synthetic.mixing import mix_windows, synthetic_count
from engine.synthetic.windows import WINDOW_COLUMNS, window_frame


def windows(count: int, *, synthetic: bool, length: int = 2) -> pl.DataFrame:
    """Windows whose volume says which they are: 1, 2, 3 ... for real ones, -1, -2 ... for synthetic ones."""
    frame = window_frame(np.zeros((count, length, 4)), np.ones(count), synthetic=synthetic)
    number = (pl.col("window") + 1.0) * (-1.0 if synthetic else 1.0)
    return frame.with_columns(volume=number)


REAL, POOL = windows(800, synthetic=False), windows(900, synthetic=True)


def test_eight_hundred_real_windows_get_two_hundred_synthetic_ones() -> None:
    mixed = mix_windows(REAL, POOL, 0.20, seed=1)
    one = mixed.filter(pl.col("step") == 0)
    assert tuple(mixed.columns) == WINDOW_COLUMNS
    assert one["synthetic"].sum() == 200
    assert one["window"].to_list() == list(range(1_000))
    assert (one["synthetic"] == (one["volume"] < 0)).all()
    assert sorted(one.filter(~pl.col("synthetic"))["volume"].to_list()) == list(np.arange(1.0, 801.0))
    assert one.filter("synthetic")["volume"].n_unique() == 200
    # Shuffled: synthetic windows are spread over all places, real ones do not stand in their order.
    assert 0.1 < one["synthetic"].to_numpy()[:500].mean() < 0.3
    assert abs(np.corrcoef(one.filter(~pl.col("synthetic"))["volume"], np.arange(800))[0, 1]) < 0.1


def test_bars_of_a_window_stay_together_and_in_order() -> None:
    mixed = mix_windows(REAL, POOL, 0.20, seed=1)
    assert mixed["step"].to_list() == [0, 1] * 1_000
    assert (mixed["volume"][::2] == mixed["volume"][1::2]).all()


def test_the_share_is_that_of_the_result() -> None:
    assert synthetic_count(800, 0.20) == 200
    naive = round(0.20 * 800)
    assert naive / (800 + naive) == pytest.approx(1 / 6)
    for real in (5, 37, 1_001):
        made = synthetic_count(real, 0.20)
        assert abs(made - 0.25 * real) <= 0.5
    assert synthetic_count(800, 0.0) == 0


def test_same_seed_same_mix() -> None:
    assert mix_windows(REAL, POOL, 0.20, 1).equals(mix_windows(REAL, POOL, 0.20, 1))
    assert not mix_windows(REAL, POOL, 0.20, 1).equals(mix_windows(REAL, POOL, 0.20, 2))


def test_refusals() -> None:
    with pytest.raises(NotEnoughDataError, match="the pool has 900"):
        mix_windows(REAL, POOL, 0.60, 1)
    with pytest.raises(DataError, match="not False in every real row"):
        mix_windows(POOL, POOL, 0.20, 1)
    with pytest.raises(DataError, match="not True in every synthetic row"):
        mix_windows(REAL, REAL, 0.20, 1)
    with pytest.raises(DataError, match="missing"):
        mix_windows(REAL.drop("step"), POOL, 0.20, 1)
    with pytest.raises(ValueError, match=r"share = 1\.0"):
        synthetic_count(800, 1.0)
