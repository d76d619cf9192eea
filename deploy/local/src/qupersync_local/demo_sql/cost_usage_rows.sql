-- Rows of a bill: $1 first id, $2 number of rows, $3 first instant, $4 rows that share an instant, $5 seed.
-- Locks {table} as any INSERT does.
INSERT INTO {table}
SELECT
    n,
    lpad((100000000000 + a * 7919)::text, 12, '0'),
    (ARRAY['AmazonEC2', 'AmazonS3', 'AmazonRDS', 'AWSLambda', 'AmazonRedshift', 'AmazonVPC', 'AWSGlue'])[1 + h % 7],
    (ARRAY['eu-central-1', 'eu-west-1', 'us-east-1', 'us-west-2', 'ap-southeast-2'])[1 + h / 7 % 5],
    (ARRAY['BoxUsage:m7g.large', 'TimedStorage-ByteHrs', 'Requests-Tier1', 'DataTransfer-Out-Bytes', 'Node:ra3.xlplus'])[1 + h / 35 % 5],
    ((h % 20000000) / 1000000.0 - CASE WHEN h % 97 = 0 THEN 25 ELSE 0 END)::numeric(18, 6),
    CASE WHEN h % 53 <> 0 THEN ((h % 20000000) / 900000.0)::numeric(18, 6) END,
    (h % 1000003) / 7.0::double precision,
    CASE WHEN h % 11 = 0 THEN 'EUR' ELSE 'USD' END,
    ($3::timestamp + (n - $1) / $4 * interval '1 second')::date,
    CASE WHEN h % 13 <> 0 THEN
        ('{"team":"' || (ARRAY['data', 'web', 'böse', 'ml'])[1 + h % 4] || '","env":"' || (ARRAY['prod', 'test'])[1 + h % 2] || '","n":' || h % 100 || '}')::super
    END,
    h % 5 = 0,
    $3::timestamp + (n - $1) / $4 * interval '1 second'
FROM (
    SELECT n, a, (hashint8extended(n, $5) & 2147483647)::int AS h
    FROM (SELECT n, n % 50 AS a FROM generate_series($1::bigint, $1::bigint + $2::bigint - 1) AS n) AS numbers
) AS hashed;
