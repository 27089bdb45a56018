-- All alternative observations in one table: plausible values of known series, each vintage once.
-- What lies outside of the bounds is left out here, and counted and explained by the audit.
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
SELECT DISTINCT
    observed.series,
    observed.symbol,
    observed.ts,
    observed.available_at,
    observed.value,
    observed.source
FROM observed
JOIN meta.series AS bounds ON bounds.series = observed.series
WHERE isfinite(observed.value)
  AND observed.value BETWEEN bounds.lower_bound AND bounds.upper_bound
ORDER BY observed.series, observed.symbol, observed.ts, observed.available_at
