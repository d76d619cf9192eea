-- Vacuums of the last days, running ones, too: their rows change until they end. Locks nothing.
SELECT
    CAST(table_id AS BIGINT) AS table_id,
    CAST(RTRIM(table_name) AS VARCHAR(128)) AS table_name,
    CAST(RTRIM(schema_name) AS VARCHAR(128)) AS "schema",
    CAST(UPPER(RTRIM(vacuum_type)) AS VARCHAR(64)) AS vacuum_type,
    CAST(RTRIM(status) AS VARCHAR(64)) AS status,
    CAST(start_time AS TIMESTAMP) AS start_time,
    CAST(end_time AS TIMESTAMP) AS end_time,
    CAST(reclaimable_rows AS BIGINT) AS reclaimable_rows,
    CAST(reclaimed_blocks AS BIGINT) AS impacted_blocks,
    CAST(transaction_id AS BIGINT) AS transaction_id,
    COALESCE(is_automatic, FALSE) AS is_automatic,
    CAST(record_time AS TIMESTAMP) AS record_time
FROM pg_catalog.sys_vacuum_history
