"""Group ``evaluation``: what the decisions would have earned, net of costs, beside simple alternatives."""

# No postponed annotations here: Dagster wants the class of `context` itself, not its name.
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from engine_assets.journal import CURRENT_BOOK
from engine_assets.table_asset import asset_key, picture, stored, table_specs
from resources.settings import Settings
from resources.table import Column, Table
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from engine.evaluation.backtest import BacktestResult

__all__ = [
    "BACKTEST_REPORT",
    "EQUITY",
    "METRICS",
    "STRATEGY",
    "TABLES",
    "TRADES",
    "backtests",
    "ledger_agrees",
]

STRATEGY = "engine"
_HOLD = "buy and hold"

_STRATEGY_COLUMNS = (
    Column("strategy", "VARCHAR", "The strategy, or a baseline."),
    Column("position", "BIGINT", "Order in which people look at them; the strategy is 0."),
)
EQUITY = Table(
    "trading",
    "equity",
    "Equity bar by bar over the test windows, net of fees, slippage and funding; it starts at 1.",
    (
        *_STRATEGY_COLUMNS,
        Column("ts", "TIMESTAMP", "Open of the bar, UTC."),
        Column("equity", "DOUBLE", "Value of the account over its value at the start."),
        Column("gross_return", "DOUBLE", "Return of the bar from prices alone."),
        Column("net_return", "DOUBLE", "Return of the bar after all costs."),
        Column("turnover", "DOUBLE", "Value traded over equity."),
        Column("fees", "DOUBLE", "Quote units paid at this bar."),
        Column("slippage", "DOUBLE", "Quote units lost at this bar."),
        Column("funding", "DOUBLE", "Quote units paid at this bar; negative is received."),
        Column("exposure", "DOUBLE", "Sum of absolute positions over equity."),
    ),
    ("strategy", "ts"),
)
TRADES = Table(
    "trading",
    "trades",
    "Every stretch of time that a symbol was held on one side.",
    (
        *_STRATEGY_COLUMNS,
        Column("symbol", "VARCHAR", "Pair."),
        Column("entry_ts", "TIMESTAMP", "Open of the bar of the first fill, UTC."),
        Column(
            "exit_ts", "TIMESTAMP", "Open of the bar of the last fill; missing while open.", nullable=True
        ),
        Column("side", "BIGINT", "1 long, -1 short."),
        Column("entry_price", "DOUBLE", "Average over all entries, before costs."),
        Column("exit_price", "DOUBLE", "Average over all exits; missing while open.", nullable=True),
        Column("quantity", "DOUBLE", "All that was entered, base units."),
        Column("gross_pnl", "DOUBLE", "Quote units, before costs."),
        Column("fees", "DOUBLE", "Quote units."),
        Column("slippage", "DOUBLE", "Quote units."),
        Column("funding", "DOUBLE", "Quote units; negative is received."),
        Column("net_pnl", "DOUBLE", "Quote units, after all costs."),
    ),
)
METRICS = Table(
    "trading",
    "metrics",
    "Figures on daily net returns with 95 % bootstrap intervals, and differences to the baselines.",
    (
        *_STRATEGY_COLUMNS,
        Column("metric", "VARCHAR", "Name; 'x minus BASELINE' is the paired difference to a baseline."),
        Column("value", "DOUBLE", "Point estimate.", nullable=True),
        Column("low", "DOUBLE", "Lower end of the interval.", nullable=True),
        Column("high", "DOUBLE", "Upper end of the interval.", nullable=True),
    ),
    ("strategy", "metric"),
)
BACKTEST_REPORT = Table(
    "trading",
    "backtest_report",
    "Tear sheet of the strategy as a page that loads nothing from elsewhere.",
    (
        Column("strategy", "VARCHAR", "The strategy."),
        Column("html", "VARCHAR", "The page; the same is among the reports."),
    ),
    ("strategy",),
)
TABLES = (EQUITY, TRADES, METRICS, BACKTEST_REPORT)
_INPUTS = (
    "portfolio.target_positions",
    "trading.decisions",
    "trading.books",
    "staging.candles",
    "staging.alternative",
)
_CODE_VERSION = "2"


