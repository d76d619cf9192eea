-- Customers: $first id, $rows, $at first instant (a second apart), $seed.
INSERT INTO raw.customers
SELECT
    n,
    ['Ada', 'Björn', 'Chloé', 'Dmitri', '恵子'][1 + (h % 5)::INT] || ' ' || n,
    'user' || n || '@example.com',
    ['free', 'team', 'enterprise'][1 + (h // 5 % 3)::INT],
    ['DE', 'FR', 'US', 'JP'][1 + (h // 15 % 4)::INT],
    CASE WHEN h % 17 <> 0 THEN (h % 1000000) / 100 END,
    CASE WHEN h % 13 <> 0 THEN '{"theme": "' || ['dark', 'light'][1 + (h % 2)::INT] || '", "seats": ' || h % 100 || '}' END,
    [x FOR x IN ['beta', 'vip', 'trial'] IF (h // 60 + length(x)) % 3 = 0],
    h % 7 <> 0,
    DATE '2020-01-01' + (h % 1800)::INT,
    $at::TIMESTAMPTZ + INTERVAL 1 SECOND * (n - $first)
FROM (SELECT range AS n, hash(range + $seed) % 2147483647 AS h FROM range($first::BIGINT, ($first + $rows)::BIGINT));
