"""Group ``portfolio``: from predictions to orders, day after day, in a paper account that is carried along.

One step makes the tables together, because a decision depends on what the account holds and the account on
the decisions before. All are append-only: what was once decided stays as it was.
"""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from engine_assets import journal
from engine_assets.journal import ARTIFACTS, BOOKS, DECISIONS
from engine_assets.signals import SIGNAL_TABLES, closes, signals, views
from engine_assets.table_asset import picture, stored, table_specs
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from engine.portfolio.decide import DecisionConfig
    from engine.portfolio.paper_trading import Market, TradingDay

__all__ = [
    "LEDGER",
    "REASONS",
    "RISK_BUDGET",
    "TABLES",
    "TARGETS",
    "decision_config",
    "market",
    "paper_trading",
    "prices_and_funding",
]

_DECISION = (
    Column("book", "VARCHAR", "Paper account that it belongs to."),
    Column("ts", "TIMESTAMP", "Open of the decision bar, UTC."),
    Column("decided_at", "TIMESTAMP", "Close of the decision bar, UTC."),
    Column("symbol", "VARCHAR", "Pair."),
)
RISK_BUDGET = Table(
    "portfolio",
    "risk_budget",
    "What the optimiser would hold inside the risk budget, before sizes and limits.",
    (
        *_DECISION,
        Column("weight", "DOUBLE", "Fraction of equity; negative is short."),
        Column("risk_share", "DOUBLE", "Share of the portfolio's variance.", nullable=True),
        Column("dropped", "VARCHAR", "Why it has no part in the budget.", nullable=True),
        Column("method", "VARCHAR", "Step of the fallback chain that gave the weights."),
    ),
    ("book", "ts", "symbol"),
)
TARGETS = Table(
    "portfolio",
    "target_positions",
    "What to hold from the next open on: decided at a day's close, ordered where the account differs.",
    (
        *_DECISION,
        Column("direction", "BIGINT", "Side predicted: 1 up, -1 down.", nullable=True),
        Column("confidence", "DOUBLE", "Calibrated lower bound of P(direction is right).", nullable=True),
        Column("gates_passed", "BOOLEAN", "Whether a position may be opened.", nullable=True),
        Column("allocated", "DOUBLE", "Weight inside the risk budget."),
        Column("sized", "DOUBLE", "The same after the position sizer.", nullable=True),
        Column("weight", "DOUBLE", "The same after the risk manager: what to hold, fraction of equity."),
        Column("held", "DOUBLE", "Fraction of equity held at the decision."),
        Column("ordered", "BOOLEAN", "Whether an order was placed."),
        Column("method", "VARCHAR", "Step of the fallback chain that gave the weights."),
        Column("reasons", "VARCHAR", "What vetoed, dropped or cut it."),
    ),
    ("book", "ts", "symbol"),
)
REASONS = Table(
    "portfolio",
    "decision_reasons",
    "Every gate, factor and limit of every decision, in the order in which they took effect.",
    (
        Column("book", "VARCHAR", "Paper account."),
        Column("decided_at", "TIMESTAMP", "Close of the decision bar, UTC."),
        Column("position", "BIGINT", "Order within the decision."),
        Column("symbol", "VARCHAR", "Pair; missing for what concerns all.", nullable=True),
        Column("stage", "VARCHAR", "gate, allocation, size or risk."),
        Column("name", "VARCHAR", "Which gate, step, factor or rule."),
        Column("value", "DOUBLE", "1 or 0 of a gate, a factor, or a weight that is left.", nullable=True),
        Column("reason", "VARCHAR", "Value and bound in words."),
    ),
    ("book", "decided_at", "position"),
)
LEDGER = Table(
    "trading",
    "paper_ledger",
    "Everything that happened to the paper account, at the opens that really came.",
    (
        Column("book", "VARCHAR", "Paper account."),
        Column("number", "BIGINT", "Line of the ledger, from 1."),
        Column("ts", "TIMESTAMP", "Open of the bar at which it happened, UTC."),
        Column("kind", "VARCHAR", "fill, funding, lapsed, delisted or ruined."),
        Column("symbol", "VARCHAR", "Pair; empty for what concerns the account."),
        Column("quantity", "DOUBLE", "Change of the position, base units."),
        Column("price", "DOUBLE", "Before costs.", nullable=True),
        Column("fee", "DOUBLE", "Quote units."),
        Column("slippage", "DOUBLE", "Quote units."),
        Column("funding", "DOUBLE", "Quote units paid; negative is received."),
        Column("position", "DOUBLE", "Held afterwards, base units."),
        Column("equity", "DOUBLE", "Of the account afterwards, quote units."),
        Column("note", "VARCHAR", "Which order, rate or reason."),
        Column(
            "decided_at", "TIMESTAMP", "When the order was decided, if there was one, UTC.", nullable=True
        ),
    ),
    ("book", "number"),
)
TABLES = (RISK_BUDGET, TARGETS, REASONS, LEDGER, ARTIFACTS, DECISIONS, BOOKS)
_CODE_VERSION = "1"
_INPUTS = (
    *SIGNAL_TABLES,
    "staging.candles",
    "staging.alternative",
    "models.registry",
    "models.calibrators",
)


