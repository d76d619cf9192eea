-- {table}: $1 queries that ended just now, their ids after the greatest. Locks {table} as any INSERT does.
INSERT INTO {table}
SELECT
    (SELECT coalesce(max(query_id), 0) FROM {table}) + n,
    'etl', 'dev', 'success', 'COPY', n * 1000, n, n * 10, n * 1048576,
    (transaction_timestamp() AT TIME ZONE 'UTC') - n * interval '1 millisecond',
    transaction_timestamp() AT TIME ZONE 'UTC',
    NULL
FROM generate_series(1, $1::bigint) AS n;
