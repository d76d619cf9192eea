-- Provisioned clusters: some views are everybody's, others need a grant. Locks nothing: runs once in a new database.

GRANT SELECT ON pg_catalog.stv_slices TO PUBLIC;
