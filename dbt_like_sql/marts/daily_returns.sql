-- One line per market and UTC day. The return adds up the bars' own returns, so no move across a gap counts.
SELECT
    symbol,
    date_trunc('day', ts)::TIMESTAMP AS day,
    count(*) AS bars,
    arg_min(open, ts) AS open,
    max(high) AS high,
    min(low) AS low,
    arg_max(close, ts) AS close,
    sum(volume) AS volume,
    exp(sum(log_return)) - 1 AS daily_return,
    sqrt(sum(log_return * log_return)) AS realised_volatility
FROM staging.candles
GROUP BY symbol, date_trunc('day', ts)
ORDER BY symbol, day
