"""RegimeDetector: known regimes, one bar at a time, missing data, saved and restored."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from engine.errors import DataError, NotEnoughDataError
from engine.evaluation.splits import Window
from engine.regimes.detector import PROBABILITIES, RegimeConfig, RegimeDetector
from engine.regimes.names import REGIMES
from engine.regimes.observations import observations

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1, tzinfo=UTC).replace(tzinfo=None)


def market(seed: int, bars: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns and regimes of a Markov switching market with fat tails: drift, reversal, and violent falls."""
    rng = np.random.default_rng(seed)
    moves = np.cumsum([[0.995, 0.0035, 0.0015], [0.004, 0.995, 0.001], [0.006, 0.009, 0.985]], axis=1)
    drift, scale, memory = (0.0016, 0.0, -0.004), (0.006, 0.004, 0.020), (0.05, -0.25, 0.0)
    regime, returns = np.zeros(bars, int), np.zeros(bars)
    for t, (u, shock) in enumerate(
        zip(rng.random(bars), rng.standard_t(6, bars) / np.sqrt(1.5), strict=True)
    ):
        if t:
            k = regime[t] = np.searchsorted(moves[regime[t - 1]], u)
            returns[t] = drift[k] + memory[k] * returns[t - 1] + scale[k] * shock
    return returns, regime


def candles(returns: np.ndarray, symbol: str = "BTC/USDT") -> pl.DataFrame:
    close = np.exp(np.cumsum(returns))
    return pl.DataFrame(
        {
            "symbol": symbol,
            "ts": [START + k * HOUR for k in range(len(returns))],
            "open": np.r_[1.0, close[:-1]],
            "close": close,
            "log_return": returns,
        },
        schema_overrides={"ts": pl.Datetime("us")},
    ).with_columns(high=pl.max_horizontal("open", "close"), low=pl.min_horizontal("open", "close"))


@pytest.fixture(scope="module")
def observed() -> pl.DataFrame:
    """Observations of two symbols, 4000 bars each."""
    one, _ = market(1, 4_000)
    other = 0.6 * one + 0.004 * np.random.default_rng(2).standard_normal(4_000)
    return observations(pl.concat([candles(one, "AAA/USDT"), candles(other, "BBB/USDT")]))


@pytest.fixture(scope="module")
def detector(observed: pl.DataFrame) -> RegimeDetector:
    return RegimeDetector().fit(observed, Window(START, START + 3_000 * HOUR))


def test_regimes_are_found_online() -> None:
    returns, regime = market(43, 20_000)
    seen = observations(candles(returns))
    found = RegimeDetector().fit(seen, Window(START, START + 10_000 * HOUR)).filter(seen)["regime"][10_000:]
    truth = np.array(REGIMES)[regime[10_000:]]
    recall = {name: float((found.to_numpy()[truth == name] == name).mean()) for name in REGIMES}
    assert recall["PANIC"] >= 0.85
    assert min(recall.values()) >= 0.65
    assert np.mean(list(recall.values())) >= 0.82
    true_switches = (truth[1:] != truth[:-1]).sum()
    assert (found != found.shift(1)).sum() < 3 * true_switches


def test_probabilities_are_a_distribution(detector: RegimeDetector, observed: pl.DataFrame) -> None:
    found = detector.filter(observed)
    assert found.columns == ["symbol", "ts", *PROBABILITIES, "regime"]
    p = found.select(PROBABILITIES).to_numpy()
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-12)
    assert found["regime"].to_list() == [REGIMES[k] for k in p.argmax(axis=1)]


def test_one_bar_at_a_time_gives_identical_numbers(observed: pl.DataFrame) -> None:
    detector = RegimeDetector().fit(observed, Window(START, START + 3_000 * HOUR))
    recent = observed.filter(pl.col("ts") >= START + 3_900 * HOUR)
    batch = detector.filter(recent)
    steps = [detector.detect(bar) for _, bar in recent.group_by("ts", maintain_order=True)]
    assert_frame_equal(pl.concat(steps).sort("symbol", "ts"), batch, check_exact=True)