def decision_config(settings: Settings) -> "DecisionConfig":
    """Thresholds of the run: the gate profile and the costs come from the settings."""
    from engine.portfolio.allocation import PortfolioConfig
    from engine.portfolio.decide import DecisionConfig
    from engine.portfolio.gate_profiles import PROFILES

    portfolio = PortfolioConfig(cost_bps=settings.costs.fill_bps)
    return DecisionConfig(gates=PROFILES[settings.gates], portfolio=portfolio)


def prices_and_funding(warehouse: Warehouse, since: datetime) -> "tuple[pl.DataFrame, pl.DataFrame]":
    """Bars from a moment on, and the funding that falls due in them."""
    candles = warehouse.frame(
        "SELECT symbol, ts, open, close, volume FROM staging.candles WHERE ts >= ? ORDER BY symbol, ts",
        [since],
    )
    funding = warehouse.frame(
        "SELECT * FROM staging.alternative "
        "WHERE series = 'funding_rate' AND value IS NOT NULL AND ts >= ? - INTERVAL 1 DAY",
        [since],
    )
    return candles, funding


def market(candles: "pl.DataFrame", funding: "pl.DataFrame", settings: Settings) -> "Market":
    """Lay bars and funding out for the paper broker, with the costs of the settings."""
    from engine.evaluation.costs import Costs
    from engine.evaluation.panel import funding_panel, panel_from_candles
    from engine.portfolio.paper_trading import Market

    panel = panel_from_candles(candles, settings.bar_duration)
    price = settings.costs
    costs = Costs(price.fee_bps, price.half_spread_bps, price.impact_bps)
    return Market(panel, funding_panel(funding, panel), costs)


@dg.multi_asset(
    name="paper_trading",
    specs=table_specs(TABLES, deps=_INPUTS, group="portfolio", code_version=_CODE_VERSION, kinds={"skfolio"}),
)
def paper_trading(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult]:
    """Decide each day that was not decided yet, fill at the opens that came, and write down why.

    Recorded and simulated markets are replayed day by day. On a live market only the newest day is decided:
    for a day that was missed nothing can be ordered any more, but what was held then is carried through it.
    """
    import polars as pl

    from engine.evaluation.paper_broker import Account
    from engine.portfolio.paper_trading import Book, trade_days

    inputs = warehouse.versions(_INPUTS)
    now = datetime.now(UTC).replace(tzinfo=None) if settings.source == "exchange" else None
    name, config = journal.book_name(warehouse, settings, _CODE_VERSION), decision_config(settings)
    last = journal.last_decision(warehouse, name)
    rows = signals(warehouse, settings, last.ts if last else settings.first_moment, now)
    if now is not None and rows.height:
        rows = rows.filter(pl.col("decided_at") == pl.col("decided_at").max())
    made: dict[Table, pl.DataFrame] = {table: table.empty() for table in TABLES}
    days: list[TradingDay] = []
    if rows.height:
        book = last.book if last else Book(Account(settings.costs.capital))
        first: datetime = rows["decided_at"].min()  # type: ignore[assignment]
        applied = last.switch_orders if last else 0
        book, switch_orders = journal.switched(warehouse, name, book, applied, first)
        since = min(book.account.clock or first, first) - timedelta(days=1)
        venue = market(*prices_and_funding(warehouse, since), settings)
        history = closes(warehouse, settings, first - timedelta(days=config.portfolio.window + 2))
        fill_at = journal.next_open(now, settings.bar_duration) if now else None
        for day in trade_days(book, venue.panel.symbols, views(rows), history, venue, config, fill_at):
            days.append(day)
            if len(days) % 250 == 0:
                context.log.info("%s days decided, now at %s", len(days), day.decided_at)
        made |= _frames(days, name, last, settings)
        made[ARTIFACTS] = journal.artifacts(warehouse, rows["fold"].unique().to_list())
        made[DECISIONS] = journal.lines(
            days, rows, name, last, config, inputs, context.run.run_id, switch_orders, warehouse
        )
    used = (context.run.run_id, name, datetime.now(UTC).replace(tzinfo=None))
    made[BOOKS] = pl.DataFrame([used], BOOKS.polars_schema, orient="row")
    yield from stored(
        context,
        warehouse,
        settings,
        made,
        inputs,
        _CODE_VERSION,
        lambda: {table: {"book": name, **_shown(table, warehouse, name)} for table in TABLES},
        append_only=TABLES,
    )


