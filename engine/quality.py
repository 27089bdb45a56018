"""Great Expectations without a project directory: a frame and rules in, a plain report out."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    from great_expectations.render.view import DefaultJinjaPageView

__all__ = ["Report", "Row", "Rule", "data_docs_html", "validate"]


@dataclass(frozen=True)
class Rule:
    """One expectation as data, so that a suite can be written down without importing the library.

    Parameters
    ----------
    expectation : str
        Name in Great Expectations, ``expect_column_values_to_be_between``.
    arguments : mapping
        Its arguments, ``{"column": "close", "min_value": 0}``.
    meaning : str
        What it demands, in words; shown instead of the library's text.
    """

    expectation: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    meaning: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that the rule looks at."""
        single = [self.arguments[key] for key in ("column", "column_A", "column_B") if key in self.arguments]
        return (*single, *self.arguments.get("column_list", ()))


@dataclass(frozen=True)
class Row:
    """Outcome of one rule; ``bad_percent`` is the share of the values that break it, in percent."""

    rule: str
    column: str
    ok: bool
    bad_percent: float
    observed: str


@dataclass(frozen=True)
class Report:
    """Outcome of all rules on one frame."""

    name: str
    ok: bool
    rows: tuple[Row, ...]
    raw: dict[str, Any] = field(repr=False)
    result: Any = field(repr=False, compare=False)

    @property
    def failed(self) -> int:
        """Number of rules that were broken."""
        return sum(not row.ok for row in self.rows)

    def summary(self) -> str:
        """Say in words what was broken, the worst rule first."""
        broken = sorted((row for row in self.rows if not row.ok), key=lambda row: -row.bad_percent)
        if not broken:
            return f"all {len(self.rows)} rules hold"
        said = "; ".join(
            f"{row.rule} ({row.column}: {row.bad_percent:.3g} % of rows, such as {row.observed})"
            for row in broken
        )
        return f"{len(broken)} of {len(self.rows)} rules are broken: {said}"

    def markdown(self) -> str:
        """Table of the rules, those that were broken first."""
        head = "| | rule | column | bad % | observed |\n|---|---|---|---|---|\n"
        return head + "\n".join(
            f"| {'✅' if row.ok else '❌'} | {_cell(row.rule)} | {_cell(row.column)} "
            f"| {row.bad_percent:.3g} | {_cell(row.observed)} |"
            for row in sorted(self.rows, key=lambda row: row.ok)
        )


def validate(frame: pd.DataFrame | pl.DataFrame, name: str, expectations: Sequence[Rule]) -> Report:
    """Check a frame against rules.

    Parameters
    ----------
    frame : pandas.DataFrame or polars.DataFrame
        The rows; a Polars frame is converted, which the library cannot read itself.
    name : str
        Name of the suite, shown in the report.
    expectations : sequence of Rule
        What must hold.

    Returns
    -------
    Report
        One row per rule.

    Raises
    ------
    RuntimeError
        If a rule could not be computed, such as one on a column that is not there: that is a mistake in
        the suite and never counts as bad data.
    ValueError
        If no rule is given or the library has no such expectation.
    """
    if not expectations:
        raise ValueError(f"{name}: no expectations, so the check would pass whatever the data are")
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx
    import pandas as pd
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    rows = frame if isinstance(frame, pd.DataFrame) else frame.to_pandas()
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        progress_bars=ProgressBarsConfig(globally=False),
    )  # the library's own default leaves a temporary folder behind at every call
    context = gx.get_context(mode="ephemeral", project_config=config)
    asset = context.data_sources.add_pandas("frame").add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch(batch_parameters={"dataframe": rows})
    suite = gx.ExpectationSuite(name, expectations=[_expectation(rule) for rule in expectations])
    result = batch.validate(suite, result_format="BASIC")
    if not result.success:  # how often each bad value occurs takes a third longer, and good data have none
        result = batch.validate(suite, result_format="SUMMARY")
    for outcome in result.results:
        outcome.success, outcome.result = bool(outcome.success), _plain(outcome.result)
    result.success = bool(result.success)
    crashed = [message for outcome in result.results for message in _raised(outcome.exception_info)]
    if crashed:
        raise RuntimeError(f"{name}: {len(crashed)} expectations could not be computed: {crashed[0]}")
    outcomes = tuple(_row(outcome) for outcome in result.results)
    return Report(name, result.success, outcomes, result.to_json_dict(), result)


def data_docs_html(report: Report) -> str:
    """Render a report as one Data Docs page that needs no other file and no network."""
    from great_expectations.render.renderer import ValidationResultsPageRenderer

    page = _view().render(ValidationResultsPageRenderer().render(report.result))
    for foreign in (
        r"<script\b.*?</script>",
        r"<link\b[^>]*>",
        r"<nav\b.*</nav>",
        r"<footer\b.*?</footer>",
        r"<img\b[^>]*>",
        r"url\(['\"]?https?:[^)]*\)",
    ):
        page = re.sub(foreign, "", page, flags=re.DOTALL)
    page = re.sub(r'<a\b[^>]*href="(?!#)[^"]*"[^>]*>(.*?)</a>', r"\1", page, flags=re.DOTALL)
    title = f"<title>Data quality: {report.name}</title><style>{_STYLE}</style>"
    page = re.sub(r"<title>.*?</title>", "", page, flags=re.DOTALL)
    return page.replace("</head>", f"{title}</head>", 1)


@cache
def _view() -> DefaultJinjaPageView:
    """Keep the library's templates, which take long to compile, for the whole process."""
    from great_expectations.render.view import DefaultJinjaPageView

    return DefaultJinjaPageView()


_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1f2933}
table{border-collapse:collapse;width:100%}td,th{border:1px solid #cbd2d9;padding:.3rem .6rem;text-align:left}
.badge{background:#e4e7eb;border-radius:3px;padding:0 .3rem}.modal,[hidden]{display:none}
.fa-check-circle::before{content:"\\2714";color:#1b7f3b}.fa-times::before{content:"\\2718";color:#b91c1c}
"""


def _expectation(rule: Rule) -> Any:
    """Build the library's object for a rule."""
    import great_expectations.expectations as gxe

    made = getattr(gxe, "".join(part.title() for part in rule.expectation.split("_")), None)
    if made is None:
        raise ValueError(f"{rule.expectation!r} is no expectation of Great Expectations")
    return made(**rule.arguments, description=rule.meaning or None)


def _row(outcome: Any) -> Row:
    """Outcome of one expectation as a row."""
    config = outcome.expectation_config
    rule = Rule(config.type, config.kwargs)
    partial = outcome.result.get("partial_unexpected_list") or []
    seen = outcome.result.get("observed_value", ", ".join(map(str, partial[:3])) or "-")
    return Row(
        rule=config.description or config.type.removeprefix("expect_"),
        column=", ".join(rule.columns) or "-",
        ok=outcome.success,
        bad_percent=float(outcome.result.get("unexpected_percent") or 0.0),
        observed=str(seen),
    )


def _plain(value: Any) -> Any:
    """Replace NumPy scalars, which break JSON and the Data Docs renderer."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if type(value).__module__ == "numpy" and hasattr(value, "item") and value.ndim == 0:
        return value.item()
    return value


def _raised(info: Mapping[str, Any]) -> list[str]:
    """Messages of the exceptions behind an outcome; the library nests them per metric."""
    parts = [info, *(part for part in info.values() if isinstance(part, dict))]
    return [str(part.get("exception_message")) for part in parts if part.get("raised_exception")]


def _cell(text: str) -> str:
    """Text that does not break a markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")
