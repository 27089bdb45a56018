"""The lookahead check: it finds planted leaks of each kind and passes what is clean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from engine.alternative.asof import as_of
from engine.alternative.features import alternative_features
from engine.errors import NotEnoughDataError
from engine.features.catalogue import CATALOGUE
from engine.features.labels import labels
from engine.features.lookahead import LookaheadReport, check_lookahead

BAR = timedelta(hours=1)
CLOSE = pl.col("ts") + BAR
KNOWN: Mapping[str, str | pl.Expr] = {"candles": CLOSE, "observations": "available_at"}
Inputs = Mapping[str, pl.DataFrame]
RawMarket = Callable[..., dict[str, pl.DataFrame]]


def check(compute: Callable[[Inputs], pl.DataFrame], inputs: Inputs, **options: object) -> LookaheadReport:
    return check_lookahead(compute, inputs, known_at=KNOWN, decided_at=CLOSE, **options)  # type: ignore[arg-type]


def all_features(inputs: Inputs) -> pl.DataFrame:
    wide = alternative_features(inputs["candles"], inputs["observations"], BAR)
    return CATALOGUE.compute(
        inputs["candles"].join(wide, on=["symbol", "ts"], how="left", maintain_order="left")
    )


@pytest.fixture(scope="module")
def inputs(raw_market: RawMarket) -> dict[str, pl.DataFrame]:
    return raw_market(seed=7, bars=500, symbols=2, gaps=1)


class TestClean:
    def test_every_feature_of_the_catalogue_to_the_bit(self, inputs: Inputs) -> None:
        report = check(all_features, inputs, cuts=6)
        assert report.passed, report.describe()
        assert set(CATALOGUE.columns) == set(report.columns)
        assert len(report.cuts) == 7
        assert report.rows_compared > 4000

    def test_every_alternative_feature(self, inputs: Inputs) -> None:
        report = check(lambda i: alternative_features(i["candles"], i["observations"], BAR), inputs, cuts=6)
        assert report.passed, report.describe()

    def test_on_a_part_of_the_history(self, inputs: Inputs) -> None:
        whole = check(all_features, inputs)
        part = check(all_features, inputs, history=timedelta(days=10))
        assert part.passed, part.describe()
        assert part.cuts == whole.cuts
        assert len(part.cuts) == 4
        assert 0 < part.rows_compared < whole.rows_compared


def leak(expr: pl.Expr) -> Callable[[Inputs], pl.DataFrame]:
    """A computation with a clean column and one that leaks, per symbol."""

    def compute(inputs: Inputs) -> pl.DataFrame:
        return inputs["candles"].select(
            "symbol", "ts", clean=pl.col("close").rolling_mean(5).over("symbol"), leaky=expr.over("symbol")
        )

    return compute


close = pl.col("close")


class TestTooEarly:
    def test_a_refusal_for_want_of_data_is_no_leak_where_nothing_was_claimed(self, inputs: Inputs) -> None:
        def compute(inputs: Inputs) -> pl.DataFrame:
            if inputs["candles"].height < 100:
                raise NotEnoughDataError("100 bars are needed")
            mean = close.rolling_mean(50).over("symbol")
            return inputs["candles"].select("symbol", "ts", mean=mean)

        assert check(compute, inputs).passed


class TestPlantedLeaks:
    @pytest.mark.parametrize(
        "expr",
        [
            pytest.param(close.shift(-1), id="tomorrow's close"),
            pytest.param(close.shift(-1).fill_null(close), id="tomorrow's close, filled"),
            pytest.param((close - close.mean()) / close.std(), id="global z-score"),
            pytest.param(close / close.max(), id="global maximum"),
            pytest.param(close.rolling_mean(5, center=True), id="centred window"),
            pytest.param(close.rolling_mean(5).backward_fill(), id="warm-up filled from the future"),
            pytest.param(
                pl.when(pl.col("volume") > 150.0).then(close).backward_fill(),
                id="gaps filled from the future",
            ),
            pytest.param(close.reverse().ewm_mean(span=5).reverse(), id="smoothed backwards"),
            pytest.param(close.rank(), id="rank in the whole history"),
            pytest.param(pl.len() - pl.int_range(pl.len()), id="bars left"),
        ],
    )
    def test_in_a_column(self, inputs: Inputs, expr: pl.Expr) -> None:
        report = check(leak(expr), inputs)
        assert not report.passed
        assert report.guilty == ["leaky"]

    def test_a_model_fitted_on_everything(self, inputs: Inputs) -> None:
        def compute(inputs: Inputs) -> pl.DataFrame:
            candles = inputs["candles"]
            if candles.height < 50:
                raise NotEnoughDataError("50 bars are needed")
            return candles.select("symbol", "ts", panic=close < close.head(50).quantile(0.05))

        assert check(compute, inputs).guilty == ["panic"]

    def test_as_of_on_the_period_described(self, inputs: Inputs) -> None:
        def compute(inputs: Inputs) -> pl.DataFrame:
            told_early = (
                inputs["observations"]
                .with_columns(available_at=pl.col("ts"))
                .unique(["series", "symbol", "ts"], keep="last", maintain_order=True)
            )
            decisions = inputs["candles"].select("symbol", "ts", decided_at=CLOSE)
            return as_of(decisions, told_early, ["commits"]).drop("decided_at")

        report = check(compute, inputs)
        assert "commits" in report.guilty

    @pytest.mark.parametrize("late", [30, 60])
    def test_a_leak_of_half_an_hour_or_one_hour_once_a_day(self, inputs: Inputs, late: int) -> None:
        hours = inputs["candles"]["ts"]
        days = pl.datetime_range(hours.min(), hours.max(), "24h", eager=True, time_unit="us")  # type: ignore[arg-type]
        index = pl.DataFrame(
            {
                "series": ["fear_greed"] * len(days),
                "symbol": ["*"] * len(days),
                "ts": days,
                "available_at": days + timedelta(minutes=late),
                "value": np.random.default_rng(0).uniform(0, 100, len(days)),
            }
        )

        def compute(inputs: Inputs) -> pl.DataFrame:
            early = inputs["observations"].with_columns(available_at=pl.col("ts"))
            decisions = inputs["candles"].select("symbol", "ts", decided_at=CLOSE)
            return as_of(decisions, early, ["fear_greed"]).select("symbol", "ts", "fear_greed")

        assert check(compute, {**inputs, "observations": index}).guilty == ["fear_greed"]

    def test_the_latest_vintage_in_place_of_the_one_known(self, inputs: Inputs) -> None:
        def compute(inputs: Inputs) -> pl.DataFrame:
            final = (
                inputs["observations"]
                .sort("available_at")
                .with_columns(
                    pl.col("available_at").first().over("series", "symbol", "ts"),
                    pl.col("value").last().over("series", "symbol", "ts"),
                )
                .unique(["series", "symbol", "ts"], maintain_order=True)
            )
            return alternative_features(inputs["candles"], final, BAR)

        report = check(compute, inputs, cuts=10)
        assert not report.passed
        assert "commits" in report.guilty or "liquidations_long_usd" in report.guilty

    def test_the_label_as_a_feature(self, inputs: Inputs) -> None:
        def compute(inputs: Inputs) -> pl.DataFrame:
            candles = inputs["candles"]
            return candles.select("symbol", "ts").join(
                labels(candles, 4).select("symbol", "ts", "label"), on=["symbol", "ts"], how="left"
            )

        assert check(compute, inputs).guilty == ["label"]

    def test_rows_that_exist_only_because_of_what_follows(self, inputs: Inputs) -> None:
        report = check(lambda i: labels(i["candles"], 4).select("symbol", "ts"), inputs)
        assert report.guilty == ["(row)"]
        assert {found.method for found in report.leaks} == {"truncate"}

    def test_another_symbol_s_future(self, inputs: Inputs) -> None:
        def compute(inputs: Inputs) -> pl.DataFrame:
            return inputs["candles"].select("symbol", "ts", leaky=close.shift(-1))

        assert check(compute, inputs).guilty == ["leaky"]

    def test_a_catalogue_scaled_over_the_whole_history(self, inputs: Inputs) -> None:
        def compute(inputs: Inputs) -> pl.DataFrame:
            features = all_features(inputs)
            return features.with_columns(
                (pl.col("return_24") - pl.col("return_24").mean()).alias("return_24")
            )

        assert check(compute, inputs, cuts=1).guilty == ["return_24"]


class TestReport:
    def test_it_names_the_first_row_and_both_values(self, inputs: Inputs) -> None:
        cut = inputs["candles"]["ts"][100] + BAR
        report = check(leak(close.shift(-1)), inputs, cuts=[cut])
        truncated = next(found for found in report.leaks if found.method == "truncate")
        first = inputs["candles"].row(100, named=True)
        assert truncated.key["ts"] == first["ts"]
        assert truncated.recomputed is None
        assert (
            truncated.full
            == inputs["candles"]
            .filter(pl.col("symbol") == truncated.key["symbol"])
            .filter(pl.col("ts") > first["ts"])["close"][0]
        )
        assert truncated.rows == 2
        assert "leaky" in report.describe()
        assert str(cut) in report.describe()

    def test_a_computation_that_is_not_deterministic_is_said_to_be_so(self, inputs: Inputs) -> None:
        random = np.random.default_rng(0)

        def compute(inputs: Inputs) -> pl.DataFrame:
            candles = inputs["candles"].select("symbol", "ts")
            return candles.with_columns(noise=pl.Series(random.normal(size=candles.height)))

        report = check(compute, inputs, cuts=1)
        assert {found.method for found in report.leaks} == {"repeat"}

    def test_tolerance_is_for_rounding_only(self, inputs: Inputs) -> None:
        rounding = close + (close.sum() * 1e-17)
        assert check(leak(close + close.sum() * 1e-9), inputs, tolerance=1e-9).guilty == ["leaky"]
        assert check(leak(rounding), inputs, tolerance=1e-9).passed
        assert not check(leak(close.shift(-1)), inputs, tolerance=1e-9).passed

    def test_refusals(self, inputs: Inputs) -> None:
        with pytest.raises(ValueError, match=r"\['observations'\]"):
            check_lookahead(all_features, inputs, known_at={"candles": CLOSE}, decided_at=CLOSE)
        with pytest.raises(ValueError, match="repeats its key"):
            check(lambda i: pl.concat([i["candles"].select("symbol", "ts")] * 2), inputs)
        with pytest.raises(ValueError, match="cuts is 0"):
            check(all_features, inputs, cuts=0)
        with pytest.raises(NotEnoughDataError, match="choose a later one"):
            check(all_features, inputs, cuts=[inputs["candles"]["ts"][0] - BAR])
