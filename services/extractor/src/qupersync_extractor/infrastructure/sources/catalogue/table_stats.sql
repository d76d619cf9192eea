-- One row for each table that has rows: svv_table_info leaves out empty ones. Locks nothing.
-- skew_rows is NULL where there is nothing to compare (DISTSTYLE ALL). The share is computed in floating point, because
-- a quotient of two NUMERIC(38,0) has no room for its digits, and it is kept within 0 and 100: the estimate may lag.
SELECT
    CAST("schema" AS VARCHAR(128)) AS "schema",
    CAST("table" AS VARCHAR(128)) AS table_name,
    CAST(table_id AS BIGINT) AS table_id,
    CAST(tbl_rows AS BIGINT) AS tbl_rows,
    CAST(size AS BIGINT) AS size_mb,
    CAST(unsorted AS NUMERIC(5, 2)) AS unsorted_pct,
    CAST((skew_rows - 1) * 100 AS NUMERIC(21, 2)) AS pct_skew_across_slices,
    CAST(diststyle AS VARCHAR(256)) AS diststyle,
    CAST(sortkey1 AS VARCHAR(256)) AS sort_key1,
    CAST(sortkey_num AS INTEGER) AS sortkey_num,
    CAST(encoded AS VARCHAR(256)) AS encoded,
    CAST(
        CASE
            WHEN tbl_rows <= 0 OR tbl_rows < estimated_visible_rows THEN 0
            ELSE 100 * CAST(tbl_rows - estimated_visible_rows AS DOUBLE PRECISION) / CAST(tbl_rows AS DOUBLE PRECISION)
        END AS NUMERIC(5, 2)
    ) AS pct_rows_marked_for_deletion
FROM pg_catalog.svv_table_info
