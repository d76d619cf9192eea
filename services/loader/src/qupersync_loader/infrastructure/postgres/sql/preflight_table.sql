-- What of a table, by its oid, decides over upserts: rights, owner, triggers, rules, row security, inheritance.
-- Locks nothing.
SELECT
    quote_ident(current_user) AS role,
    quote_ident(pg_get_userbyid(c.relowner)) AS owner,
    pg_has_role(c.relowner, 'USAGE') AS owned,
    has_schema_privilege(c.relnamespace, 'USAGE') AS may_use_schema,
    ARRAY(
        SELECT r.word FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) WITH ORDINALITY AS r (word, place)
        WHERE NOT has_table_privilege(c.oid, r.word) ORDER BY r.place
    ) AS lacks,
    row_security_active(c.oid) AS row_security,
    c.relkind = 'p' AS partitioned,
    ARRAY(
        SELECT i.inhrelid::regclass::text FROM pg_inherits AS i
        WHERE i.inhparent = c.oid AND c.relkind <> 'p' ORDER BY 1
    ) AS children,
    ARRAY(
        SELECT t.tgname::text FROM pg_trigger AS t
        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgtype & (4 | 8 | 16) <> 0
        ORDER BY 1
    ) AS triggers,
    ARRAY(
        SELECT w.rulename::text FROM pg_rewrite AS w
        WHERE w.ev_class = c.oid AND w.ev_type IN ('2', '3') AND w.ev_enabled IN ('O', 'A') ORDER BY 1
    ) AS rules
FROM pg_class AS c
WHERE c.oid = $1
