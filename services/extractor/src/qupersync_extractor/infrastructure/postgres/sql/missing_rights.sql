-- What this role lacks to extract and relay, each with the statement that mends it. Locks nothing.
WITH us AS (
    SELECT quote_ident(current_user) AS role
), tables AS (
    SELECT c.oid, c.relname, c.relowner, c.relkind
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = 'qupersync' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
)
SELECT us.role || ' may not use schema qupersync, or make tables there' AS lacks,
       'GRANT USAGE, CREATE ON SCHEMA qupersync TO ' || us.role AS cure
FROM us
WHERE NOT (has_schema_privilege('qupersync', 'USAGE') AND has_schema_privilege('qupersync', 'CREATE'))
UNION ALL
SELECT us.role || ' does not own qupersync.' || t.relname || ', and cannot make its partitions',
       'GRANT ' || quote_ident(pg_get_userbyid(t.relowner)) || ' TO ' || us.role
FROM us CROSS JOIN tables AS t
WHERE t.relkind = 'p' AND NOT pg_has_role(t.relowner, 'USAGE')
UNION ALL
SELECT us.role || ' may not read and write qupersync.' || t.relname,
       'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA qupersync TO ' || us.role
FROM us CROSS JOIN tables AS t
WHERE NOT (has_table_privilege(t.oid, 'SELECT') AND has_table_privilege(t.oid, 'INSERT')
           AND has_table_privilege(t.oid, 'UPDATE') AND has_table_privilege(t.oid, 'DELETE'))
