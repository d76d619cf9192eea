-- What only Redshift knows of a table, for the stand-in's svv_table_info. Locks the table's line.
INSERT INTO pg_catalog.standin_table_facts (
    table_id, sortkeys, diststyle, deleted_rows, size_mb, unsorted, skew_rows, encoded
) VALUES (CAST(CAST($1 AS bigint) AS oid), $2, $3, $4, $5, $6, $7, 'Y')
ON CONFLICT (table_id) DO UPDATE SET (deleted_rows, size_mb, unsorted, skew_rows) = ROW (
    excluded.deleted_rows, excluded.size_mb, excluded.unsorted, excluded.skew_rows
)
