-- The columns of a table whose types have no hash, by its oid. Locks nothing.
SELECT a.attname::text AS name
FROM pg_attribute AS a
JOIN pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_type AS e ON e.oid = t.typelem AND t.typcategory = 'A'
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND NOT EXISTS (
    SELECT FROM pg_opclass AS c JOIN pg_am AS m ON m.oid = c.opcmethod AND m.amname = 'hash'
    WHERE c.opcdefault AND c.opcintype = coalesce(nullif(e.oid, 0), nullif(t.typbasetype, 0), t.oid)
)
