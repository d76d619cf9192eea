-- The latest finished vacuum of each table, where there is no sys_vacuum_history. Locks nothing.
-- A vacuum is a row when it starts, which says what it does, and a row when it ends.
SELECT
    table_id,
    last_vacuum_date,
    vacuum_type
FROM (
    SELECT
        CAST(table_id AS BIGINT) AS table_id,
        CAST(MAX(CASE WHEN status ILIKE '%finished%' THEN eventtime END) AS TIMESTAMP) AS last_vacuum_date,
        CAST(
            CASE
                WHEN MAX(is_recluster) = 1 THEN 'RECLUSTER'
                WHEN MAX(CASE WHEN status ILIKE '%delete only%' THEN 1 ELSE 0 END) = 1 THEN 'DELETE ONLY'
                WHEN MAX(CASE WHEN status ILIKE '%sort only%' THEN 1 ELSE 0 END) = 1 THEN 'SORT ONLY'
                WHEN MAX(CASE WHEN status ILIKE '%reindex%' THEN 1 ELSE 0 END) = 1 THEN 'REINDEX'
                ELSE 'FULL'
            END AS VARCHAR(64)
        ) AS vacuum_type,
        ROW_NUMBER() OVER (
            PARTITION BY table_id
            ORDER BY MAX(CASE WHEN status ILIKE '%finished%' THEN eventtime ELSE TIMESTAMP '1900-01-01' END) DESC, xid DESC
        ) AS place
    FROM pg_catalog.stl_vacuum
    GROUP BY xid, table_id
) AS finished
WHERE place = 1
  AND last_vacuum_date IS NOT NULL
