import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from engine.synthetic.synthetic_plots import window_distributions, window_paths


@pytest.mark.parametrize("draw", [window_paths, window_distributions])
def test_a_picture_is_readable_and_small_enough_for_the_event_log(
    draw: Callable[..., bytes], window_law: Callable[..., np.ndarray]
) -> None:
    png = draw(window_law(300, 1), window_law(300, 2), "real and synthetic")
    width, height = Image.open(io.BytesIO(png)).size
    assert width >= 600
    assert height >= 200
    assert len(png) < 90_000
