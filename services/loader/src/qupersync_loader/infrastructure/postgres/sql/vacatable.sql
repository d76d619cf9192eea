-- The columns beside the key that unique indexes of a table are over and that take NULL, which no two rows share: not those
-- of an index that holds NULLs to be alike, nor those that foreign keys refer to. Locks nothing.
SELECT DISTINCT a.attname::text AS name
FROM pg_index AS i
CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (attnum, place)
JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = to_regclass($1) AND i.indisunique AND k.place <= i.indnkeyatts AND NOT a.attnotnull
  AND a.attname = ANY ($2::text[])
  -- The column of the catalogue is there since PostgreSQL 15.
  AND NOT coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false)
  AND NOT EXISTS (
      SELECT FROM pg_constraint AS c
      WHERE c.contype = 'f' AND c.confrelid = i.indrelid AND a.attnum = ANY (c.confkey)
  )
ORDER BY 1
