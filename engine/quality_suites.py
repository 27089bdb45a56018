"""What every table of the warehouse must satisfy: rules from its declaration, and rules of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from engine.alternative.series import SERIES
from engine.quality import Rule
from engine.regimes.actions import ACTIONS
from engine.regimes.names import REGIME_COLUMNS, REGIMES

__all__ = ["ColumnLike", "Suite", "TableLike", "suite"]


class ColumnLike(Protocol):
    """What a suite needs to know of a column."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def type(self) -> str: ...  # noqa: D102
    @property
    def nullable(self) -> bool: ...  # noqa: D102


class TableLike(Protocol):
    """What a suite needs to know of a table."""

    @property
    def full_name(self) -> str: ...  # noqa: D102
    @property
    def columns(self) -> Sequence[ColumnLike]: ...  # noqa: D102
    @property
    def key(self) -> Sequence[str]: ...  # noqa: D102


@dataclass(frozen=True)
class Suite:
    """Rules on one table.

    Parameters
    ----------
    name : str
        Name of the suite, shown in reports.
    table : str
        ``schema.table``.
    expectations : tuple of Rule
        What must hold.
    computed : mapping
        Further columns that the rules look at: name to SQL expression over the table's columns.
    left_out : tuple of str
        Columns that no rule looks at and that are too large to read.
    """

    name: str
    table: str
    expectations: tuple[Rule, ...]
    computed: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    @property
    def sql(self) -> str:
        """Query for the rows as the rules expect them."""
        exclude = f" EXCLUDE ({', '.join(self.left_out)})" if self.left_out else ""
        computed = "".join(f", {expression} AS {name}" for name, expression in self.computed.items())
        schema, _, table = self.table.partition(".")
        return f'SELECT *{exclude}{computed} FROM "{schema}"."{table}"'  # noqa: S608  names are declared


_PANDAS_TYPES = {
    "VARCHAR": ("str",),
    "TIMESTAMP": ("datetime64[us]", "datetime64", "Timestamp"),
    "DOUBLE": ("float64",),
    "BIGINT": ("int64",),
    "BOOLEAN": ("bool",),
}
_NULLABLE_TYPES = {**_PANDAS_TYPES, "BIGINT": ("int64", "float64"), "BOOLEAN": ("bool", "object")}
_LARGE = ("BLOB", "DOUBLE[]", "VARCHAR[]")


def suite(table: TableLike, universe: Sequence[str] = ()) -> Suite:
    """All rules for a declared table.

    From the declaration: which columns there are, their types, which may be missing, what is unique. For
    tables with a meaning of their own, also that meaning (`RULES`).

    Parameters
    ----------
    table : TableLike
        Its declaration.
    universe : sequence of str
        Symbols that may occur in a column ``symbol``; without it any pair may.

    Raises
    ------
    ValueError
        If a rule names a column that the table does not declare.
    """
    large = tuple(column.name for column in table.columns if column.type in _LARGE)
    small = [column for column in table.columns if column.type not in _LARGE]
    own, computed = RULES.get(table.full_name, ((), {}))
    rules = (*_declared(table, small), *_symbols(small, universe), *own)
    known = {column.name for column in small} | set(computed)
    for rule in rules:
        if strange := set(rule.columns) - known:
            raise ValueError(f"{table.full_name}: {rule.expectation} names undeclared {sorted(strange)}")
    return Suite(table.full_name, table.full_name, rules, computed, large)


def _declared(table: TableLike, columns: Sequence[ColumnLike]) -> list[Rule]:
    """Rules that follow from the declaration."""
    names = {column.name for column in columns}
    computed = RULES.get(table.full_name, ((), {}))[1]
    rules = [
        Rule(
            "expect_table_columns_to_match_set",
            {"column_set": sorted(names | set(computed)), "exact_match": True},
            "the columns are the declared ones",
        )
    ]
    rules += [
        Rule("expect_column_values_to_not_be_null", {"column": column.name}, "no value is missing")
        for column in columns
        if not column.nullable
    ]
    rules += [
        Rule(
            "expect_column_values_to_be_in_type_list",
            {
                "column": column.name,
                "type_list": list((_NULLABLE_TYPES if column.nullable else _PANDAS_TYPES)[column.type]),
            },
            f"type is {column.type}",
        )
        for column in columns
    ]
    if len(table.key) == 1:
        rules.append(Rule("expect_column_values_to_be_unique", {"column": table.key[0]}, "the key is unique"))
    elif table.key:
        key = {"column_list": list(table.key)}
        rules.append(Rule("expect_compound_columns_to_be_unique", key, "the key is unique"))
    return rules


def _symbols(columns: Sequence[ColumnLike], universe: Sequence[str]) -> list[Rule]:
    """Rule on the column ``symbol``, where there is one."""
    if "symbol" not in {column.name for column in columns}:
        return []
    if universe:
        allowed = {"column": "symbol", "value_set": [*universe, "*"]}
        return [Rule("expect_column_values_to_be_in_set", allowed, "the symbol is in the universe")]
    pair = {"column": "symbol", "regex": r"^(?:\*|[^\s/]+/[^\s/]+)$"}
    return [Rule("expect_column_values_to_match_regex", pair, "the symbol is BASE/QUOTE, or *")]