@dg.multi_asset(
    name="backtests",
    specs=table_specs(TABLES, deps=_INPUTS, group="evaluation", code_version=_CODE_VERSION, kinds={"numba"}),
)
def backtests(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult]:
    """Run the target weights and three baselines through the same market; spot holdings pay no funding."""
    import polars as pl

    from engine.evaluation import baselines
    from engine.evaluation.backtest import backtest
    from engine.evaluation.costs import Costs
    from engine.evaluation.panel import funding_panel, panel_from_candles, weights_panel
    from engine.plots import equity_and_drawdown

    inputs = warehouse.versions(_INPUTS)
    orders = warehouse.frame(
        f"SELECT symbol, ts, weight FROM portfolio.target_positions WHERE ordered AND book = {CURRENT_BOOK}"  # noqa: S608
    )
    candles = warehouse.frame(
        f"""
        SELECT symbol, ts, open, close, volume FROM staging.candles
        WHERE ts >= (SELECT min(ts) FROM trading.decisions WHERE book = {CURRENT_BOOK}) ORDER BY symbol, ts
        """  # noqa: S608
    )
    panel = panel_from_candles(candles, settings.bar_duration)
    funding = funding_panel(
        warehouse.frame(
            "SELECT * FROM staging.alternative WHERE series = 'funding_rate' AND value IS NOT NULL"
        ),
        panel,
    )
    costs = Costs(settings.costs.fee_bps, settings.costs.half_spread_bps, settings.costs.impact_bps)
    targets = {
        STRATEGY: weights_panel(orders, panel),
        _HOLD: baselines.buy_and_hold(panel),
        "volatility-targeted hold": baselines.volatility_targeted_hold(panel),
        "flat": baselines.flat(panel),
    }
    # Coins that are bought and kept pay no funding; charged to them, it would pile up as debt.
    results = {
        name: backtest(
            panel,
            target,
            costs=costs,
            funding=None if name == _HOLD else funding,
            capital=settings.costs.capital,
        )
        for name, target in targets.items()
    }
    made = {
        EQUITY: _stacked({n: _relative(r) for n, r in results.items()}),
        TRADES: _stacked({n: r.trades for n, r in results.items()}),
        METRICS: _metrics(results, settings),
    }
    page = _tear_sheet(results, settings)
    sheets = [(STRATEGY, page.read_text(encoding="utf-8"))] if page else []
    made[BACKTEST_REPORT] = pl.DataFrame(sheets, BACKTEST_REPORT.polars_schema, orient="row")
    made = {table: table.of(frame) for table, frame in made.items()}
    curves = {n: r.equity["equity"].to_numpy() / r.capital for n, r in results.items()}
    drawn = equity_and_drawdown(
        results[STRATEGY].equity["ts"].to_list(), curves, "Out-of-sample equity, net of all costs"
    )
    closed = made[TRADES].filter((pl.col("strategy") == STRATEGY) & pl.col("exit_ts").is_not_null())
    facts: dict[Table, dict[str, Any]] = {
        EQUITY: {"equity and drawdown": picture(drawn)},
        TRADES: {
            "closed trades": closed.height,
            "share won": float((closed["net_pnl"] > 0).to_numpy().mean()) if closed.height else 0.0,
            "net result": float(closed["net_pnl"].sum()),
        },
        METRICS: {"figures": _grid(made[METRICS])},
        BACKTEST_REPORT: {"tear sheet": dg.MetadataValue.path(str(page)) if page else "too few days"},
    }
    yield from stored(context, warehouse, settings, made, inputs, _CODE_VERSION, facts)


