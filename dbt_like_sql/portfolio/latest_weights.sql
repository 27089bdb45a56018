-- What to hold from the next open on, and why: the newest decision of the book in use.
SELECT
    symbol,
    t.decided_at,
    t.direction,
    t.confidence,
    t.weight,
    coalesce(b.risk_share, 0) AS risk_share,
    t.weight - t.held AS trade,
    t.method,
    t.reasons
FROM portfolio.target_positions AS t
LEFT JOIN portfolio.risk_budget AS b USING (book, ts, symbol)
WHERE
    book = (SELECT arg_max(u.book, u.used_at) FROM trading.books AS u)
    AND ts = (
        SELECT max(d.ts) FROM trading.decisions AS d
        WHERE d.book = (SELECT arg_max(u.book, u.used_at) FROM trading.books AS u)
    )
ORDER BY abs(t.weight) DESC, symbol
