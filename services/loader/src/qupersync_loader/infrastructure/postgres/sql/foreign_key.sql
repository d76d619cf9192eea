-- A foreign key of a table, by the table's oid and its name: the table it refers to, and its columns on both sides. Locks
-- nothing.
SELECT n.nspname AS schema, c.relname AS "table",
       (SELECT array_agg(a.attname::text ORDER BY u.place) FROM unnest(k.conkey) WITH ORDINALITY AS u (number, place)
        JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.number) AS own,
       (SELECT array_agg(a.attname::text ORDER BY u.place) FROM unnest(k.confkey) WITH ORDINALITY AS u (number, place)
        JOIN pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = u.number) AS referred
FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.confrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE k.conrelid = $1 AND k.conname = $2 AND k.contype = 'f'
