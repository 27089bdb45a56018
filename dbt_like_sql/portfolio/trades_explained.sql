-- Every fill of the paper account with the decision behind it: what was predicted, by which model, and which
-- gates, factors and limits shaped the order.
WITH told AS (
    SELECT
        book,
        decided_at,
        symbol,
        string_agg(reason, '; ' ORDER BY position) FILTER (WHERE stage = 'gate') AS gates,
        string_agg(name || ' ' || round(value, 4)::VARCHAR || ' (' || reason || ')', '; ' ORDER BY position)
            FILTER (WHERE stage = 'size') AS factors,
        string_agg(reason, '; ' ORDER BY position) FILTER (WHERE stage IN ('allocation', 'risk')) AS limits
    FROM portfolio.decision_reasons
    WHERE symbol IS NOT NULL
    GROUP BY book, decided_at, symbol
)
SELECT
    l.book,
    l.number,
    l.ts AS filled_at,
    l.symbol,
    l.quantity,
    l.price,
    l.fee,
    l.slippage,
    l.position,
    l.equity,
    l.decided_at,
    t.direction,
    t.confidence,
    t.allocated,
    t.sized,
    t.weight,
    t.held,
    t.method,
    told.gates,
    told.factors,
    told.limits,
    d.fold,
    d.model,
    d.calibrator,
    d.run_id,
    d.hash AS journal_hash
FROM trading.paper_ledger AS l
JOIN portfolio.target_positions AS t ON t.book = l.book AND t.decided_at = l.decided_at AND t.symbol = l.symbol
JOIN trading.decisions AS d ON d.book = l.book AND d.decided_at = l.decided_at
LEFT JOIN told ON told.book = l.book AND told.decided_at = l.decided_at AND told.symbol = l.symbol
WHERE l.kind = 'fill'
ORDER BY l.book, l.number
