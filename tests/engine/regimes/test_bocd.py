import json
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import DataError
from engine.regimes import bocd
from engine.regimes.actions import ACTIONS
from engine.regimes.bocd import BOCDConfig, BOCDRegimeDetector, detect_changepoints
from engine.regimes.bocd_kernel import next_action
from engine.regimes.run_length import SegmentPrior
from engine.regimes.run_length_exact import run_length_matrix

START = datetime(2024, 1, 1)


def candles(paths: dict[str, np.ndarray]) -> pl.DataFrame:
    return pl.concat(
        pl.DataFrame(
            {
                "symbol": [symbol] * len(path),
                "ts": [START + timedelta(hours=i) for i in range(len(path))],
                "log_return": pl.Series(path, dtype=pl.Float64).fill_nan(None),
            }
        )
        for symbol, path in paths.items()
    )


def probabilities(paths: list[np.ndarray], config: BOCDConfig | None = None) -> dict[str, np.ndarray]:
    """[path, bar] of each column."""
    found = detect_changepoints(candles({f"{i:03d}": path for i, path in enumerate(paths)}), config)
    return {
        name: found[name].to_numpy().reshape(len(paths), -1)
        for name in ("p_mean", "p_volatility", "p_changepoint", "action")
    }


def delays(p: np.ndarray, level: float) -> np.ndarray:
    reached = p >= level
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1.0, np.inf)


def exits_per_thousand(p: np.ndarray) -> float:
    over = p >= 0.9
    return float(1000 * (over[:, 1:] & ~over[:, :-1]).sum() / over.size)


def quiet(n: int = 120, seed: int = 0) -> np.ndarray:
    return 0.01 * np.random.default_rng(seed).normal(size=n)


@pytest.mark.parametrize(("mean", "scale"), [(3.0, 1.0), (0.0, 4.0)])
def test_a_change_is_seen_within_bars(mean: float, scale: float) -> None:
    rng = np.random.default_rng(11)
    paths = [np.r_[rng.normal(0, 1, 200), rng.normal(mean, scale, 30)] * 0.01 for _ in range(40)]
    p = probabilities(paths)["p_changepoint"]
    assert np.median(delays(p[:, 200:], 0.70)) <= 6
    assert np.median(delays(p[:, 200:], 0.90)) <= 8
    assert (p[:, :20] < 0.70).all()
    assert (p[:, :200] >= 0.70).mean() <= 0.01


def test_fat_tails_are_no_change() -> None:
    rng = np.random.default_rng(12)
    paths = [rng.standard_t(3, 800) for _ in range(10)]
    assert exits_per_thousand(probabilities(paths)["p_changepoint"]) <= 1.0
    # the textbook model on raw returns: no limit, no robust scale
    textbook = [
        run_length_matrix(path[:450], SegmentPrior(), 0.01)[30:, 1:11].sum(axis=1) for path in paths[:5]
    ]
    assert exits_per_thousand(np.array(textbook)) > 3.0


def test_clustering_of_volatility_is_no_change_of_the_mean() -> None:
    rng = np.random.default_rng(13)
    paths = []
    for _ in range(10):
        variance, path = 1.0, np.empty(800)
        for t in range(800):
            path[t] = rng.normal() * variance**0.5
            variance = 0.02 + 0.10 * path[t] ** 2 + 0.88 * variance
        paths.append(path)
    assert exits_per_thousand(probabilities(paths)["p_mean"]) <= 0.25
    unscaled = [
        run_length_matrix(path[:450], SegmentPrior(), 0.01)[30:, 2:11].sum(axis=1) for path in paths[:5]
    ]
    assert exits_per_thousand(np.array(unscaled)) > 0.25


def test_a_change_of_volatility_is_the_volatility_channels() -> None:
    rng = np.random.default_rng(14)
    paths = [np.r_[rng.normal(0, 1, 300), rng.normal(0, 3, 100)] for _ in range(20)]
    found = probabilities(paths)
    assert np.isfinite(delays(found["p_volatility"][:, 300:340], 0.70)).mean() > 0.6
    assert np.isfinite(delays(found["p_mean"][:, 300:340], 0.70)).mean() < 0.3
    assert np.array_equal(found["p_changepoint"], np.maximum(found["p_mean"], found["p_volatility"]))


