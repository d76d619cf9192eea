-- What the workgroup used, minute by minute. charged_seconds may be 0 until a transaction ends. Locks nothing.
SELECT
    CAST(start_time AS TIMESTAMP) AS start_time,
    CAST(end_time AS TIMESTAMP) AS end_time,
    CAST(COALESCE(compute_seconds, 0) AS DOUBLE PRECISION) AS compute_seconds,
    CAST(COALESCE(compute_capacity, 0) AS DOUBLE PRECISION) AS compute_capacity,
    CAST(COALESCE(data_storage, 0) AS BIGINT) AS data_storage,
    CAST(COALESCE(cross_region_transferred_data, 0) AS BIGINT) AS cross_region_transferred_data,
    CAST(COALESCE(charged_seconds, 0) AS BIGINT) AS charged_seconds
FROM pg_catalog.sys_serverless_usage