def _rows(least: int = 1) -> Rule:
    return Rule("expect_table_row_count_to_be_between", {"min_value": least}, "the table is not empty")


def _between(column: str, low: float | None, high: float | None, meaning: str, **more: object) -> Rule:
    limits = {"column": column, "min_value": low, "max_value": high, **more}
    return Rule("expect_column_values_to_be_between", limits, meaning)


def _at_least(upper: str, lower: str, meaning: str) -> Rule:
    return _pair(upper, lower, meaning, or_equal=True)


def _after(later: str, earlier: str, meaning: str) -> Rule:
    return _pair(later, earlier, meaning, or_equal=False)


def _pair(a: str, b: str, meaning: str, *, or_equal: bool) -> Rule:
    pair = {"column_A": a, "column_B": b, "or_equal": or_equal, "ignore_row_if": "either_value_is_missing"}
    return Rule("expect_column_pair_values_a_to_be_greater_than_b", pair, meaning)


def _one_of(column: str, values: Sequence[object], meaning: str, **more: object) -> Rule:
    return Rule(
        "expect_column_values_to_be_in_set", {"column": column, "value_set": list(values), **more}, meaning
    )


_BARS = (
    _rows(),
    *(
        _between(price, 0.0, None, f"{price} is positive", strict_min=True)
        for price in ("open", "high", "low", "close")
    ),
    _between("volume", 0.0, None, "volume is not negative"),
    *(_at_least("high", price, f"high is not below {price}") for price in ("open", "close", "low")),
    *(_at_least(price, "low", f"low is not above {price}") for price in ("open", "close")),
    _one_of("seconds_off_grid", [0], "bars open on the grid of their size"),
)
_BARS_COMPUTED = {"seconds_off_grid": "epoch(ts)::BIGINT % bar_seconds"}

_IN_RANGE = " ".join(
    f"WHEN '{s.name}' THEN value BETWEEN '{s.lower}'::DOUBLE AND '{s.upper}'::DOUBLE" for s in SERIES.values()
)
_OBSERVATIONS_COMPUTED = {"in_range": f"CASE series {_IN_RANGE} END"}


def _observations(table: str) -> tuple[tuple[Rule, ...], dict[str, str]]:
    """Rules for a raw table of alternative data; a few implausible values are left to the staging model."""
    names = [series.name for series in SERIES.values() if series.table == table]
    return (
        _one_of("series", names, "the series belongs to the table"),
        _at_least("available_at", "ts", "nothing is known before the period begins"),
        _one_of("in_range", [True], "values lie in the plausible range of their series", mostly=0.99),
    ), _OBSERVATIONS_COMPUTED


def _prediction(column: str) -> tuple[Rule, ...]:
    """Rules on a side that is predicted and how sure the prediction is."""
    return (
        _one_of("direction", [-1, 1], "a side is predicted"),
        _between("raw_confidence", 0.5, 1.0, "the side predicted is the likelier one"),
        _between(column, 0.0, 1.0, "a probability lies between 0 and 1"),
        _one_of("status", ["ok", "unknown"], "a confidence is known or said to be unknown"),
        _one_of("regime", REGIMES, "the regime is one of the three"),
    )