def test_the_start_is_masked_and_the_prior_stands_in() -> None:
    config = BOCDConfig()
    detector = BOCDRegimeDetector(config)
    results = [detector.update(r) for r in quiet(config.warmup + 1)]
    assert {r.p_changepoint for r in results[:-1]} == {1 - (1 - config.hazard) ** (config.longest - 1)}
    assert {r.action for r in results} == {"hold"}
    assert results[-1].p_changepoint != results[-2].p_changepoint
    assert [r.run_length_mean for r in results[:-1]] == list(range(1, config.warmup + 1))


@pytest.mark.parametrize("factor", [2.0**-12, 2.0**9])
def test_the_scale_of_returns_does_not_matter(factor: float) -> None:
    rng = np.random.default_rng(15)
    path = np.r_[rng.normal(0, 1, 200), rng.normal(0, 4, 60)]
    one, other = (probabilities([path * f])["p_changepoint"] for f in (1.0, factor))
    assert np.array_equal(one, other)
    assert one.max() > 0.9


def test_the_future_changes_nothing() -> None:
    path = np.r_[quiet(200), 5 * quiet(60, 1)]
    whole = detect_changepoints(candles({"A": path, "B": -2 * path}))
    cut = detect_changepoints(candles({"A": path[:210], "B": -2 * path[:210]}))
    assert cut.equals(whole.filter(pl.col("ts") < START + timedelta(hours=210)))


def test_one_at_a_time_together_and_in_a_batch_give_the_same_bits() -> None:
    rng = np.random.default_rng(16)
    paths = {"A": rng.standard_t(4, 300), "B": np.r_[quiet(200, 2), 6 * quiet(100, 3)], "C": quiet(300, 4)}
    paths["A"][[0, 100, 101, 250]] = np.nan
    batch = detect_changepoints(candles(paths))
    alone, together = {s: BOCDRegimeDetector() for s in paths}, BOCDRegimeDetector()
    for t in range(300):
        bar = {s: float(path[t]) for s, path in paths.items()}
        results = together.update_many(bar)
        for i, symbol in enumerate(paths):
            row = batch.row(300 * i + t, named=True)
            for result in (results[symbol], alone[symbol].update(bar[symbol])):
                p = row["p_changepoint"]
                assert result.p_changepoint == p if p is not None else np.isnan(result.p_changepoint)
                assert result.action == row["action"]
                assert result.run_length_mean == row["run_length_mean"]
                assert result.run_length_volatility == row["run_length_volatility"]


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = candles({str(i): quiet(150, i) for i in range(7)})
    one = detect_changepoints(frame)
    monkeypatch.setattr(bocd, "_WORTH_A_THREAD", 1)
    monkeypatch.setattr(bocd.numba.config, "NUMBA_NUM_THREADS", 3)
    assert detect_changepoints(frame).equals(one)


@pytest.mark.parametrize("cut", [10, 30, 31, 205])
def test_goes_on_where_it_was_saved(cut: int) -> None:
    frame = candles({"B": np.r_[quiet(200), 5 * quiet(60, 1)], "A": quiet(260, 2)})
    whole = detect_changepoints(frame)
    border = START + timedelta(hours=cut)
    detector = BOCDRegimeDetector()
    first = detect_changepoints(frame.filter(pl.col("ts") < border), detector=detector)
    arrays, meta = detector.to_arrays()
    restored = BOCDRegimeDetector.from_arrays(arrays, json.loads(json.dumps(meta)))
    assert restored.config == detector.config
    rest = detect_changepoints(frame.filter(pl.col("ts") >= border), detector=restored)
    assert pl.concat([first, rest]).sort("symbol", "ts").equals(whole)
    assert all(np.array_equal(array, detector.to_arrays()[0][name]) for name, array in arrays.items())


def test_a_state_of_another_layout_is_refused() -> None:
    detector = BOCDRegimeDetector()
    detector.update(0.01)
    arrays, meta = detector.to_arrays()
    wider = np.concatenate([arrays["runs"], arrays["runs"][..., :1]], axis=-1)
    with pytest.raises(DataError, match="another version"):
        BOCDRegimeDetector.from_arrays(arrays | {"runs": wider}, meta)


def test_a_new_symbol_may_join_later() -> None:
    detector = BOCDRegimeDetector()
    detector.update_many({"A": 0.01})
    path = quiet(60)
    late = [detector.update_many({"B": r, "A": r})["B"] for r in path]
    alone = BOCDRegimeDetector()
    assert late == [alone.update(r) for r in path]


