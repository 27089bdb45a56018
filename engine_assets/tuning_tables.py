"""Tables of the parameter training, filled by `engine_assets.tuning_frames`."""

from __future__ import annotations

from resources.table import Column, Table

__all__ = ["AB_RESULTS", "EPISODES", "HISTORY", "LIVE_PARAMETERS", "RUNS", "TABLES"]

_SESSION = Column("session", "VARCHAR", "Id in the parameter store.")
_SCOPE = Column("scope", "VARCHAR", "global, symbol:NAME or regime:NAME.")

RUNS = Table(
    "trading",
    "tuning_runs",
    "Every training of parameters that has ended: what it searched, what the gate said, what followed.",
    (
        _SESSION,
        Column("scenario", "VARCHAR", "Which of the five."),
        _SCOPE,
        Column("symbols", "VARCHAR", "JSON: symbols trained on.", nullable=True),
        Column("method", "VARCHAR", "How it searched.", nullable=True),
        Column("goal", "VARCHAR", "What it looked for.", nullable=True),
        Column("search_start", "TIMESTAMP", "Begin of the window searched, UTC.", nullable=True),
        Column("search_end", "TIMESTAMP", "Its end.", nullable=True),
        Column("evidence_start", "TIMESTAMP", "Begin of the window judged on.", nullable=True),
        Column("evidence_end", "TIMESTAMP", "Its end.", nullable=True),
        Column("episodes", "BIGINT", "Episodes that were searched.", nullable=True),
        Column("evaluations", "BIGINT", "Parameter sets that were scored.", nullable=True),
        Column("family", "BIGINT", "Different sets searched, the one in force among them.", nullable=True),
        Column("best", "VARCHAR", "JSON: what was promoted or came nearest.", nullable=True),
        Column("changes", "VARCHAR", "JSON: by name the value in force and the one judged.", nullable=True),
        Column("promoted", "BOOLEAN", "Whether the gate let it pass."),
        Column("verdict", "VARCHAR", "How it ended, such as applied, refused, shadow, ab, stopped, failed."),
        Column("reasons", "VARCHAR", "Why, in words."),
        Column("improvement", "DOUBLE", "Of the gate's statistic, per day.", nullable=True),
        Column("low", "DOUBLE", "Lower bound of the improvement.", nullable=True),
        Column("high", "DOUBLE", "Upper bound.", nullable=True),
        Column("p_value", "DOUBLE", "Of no improvement, adjusted for the family.", nullable=True),
        Column("attempt", "BIGINT", "Number of the attempt on the scope, from 1.", nullable=True),
        Column("alpha", "DOUBLE", "Level that the attempt was tested at.", nullable=True),
        Column("version", "BIGINT", "Version that came into force.", nullable=True),
        Column("started_at", "TIMESTAMP", "UTC."),
        Column("ended_at", "TIMESTAMP", "UTC."),
        Column("actor", "VARCHAR", "Who asked for it."),
        Column("reason", "VARCHAR", "Why it was asked for."),
    ),
    ("session",),
)
EPISODES = Table(
    "trading",
    "tuning_episodes",
    "Each episode of the search of each session.",
    (
        _SESSION,
        Column("episode", "BIGINT", "From 1."),
        Column("at", "TIMESTAMP", "When it was over, UTC."),
        Column("mean_score", "DOUBLE", "Of its candidates, by the goal."),
        Column("best_score", "DOUBLE", "Of its candidates."),
        Column("best_so_far", "DOUBLE", "Of all that was scored."),
        Column("searched", "BIGINT", "Different sets so far."),
        Column("best", "VARCHAR", "JSON: the best set so far."),
    ),
    ("session", "episode"),
)
LIVE_PARAMETERS = Table(
    "trading",
    "live_parameters",
    "What is in force: each parameter globally, for each symbol, and for regimes that have their own.",
    (
        _SCOPE,
        Column("parameter", "VARCHAR", "Name on the wire."),
        Column("value", "DOUBLE", "In force."),
        Column("default_value", "DOUBLE", "Where nothing was ever changed."),
        Column("low", "DOUBLE", "Lower bound, included."),
        Column("high", "DOUBLE", "Upper bound, included."),
        Column("step", "DOUBLE", "Of the grid that is searched."),
        Column("unit", "VARCHAR", "Of value, bounds and step."),
        Column("version", "BIGINT", "Version it comes from; 0: the defaults."),
        Column("comes_from", "VARCHAR", "Scope of that version, or defaults."),
        Column("overridden", "BOOLEAN", "Whether a person holds the value."),
        Column("held_by", "VARCHAR", "Who.", nullable=True),
        Column("held_until", "TIMESTAMP", "Until when, UTC; missing: until it is lifted.", nullable=True),
    ),
    ("scope", "parameter"),
)
HISTORY = Table(
    "trading",
    "parameter_history",
    "The audit trail of the parameter store, chained by hashes.",
    (
        Column("number", "BIGINT", "Row of the history, from 1."),
        Column("at", "TIMESTAMP", "UTC."),
        Column("kind", "VARCHAR", "What happened."),
        Column("scope", "VARCHAR", "Where.", nullable=True),
        Column("version", "BIGINT", "Version that it made, if it did.", nullable=True),
        Column("subject", "VARCHAR", "Session, journal key or experiment that it is about.", nullable=True),
        Column("actor", "VARCHAR", "Who."),
        Column("reason", "VARCHAR", "Why."),
        Column("changes", "VARCHAR", "JSON: by name the value before and after.", nullable=True),
        Column("hash", "VARCHAR", "SHA-256 of the row and of the hash before it."),
    ),
    ("number",),
)
AB_RESULTS = Table(
    "trading",
    "ab_results",
    "Shadow runs and A/B tests: what was fixed before, and what came of them.",
    (
        Column("experiment", "VARCHAR", "Id in the parameter store."),
        Column("kind", "VARCHAR", "shadow or ab."),
        _SCOPE,
        Column("state", "VARCHAR", "running, concluded or stopped."),
        Column("session", "VARCHAR", "Session that promoted the candidate.", nullable=True),
        Column("candidate", "VARCHAR", "JSON: the candidate."),
        Column("baseline", "BIGINT", "Version compared with; 0: the defaults."),
        Column("metric", "VARCHAR", "What it is judged by."),
        Column("started_at", "TIMESTAMP", "UTC."),
        Column("ends_at", "TIMESTAMP", "End of the horizon, UTC."),
        Column("observations", "BIGINT", "Days or units seen."),
        Column("verdict", "VARCHAR", "promote, keep or void; missing before the end.", nullable=True),
        Column("effect", "DOUBLE", "Candidate less live, in the metric.", nullable=True),
        Column("low", "DOUBLE", "Lower bound.", nullable=True),
        Column("high", "DOUBLE", "Upper bound.", nullable=True),
        Column("p_value", "DOUBLE", "One-sided.", nullable=True),
        Column("sample_ratio_p", "DOUBLE", "Of equal shares of the arms; A/B only.", nullable=True),
        Column("reasons", "VARCHAR", "In words.", nullable=True),
    ),
    ("experiment",),
)
TABLES = (RUNS, EPISODES, LIVE_PARAMETERS, HISTORY, AB_RESULTS)
