"""The whole graph: every asset and every check, in the order of the data."""

from __future__ import annotations

from functools import cache

import dagster as dg

from dbt_like_sql.project import Project, load_project
from engine_assets import (
    ablation,
    agent_decisions,
    agents,
    alpha,
    alternative,
    audit,
    calibration,
    changepoints,
    evaluation,
    evidence,
    explanations,
    features,
    live,
    live_decisions,
    live_lookahead,
    live_tables,
    lookahead_decisions,
    lookahead_inputs,
    market_state,
    patterns,
    portfolio,
    raw,
    regimes,
    synthetic,
    trade_explanations,
    training,
    transitions,
    tuning,
    windows,
)
from engine_assets.quality_checks import anomaly_check, quality_check
from engine_assets.sql_models import MODELS, SERIES_TABLE, series_bounds, sql_assets, sql_checks
from engine_assets.table_asset import TableSource, asset_key

__all__ = ["TABLES", "build_assets", "build_checks"]

# Every table that Python makes, by group. SQL models are checked by the tests of their schema.yml.
TABLES: dict[str, dict[str, TableSource]] = {
    "raw": {t.full_name: t for t in (raw.CANDLES, *raw.OBSERVATIONS.values(), raw.TRUTH, raw.AUDIT)},
    "changepoints": {t.full_name: t for t in changepoints.TABLES},
    "alternative": {"alternative.alternative_features": alternative.features_table},
    "regimes": {t.full_name: t for t in (*regimes.TABLES, *transitions.TABLES)},
    "features": {"features.matrix": features.matrix_table, features.LABELS.full_name: features.LABELS},
    "synthetic": {t.full_name: t for t in synthetic.TABLES},
    "training": {
        t.full_name: t
        for t in (
            *training.TABLES,
            *market_state.TABLES,
            *agents.TABLES,
            *agent_decisions.TABLES,
            trade_explanations.TRADE_EXPLANATIONS,
        )
    },
    "patterns": {t.full_name: t for t in patterns.TABLES},
    "calibration": {t.full_name: t for t in calibration.TABLES},
    "alpha": {t.full_name: t for t in alpha.TABLES},
    "portfolio": {t.full_name: t for t in (live.LIVE, *portfolio.TABLES)},
    "evaluation": {t.full_name: t for t in (*evaluation.TABLES, explanations.EXPLANATIONS, *evidence.TABLES)},
    "ablation": {t.full_name: t for t in ablation.TABLES},
    "live": {t.full_name: t for t in live_tables.TABLES},
    "tuning": {t.full_name: t for t in tuning.TABLES},
}


@cache
def _models() -> Project:
    """Read the SQL models, once in a process."""
    return load_project(MODELS)


def build_assets(months: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """Every asset."""
    declared = {name: table for group in TABLES.values() for name, table in group.items()}
    return [
        raw.candles_asset(months),
        *raw.observation_assets(),
        raw.truth,
        audit.audit,
        series_bounds,
        *sql_assets(_models(), {**declared, SERIES_TABLE.full_name: SERIES_TABLE}),
        changepoints.changepoints,
        alternative.features_asset(months),
        regimes.regime_history,
        transitions.transitions,
        features.matrix_asset(months),
        features.labels,
        windows.splits,
        synthetic.synthetic_panic,
        training.shap_shares,
        training.forecasts,
        training.skill,
        patterns.pattern_encoder,
        patterns.pattern_memory,
        market_state.market_states,
        *agents.agent_assets(),
        agent_decisions.champions,
        trade_explanations.trade_explanations,
        alpha.engine_bandit,
        calibration.calibrated,
        calibration.coverage,
        live.live,
        portfolio.paper_trading,
        evaluation.backtests,
        explanations.explanations,
        evidence.evidence,
        evidence.cross_validation,
        ablation.ablation,
        live_decisions.live_decisions,
        tuning.tuning_runs,
        tuning.parameter_tables,
    ]


def build_checks() -> list[dg.AssetChecksDefinition]:
    """Every check: what tables must satisfy, what SQL models promise, and what must not leak."""
    return [
        *(quality_check(group, tables) for group, tables in TABLES.items()),
        *sql_checks(_models()),
        *lookahead_inputs.CHECKS,
        *lookahead_decisions.CHECKS,
        *live_lookahead.CHECKS,
        *live_decisions.CHECKS,
        tuning.chain_verifies,
        regimes.scored_on_truth,
        calibration.coverage_holds,
        calibration.coverage_drift,
        evaluation.ledger_agrees,
        synthetic.training_only,
        agent_decisions.not_collapsed,
        anomaly_check(asset_key(raw.CANDLES.full_name)),
    ]