def test_a_missing_return_is_careful_and_leaves_the_state() -> None:
    path = np.r_[quiet(200), 5 * quiet(60, 1)]
    plain, gapped = BOCDRegimeDetector(), BOCDRegimeDetector()
    for t, r in enumerate(path):
        if t in (0, 5, 150, 215):
            before = plain.to_arrays()[0]["level"][0] if t else 0
            missing = gapped.update((None, float("nan"), float("inf"), float("-inf"))[t % 4])
            assert np.isnan(missing.p_changepoint)
            assert missing.action == ("exit" if before == 2 else "reduce")
            assert missing.run_length_mean == 0
        assert gapped.update(r) == plain.update(r)
    assert max(plain.to_arrays()[0]["level"]) in (0, 1, 2)


def test_the_first_bar_after_a_gap_has_no_probability() -> None:
    path = quiet(100)
    path[[0, 60]] = np.nan
    found = detect_changepoints(candles({"A": path}))
    assert found["p_changepoint"].is_null().to_numpy().nonzero()[0].tolist() == [0, 60]
    assert found["action"][60] == "reduce"
    assert found["action"][61] == "hold"
    assert found["run_length_mean"][61] == found["run_length_mean"][59] + 1


RULE = np.array([0.70, 0.90, 0.30, 6, 10, 0.03])


@pytest.mark.parametrize(("p", "action"), [(0.69, "hold"), (0.70, "reduce"), (0.71, "reduce"), (0.89, "reduce"), (0.90, "exit"), (0.91, "exit")])  # fmt: skip  # noqa: E501
def test_actions_at_the_thresholds(p: float, action: str) -> None:
    assert ACTIONS[next_action(p, 0, 0, RULE)[0]] == action


def test_an_action_ends_only_after_calm_bars_in_a_row() -> None:
    action, calm, seen = 0, 0, []
    for p in [0.95, 0.75, 0.5, *[0.2] * 5, 0.35, *[0.2] * 6, 0.75, 0.95, 0.75, *[0.2] * 6]:
        action, calm = next_action(p, action, calm, RULE)
        seen.append(ACTIONS[action])
    assert seen == ["exit"] * 14 + ["hold", "reduce"] + ["exit"] * 7 + ["hold"]


def test_a_price_that_stands_still_is_no_change() -> None:
    assert probabilities([np.zeros(400)])["p_changepoint"].max() < 0.7
    path = np.r_[quiet(200), np.zeros(30), quiet(100, 1)]
    assert np.isfinite(probabilities([path])["p_changepoint"]).all()


def test_a_market_that_wakes_up_late_gets_a_scale() -> None:
    path = np.r_[np.zeros(50), quiet(300), 5 * quiet(60, 1)]
    p = probabilities([path])["p_changepoint"][0]
    assert (p[150:350] >= 0.7).mean() < 0.05
    assert p[350:].max() > 0.9


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True) | st.none(), max_size=80))
def test_whatever_comes_is_answered(returns: list[float | None]) -> None:
    detector = BOCDRegimeDetector()
    for r in [*quiet(30), *returns]:
        result = detector.update(r)
        assert result.action in ACTIONS
        if r is None or not np.isfinite(r):
            assert result.action != "hold"
        else:
            assert 0.0 <= result.p_changepoint <= 1.0


def test_rows_must_follow_each_other() -> None:
    frame, detector = candles({"A": quiet(50), "B": quiet(50)}), BOCDRegimeDetector()
    detect_changepoints(frame, detector=detector)
    with pytest.raises(DataError, match="does not follow"):
        detect_changepoints(frame.filter(pl.col("symbol") == "B").tail(1), detector=detector)
    with pytest.raises(DataError, match="does not follow"):
        detect_changepoints(pl.concat([frame, frame.head(1)]))
    shuffled = detect_changepoints(frame.sample(fraction=1.0, shuffle=True, seed=1))
    assert shuffled.equals(detect_changepoints(frame))
    assert detect_changepoints(frame.clear()).height == 0


@pytest.mark.parametrize(
    "wrong",
    [{"hazard": 0.06}, {"hazard": 0.0}, {"longest": 4}, {"longest": 11}, {"warmup": 29}, {"reduce_at": 0.95},
     {"resume_below": 0.8}, {"limit": 0.0}, {"scale_step": 1.0}, {"most_kept": 20}, {"resume_after": 0}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(BOCDConfig(), **wrong)