def test_filtering_in_pieces_gives_identical_numbers(
    detector: RegimeDetector, observed: pl.DataFrame
) -> None:
    whole = detector.filter(observed)
    cut = START + 2_000 * HOUR
    before = detector.filter(observed.filter(pl.col("ts") < cut))
    after = detector.filter(observed.filter(pl.col("ts") >= cut), before)
    assert_frame_equal(pl.concat([before, after]).sort("symbol", "ts"), whole, check_exact=True)


def test_missing_observations_never_lower_the_predicted_panic(
    detector: RegimeDetector, observed: pl.DataFrame
) -> None:
    assert detector.chain is not None
    one = observed.filter(pl.col("symbol") == "AAA/USDT")
    peak = int(detector.filter(one)["p_panic"].arg_max() or 0)
    blind = one.with_row_index("row").with_columns(
        pl.when(pl.col("row").is_between(peak + 1, peak + 20))
        .then(None)
        .otherwise("volatility")
        .alias("volatility")
    )
    p = detector.filter(blind.drop("row")).select(PROBABILITIES).to_numpy()
    for t in range(peak + 1, peak + 21):
        np.testing.assert_allclose(p[t], p[t - 1] @ detector.chain.transition, atol=1e-12)
    assert p[peak + 5, REGIMES.index("PANIC")] > 0.5


def test_missing_bars_are_moves_too(detector: RegimeDetector, observed: pl.DataFrame) -> None:
    one = observed.filter(pl.col("symbol") == "AAA/USDT").head(100)
    blanked = one.with_row_index("row").with_columns(
        pl.when(pl.col("row").is_between(50, 70)).then(None).otherwise(name).alias(name)
        for name in ("volatility", "direction", "stress")
    )
    absent = detector.filter(pl.concat([one[:50], one[71:]]))
    np.testing.assert_allclose(
        absent.select(PROBABILITIES).to_numpy()[50:],
        detector.filter(blanked.drop("row")).select(PROBABILITIES).to_numpy()[71:],
        atol=1e-12,
    )


def test_a_fit_sees_its_window_only(observed: pl.DataFrame, detector: RegimeDetector) -> None:
    end = START + 3_000 * HOUR
    changed = observed.with_columns(
        pl.when(pl.col("ts") >= end)
        .then(pl.col("volatility") * -3.0)
        .otherwise("volatility")
        .alias("volatility")
    )
    again = RegimeDetector().fit(changed, Window(START, end))
    assert again.to_dict() == detector.to_dict()


def test_a_symbol_unknown_in_training_is_measured_by_all(
    detector: RegimeDetector, observed: pl.DataFrame
) -> None:
    stranger = observed.filter(pl.col("symbol") == "AAA/USDT").with_columns(symbol=pl.lit("NEW/USDT"))
    assert "NEW/USDT" not in detector.scales
    violent = stranger.with_columns(pl.col("volatility") + 3.0)
    assert detector.filter(violent)["p_panic"].mean() > detector.filter(stranger)["p_panic"].mean()


def test_saved_and_restored(detector: RegimeDetector, observed: pl.DataFrame) -> None:
    restored = RegimeDetector.from_dict(json.loads(json.dumps(detector.to_dict())))
    assert restored.config == detector.config
    assert_frame_equal(restored.filter(observed), detector.filter(observed), check_exact=True)


def test_what_cannot_be_done_is_refused(detector: RegimeDetector, observed: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="call fit first"):
        RegimeDetector().filter(observed)
    with pytest.raises(NotEnoughDataError, match="500"):
        RegimeDetector().fit(observed, Window(START, START + 100 * HOUR))
    with pytest.raises(DataError, match="does not follow"):
        detector.filter(pl.concat([observed, observed.head(1)]))
    with pytest.raises(DataError, match="does not follow"):
        detector.filter(observed, detector.filter(observed))


def test_long_histories_are_fitted_on_stretches_of_every_symbol(observed: pl.DataFrame) -> None:
    window = Window(START, START + 4_000 * HOUR)
    few = RegimeDetector(RegimeConfig(most_rows=900, stretch=100)).fit(observed, window)
    all_rows = RegimeDetector().fit(observed, window)
    assert few.chain is not None
    assert all_rows.chain is not None
    rows, lengths = few._training_rows(observed.drop_nulls())
    assert len(rows) == sum(lengths) <= 1_000
    np.testing.assert_allclose(few.chain.means, all_rows.chain.means, atol=0.6)
