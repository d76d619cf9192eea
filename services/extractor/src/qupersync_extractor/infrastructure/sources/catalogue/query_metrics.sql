-- What queries read and spilled, in blocks of 1 MB. Locks nothing.
-- One level alone: each level holds the sums of the one below, and all of them together count several times.
SELECT
    CAST(query_id AS BIGINT) AS query_id,
    CAST(COALESCE(SUM(blocks_read), 0) AS BIGINT) AS blocks_read,
    CAST(
        COALESCE(SUM(spilled_block_local_disk), 0) + COALESCE(SUM(spilled_block_remote_disk), 0) AS BIGINT
    ) AS spilled_blocks
FROM pg_catalog.sys_query_detail
WHERE metrics_level = 'child query'
GROUP BY query_id
