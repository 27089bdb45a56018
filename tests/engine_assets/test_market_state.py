"""The market's state as it is stored: by models that were not fitted on a bar, and from the past alone."""

from collections.abc import Callable
from datetime import datetime, timedelta

import dagster as dg
import numpy as np
import polars as pl
import pytest

from engine.agents.market_columns import MARKET_COLUMNS
from engine.alpha.walk_forward import FEATURES, with_scale
from engine.evaluation.splits import Window
from engine.features.catalogue import CATALOGUE
from engine.patterns.outcomes import OUTCOME_COLUMNS
from engine_assets.agent_inputs import STRONGEST, agent_features, with_market_state
from engine_assets.agent_pipeline import training_pipeline
from engine_assets.agent_rows import agent_rows
from engine_assets.features import LABELS
from engine_assets.lookahead_decisions import market_states as no_lookahead
from engine_assets.market_state import MARKET_STATE, market_forecaster, market_states
from engine_assets.training import SHARES
from engine_assets.windows import SPLITS
from resources.settings import Settings
from resources.warehouse import Warehouse

START, HOUR, DAY = datetime.fromisoformat("2024-01-01"), timedelta(hours=1), timedelta(days=1)
SYMBOLS = ("AAA/USDT", "BBB/USDT", "CCC/USDT")
TRAIN = Window(START, START + 80 * DAY)
CALIBRATE = Window(START + 82 * DAY, START + 90 * DAY)
TEST = Window(START + 92 * DAY, START + 98 * DAY)
FOLD, HORIZON = 3, 24
KEPT = (*CATALOGUE.columns[5:20], "p_panic")


@pytest.fixture(scope="module")
def warehouse(
    tmp_path_factory: pytest.TempPathFactory,
    store: Callable[..., None],
    market_tables: Callable[..., dict[str, pl.DataFrame]],
) -> Warehouse:
    """Fourteen weeks of three symbols as the pipeline holds them, and one fold."""
    made = Warehouse(address=str(tmp_path_factory.mktemp("market") / "t.duckdb"))
    market = market_tables(SYMBOLS, START, 98, HORIZON)
    for name in ("staging.candles", "features.matrix", "regimes.market_regimes"):
        store(made, name, market[name], ("symbol", "ts"))
    store(made, "staging.alternative", market["staging.alternative"], ())
    made.replace(LABELS, LABELS.of(market["features.labels"]))
    windows = {"train": TRAIN, "calibrate": CALIBRATE, "test": TEST}
    edges = {f"{k}_{e}": getattr(window, e) for k, window in windows.items() for e in ("start", "end")}
    split = {"fold": FOLD, **edges, "purge_seconds": 3_600 * (HORIZON + 1)}
    made.replace(SPLITS, pl.DataFrame([split], schema=SPLITS.polars_schema))
    # Of two regimes; in the mean of both a feature is the stronger the later it stands in the recipe.
    place = pl.int_range(pl.len()) / pl.len()
    shares = pl.concat(
        pl.DataFrame({"feature": FEATURES}).with_columns(
            fold=FOLD, regime=pl.lit(regime), share=share, group=0, group_share=share, worth=0.0, rows=1,
            kept=pl.col("feature").is_in(KEPT),
        )
        for regime, share in (("RANGE", 0.3 * place), ("PANIC", 0.2 - 0.1 * place))
    )  # fmt: skip
    made.replace(SHARES, SHARES.of(shares))
    return made


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(reports=tmp_path_factory.mktemp("reports"))


@pytest.fixture(scope="module")
def stored(warehouse: Warehouse, settings: Settings) -> pl.DataFrame:
    resources = {"warehouse": warehouse, "settings": settings}
    assert dg.materialize([market_states], resources=resources).success
    return warehouse.frame("SELECT * FROM features.market_state ORDER BY ts")


def test_every_bar_of_the_fold_has_its_state(stored: pl.DataFrame) -> None:
    assert stored.columns == ["fold", "ts", *MARKET_COLUMNS]
    assert stored["fold"].unique().to_list() == [FOLD]
    expected = pl.datetime_range(TRAIN.start, TEST.end, HOUR, closed="left", eager=True)
    # The scale of a return is the volatility of the past week.
    assert stored["ts"].to_list() == expected.to_list()[-stored.height :]
    assert 24 * 98 - 170 <= stored.height < 24 * 98
    assert stored.drop_nulls().height >= stored.height - 1


def test_what_agents_do_not_learn_from_is_forecast_by_the_model_that_is_kept(
    warehouse: Warehouse, settings: Settings, stored: pl.DataFrame
) -> None:
    forecaster = market_forecaster(warehouse, FOLD)
    assert forecaster.model.features == KEPT
    rows = with_scale(agent_rows(warehouse, settings, TRAIN.start, TEST.end), HORIZON)
    means = forecaster.forecast(rows).group_by("ts").agg(pl.col("forecast").mean())
    both = stored.join(means, on="ts").with_columns(
        apart=(pl.col("market_forecast") - pl.col("forecast")).abs()
    )
    learned = training_pipeline(settings).learning_part(TRAIN)
    seen = warehouse.frame("SELECT train_start, train_end FROM models.market_forecaster").row(0)
    assert seen == (learned.start, learned.end)
    assert both.filter(pl.col("ts") >= learned.end)["apart"].max() < 1e-12  # type: ignore[operator]
    assert both.filter(pl.col("ts") < learned.end)["apart"].mean() > 1e-3  # type: ignore[operator]


def test_agents_see_the_state_by_their_own_fold(
    warehouse: Warehouse, settings: Settings, stored: pl.DataFrame
) -> None:
    bars = agent_rows(warehouse, settings, CALIBRATE.start, CALIBRATE.end)
    seen = with_market_state(warehouse, FOLD, bars)
    assert seen.height == bars.height == 8 * 24 * len(SYMBOLS)
    for symbol in SYMBOLS:
        own = seen.filter(pl.col("symbol") == symbol)
        np.testing.assert_array_equal(own["market_size"], stored.filter(CALIBRATE.mask())["market_size"])
    unknown = with_market_state(warehouse, FOLD + 1, bars)
    assert unknown["market_size"].null_count() == bars.height


def test_agents_look_at_the_strongest_features_and_at_what_is_of_their_fold(warehouse: Warehouse) -> None:
    features = agent_features(warehouse, FOLD)
    assert features[:STRONGEST] == KEPT[-2 : -2 - STRONGEST : -1]
    assert features[STRONGEST:] == (*OUTCOME_COLUMNS, *MARKET_COLUMNS)


def test_no_state_depends_on_what_comes(
    warehouse: Warehouse, settings: Settings, stored: pl.DataFrame
) -> None:
    found = no_lookahead(warehouse, settings)
    assert isinstance(found, dg.AssetCheckResult)
    assert found.passed
    assert found.metadata["rows compared"].value > 100
    assert MARKET_STATE.check(stored).height == stored.height
