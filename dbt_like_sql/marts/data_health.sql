-- One line per market: how much of it is there, how much is missing, and what the audit found.
WITH delivered AS (
    SELECT symbol, count(*) AS delivered_bars
    FROM raw.candles
    GROUP BY symbol
),
followed AS (
    SELECT
        symbol,
        ts,
        bar_seconds,
        segment,
        epoch(ts - lag(known_at) OVER (PARTITION BY symbol ORDER BY ts)) / bar_seconds AS missing_before
    FROM staging.candles
),
used AS (
    SELECT
        symbol,
        count(*) AS bars,
        max(segment) AS gaps,
        coalesce(sum(greatest(round(missing_before), 0)), 0)::BIGINT AS missing_bars,
        min(ts) AS first_bar,
        max(ts) AS last_bar
    FROM followed
    GROUP BY symbol
),
found AS (
    SELECT
        series AS symbol,
        count(*) FILTER (WHERE severity = 'error') AS errors,
        count(*) FILTER (WHERE severity = 'warn') AS warnings,
        count(*) FILTER (WHERE severity = 'info') AS notes
    FROM raw.audit
    WHERE "table" = 'raw.candles'
    GROUP BY series
)
SELECT
    delivered.symbol,
    coalesce(used.bars, 0) AS bars,
    delivered.delivered_bars - coalesce(used.bars, 0) AS excluded_bars,
    coalesce(used.gaps, 0) AS gaps,
    coalesce(used.missing_bars, 0) AS missing_bars,
    coalesce(used.bars / (used.bars + used.missing_bars), 0) AS completeness,
    used.first_bar,
    used.last_bar,
    coalesce(found.errors, 0) AS errors,
    coalesce(found.warnings, 0) AS warnings,
    coalesce(found.notes, 0) AS notes
FROM delivered
LEFT JOIN used ON used.symbol = delivered.symbol
LEFT JOIN found ON found.symbol = delivered.symbol
ORDER BY delivered.symbol
