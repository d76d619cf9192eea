-- The outbox partitions that end before :retention_seconds ago, oldest first, with the statement that drops each.
-- Locks nothing.
SELECT bounds.name, bounds.lower, bounds.upper, format('DROP TABLE qupersync.%I', bounds.name) AS drop
FROM (
    SELECT c.relname AS name,
           to_timestamp(substr(c.relname, 8), 'YYYYMMDD_HH24MI') AS lower,
           to_timestamp(substr(c.relname, 8), 'YYYYMMDD_HH24MI') + make_interval(secs => :width_seconds) AS upper
    FROM pg_inherits AS i
    JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'qupersync.outbox'::regclass AND c.relname ~ '^outbox_\d{8}_\d{4}$'
) AS bounds
WHERE bounds.upper <= clock_timestamp() - make_interval(secs => :retention_seconds)
ORDER BY bounds.lower
