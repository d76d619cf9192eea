-- Names by number, for stl_vacuum, which has numbers alone. Empty tables are absent. Locks nothing.
SELECT
    CAST(table_id AS BIGINT) AS table_id,
    CAST("schema" AS VARCHAR(128)) AS "schema",
    CAST("table" AS VARCHAR(128)) AS table_name
FROM pg_catalog.svv_table_info
