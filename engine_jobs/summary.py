"""What a person wants to know after a run: on the terminal, as a page, and as pictures."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as Grid

from engine_assets.agents import folds_staying_out
from resources.settings import Settings
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Section", "print_summary", "sections", "write_report"]


@dataclass(frozen=True)
class Section:
    """A titled table with a sentence that says how to read it."""

    title: str
    reading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def sections(warehouse: Warehouse) -> list[Section]:
    """Gather the figures of the newest run from the warehouse, all of one state of it."""
    with warehouse.read():
        return [
            _data_health(warehouse),
            _state(warehouse),
            _skill(warehouse),
            _coverage(warehouse),
            _money(warehouse),
            _evidence(warehouse),
            _agents(warehouse),
            _weights(warehouse),
        ]


def _data_health(warehouse: Warehouse) -> Section:
    rows = warehouse.frame(
        "SELECT symbol, bars, first_bar, last_bar, gaps, missing_bars, errors, warnings "
        "FROM marts.data_health ORDER BY symbol"
    )
    return Section(
        "Data health",
        "Findings are listed in raw.audit with their place and cause; nothing was repaired.",
        ("symbol", "bars", "first", "last", "gaps", "missing bars", "errors", "warnings"),
        [
            (r[0], f"{r[1]:,}", f"{r[2]:%Y-%m-%d}", f"{r[3]:%Y-%m-%d}", *map(str, r[4:]))
            for r in rows.iter_rows()
        ],
    )


_STATE_SQL = """
SELECT c.symbol, r.regime, r.p_panic, c.action, c.p_changepoint, t.p_transition, t.p_panic_entry,
    (SELECT max(known_at) FROM regimes.changepoint_alerts AS a WHERE a.symbol = c.symbol) AS alerted_at
