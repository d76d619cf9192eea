-- A table by schema and name: its oid, kind and comment. Locks nothing.
SELECT c.oid, c.relkind::text AS kind, obj_description(c.oid, 'pg_class') AS comment
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2