# Table -> its own rules, and the computed columns that they look at.
RULES: dict[str, tuple[tuple[Rule, ...], dict[str, str]]] = {
    "raw.candles": (_BARS, _BARS_COMPUTED),
    **{f"raw.{series.table}": _observations(series.table) for series in SERIES.values()},
    "raw.truth": (
        (
            _one_of("regime", REGIMES, "the regime is one of the three"),
            _one_of("drift_sign", [-1, 0, 1], "the drift has a sign"),
        ),
        {},
    ),
    "regimes.market_regimes": (
        (
            _rows(),
            *(_between(column, 0.0, 1.0, "a probability lies between 0 and 1") for column in REGIME_COLUMNS),
            _between("probability_error", None, 1e-6, "the probabilities sum to 1"),
            _one_of("regime", REGIMES, "the regime is one of the three"),
        ),
        {"probability_error": "abs(p_trend + p_range + p_panic - 1)"},
    ),
    "regimes.changepoints": (
        (
            _rows(),
            *(
                _between(name, 0.0, 1.0, "a probability lies between 0 and 1")
                for name in ("p_mean", "p_volatility", "p_changepoint")
            ),
            _one_of("action", ACTIONS, "the action is one of the three"),
        ),
        {},
    ),
    "regimes.changepoint_alerts": (
        (
            _after("known_at", "ts", "an alert is known when its bar has closed"),
            _at_least("ts", "changed_at", "the change precedes its alert"),
            _one_of("action", ACTIONS[1:], "an alert asks for less risk"),
            _between("p_changepoint", 0.5, 1.0, "an alert is likely"),
        ),
        {},
    ),
    "regimes.transition_risk": (
        (
            _rows(),
            _between("horizon", 1, None, "the horizon is at least a bar"),
            *(
                _between(name, 0.0, 1.0, "a probability lies between 0 and 1")
                for name in ("p_transition", "p_panic_entry")
            ),
            _one_of("status", ["ok", "unknown"], "a risk is known or said to be unknown"),
        ),
        {},
    ),
    "features.matrix": ((_rows(),), {}),
    "features.labels": (
        (
            _rows(),
            _between("horizon", 1, None, "the horizon is at least a bar"),
            _after("label_end", "ts", "the label ends after its bar"),
            _one_of("direction", [-1, 0, 1], "the direction is a sign"),
            _between("label", -5.0, 5.0, "a log return is finite and believable"),
        ),
        {},
    ),
    "alternative.alternative_features": (
        (
            _rows(),
            *(
                _between(name, SERIES[name].lower, SERIES[name].upper, "a value lies in its series' range")
                for name in (
                    "fear_greed",
                    "social_score",
                    "news_score",
                    "long_short_ratio",
                    "repository_archived",
                )
            ),
            _between("funding_percentile", 0.0, 1.0, "a share lies between 0 and 1"),
            *(
                _between(name, -1.0, 1.0, "a balance lies between -1 and 1")
                for name in ("liquidation_imbalance", "liquidation_cascade_side", "netflow_share")
            ),
        ),
        {},
    ),
    "models.splits": (
        (
            _rows(),
            *(
                _after(f"{window}_end", f"{window}_start", f"the {window} window ends after it starts")
                for window in ("train", "calibrate", "test")
            ),
            _one_of("purged", [True], "windows are a label's span apart"),
        ),
        {
            "purged": "calibrate_start >= train_end + to_seconds(purge_seconds) "
            "AND test_start >= calibrate_end + to_seconds(purge_seconds)"
        },
    ),
    "models.registry": (
        (_rows(), _after("train_end", "train_start", "the data it saw ends after it starts")),
        {},
    ),
    "models.shap_shares": (
        (
            _rows(),
            _between("share", 0.0, 1.0, "a share lies between 0 and 1"),
            _between("group_share", 0.0, 1.0, "a share lies between 0 and 1"),
            _between("worth", -1.0, 1.0, "a correlation lies between -1 and 1"),
        ),
        {},
    ),
    "predictions.out_of_sample": (
        (
            _rows(),
            _one_of("part", ["calibrate", "test"], "no forecast lies in a training window"),
            _between("p_up", 0.0, 1.0, "a probability lies between 0 and 1"),
            _between("base", 0.0, 1.0, "a probability lies between 0 and 1"),
            _at_least("q50", "q10", "quantiles do not cross"),
            _at_least("q90", "q50", "quantiles do not cross"),
            _between("scale", 0.0, None, "an expected size is not negative"),
        ),
        {},
    ),
    "predictions.calibrated": (
        (_rows(), *_prediction("confidence"), _at_least("upper", "lower", "an interval is not empty")),
        {},
    ),
    "predictions.live": (_prediction("confidence"), {}),
    "portfolio.risk_budget": ((_between("weight", -1.0, 1.0, "no position exceeds the account"),), {}),
    "portfolio.target_positions": (
        (
            _between("weight", -1.0, 1.0, "no position exceeds the account"),
            _between("confidence", 0.0, 1.0, "a probability lies between 0 and 1"),
            _one_of("direction", [-1, 0, 1], "a direction is a sign"),
            _one_of("tightened", [True], "sizes and limits only ever lower a position"),
        ),
        {"tightened": "method = 'previous' OR abs(weight) <= greatest(abs(allocated), abs(held)) + 1e-9"},
    ),
    "trading.paper_ledger": (
        (
            _one_of("kind", ["fill", "funding", "lapsed", "delisted", "ruined"], "the event is known"),
            *(_between(cost, 0.0, None, f"{cost} is not negative") for cost in ("fee", "slippage")),
            _between("price", 0.0, None, "a price is positive", strict_min=True),
            _at_least("ts", "decided_at", "nothing is filled before it was decided"),
        ),
        {},
    ),
    "trading.attempt_ledger": (
        (
            _between("alpha", 0.0, 1.0, "a level lies between 0 and 1"),
            _between("searched", 1, None, "an attempt looks at something"),
        ),
        {},
    ),
    "trading.equity": (
        (
            _rows(),
            *(
                _between(cost, 0.0, None, f"{cost} is not negative")
                for cost in ("turnover", "fees", "slippage", "exposure")
            ),
            _between("net_return", -1.0, None, "no more than everything is lost"),
        ),
        {},
    ),
    "trading.trades": (
        (
            _one_of("side", [-1, 1], "a trade has a side"),
            _after("exit_ts", "entry_ts", "a trade ends after it begins"),
            *(
                _between(size, 0.0, None, f"{size} is positive", strict_min=True)
                for size in ("entry_price", "exit_price", "quantity")
            ),
            _between("error", None, 1e-6, "what is left is the gross result less all costs"),
        ),
        {"error": "abs(net_pnl - (gross_pnl - fees - slippage - funding)) / greatest(1, abs(gross_pnl))"},
    ),
}
