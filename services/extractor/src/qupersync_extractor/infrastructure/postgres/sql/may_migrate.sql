-- May this role make the schema qupersync, or, where it is there, change its tables? Locks nothing.
SELECT
    quote_ident(current_user) AS role,
    quote_ident(current_database()) AS database,
    quote_ident(pg_get_userbyid(n.nspowner)) AS owner,
    CASE
        WHEN n.oid IS NULL THEN has_database_privilege(current_database(), 'CREATE')
        ELSE pg_has_role(n.nspowner, 'USAGE')
    END AS may
FROM (SELECT 1) AS one
LEFT JOIN pg_namespace AS n ON n.nspname = 'qupersync'
