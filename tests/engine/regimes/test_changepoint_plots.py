import io
from datetime import datetime, timedelta

import numpy as np
from PIL import Image

from engine.regimes.changepoint_plots import run_length_picture
from engine.regimes.run_length import SegmentPrior
from engine.regimes.run_length_exact import run_length_matrix


def picture(alerts: list[tuple[datetime, str]]) -> bytes:
    rng = np.random.default_rng(0)
    x = np.r_[rng.normal(0, 1, 150), rng.normal(0, 4, 100)]
    ts = [datetime(2024, 1, 1) + timedelta(hours=i) for i in range(250)]
    matrix = run_length_matrix(x, SegmentPrior())
    return run_length_picture(ts, 100 * np.exp(np.cumsum(x) / 100), matrix, alerts, "changes")


def test_is_a_small_png_with_the_alerts_in_it() -> None:
    plain, marked = picture([]), picture([(datetime(2024, 1, 7, 8), "exit")])
    assert len(marked) < 60_000
    assert Image.open(io.BytesIO(marked)).size == Image.open(io.BytesIO(plain)).size
    assert plain != marked
