-- The outbox partitions that end before :retention_seconds ago, oldest first, with the statement that drops each.
-- Locks nothing.
SELECT bounds.name, bounds.lower, bounds.upper, format('DROP TABLE qupersync.%I', bounds.name) AS drop
FROM (
    SELECT c.relname AS name, bound.at[1]::timestamptz AS lower, bound.at[2]::timestamptz AS upper
    FROM pg_inherits AS i
    JOIN pg_class AS c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL regexp_match(
        pg_get_expr(c.relpartbound, c.oid), 'FROM \(''(.+)''\) TO \(''(.+)''\)'
    ) AS bound (at)
    WHERE i.inhparent = 'qupersync.outbox'::regclass AND c.relname ~ '^outbox_\d{8}_\d{4}(\d{2})?$'
      AND bound.at IS NOT NULL
) AS bounds
WHERE bounds.upper <= clock_timestamp() - make_interval(secs => :retention_seconds)
ORDER BY bounds.lower
