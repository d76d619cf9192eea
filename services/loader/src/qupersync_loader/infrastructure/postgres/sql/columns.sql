-- The columns of a table, by its oid. Locks nothing.
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null,
       (a.atthasdef OR a.attidentity <> '') AS has_default, a.attgenerated <> '' AS generated,
       a.attidentity = 'a' AS identity_always, coalesce(NOT c.collisdeterministic, false) AS nondeterministic
FROM pg_attribute AS a
LEFT JOIN pg_collation AS c ON c.oid = a.attcollation
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
