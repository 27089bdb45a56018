"""Labels of transitions: their definition word for word, when they are known, and the base rate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from engine.regimes.names import REGIMES
from engine.regimes.transitions import climatology, transition_labels

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1, tzinfo=UTC).replace(tzinfo=None)
SHORT = {"T": "TREND", "R": "RANGE", "P": "PANIC", "?": None}


def regimes(path: str, symbol: str = "BTC/USDT") -> pl.DataFrame:
    """One letter a bar; a blank is a bar that is missing."""
    rows = [(symbol, START + k * HOUR, SHORT[c]) for k, c in enumerate(path) if c != " "]
    schema = {"symbol": pl.String, "ts": pl.Datetime("us"), "regime": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def labels(path: str, horizon: int, hold: int) -> pl.DataFrame:
    return transition_labels(regimes(path), HOUR, horizon, hold)


def reference(path: str, horizon: int, hold: int) -> list[tuple[bool | None, bool | None]]:
    """The definition, bar by bar."""
    found: list[tuple[bool | None, bool | None]] = []
    for t, now in enumerate(path):
        if now == " ":
            continue
        ahead = path[t + 1 : t + horizon + hold]
        if now == "?" or len(ahead) < horizon + hold - 1 or set(ahead) & {" ", "?"}:
            found.append((None, None))
            continue
        left = any(all(c != now for c in ahead[j : j + hold]) for j in range(horizon))
        found.append((left, None if now == "P" else "P" in ahead[:horizon]))
    return found


@given(st.text("TTTRRRP? ", min_size=1, max_size=60), st.integers(1, 7), st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_labels_are_the_definition(path: str, horizon: int, hold: int) -> None:
    found = labels(path, horizon, hold).select("leaves", "panic_entry").rows()
    assert found == reference(path, horizon, hold)


def test_the_last_bar_of_the_horizon_counts_and_the_one_after_does_not() -> None:
    assert labels("TTTTRRR", 4, 3)["leaves"][0] is True
    assert labels("TTTTTRRR", 4, 3)["leaves"][0] is False
    assert labels("TTTTPTT", 4, 3)["panic_entry"][0] is True
    assert labels("TTTTTPT", 4, 3)["panic_entry"][0] is False


def test_a_flicker_is_no_transition_but_enters_panic() -> None:
    """A version that takes every change for a transition would call this one."""
    assert labels("TTPPTTTTT", 4, 3).row(0, named=True)["leaves"] is False
    assert labels("TTPPTTTTT", 4, 3).row(0, named=True)["panic_entry"] is True
    assert labels("TTPPTTTTT", 4, 1).row(0, named=True)["leaves"] is True


def test_another_regime_need_not_be_the_same_all_along() -> None:
    assert labels("TTRPRTTTT", 4, 3)["leaves"][0] is True


def test_in_panic_there_is_no_entry_into_it() -> None:
    found = labels("PPPPRRRRP", 4, 2)
    assert found["panic_entry"][:4].null_count() == 4
    assert found["leaves"][0] is True


@given(st.text("TRP", min_size=20, max_size=40), st.integers(1, 19))
@settings(max_examples=50, deadline=None)
def test_a_label_is_known_at_its_end_and_no_earlier(path: str, cut: int) -> None:
    """With the bars closed by some moment, exactly the labels that end by then are there, and the same."""
    horizon, hold = 5, 2
    full = labels(path, horizon, hold)
    moment = START + cut * HOUR
    known = transition_labels(regimes(path).filter(pl.col("ts") + HOUR <= moment), HOUR, horizon, hold)
    ends = full.filter(pl.col("ts") + HOUR <= moment).with_columns(
        pl.when(pl.col("label_end") <= moment).then(name).alias(name)
        for name in ("leaves", "panic_entry", "label_end")
    )
    assert_frame_equal(known, ends)
    assert full.drop_nulls("label_end").select((pl.col("label_end") - pl.col("ts") == 7 * HOUR).all()).item()


def test_a_transition_that_was_seen_early_is_not_used_before_the_others_are_known() -> None:
    """Half of the bars are followed by a transition; taking each label as soon as it is seen says more."""
    rng = np.random.default_rng(0)
    seen, shares = [], []
    for _ in range(100):
        steps = rng.random(80) < 1 - 0.5 ** (1 / 12)
        path = "".join("TR"[k % 2] for k in np.cumsum(steps))
        shares += labels(path, 12, 1)["leaves"].drop_nulls().to_list()
        last = path[-6:]
        seen += [True] if any(c != last[0] for c in last) else []
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05)
    assert np.mean(seen) == 1.0, "a label that ends when it is seen can only be a transition at the end"


def test_symbols_do_not_mix_and_gaps_have_no_label() -> None:
    both = pl.concat([regimes("TTTTTT", "A"), regimes("RRRRRR", "B")])
    found = transition_labels(both, HOUR, 2, 2)
    assert found["leaves"].to_list() == [False] * 3 + [None] * 3 + [False] * 3 + [None] * 3
    assert labels("TTR RRRRRR", 2, 1)["leaves"].to_list()[:3] == [True, None, None]


@pytest.mark.parametrize("wrong", [{"horizon": 0}, {"hold": 0}])
def test_bad_spans_are_named(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        transition_labels(regimes("TTT"), HOUR, **wrong)


def test_the_base_rate_knows_only_labels_that_have_ended() -> None:
    rng = np.random.default_rng(1)
    frame = pl.concat(regimes("".join(rng.choice(list("TRP"), 60)), s) for s in ("A", "B"))
    found = transition_labels(frame, HOUR, 4, 2).with_columns(frame["regime"])
    plain, own = climatology(found, "leaves", HOUR), climatology(found, "leaves", HOUR, by=("regime",))
    for k, row in enumerate(found.iter_rows(named=True)):
        known = found.filter(pl.col("label_end") <= row["ts"] + HOUR, pl.col("leaves").is_not_null())
        same = known.filter(pl.col("regime") == row["regime"])
        assert plain[k] == pytest.approx(known["leaves"].mean())
        assert own[k] == pytest.approx(same["leaves"].mean())
    assert plain.null_count() == 2 * 5
    assert set(frame["regime"]) == set(REGIMES)
