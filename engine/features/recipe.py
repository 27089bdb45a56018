"""Features declared once as expressions, computed by the same code for one new bar and for ten years."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import polars as pl

from engine.errors import DataError
from engine.features.causality import look_back

__all__ = ["Feature", "FeatureRecipe"]

_KEY = ("symbol", "ts")


@dataclass(frozen=True, eq=False)
class Feature:
    """One feature: what it is called, how it is computed, and what it means.

    Parameters
    ----------
    name : str
        Name in snake case, ending in its window in bars where it has one.
    expr : pl.Expr
        Its definition over the columns of one symbol in order of time: columns of the candles and of the
        alternative features, the building blocks and cross-section of its recipe, and other features by
        their name.
    warmup : int
        Bars of the same segment before the current one that it needs. At least what the expression reads.
    unit : str
        Unit of the value.
    description : str
        What it measures.
    sources : str
        Where the definition comes from (author year).
    """

    name: str
    expr: pl.Expr
    warmup: int
    unit: str
    description: str
    sources: str = ""


@dataclass(frozen=True, eq=False)
class FeatureRecipe:
    """An ordered set of features and how to compute them.

    Nothing spans a gap: a feature is null for the first ``warmup`` bars of each segment, and its windows
    reach no further back than that. Hence a feature depends on the last ``warmup`` bars of its segment
    alone, and a new bar computed from a short tail equals the same bar in the whole history. A value that
    is not finite is null. Nothing is ever filled.

    Parameters
    ----------
    features : tuple[Feature, ...]
        The features, in the order of the output. They may use each other by name.
    blocks : Mapping[str, pl.Expr]
        Per-bar quantities that several features are built from; not part of the output.
    cross_section : Mapping[str, pl.Expr]
        Aggregates over all symbols at the same ``ts``, from columns of the frame; not part of the output.

    Raises
    ------
    ValueError
        If a name repeats, features define each other in a circle, an expression reads the future or an
        unbounded past (see `look_back`), or reads further back than its declared warm-up.
    """

    features: tuple[Feature, ...]
    blocks: Mapping[str, pl.Expr] = field(default_factory=dict)
    cross_section: Mapping[str, pl.Expr] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [*self.columns, *self.blocks, *self.cross_section, *_KEY]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"names {repeated} repeat; features, blocks, cross-section and key share one namespace"
            )
        for name, expr in self._definitions.items():
            if name in expr.meta.root_names() and not expr.meta.eq(pl.col(name)):
                raise ValueError(f"{name} redefines its own input; give it another name")
        reach: dict[str, int] = {}
        for level in self._levels:
            for name, expr in level.items():
                try:
                    reach[name] = look_back(expr, reach)
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from None
        for feature in self.features:
            if feature.warmup < reach[feature.name]:
                raise ValueError(
                    f"{feature.name} reads {reach[feature.name]} bars back, its warm-up is {feature.warmup}: "
                    "raise the warm-up"
                )

    @property
    def columns(self) -> list[str]:
        """Names of the features in order."""
        return [feature.name for feature in self.features]

    @property
    def warmup(self) -> int:
        """Bars before the current one that any feature needs."""
        return max((feature.warmup for feature in self.features), default=0)

    @cached_property
    def inputs(self) -> list[str]:
        """Columns that a frame must have beside ``symbol, ts, segment``."""
        own = {*self.columns, *self.blocks, *self.cross_section}
        read: set[str] = set()
        for name, expr in self._definitions.items():
            read |= {root for root in expr.meta.root_names() if root not in own or root == name}
        for expr in self.cross_section.values():
            read |= set(expr.meta.root_names())
        return sorted(read - {*_KEY, "segment"})

    def compute(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Compute every feature of every bar.

        Parameters
        ----------
        frame : pl.DataFrame
            ``symbol, ts, segment`` and `inputs`, sorted by symbol and ts, all symbols together: the
            cross-section is over the rows given.

        Returns
        -------
        pl.DataFrame
            ``symbol, ts`` and one Float64 column per feature, the rows as given.

        Raises
        ------
        DataError
            If a column is missing, or rows repeat or are out of order.
        """
        bars = self._prepared(frame)
        # One symbol at a time: what a window leaves behind in its rounding must not depend on another symbol.
        return self._evaluated(bars.partition_by("symbol", maintain_order=True) or [bars])

    def update(self, history: pl.DataFrame, new_bars: pl.DataFrame) -> pl.DataFrame:
        """Compute the features of new bars from the end of the history alone.

        Equals the same rows of `compute` over everything, up to rounding.

        Parameters
        ----------
        history : pl.DataFrame
            Bars before the new ones, all symbols, at least the last `warmup` moments; more does no harm.
        new_bars : pl.DataFrame
            The new bars, the same columns.

        Returns
        -------
        pl.DataFrame
            As from `compute`, rows of ``new_bars`` only.
        """
        if new_bars.is_empty():
            return self.compute(new_bars)
        moments = history.filter(pl.col("ts") < new_bars["ts"].min())["ts"].unique().top_k(self.warmup)
        tail = history.filter(pl.col("ts") >= moments.min()) if len(moments) else history.clear()
        columns = [*_KEY, "segment", *self.inputs]
        bars = self._prepared(pl.concat([tail.select(columns), new_bars.select(columns)]).sort(_KEY))
        # All symbols end to end: no feature reads past its segment, and one pass is fastest on short tails.
        return self._evaluated([bars]).join(new_bars, on=_KEY, how="semi", maintain_order="left")

    def latest(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Compute the features of the newest ``ts`` alone, of each symbol that has a bar there."""
        newest = pl.col("ts") == frame["ts"].max()
        return self.update(frame.filter(~newest), frame.filter(newest))

    def schema_hash(self) -> str:
        """Return SHA-256 over every name, definition, warm-up and unit.

        A model is stored with it, and refuses features of another recipe.
        """
        definitions = [
            [[f.name, f.expr.meta.serialize(format="json"), f.warmup, f.unit] for f in self.features],
            *(
                [[name, expr.meta.serialize(format="json")] for name, expr in sorted(exprs.items())]
                for exprs in (self.blocks, self.cross_section)
            ),
        ]
        return hashlib.sha256(json.dumps(definitions).encode()).hexdigest()

    def describe(self) -> pl.DataFrame:
        """One row per feature: ``name, unit, warmup, description, sources, inputs``."""
        rows = [
            (
                f.name,
                f.unit,
                f.warmup,
                f.description,
                f.sources,
                ", ".join(sorted(set(f.expr.meta.root_names()))),
            )
            for f in self.features
        ]
        schema = {
            "name": pl.String, "unit": pl.String, "warmup": pl.Int64, "description": pl.String,
            "sources": pl.String, "inputs": pl.String,
        }  # fmt: skip
        return pl.DataFrame(rows, schema=schema, orient="row")

    @property
    def _definitions(self) -> dict[str, pl.Expr]:
        return {**self.blocks, **{feature.name: feature.expr for feature in self.features}}

    @cached_property
    def _levels(self) -> list[dict[str, pl.Expr]]:
        """Definitions in the order of their dependence: each level uses only what levels before it made.

        Polars does not share rolling windows between expressions; here a window that others use is made once.
        """
        waiting = self._definitions
        levels: list[dict[str, pl.Expr]] = []
        while waiting:
            level = {
                name: expr
                for name, expr in waiting.items()
                if not (set(expr.meta.root_names()) - {name}) & waiting.keys()
            }
            if not level:
                raise ValueError(f"{sorted(waiting)} define each other in a circle")
            levels.append(level)
            waiting = {name: expr for name, expr in waiting.items() if name not in level}
        return levels

    def _prepared(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Bars with the cross-section and, as ``_age``, the number of bars before each in its segment."""
        _check_rows(frame, self.inputs)
        bars = frame.select(*_KEY, "segment", *self.inputs).with_row_index("_row")
        row = pl.col("_row")
        starts = pl.any_horizontal(pl.col(name) != pl.col(name).shift() for name in ("symbol", "segment"))
        bars = bars.with_columns(_age=row - pl.when(starts.fill_null(value=True)).then(row).forward_fill())
        if not self.cross_section:
            return bars
        market = bars.group_by("ts", maintain_order=True).agg(
            expr.alias(name) for name, expr in self.cross_section.items()
        )
        return bars.join(market, on="ts", how="left", maintain_order="left")

    def _evaluated(self, parts: list[pl.DataFrame]) -> pl.DataFrame:
        """Features of the parts: each where its warm-up is over and its value finite, null elsewhere."""
        known = [
            pl.when((pl.col("_age") >= feature.warmup) & value.is_finite()).then(value).alias(feature.name)
            for feature in self.features
            for value in [pl.col(feature.name).cast(pl.Float64)]
        ]
        plans = []
        for part in parts:
            plan = part.lazy()
            for level in self._levels:
                plan = plan.with_columns(**level)
            plans.append(plan.select(*_KEY, *known))
        # The streaming engine cuts columns into pieces, and the rounding of a window then depends on where:
        # a row would differ in its last bits when rows are added after it.
        return pl.concat(pl.collect_all(plans, engine="in-memory"))


def _check_rows(frame: pl.DataFrame, inputs: list[str]) -> None:
    missing = [name for name in (*_KEY, "segment", *inputs) if name not in frame.columns]
    if missing:
        raise DataError(f"missing; the frame has {frame.columns}", source="bars", column=", ".join(missing))
    symbol, ts = pl.col("symbol"), pl.col("ts")
    order = frame.select(
        ((symbol < symbol.shift()) | ((symbol == symbol.shift()) & (ts <= ts.shift()))).fill_null(value=False)
    ).to_series()
    if order.any():
        row = int(order.arg_max() or 0)
        raise DataError(
            "out of order or repeated; sort by symbol and ts", source="bars", row=row + 1, column="ts"
        )
