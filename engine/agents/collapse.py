"""Alarms for agents that stopped deciding: figures of how an agent acts beside the bounds they must keep.

Learning by reinforcement fails quietly. A policy that always does the same, trades for ever or never, leans
on one expert or holds what it bought may still show a fair return on one stretch of history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from engine.agents.collapse_config import CollapseConfig
from engine.errors import NotEnoughDataError

__all__ = [
    "Finding",
    "action_findings",
    "collapse_findings",
    "entropy_finding",
    "expert_findings",
    "findings_frame",
    "look_alike_findings",
    "option_findings",
    "turnover_findings",
]

Floats = NDArray[np.float64]

_COLUMNS = pl.Schema(
    {
        "name": pl.String(),
        "value": pl.Float64(),
        "bound": pl.Float64(),
        "alarm": pl.Boolean(),
        "meaning": pl.String(),
    }
)


@dataclass(frozen=True)
class Finding:
    """One figure beside its bound.

    Parameters
    ----------
    name : str
    value, bound : float
    alarm : bool
        Whether the value is on the wrong side of the bound; a value that is NaN is.
    meaning : str
        What it says of the agent if so.
    """

    name: str
    value: float
    bound: float
    alarm: bool
    meaning: str


def collapse_findings(
    decisions: pl.DataFrame, levels: int, config: CollapseConfig | None = None, *, options: Sequence[str] = ()
) -> list[Finding]:
    """Judge an agent by its decisions on bars it was not trained on.

    Parameters
    ----------
    decisions : polars.DataFrame
        One row for each bar, in order: ``level`` (index), ``position, run, growth, entropy`` (nats); with
        experts, the gate's weight of each in a column ``expert_NAME``; with options, ``option`` (index) and
        ``option_started`` (chosen anew on this bar).
    levels : int
        Target positions to choose from.
    config : CollapseConfig, optional
    options : sequence of str
        Names of the options, empty if there are none.

    Returns
    -------
    list of Finding
        All figures, those that alarm and those that do not. In a market without anything to earn, an agent
        that rightly stays flat alarms by its turnover and its distance to holding.

    Raises
    ------
    NotEnoughDataError
        With fewer decisions than `CollapseConfig.least_bars`.
    ValueError
        If a column does not hold what it should.
    """
    bounds = config or CollapseConfig()
    of = {name: decisions[name].to_numpy() for name in ("level", "position", "run", "growth", "entropy")}
    experts = [name for name in decisions.columns if name.startswith("expert_")]
    findings = [
        entropy_finding(of["entropy"], levels, bounds),
        *action_findings(of["level"], levels, bounds),
        *turnover_findings(of["position"], of["run"], bounds),
        *look_alike_findings(of["position"], of["growth"], bounds),
    ]
    if experts:
        names = [name.removeprefix("expert_") for name in experts]
        findings += expert_findings(decisions.select(experts).to_numpy(), bounds, names)
    if options:
        chosen, fresh = (decisions[name].to_numpy() for name in ("option", "option_started"))
        findings += option_findings(chosen, fresh, bounds, options)
    return findings


def entropy_finding(entropy: ArrayLike, levels: int, config: CollapseConfig) -> Finding:
    """Judge the entropy of the policy in each decision, nats, shape (n,), against that of `levels` equals."""
    values = _series(entropy, config)
    if levels < 2:
        raise ValueError(f"levels={levels} must be at least 2")
    return _at_least(
        "entropy",
        float(values.mean() / np.log(levels)),
        config.least_entropy,
        "the policy hardly varies any more: it stopped exploring, and no gradient will bring that back",
    )


def action_findings(level: ArrayLike, levels: int, config: CollapseConfig) -> list[Finding]:
    """Judge which of `levels` target positions were chosen, indices, shape (n,)."""
    chosen = np.asarray(level)
    _series(chosen, config)
    if chosen.min() < 0 or chosen.max() >= levels:
        raise ValueError(f"level {chosen.min()} to {chosen.max()} must be within 0 to {levels - 1}")
    share = np.bincount(chosen.astype(np.int64), minlength=levels) / chosen.size
    return [
        _at_most(
            "action_share",
            float(share.max()),
            config.most_action_share,
            f"level {int(share.argmax())} is chosen nearly always, whatever the market does",
        ),
        _at_least(
            "levels_used",
            float((share >= config.level_counts).sum()),
            config.least_levels,
            "too few levels are ever used",
        ),
    ]


def turnover_findings(position: ArrayLike, run: ArrayLike, config: CollapseConfig) -> list[Finding]:
    """Judge how much is traded: positions held, shape (n,), and the run of bars that each belongs to.

    Changes from one run to the next are no trades.
    """
    held, runs = _series(position, config), np.asarray(run)
    if runs.shape != held.shape:
        raise ValueError(f"run {runs.shape} and position {held.shape} must have one value for each bar")
    turnover = float(np.abs(np.diff(held))[np.diff(runs) == 0].mean())
    return [
        _at_least("turnover_low", turnover, config.least_turnover, "it never trades"),
        _at_most(
            "turnover_high",
            turnover,
            config.most_turnover,
            "it turns its position over all the time: costs decide its result",
        ),
    ]


def expert_findings(
    weights: ArrayLike, config: CollapseConfig, names: Sequence[str] | None = None
) -> list[Finding]:
    """Judge the gate's weights of E experts, shape (n, E), each row adding up to 1."""
    table = np.asarray(weights, np.float64)
    if table.ndim != 2 or table.shape[1] < 2 or not np.allclose(table.sum(axis=1), 1.0, atol=1e-3):
        raise ValueError(f"weights have shape {table.shape}; rows of at least 2 that add up to 1 are needed")
    _series(table[:, 0], config)
    called = list(names) if names is not None else [str(i) for i in range(table.shape[1])]
    share = table.mean(axis=0)
    return [
        _at_least(
            "expert_share_low",
            float(share.min()),
            config.least_expert_share,
            f"expert {called[int(share.argmin())]} is never asked: it learns nothing",
        ),
        _at_most(
            "expert_share_high",
            float(share.max()),
            config.most_expert_share,
            f"expert {called[int(share.argmax())]} decides alone",
        ),
        _at_least(
            "expert_spread",
            float(table.std(axis=0).max()),
            config.least_expert_spread,
            "the gate gives the same weights on every bar: the mixture is one network in parts",
        ),
    ]


