"""Gradient-boosted trees that predict the direction of the forward return and its quantiles."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime

import lightgbm as lgb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.errors import DataError, NotEnoughDataError

__all__ = ["QUANTILES", "BoostingConfig", "BoostingPredictor"]

QUANTILES = (0.10, 0.50, 0.90)
_DIRECTION = "direction"
_LEAST_ROWS = 200
_ENOUGH_ROWS = 5_000


@dataclass(frozen=True)
class BoostingConfig:
    """Settings of the trees, small and strongly regularised because returns are mostly noise.

    Parameters
    ----------
    rounds : int
        Most trees; the direction model stops earlier where a later slice of the training window says so.
    learning_rate, leaves, least_in_leaf, l2, feature_share, row_share
        As LightGBM's ``learning_rate, num_leaves, min_data_in_leaf, lambda_l2, feature_fraction,
        bagging_fraction``.
    row_stride : int
        Fit on every k-th bar at most: labels overlap, so neighbours say almost the same. Where fewer than
        5,000 rows would remain, more bars are used.
    stopping_share : float
        Last part of the training rows, in time, that is held out to choose the number of trees.
    workers : int
        Models fitted at a time, each on one thread: threads of one small model mostly wait for each other.
    seed : int
    """

    rounds: int = 200
    learning_rate: float = 0.04
    leaves: int = 15
    least_in_leaf: int = 200
    l2: float = 10.0
    feature_share: float = 0.5
    row_share: float = 0.7
    row_stride: int = 4
    stopping_share: float = 0.2
    workers: int = 2
    seed: int = 7

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.row_stride < 1 or not 0.0 < self.stopping_share < 0.5:
            raise ValueError(
                f"rounds {self.rounds} and row_stride {self.row_stride} must be at least 1, "
                f"stopping_share {self.stopping_share} inside (0, 0.5)"
            )


class BoostingPredictor:
    """LightGBM models of P(up) and of three quantiles of the forward return.

    The quantile models predict the return over its expected size, so that calm and wild markets share their
    trees; predictions are in returns again and never cross.

    Parameters
    ----------
    config : BoostingConfig, optional
    quantiles : tuple of float
        Levels of the quantile models; none where only the direction is wanted.

    References
    ----------
    Ke et al. (2017), LightGBM; Lopez de Prado (2018), chapter 4: overlapping labels.
    """

    def __init__(
        self, config: BoostingConfig | None = None, quantiles: tuple[float, ...] = QUANTILES
    ) -> None:
        self.config = config or BoostingConfig()
        self.quantiles = tuple(quantiles)
        self.features: tuple[str, ...] = ()
        self.schema_hash = ""
        self._models: dict[str, lgb.Booster] = {}

    def fit(self, rows: pl.DataFrame, features: Sequence[str], schema_hash: str) -> BoostingPredictor:
        """Fit on the rows of a training window.

        Parameters
        ----------
        rows : DataFrame
            ``symbol, ts, label, label_end, scale`` and the features; labels known by the end of the window.
            ``scale`` is the expected size of the label, such as its trailing volatility.
        features : sequence of str
            Columns to learn from.
        schema_hash : str
            Identifies how the features were made; `predict` refuses rows of another recipe.

        Raises
        ------
        NotEnoughDataError
            If fewer than 200 rows remain to fit or to stop on.
        """
        config = self.config
        stride = min(config.row_stride, max(1, rows.height // _ENOUGH_ROWS))
        moments = rows["ts"].unique().sort().gather_every(stride)
        rows = rows.filter(
            pl.col("ts").is_in(moments.implode()) & (pl.col("scale") > 0) & pl.col("label").is_finite()
        ).sort("ts", "symbol")
        late_from = _quantile_moment(rows["ts"], 1.0 - config.stopping_share)
        early = rows.filter(pl.col("label_end") <= late_from)
        late = rows.filter(pl.col("ts") >= late_from)
        if min(early.height, late.height) < _LEAST_ROWS:
            raise NotEnoughDataError(
                f"{early.height} rows to fit on and {late.height} to choose the number of trees by; "
                f"{_LEAST_ROWS} of each are needed"
            )
        self.features, self.schema_hash = tuple(features), schema_hash

        def fitted(target: str) -> lgb.Booster:
            trees = self._stopped(target, early, late)
            return lgb.train(self._parameters(target), self._data(target, rows), trees)

        targets = (_DIRECTION, *map(str, self.quantiles))
        with ThreadPoolExecutor(config.workers) as pool:
            self._models = dict(zip(targets, pool.map(fitted, targets), strict=True))
        return self

    def _stopped(self, target: str, early: pl.DataFrame, late: pl.DataFrame) -> int:
        """Count the trees that do best on the later slice; at least one."""
        training = self._data(target, early)
        booster = lgb.train(
            self._parameters(target),
            training,
            self.config.rounds,
            valid_sets=[self._data(target, late, training)],
            callbacks=[lgb.early_stopping(25, verbose=False)],
        )
        return max(booster.best_iteration, 1)

    def _parameters(self, target: str) -> dict[str, object]:
        config = self.config
        objective: dict[str, object] = (
            {"objective": "binary"}
            if target == _DIRECTION
            else {"objective": "quantile", "alpha": float(target)}
        )
        return objective | {
            "learning_rate": config.learning_rate,
            "num_leaves": config.leaves,
            "min_data_in_leaf": config.least_in_leaf,
            "lambda_l2": config.l2,
            "feature_fraction": config.feature_share,
            "bagging_fraction": config.row_share,
            "bagging_freq": 1,
            "max_bin": 63,
            "num_threads": 1,
            "seed": config.seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }

    def _data(self, target: str, rows: pl.DataFrame, reference: lgb.Dataset | None = None) -> lgb.Dataset:
        label = rows["label"].to_numpy()
        y = (label > 0).astype(np.float64) if target == _DIRECTION else label / rows["scale"].to_numpy()
        return lgb.Dataset(self._matrix(rows), y, reference=reference, feature_name=list(self.features))

    def _matrix(self, rows: pl.DataFrame) -> NDArray[np.float64]:
        missing = [name for name in self.features if name not in rows.columns]
        if missing:
            raise DataError(f"missing; the model needs it, the frame has {rows.columns}", column=missing[0])
        return rows.select(pl.col(self.features).cast(pl.Float64)).to_numpy()

    def predict(self, rows: pl.DataFrame, schema_hash: str) -> pl.DataFrame:
        """Predict new rows.

        Parameters
        ----------
        rows : DataFrame
            ``symbol, ts, scale`` and the features.
        schema_hash : str
            Of the recipe that made them.

        Returns
        -------
        DataFrame
            ``symbol, ts, p_up``, a column ``q10`` for each quantile, and ``scale``; quantiles in returns,
            null where ``scale`` is.

        Raises
        ------
        DataError
            If the features were made by another recipe, or one is missing.
        ValueError
            If the model is not fitted.
        """
        if not self._models:
            raise ValueError("the model is not fitted; call fit or from_bytes first")
        if schema_hash != self.schema_hash:
            missing = [name for name in self.features if name not in rows.columns]
            what = f"without {missing}" if missing else "with the same columns, computed otherwise"
            raise DataError(
                f"features of recipe {schema_hash[:12]}, the model was fitted on {self.schema_hash[:12]}: "
                f"rows {what}; fit it anew"
            )
        matrix = self._matrix(rows)
        scale = rows["scale"].cast(pl.Float64).to_numpy()
        standard = [np.asarray(self._models[str(q)].predict(matrix)) for q in self.quantiles]
        quantiles = np.sort(np.reshape(standard, (len(self.quantiles), rows.height)), axis=0) * scale
        return rows.select("symbol", "ts").with_columns(
            pl.Series("p_up", self._models[_DIRECTION].predict(matrix)),
            *(
                pl.Series(f"q{round(100 * q)}", quantiles[i]).fill_nan(None)
                for i, q in enumerate(self.quantiles)
            ),
            rows["scale"],
        )

    @property
    def booster(self) -> lgb.Booster:
        """The direction model, for explanations."""
        return self._models[_DIRECTION]

    def to_bytes(self) -> bytes:
        """Write the models as one JSON document: LightGBM's own text form and what is needed to use it."""
        document = {
            "config": asdict(self.config),
            "quantiles": self.quantiles,
            "features": self.features,
            "schema_hash": self.schema_hash,
            "models": {target: model.model_to_string() for target, model in self._models.items()},
        }
        return json.dumps(document).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> BoostingPredictor:
        """Restore what `to_bytes` wrote; predictions are the same to the last bit.

        Raises
        ------
        DataError
            If the content is not such a document.
        """
        try:
            document = json.loads(content)
            restored = cls(BoostingConfig(**document["config"]), tuple(document["quantiles"]))
            restored.features = tuple(document["features"])
            restored.schema_hash = document["schema_hash"]
            restored._models = {
                target: lgb.Booster(model_str=text) for target, text in document["models"].items()
            }
        except (ValueError, KeyError, TypeError, lgb.basic.LightGBMError) as error:
            raise DataError(f"not a stored model: {error}") from error
        return restored


def _quantile_moment(ts: pl.Series, share: float) -> datetime:
    if ts.is_empty():
        raise NotEnoughDataError("no labelled row in the training window")
    moment: datetime = ts[min(int(share * len(ts)), len(ts) - 1)]
    return moment
