-- All alternative observations in one table: known series, with every vintage.
-- A value outside of its bounds is missing here, so that no older value passes for the current one; the audit
-- counts and explains those.
WITH observed AS (
    SELECT series, symbol, ts, available_at, value, source FROM raw.funding
    UNION ALL
    SELECT series, symbol, ts, available_at, value, source FROM raw.liquidations
    UNION ALL
    SELECT series, symbol, ts, available_at, value, source FROM raw.exchange_flows
    UNION ALL
    SELECT series, symbol, ts, available_at, value, source FROM raw.open_interest
    UNION ALL
    SELECT series, symbol, ts, available_at, value, source FROM raw.long_short_ratio
    UNION ALL
    SELECT series, symbol, ts, available_at, value, source FROM raw.commits
    UNION ALL
    SELECT series, symbol, ts, available_at, value, source FROM raw.social
    UNION ALL
    SELECT series, symbol, ts, available_at, value, source FROM raw.fear_greed
)
SELECT
    observed.series,
    observed.symbol,
    observed.ts,
    observed.available_at,
    CASE
        WHEN isfinite(observed.value)
         AND observed.value BETWEEN bounds.lower_bound AND bounds.upper_bound
            THEN observed.value
    END AS value,
    observed.source
FROM observed
JOIN meta.series AS bounds ON bounds.series = observed.series
ORDER BY observed.series, observed.symbol, observed.ts, observed.available_at
