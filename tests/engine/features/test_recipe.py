"""The recipe: warm-ups, gaps, one bar against ten years, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from engine.errors import DataError
from engine.features.catalogue import CATALOGUE
from engine.features.completeness import row_loss
from engine.features.recipe import Feature, FeatureRecipe

Market = Callable[..., pl.DataFrame]
BAR = timedelta(hours=1)


def feature(name: str, expr: pl.Expr, warmup: int = 0) -> Feature:
    return Feature(name, expr, warmup, "1", "For a test.")


def bars(closes: dict[str, list[float]], segment: list[int] | None = None) -> pl.DataFrame:
    parts = [
        pl.DataFrame(
            {
                "symbol": [symbol] * len(close),
                "ts": [datetime(2024, 1, 1) + i * BAR for i in range(len(close))],
                "segment": segment or [0] * len(close),
                "close": close,
            },
            schema_overrides={"ts": pl.Datetime("us")},
        )
        for symbol, close in closes.items()
    ]
    return pl.concat(parts)


def assert_close(one: pl.DataFrame, other: pl.DataFrame) -> None:
    assert one.select("symbol", "ts").equals(other.select("symbol", "ts"))
    for name in one.columns[2:]:
        np.testing.assert_allclose(
            one[name].to_numpy(), other[name].to_numpy(), rtol=1e-9, atol=1e-12, err_msg=name
        )


class TestCompute:
    def test_a_feature_is_null_until_its_warm_up_is_over_in_each_segment(self) -> None:
        recipe = FeatureRecipe((feature("change_2", pl.col("close").diff(2), 2),))
        frame = bars({"A": [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]}, [0, 0, 0, 1, 1, 1])
        assert recipe.compute(frame)["change_2"].to_list() == [None, None, 3.0, None, None, 24.0]

    def test_nothing_reaches_across_symbols(self) -> None:
        recipe = FeatureRecipe((feature("change_1", pl.col("close").diff(1), 1),))
        frame = bars({"A": [1.0, 2.0], "B": [10.0, 30.0]})
        assert recipe.compute(frame)["change_1"].to_list() == [None, 1.0, None, 20.0]

    def test_what_is_not_finite_is_null(self) -> None:
        recipe = FeatureRecipe(
            (
                feature("inverse", 1.0 / pl.col("close")),
                feature("root", pl.col("close").sqrt()),
                feature("ratio", pl.col("close") / pl.col("close")),
            )
        )
        out = recipe.compute(bars({"A": [0.0, -4.0, 4.0]}))
        assert out["inverse"].to_list() == [None, -0.25, 0.25]
        assert out["root"].to_list() == [0.0, None, 2.0]
        assert out["ratio"].to_list() == [None, 1.0, 1.0]

    def test_features_and_blocks_use_each_other_by_name_in_any_order(self) -> None:
        recipe = FeatureRecipe(
            (feature("double", 2.0 * pl.col("single"), 1), feature("single", pl.col("step") + 1.0, 1)),
            blocks={"step": pl.col("close").diff(1)},
        )
        out = recipe.compute(bars({"A": [1.0, 4.0]}))
        assert out.columns == ["symbol", "ts", "double", "single"]
        assert out["double"].to_list() == [None, 8.0]

    def test_the_cross_section_is_over_the_symbols_of_the_same_moment(self) -> None:
        recipe = FeatureRecipe(
            (feature("relative", pl.col("close") - pl.col("market")),),
            cross_section={"market": pl.col("close").mean()},
        )
        out = recipe.compute(bars({"A": [1.0, 2.0, 9.0], "B": [3.0, 6.0]}))
        assert out["relative"].to_list() == [-1.0, -2.0, 0.0, 1.0, 2.0]

    def test_an_input_may_pass_through_under_its_own_name(self) -> None:
        recipe = FeatureRecipe(
            (feature("close", pl.col("close")), feature("change_1", pl.col("close").diff(1), 1))
        )
        assert recipe.inputs == ["close"]
        assert recipe.compute(bars({"A": [1.0, 3.0]}))["change_1"].to_list() == [None, 2.0]

    def test_an_empty_frame_gives_an_empty_frame(self) -> None:
        recipe = FeatureRecipe((feature("close", pl.col("close")),))
        assert recipe.compute(bars({"A": [1.0]}).clear()).schema["close"] == pl.Float64
        assert recipe.update(bars({"A": [1.0]}), bars({"A": [1.0]}).clear()).is_empty()


class TestOneBarEqualsTenYears:
    @settings(max_examples=12, deadline=None, phases=[Phase.generate])
    @given(seed=st.integers(0, 10_000), gaps=st.integers(0, 4), new=st.integers(1, 30))
    def test_update_equals_compute(self, market: Market, seed: int, gaps: int, new: int) -> None:
        frame = market(seed=seed, bars=420, symbols=3, gaps=gaps)
        moments = frame["ts"].unique().sort()
        is_new = pl.col("ts") > moments[-1 - new]
        batch = CATALOGUE.compute(frame).filter(is_new)
        assert_close(CATALOGUE.update(frame.filter(~is_new), frame.filter(is_new)), batch)

    def test_bar_by_bar_equals_all_at_once(self, market: Market) -> None:
        frame = market(seed=3, bars=330, symbols=2, gaps=1)
        batch = CATALOGUE.compute(frame)
        for moment in frame["ts"].unique().sort()[200::13]:
            known = frame.filter(pl.col("ts") <= moment)
            assert_close(CATALOGUE.latest(known), batch.filter(pl.col("ts") == moment))

    def test_exactly_the_warm_up_is_enough(self, market: Market) -> None:
        frame = market(seed=1, bars=400, symbols=2, gaps=0)
        moments = frame["ts"].unique().sort()
        assert CATALOGUE.warmup == 168
        tail = frame.filter(pl.col("ts") >= moments[-1 - CATALOGUE.warmup])
        assert_close(CATALOGUE.latest(tail), CATALOGUE.compute(frame).filter(pl.col("ts") == moments[-1]))
        short = frame.filter(pl.col("ts") >= moments[-CATALOGUE.warmup])
        assert CATALOGUE.latest(short)["return_168"].null_count() == 2


class TestRefusals:
    def test_a_warm_up_shorter_than_what_is_read(self) -> None:
        with pytest.raises(ValueError, match="long reads 24 bars back, its warm-up is 12"):
            FeatureRecipe((feature("long", pl.col("close").shift(24), 12),))

    def test_a_warm_up_that_forgets_what_a_block_reads(self) -> None:
        with pytest.raises(ValueError, match="smooth reads 5 bars back"):
            FeatureRecipe(
                (feature("smooth", pl.col("step").rolling_mean(5), 4),),
                blocks={"step": pl.col("close").diff(1)},
            )

    def test_an_expression_that_reads_the_future(self) -> None:
        with pytest.raises(ValueError, match="tomorrow: Shift by -1"):
            FeatureRecipe((feature("tomorrow", pl.col("close").shift(-1), 1),))

    def test_names_that_repeat(self) -> None:
        with pytest.raises(ValueError, match="'a'"):
            FeatureRecipe((feature("a", pl.col("close")), feature("a", pl.col("open"))))

    def test_circles(self) -> None:
        with pytest.raises(ValueError, match="circle"):
            FeatureRecipe((feature("a", pl.col("b")), feature("b", pl.col("a"))))

    def test_a_feature_that_redefines_its_input(self) -> None:
        with pytest.raises(ValueError, match="redefines"):
            FeatureRecipe((feature("close", pl.col("close").log()),))

    def test_a_missing_column_is_named(self) -> None:
        with pytest.raises(DataError, match="column 'close'"):
            FeatureRecipe((feature("a", pl.col("close")),)).compute(bars({"A": [1.0]}).drop("close"))

    @pytest.mark.parametrize("order", [[1, 0], [0, 0]])
    def test_rows_out_of_order_or_repeated(self, order: list[int]) -> None:
        with pytest.raises(DataError, match="row 2"):
            FeatureRecipe((feature("a", pl.col("close")),)).compute(bars({"A": [1.0, 2.0]})[order])


class TestIdentity:
    def test_the_hash_follows_every_part_of_the_definition(self) -> None:
        def hash_of(
            name: str = "m", window: int = 5, warmup: int = 4, unit: str = "1", block: float = 1.0
        ) -> str:
            one = Feature(name, pl.col("b").rolling_mean(window), warmup, unit, "For a test.")
            return FeatureRecipe((one,), blocks={"b": block * pl.col("close")}).schema_hash()

        assert hash_of() == hash_of()
        others = [hash_of("n"), hash_of(window=4), hash_of(warmup=9), hash_of(unit="x"), hash_of(block=2.0)]
        assert len({hash_of(), *others}) == 6

    def test_describe(self) -> None:
        table = CATALOGUE.describe()
        assert table["name"].to_list() == CATALOGUE.columns
        assert table.row(by_predicate=pl.col("name") == "beta_168", named=True)["inputs"] == (
            "log_return, market_return"
        )


def test_row_loss_names_the_guilty_feature() -> None:
    frame = pl.DataFrame(
        {
            "symbol": ["A"] * 4,
            "ts": [1, 2, 3, 4],
            "good": [1.0, 1.0, 1.0, 1.0],
            "bad": [None, None, None, 1.0],
            "poor": [None, 1.0, 1.0, 1.0],
        }
    )
    loss = row_loss(frame)
    assert loss["feature"].to_list() == ["bad", "poor", "good"]
    assert loss.row(0) == ("bad", 3, 0.75, 2, 0.5)
    assert loss.row(1) == ("poor", 1, 0.25, 0, 0.0)
    assert row_loss(frame, ["poor"])["alone"].to_list() == [1]
    assert row_loss(frame.clear())["share"].to_list() == [0.0, 0.0, 0.0]