def _frames(
    days: "list[TradingDay]", name: str, last: "journal.LastDecision | None", settings: Settings
) -> "dict[Table, pl.DataFrame]":
    """Rows of the budget, the targets, the reasons and the ledger."""
    import polars as pl

    budget, targets, reasons, ledger = [], [], [], []
    number = last.ledger_lines if last else 0
    for day in days:
        moment = {"book": name, "ts": day.decided_at - settings.bar_duration, "decided_at": day.decided_at}
        for event in day.events:
            number += 1
            ledger.append({"book": name, "number": number, **vars(event)})
        told = day.decision.reasons()
        reasons.append(
            told.drop("day")
            .with_row_index("position")
            .with_columns(
                pl.col("position").cast(pl.Int64), book=pl.lit(name), decided_at=pl.lit(day.decided_at)
            )
        )
        against = _against(told)
        allocation = day.decision.allocation
        for row in day.decision.frame().iter_rows(named=True):
            symbol = row["symbol"]
            budget.append(
                {
                    **moment,
                    "symbol": symbol,
                    "weight": allocation.target[symbol],
                    "risk_share": allocation.risk_contributions.get(symbol),
                    "dropped": allocation.dropped.get(symbol),
                    "method": allocation.method,
                }
            )
            targets.append(
                {
                    **moment,
                    **{k: row[k] for k in ("symbol", "direction", "confidence", "gates_passed")},
                    **{k: row[k] for k in ("allocated", "sized", "weight", "method")},
                    "held": row["current"],
                    "ordered": symbol in day.orders,
                    "reasons": "; ".join(against.get(symbol, [])),
                }
            )
    return {
        RISK_BUDGET: pl.DataFrame(budget, schema=RISK_BUDGET.polars_schema),
        TARGETS: pl.DataFrame(targets, schema=TARGETS.polars_schema),
        REASONS: REASONS.of(pl.concat(reasons)),
        LEDGER: pl.DataFrame(ledger, schema=LEDGER.polars_schema),
    }


def _against(told: "pl.DataFrame") -> dict[str, list[str]]:
    """Reasons by symbol that kept, cut or dropped it."""
    found: dict[str, list[str]] = {}
    for row in told.iter_rows(named=True):
        vetoed = row["stage"] == "gate" and row["value"] == 0.0
        cut = row["stage"] == "risk" or (row["stage"] == "size" and row["value"] < 1.0)
        if row["symbol"] is not None and (vetoed or cut or row["stage"] == "allocation"):
            found.setdefault(row["symbol"], []).append(row["reason"])
    return found


def _shown(table: Table, warehouse: Warehouse, name: str) -> dict[str, Any]:
    """Figures and pictures of a table's page."""
    from engine.plots import equity_and_drawdown, risk_contributions, weights_over_time

    if table is TARGETS:
        rows = warehouse.frame(
            "SELECT ts, symbol, weight FROM portfolio.target_positions WHERE book = ? ORDER BY ts, symbol",
            [name],
        )
        if rows.is_empty():
            return {"note": "no decision: no signal falls on a midnight"}
        wide = rows.pivot(on="symbol", index="ts", values="weight", sort_columns=True).sort("ts")
        held = {s: wide[s].fill_null(0.0).to_numpy() for s in wide.columns[1:]}
        invested = sum(abs(values) for values in held.values())
        return {
            "weights over time": picture(
                weights_over_time(wide["ts"].to_list(), held, "Target weights; the rest is cash")
            ),
            "decisions": wide.height,
            "mean exposure": float(invested.mean()),  # type: ignore[union-attr]
            "share of days in cash": float((invested == 0).mean()),  # type: ignore[union-attr]
        }
    if table is RISK_BUDGET:
        newest = warehouse.frame(
            "SELECT * FROM portfolio.risk_budget WHERE book = $1 "
            "AND ts = (SELECT max(ts) FROM portfolio.risk_budget WHERE book = $1) ORDER BY abs(weight) DESC",
            [name],
        )
        if newest.is_empty():
            return {}
        title = f"Risk budget, decided at {newest['decided_at'][0]:%Y-%m-%d %H:%M} UTC"
        shares = newest["risk_share"].fill_null(0.0).to_numpy()
        drawn = risk_contributions(newest["symbol"].to_list(), newest["weight"].to_numpy(), shares, title)
        return {"newest budget": picture(drawn)}
    if table is LEDGER:
        lines = warehouse.frame(
            "SELECT ts, equity, kind FROM trading.paper_ledger WHERE book = ? ORDER BY number", [name]
        )
        if lines.is_empty():
            return {"note": "nothing was filled yet"}
        curve = {"paper account": lines["equity"].to_numpy() / lines["equity"][0]}
        drawn = equity_and_drawdown(lines["ts"].to_list(), curve, "Paper account, net of all costs")
        counts = dict(lines["kind"].value_counts().sort("kind").iter_rows())
        return {"equity": picture(drawn), "lines": str(counts)}
    return {}
