-- The latest complete vacuum of each table of this database: other databases number their tables alike. Locks nothing.
SELECT
    table_id,
    last_vacuum_date,
    vacuum_type
FROM (
    SELECT
        CAST(table_id AS BIGINT) AS table_id,
        CAST(end_time AS TIMESTAMP) AS last_vacuum_date,
        CAST(UPPER(RTRIM(vacuum_type)) AS VARCHAR(64)) AS vacuum_type,
        ROW_NUMBER() OVER (PARTITION BY table_id ORDER BY end_time DESC, transaction_id DESC) AS place
    FROM pg_catalog.sys_vacuum_history
    WHERE LOWER(RTRIM(status)) = 'complete'
      AND end_time IS NOT NULL
      AND RTRIM(database_name) = CURRENT_DATABASE()
) AS complete
WHERE place = 1