FROM regimes.changepoints AS c
LEFT JOIN regimes.market_regimes AS r USING (symbol, ts)
LEFT JOIN regimes.transition_risk AS t USING (symbol, ts)
QUALIFY row_number() OVER (PARTITION BY c.symbol ORDER BY c.ts DESC) = 1 ORDER BY c.symbol
"""


def _state(warehouse: Warehouse) -> Section:
    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.1%}"

    def moment(at: datetime | None) -> str:
        return "-" if at is None else f"{at:%Y-%m-%d %H:%M}"

    rows = warehouse.frame(_STATE_SQL)
    return Section(
        "The market's state at the newest bar",
        "Filtered, never smoothed. Risks are of the next 24 bars; - is unknown, or PANIC already.",
        ("symbol", "regime", "P(PANIC)", "action", "P(change)", "P(left)", "P(PANIC next)", "last alert"),
        [
            (symbol, regime or "-", share(panic), action, *map(share, risks), moment(at))
            for symbol, regime, panic, action, *risks, at in rows.iter_rows()
        ],
    )


def _interval(value: float | None, low: float | None, high: float | None, form: str) -> tuple[str, str]:
    if value is None:
        return "-", "-"
    return format(value, form), "-" if low is None or high is None else f"{low:{form}} to {high:{form}}"


def _skill(warehouse: Warehouse) -> Section:
    rows = warehouse.frame("SELECT measure, value, low, high, count FROM predictions.skill ORDER BY position")
    return Section(
        "Skill, out of sample",
        "An interval of a gain over the base rate that holds 0 means: no skill shown.",
        ("measure", "value", "95 % interval", "predictions"),
        [(m, *_interval(v, low, high, ".4f"), f"{n:,}") for m, v, low, high, n in rows.iter_rows()],
    )


def _coverage(warehouse: Warehouse) -> Section:
    rows = warehouse.frame(
        "SELECT regime, measure, promised, value, low, high, count "
        "FROM predictions.coverage ORDER BY position"
    )
    return Section(
        "Calibration, out of sample",
        "A stated confidence should come true at least that often, in every regime.",
        ("regime", "measure", "promised", "measured", "95 % interval", "predictions"),
        [
            (r, m, "-" if p is None else f"{p:.0%}", *_interval(v, low, high, ".1%"), f"{n:,}")
            for r, m, p, v, low, high, n in rows.iter_rows()
        ],
    )


def _money(warehouse: Warehouse) -> Section:
    rows = warehouse.frame(
        "SELECT strategy, metric, value, low, high FROM trading.metrics "
        "WHERE metric IN ('annual_return', 'annual_volatility', 'sharpe', 'max_drawdown', 'turnover') "
        "ORDER BY position, metric"
    )
    return Section(
        "Backtest, out of sample, net of fees, slippage and funding",
        "Decided at the close, filled at the next open; all pay the same costs, spot holdings no funding.",
        ("strategy", "metric", "value", "95 % interval"),
        [
            (s, m.replace("_", " "), *_interval(v, low, high, ".3f"))
            for s, m, v, low, high in rows.iter_rows()
        ],
    )


def _evidence(warehouse: Warehouse) -> Section:
    rows = warehouse.frame("SELECT measure, value, reading FROM trading.overfitting_report ORDER BY position")
    asked = warehouse.frame(
        "SELECT number, searched, p_value, alpha, promoted FROM trading.attempt_ledger "
        "ORDER BY number DESC LIMIT 1"
    )
    lines = [(m, "-" if v is None else f"{v:.4g}", reading) for m, v, reading in rows.iter_rows()]
    for number, searched, p_value, alpha, promoted in asked.iter_rows():
        answer = "one alternative passes the gate" if promoted else "keep what is in force"
        p = "untested" if p_value is None else f"p = {p_value:.3g}"
        lines.append(
            ("promotion gate", answer, f"attempt {number}: {p} among {searched}, {alpha:.3g} allowed")
        )
    return Section(
        "Evidence",
        "What selection alone would have found, and whether another way to decide is better beyond it.",
        ("measure", "value", "reading"),
        lines,
    )


def _agents(warehouse: Warehouse) -> Section:
    contests = warehouse.frame(
        """
        SELECT fold, window_start, window_end, p_value, alpha, promoted, champion IS NOT NULL AS reigning
        FROM models.champion_agent ORDER BY number DESC LIMIT 3
        """
    )
    alarms = warehouse.frame(
        "SELECT fold, string_agg(symbol || ': ' || meaning, chr(10) ORDER BY symbol, name) AS said "
        "FROM trading.agent_health WHERE alarm GROUP BY fold"
    )
    said = dict.fromkeys(folds_staying_out(warehouse), "stays out: nothing pays") | dict(alarms.iter_rows())
    lines = []
    for fold, start, end, p_value, alpha, promoted, reigning in contests.iter_rows():
        answer = "new champion" if promoted else "the champion stays" if reigning else "no champion"
        p = "untested" if p_value is None else f"p = {p_value:.3g}, {alpha:.3g} allowed"
        lines.append((str(fold), f"{start:%Y-%m-%d} to {end:%Y-%m-%d}", answer, p, said.get(fold, "none")))
    return Section(
        "Agents",
        "An agent is champion once it beats the one before, or holding, on bars that neither learned from.",
        ("fold", "judged on", "contest", "evidence", "signs of collapse"),
        lines,
    )


def _weights(warehouse: Warehouse) -> Section:
    rows = warehouse.frame(
        "SELECT symbol, decided_at, direction, confidence, weight, risk_share, trade, reasons "
        "FROM portfolio.latest_weights ORDER BY abs(weight) DESC, symbol"
    )
    day = str(rows["decided_at"].max())[:16]
    return Section(
        f"Target weights, decided at {day} UTC",
        "Positive is long; the rest of the capital is cash.",
        ("symbol", "direction", "confidence", "weight", "share of risk", "trade", "why"),
        [
            (
                symbol,
                {1: "up", -1: "down"}.get(direction, "-"),
                "unknown" if confidence is None else f"{confidence:.1%}",
                f"{weight:+.2%}",
                f"{share:.1%}",
                f"{trade:+.2%}",
                reasons,
            )
            for symbol, _, direction, confidence, weight, share, trade, reasons in rows.iter_rows()
        ],
    )


def print_summary(
    console: Console, warehouse: Warehouse, settings: Settings, report: Path, seconds: float
) -> None:
    """Print the figures, and where to look next."""
    for section in sections(warehouse):
        grid = Grid(
            title=section.title, title_justify="left", caption=section.reading, caption_justify="left"
        )
        for i, name in enumerate(section.columns):
            grid.add_column(
                name, justify="left" if i == 0 or name in ("measure", "metric", "why") else "right"
            )
        for row in section.rows:
            grid.add_row(*row)
        console.print(grid)
    console.print(f"\n[bold]Done in {seconds:.0f} s.[/] Where to look next:")
    console.print(f"  pictures and these tables   {report}")
    console.print(f"  equity curve                {report.parent / 'equity.png'}")
    console.print("  graph, checks, lineage      make ui   then http://127.0.0.1:3000")
    console.print(f"  everything, in SQL          {warehouse.store.shell}", markup=False, soft_wrap=True)


def equity_picture(warehouse: Warehouse) -> bytes:
    """Equity and drawdown of the strategy and of its baselines."""
    from engine.plots import equity_and_drawdown

    paths = equity_paths(warehouse)
    curves = {name: paths[name].to_numpy() for name in paths.columns if name != "ts"}
    return equity_and_drawdown(paths["ts"].to_list(), curves, "Out-of-sample equity, net of all costs")


def equity_paths(warehouse: Warehouse) -> pl.DataFrame:
    """Equity by ts, one column a strategy, the strategy itself first."""
    return (
        warehouse.frame("SELECT strategy, ts, equity FROM trading.equity ORDER BY position, ts")
        .pivot(on="strategy", index="ts", values="equity")
        .sort("ts")
    )


def write_report(warehouse: Warehouse, settings: Settings) -> Path:
    """Write ``report.html``, complete in itself, and ``equity.png``; return the page."""
    from engine.figures import data_uri

    settings.reports.mkdir(parents=True, exist_ok=True)
    equity = equity_picture(warehouse)
    (settings.reports / "equity.png").write_bytes(equity)
    body = "".join(_html(section) for section in sections(warehouse))
    page = settings.reports / "report.html"
    page.write_text(
        _PAGE.format(equity=data_uri(equity), body=body, source=settings.source), encoding="utf-8"
    )
    return page


def _html(section: Section) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in section.columns)
    rows = "".join(
        f"<tr>{''.join(f'<td>{html.escape(value)}</td>' for value in row)}</tr>" for row in section.rows
    )
    return (
        f"<h2>{html.escape(section.title)}</h2><p>{html.escape(section.reading)}</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Engine: run report</title>
<style>
  body {{ font: 14px/1.5 system-ui, sans-serif; color: #1a202c }}
  body {{ max-width: 62rem; margin: 2rem auto; padding: 0 1rem }}
  h2 {{ margin: 2rem 0 .2rem }} p {{ margin: .2rem 0 .8rem; color: #4a5568 }} img {{ max-width: 100% }}
  table {{ border-collapse: collapse }}
  th, td {{ padding: .25rem .8rem; text-align: right; white-space: nowrap }}
  th {{ border-bottom: 2px solid #cbd5e0 }} td {{ border-bottom: 1px solid #e2e8f0 }}
  th:first-child, td:first-child, td:last-child {{ text-align: left; white-space: normal }}
</style></head><body>
<h1>Engine: run report</h1>
<p>Source: {source}. Every figure is out of sample.</p>
<img alt="Equity and drawdown" src="{equity}">
{body}
</body></html>
"""
