-- The statements that make and attach the outbox partitions missing between one width before now and :ahead_seconds
-- later. Widths change with the retention: what existing partitions hold is left out. Attaching a table lets inserts go
-- on; CREATE TABLE … PARTITION OF would stop them. Locks nothing.
SELECT format(
           'CREATE TABLE qupersync.%I (LIKE qupersync.outbox INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)',
           named.name
       ) AS make,
       format(
           'ALTER TABLE qupersync.outbox ATTACH PARTITION qupersync.%I FOR VALUES FROM (%L) TO (%L)',
           named.name, named.lower, named.upper
       ) AS attach
FROM (
    SELECT lower, upper, 'outbox_' || to_char(
               lower AT TIME ZONE 'UTC',
               CASE WHEN lower = date_trunc('minute', lower) THEN 'YYYYMMDD_HH24MI' ELSE 'YYYYMMDD_HH24MISS' END
           ) AS name
    FROM (
        SELECT greatest(bin.lower, max(held.upper)) AS lower, bin.upper
        FROM (
            SELECT lower, lower + make_interval(secs => :width_seconds) AS upper
            FROM generate_series(
                date_bin(make_interval(secs => :width_seconds), clock_timestamp(), timestamptz '2000-01-01 00:00:00+00')
                    - make_interval(secs => :width_seconds),
                clock_timestamp() + make_interval(secs => :ahead_seconds),
                make_interval(secs => :width_seconds)
            ) AS lower
        ) AS bin
        LEFT JOIN (
            SELECT bound.at[1]::timestamptz AS lower, bound.at[2]::timestamptz AS upper
            FROM pg_inherits AS i
            JOIN pg_class AS c ON c.oid = i.inhrelid
            CROSS JOIN LATERAL regexp_match(
                pg_get_expr(c.relpartbound, c.oid), 'FROM \(''(.+)''\) TO \(''(.+)''\)'
            ) AS bound (at)
            WHERE i.inhparent = 'qupersync.outbox'::regclass AND bound.at IS NOT NULL
        ) AS held ON held.lower < bin.upper AND held.upper > bin.lower
        GROUP BY bin.lower, bin.upper
    ) AS wanted
    WHERE lower < upper
) AS named
WHERE to_regclass(format('qupersync.%I', named.name)) IS NULL
ORDER BY named.lower
