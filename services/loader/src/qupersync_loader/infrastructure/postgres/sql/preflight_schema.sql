-- May this role make a table in a schema, or the schema where it is missing? Locks nothing.
SELECT
    quote_ident(current_user) AS role,
    quote_ident(current_database()) AS database,
    n.oid IS NOT NULL AS there,
    CASE
        WHEN n.oid IS NULL THEN has_database_privilege(current_database(), 'CREATE')
        ELSE has_schema_privilege(n.oid, 'USAGE') AND has_schema_privilege(n.oid, 'CREATE')
    END AS may
FROM (SELECT 1) AS one
LEFT JOIN pg_namespace AS n ON n.nspname = $1
