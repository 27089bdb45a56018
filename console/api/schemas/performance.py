"""What the live algorithm earned, and what its confidence was worth."""

from __future__ import annotations

from pydantic import Field

from console.api.schemas.wire import ActionName, Missing, Moment, Wire, example

__all__ = [
    "CAVEAT",
    "Bin",
    "Calibration",
    "DecisionRow",
    "Estimate",
    "Performance",
    "Point",
    "SymbolRow",
    "Symbols",
    "VersionPerformance",
]

CAVEAT = (
    "Confidence is no probability: it says how far beyond its thresholds an entry was. The bins show what "
    "share of such entries gained; they lie on the diagonal only by chance."
)


class Estimate(Wire):
    """A figure with a 95 % interval; null where it is not defined."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    unit: str


class Point(Wire):
    """The account at the close of a bar."""

    ts: Moment
    equity: float = Field(description="Over what the account began with.")
    drawdown: float = Field(description="Fall from its high, a fraction.")
    exposure: float | None = Field(description="Size of the position with its side.")


class Bin(Wire):
    """Entries of about the same confidence."""

    confidence: float = Field(description="Mean of them.")
    gained: float = Field(description="Share that gained.")
    low: float = Field(description="Lower bound of that share, 95 %.")
    high: float
    trades: int


class Calibration(Wire):
    """What came of entries, by the confidence they were decided with."""

    bins: list[Bin]
    trades: int
    error: float | None = Field(description="Mean distance between confidence and share that gained.")
    caveat: str = CAVEAT


class VersionPerformance(Wire):
    """Trades that were decided with one version of the parameters."""

    version: int = Field(description="0: the defaults.")
    trades: int
    win_rate: float | None
    low: float | None = Field(description="Lower bound of the win rate, 95 %.")
    high: float | None
    net_return: float = Field(description="Sum over its trades, of the equity at each entry.")
    costs: float = Field(description="Fees, slippage and funding, likewise.")
    first: Moment
    last: Moment


class Performance(Wire):
    """A live account."""

    model_config = example(
        symbol="BTC/USDT", start="2025-04-25T00:00:00Z", end="2025-06-23T23:00:00Z",
        equity=[{"ts": "2025-06-23T23:00:00Z", "equity": 1.012, "drawdown": 0.004, "exposure": 0.0}],
        figures=[{"name": "sharpe", "value": 1.1, "low": -0.9, "high": 3.0, "unit": "per year"}],
        calibration={"bins": [], "trades": 0, "error": None, "caveat": CAVEAT},
        versions=[], missing=[],
    )  # fmt: skip

    symbol: str = Field(description="all: the accounts of all symbols as one.")
    start: Moment | None
    end: Moment | None
    equity: list[Point] = Field(description="At most 1,000, the last one among them.")
    figures: list[Estimate]
    calibration: Calibration
    versions: list[VersionPerformance]
    missing: list[Missing]


class DecisionRow(Wire):
    """What the live algorithm decided at the close of a bar."""

    model_config = example(
        symbol="BTC/USDT", ts="2025-06-23T23:00:00Z", action="enter", kind="BREAKOUT", side=1, size=0.33,
        stop=0.015, target=0.03, confidence=0.61, reasons=["volatility 82 of 70"], version=3, scope="global",
        overridden=["costCapBps"], waits=[], experiment=None, arm=None,
    )  # fmt: skip

    symbol: str
    ts: Moment = Field(description="Open of the decision bar.")
    action: ActionName
    kind: str | None = Field(description="NEWS, BREAKOUT or REVERT.")
    side: int
    size: float | None
    stop: float | None
    target: float | None
    confidence: float | None = Field(description="Of an entry, 0 to 1; no probability.")
    reasons: list[str]
    version: int
    scope: str | None
    overridden: list[str]
    waits: list[str]
    experiment: str | None
    arm: str | None


class SymbolRow(Wire):
    """A symbol that is stored."""

    model_config = example(
        symbol="BTC/USDT", bars=12960, first="2024-01-01T00:00:00Z", last="2025-06-23T23:00:00Z",
        live=True, own_parameters=False,
    )  # fmt: skip

    symbol: str
    bars: int
    first: Moment
    last: Moment
    live: bool = Field(description="Whether the live algorithm has decided on it.")
    own_parameters: bool


class Symbols(Wire):
    """All symbols."""

    items: list[SymbolRow]
    missing: list[Missing]
