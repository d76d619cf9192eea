-- The columns of a table and what they are filled with by themselves, by its oid. Locks nothing.
SELECT a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attidentity <> '' AS identity,
       a.attgenerated <> '' AS generated, pg_get_expr(d.adbin, d.adrelid) AS "default"
FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