@dg.asset_check(
    asset=asset_key(EQUITY.full_name),
    additional_deps=[asset_key("trading.paper_ledger"), asset_key("trading.decisions")],
    name="agrees_with_paper_account",
    description="The paper account, carried from day to day, is worth what a backtest of its orders says.",
)
def ledger_agrees(warehouse: Warehouse, settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    """Two accounts of the same orders: event by event, and all bars at once.

    On a live market orders that were placed late were filled late, and the two may differ by that.
    """
    from engine_assets.journal import last_decision

    book = warehouse.frame("SELECT arg_max(book, used_at) FROM trading.books").item()
    last = last_decision(warehouse, book)
    if last is None or last.book.account.clock is None:
        return dg.AssetCheckResult(passed=True, metadata={"note": "nothing was traded yet"})
    account = last.book.account
    worth = warehouse.frame(
        "SELECT equity FROM trading.equity WHERE strategy = ? AND ts = ?", [STRATEGY, account.clock]
    )
    known = worth["equity"][0] * settings.costs.capital if worth.height else None
    return dg.AssetCheckResult(
        passed=known is not None and abs(account.equity - known) <= 1e-6 * settings.costs.capital,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "paper account": account.equity,
            "backtest": "no such bar" if known is None else known,
            "at": str(account.clock),
        },
    )


def _tear_sheet(results: "dict[str, BacktestResult]", settings: Settings) -> "Path | None":
    """Write the page and return where it is; None if there are too few days to show."""
    from engine.errors import NotEnoughDataError
    from engine.evaluation.tear_sheet import tear_sheet

    others = {name: result for name, result in results.items() if name not in (STRATEGY, "flat")}
    try:
        page = tear_sheet(
            results[STRATEGY],
            "Out of sample, net of all costs",
            baselines=others,
            draws=settings.work.bootstrap_draws,
            seed=settings.seed,
        )
    except NotEnoughDataError:
        return None
    path = settings.reports / "tear_sheet.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path.absolute()


def _relative(result: "BacktestResult") -> "pl.DataFrame":
    """Equity over the capital at the start."""
    import polars as pl

    return result.equity.with_columns(pl.col("equity") / result.capital)


def _stacked(frames: dict[str, "pl.DataFrame"]) -> "pl.DataFrame":
    import polars as pl

    return pl.concat(
        frame.with_columns(strategy=pl.lit(name), position=pl.lit(i, pl.Int64))
        for i, (name, frame) in enumerate(frames.items())
    )


def _metrics(results: dict[str, "BacktestResult"], settings: Settings) -> "pl.DataFrame":
    """Figures with intervals of each strategy, and paired differences of the strategy to each baseline."""
    import polars as pl

    from engine.evaluation.metrics import metric_intervals, paired_intervals

    draws, seed = settings.work.bootstrap_draws, settings.seed
    daily = {name: result.daily() for name, result in results.items()}
    returns = {name: frame["net_return"].to_numpy() for name, frame in daily.items()}
    frames = {
        name: metric_intervals(
            returns[name],
            means={m: daily[name][m].to_numpy() for m in ("turnover", "exposure")},
            draws=draws,
            seed=seed,
        )
        for name in results
    }
    differences = [
        paired_intervals(returns[STRATEGY], returns[name], draws=draws, seed=seed).with_columns(
            pl.col("metric") + f" minus {name}"
        )
        for name in results
        if name != STRATEGY
    ]
    frames[STRATEGY] = pl.concat([frames[STRATEGY], *differences], how="vertical_relaxed")
    return _stacked(frames)


def _grid(metrics: "pl.DataFrame") -> dg.MetadataValue:
    rows = [
        dg.TableRecord({"strategy": s, "metric": m, "value": str(v), "low": str(low), "high": str(high)})
        for s, m, v, low, high in metrics.select("strategy", "metric", "value", "low", "high").iter_rows()
    ]
    return dg.MetadataValue.table(rows)
