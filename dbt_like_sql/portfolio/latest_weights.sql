-- What to hold from the next open on, and why.
SELECT
    symbol,
    decided_at,
    direction,
    confidence,
    weight,
    coalesce(risk_share, 0) AS risk_share,
    trade,
    method,
    reasons
FROM portfolio.weights
WHERE ts = (SELECT max(ts) FROM portfolio.weights)
ORDER BY abs(weight) DESC, symbol
