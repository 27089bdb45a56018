-- Bars that may be used, cut into stretches without a hole.
-- A bar is left out where its prices or its volume cannot be; the audit counts and explains those.
-- Leaving one out makes a hole, so a new segment begins after it, as after an outage or a re-listing.
WITH sound AS (
    SELECT *, ts + bar_seconds * INTERVAL 1 SECOND AS known_at
    FROM raw.candles
    WHERE isfinite(open) AND isfinite(high) AND isfinite(low) AND isfinite(close)
      AND least(open, high, low, close) > 0
      AND high >= greatest(open, close, low)
      AND low <= least(open, close)
      AND (volume IS NULL OR (isfinite(volume) AND volume >= 0))
),
followed AS (
    SELECT *, lag(known_at) OVER (PARTITION BY symbol ORDER BY ts) AS previous_end
    FROM sound
),
cut AS (
    SELECT
        * EXCLUDE (previous_end),
        sum(CASE WHEN ts > previous_end THEN 1 ELSE 0 END)
            OVER (PARTITION BY symbol ORDER BY ts ROWS UNBOUNDED PRECEDING)::BIGINT AS segment
    FROM followed
)
SELECT
    symbol,
    ts,
    open,
    high,
    low,
    close,
    volume,
    bar_seconds,
    source,
    known_at,
    segment,
    ln(close / lag(close) OVER (PARTITION BY symbol, segment ORDER BY ts)) AS log_return
FROM cut
ORDER BY symbol, ts
