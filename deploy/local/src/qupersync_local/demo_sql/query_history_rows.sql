-- Queries: $1 number of rows, $2 first instant, $3 seed. Locks {table} as any INSERT does.
INSERT INTO {table}
SELECT
    n,
    (ARRAY['etl', 'bi', 'dbt', 'analyst'])[1 + h % 4],
    'dev',
    CASE WHEN h % 41 = 0 THEN 'failed' WHEN h % 67 = 0 THEN 'canceled' ELSE 'success' END,
    (ARRAY['SELECT', 'INSERT', 'COPY', 'DDL'])[1 + h / 4 % 4],
    h % 30000000,
    h % 5000,
    h % 100000,
    (h % 4096)::bigint * 1048576,
    $2::timestamp + n * interval '3 seconds',
    $2::timestamp + n * interval '3 seconds' + (h % 30000000) * interval '1 microsecond',
    CASE WHEN h % 41 = 0 THEN 'Query execution failed' END
FROM (
    SELECT n, (hashint8extended(n, $3) & 2147483647)::int AS h FROM generate_series(1::bigint, $1::bigint) AS n
) AS hashed;
