-- Usage events: $first number, $rows, $at first instant, $customers to choose from, $seed. 20 events share an instant.
INSERT INTO raw.usage_events
SELECT
    md5($seed || ':' || n)::UUID,
    1 + h % $customers,
    ['query', 'export', 'api call', 'storage'][1 + (h % 4)::INT],
    (h % 100003) / 7,
    (h % 20000000) / 1000000,
    ['eu-central-1', 'us-east-1', NULL][1 + (h // 4 % 3)::INT],
    '{"n": ' || h % 1000 || ', "ok": ' || (h % 3 = 0) || '}',
    h % 5 = 0,
    $at::TIMESTAMP + INTERVAL 1 SECOND * ((n - $first) // 20)
FROM (SELECT range AS n, hash(range + $seed) % 2147483647 AS h FROM range($first::BIGINT, ($first + $rows)::BIGINT));
