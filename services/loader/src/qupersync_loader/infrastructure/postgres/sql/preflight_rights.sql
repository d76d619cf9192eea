-- What this role may do in the database at large, and which of the loader's own tables it may not write. Locks nothing.
SELECT
    quote_ident(current_user) AS role,
    quote_ident(current_database()) AS database,
    has_database_privilege(current_database(), 'TEMP') AS temporary,
    ARRAY(
        SELECT c.oid::regclass::text
        FROM pg_class AS c
        WHERE c.relnamespace = to_regnamespace('public') AND c.relkind = 'r' AND c.relname LIKE 'qupersync\_%'
          AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
                   AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'))
        ORDER BY 1
    ) AS unwritable
