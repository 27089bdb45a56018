-- Net return of each strategy by calendar month, from the equity at the ends of months.
WITH months AS (
    SELECT
        strategy,
        position,
        date_trunc('month', ts)::TIMESTAMP AS month,
        max_by(equity, ts) AS equity,
        avg(exposure) AS exposure,
        sum(turnover) AS turnover
    FROM trading.equity
    GROUP BY ALL
)
SELECT
    strategy,
    position,
    month,
    equity / coalesce(lag(equity) OVER (PARTITION BY strategy ORDER BY month), 1) - 1 AS net_return,
    exposure,
    turnover
FROM months
ORDER BY position, month