def option_findings(
    option: ArrayLike, started: ArrayLike, config: CollapseConfig, names: Sequence[str]
) -> list[Finding]:
    """Judge the option in charge of each bar, indices, shape (n,), and whether it was chosen anew there.

    A mean duration is the bars in charge over the number of times chosen; an option that is never in charge
    alarms by its share alone.
    """
    chosen, fresh = np.asarray(option), np.asarray(started, dtype=bool)
    _series(chosen, config)
    if fresh.shape != chosen.shape or chosen.min() < 0 or chosen.max() >= len(names):
        raise ValueError(f"option must be indices into {[*names]} and started a flag for each")
    findings = []
    for index, name in enumerate(names):
        bars = int((chosen == index).sum())
        findings.append(
            _at_least(
                f"option_share_{name}", bars / chosen.size, config.least_option_share, f"{name} is not used"
            )
        )
        if bars:
            duration = bars / max(int(fresh[chosen == index].sum()), 1)
            findings += [
                _at_least(
                    f"option_bars_low_{name}",
                    duration,
                    config.least_option_bars,
                    f"{name} ends as soon as it begins: it is no more than an action",
                ),
                _at_most(
                    f"option_bars_high_{name}",
                    duration,
                    config.most_option_bars,
                    f"{name} never ends: choosing among options has stopped",
                ),
            ]
    return findings


def look_alike_findings(position: ArrayLike, growth: ArrayLike, config: CollapseConfig) -> list[Finding]:
    """Judge whether positions, shape (n,), are those of somebody who bought and holds.

    `growth` is the market's return on each bar. Short for good is holding too: the correlation counts by its
    size, and is 0 for an agent that stays flat.
    """
    held, market = _series(position, config), _series(growth, config)
    if held.shape != market.shape:
        raise ValueError(f"position {held.shape} and growth {market.shape} must cover the same bars")
    distance = float(np.abs(held - np.median(held)).mean())
    earned = held * market
    constant = earned.std() == 0.0 or market.std() == 0.0
    correlation = 0.0 if constant else abs(float(np.corrcoef(earned, market)[0, 1]))
    return [
        _at_least(
            "distance_to_hold",
            distance,
            config.least_distance_to_hold,
            f"it holds {np.median(held):g} and nothing else: a constant does the same for free",
        ),
        _at_most(
            "correlation_to_hold",
            correlation,
            config.most_correlation_to_hold,
            "its returns are the market's: buying and holding looks the same",
        ),
    ]


def findings_frame(findings: Sequence[Finding]) -> pl.DataFrame:
    """List findings as rows: ``name, value, bound, alarm, meaning``."""
    return pl.DataFrame([asdict(finding) for finding in findings], schema=_COLUMNS)


def _at_least(name: str, value: float, bound: float, meaning: str) -> Finding:
    return Finding(name, value, bound, not value >= bound, meaning)


def _at_most(name: str, value: float, bound: float, meaning: str) -> Finding:
    return Finding(name, value, bound, not value <= bound, meaning)


def _series(values: ArrayLike, config: CollapseConfig) -> Floats:
    series = np.asarray(values, np.float64)
    if series.ndim != 1:
        raise ValueError(f"shape {series.shape}: one value for each decision is needed")
    if series.size < config.least_bars:
        raise NotEnoughDataError(f"{series.size} decisions; at least {config.least_bars} are needed to judge")
    return series
