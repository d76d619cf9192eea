-- Vacuums from stl_vacuum, where there is no sys_vacuum_history. Locks nothing.
-- A vacuum is a row when it starts, which says what it does, and a row when it ends; [VacuumBG] leads automatic ones.
-- Blocks are those of the table before and after. Tables are known by number alone.
-- One whose first row has aged out is left: its start is no longer known, and it was read with it before.
SELECT
    CAST(table_id AS BIGINT) AS table_id,
    CAST(
        CASE
            WHEN MAX(is_recluster) = 1 THEN 'RECLUSTER'
            WHEN MAX(CASE WHEN status ILIKE '%delete only%' THEN 1 ELSE 0 END) = 1 THEN 'DELETE ONLY'
            WHEN MAX(CASE WHEN status ILIKE '%sort only%' THEN 1 ELSE 0 END) = 1 THEN 'SORT ONLY'
            WHEN MAX(CASE WHEN status ILIKE '%reindex%' THEN 1 ELSE 0 END) = 1 THEN 'REINDEX'
            ELSE 'FULL'
        END AS VARCHAR(64)
    ) AS vacuum_type,
    CAST(
        CASE
            WHEN MAX(CASE WHEN status ILIKE '%finished%' THEN 1 ELSE 0 END) = 1 THEN 'Complete'
            WHEN MAX(CASE WHEN status ILIKE '%skipped%' THEN 1 ELSE 0 END) = 1 THEN 'Skipped'
            ELSE 'Started'
        END AS VARCHAR(64)
    ) AS status,
    CAST(MIN(eventtime) AS TIMESTAMP) AS start_time,
    CAST(
        MAX(CASE WHEN status ILIKE '%finished%' OR status ILIKE '%skipped%' THEN eventtime END) AS TIMESTAMP
    ) AS end_time,
    CAST(MAX(reclaimable_rows) AS BIGINT) AS reclaimable_rows,
    CAST(
        MAX(CASE WHEN status ILIKE '%started%' THEN blocks END)
        - MAX(CASE WHEN status ILIKE '%finished%' THEN blocks END) AS BIGINT
    ) AS impacted_blocks,
    CAST(xid AS BIGINT) AS transaction_id,
    MAX(CASE WHEN status LIKE '[VacuumBG]%' THEN 1 ELSE 0 END) = 1 AS is_automatic,
    CAST(MAX(eventtime) AS TIMESTAMP) AS record_time
FROM pg_catalog.stl_vacuum
GROUP BY xid, table_id
HAVING MAX(CASE WHEN status ILIKE '%started%' OR status ILIKE '%skipped%' THEN 1 ELSE 0 END) = 1
