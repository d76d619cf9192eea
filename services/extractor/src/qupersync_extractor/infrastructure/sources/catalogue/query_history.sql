-- Finished queries of people and programs in the seven days that the view keeps; user 1 is the cluster's own. Locks nothing.
-- Final states are chosen by status, not by end_time, which running queries may have, too.
SELECT
    CAST(query_id AS BIGINT) AS query_id,
    CAST(RTRIM(username) AS VARCHAR(128)) AS user_name,
    CAST(RTRIM(database_name) AS VARCHAR(128)) AS database_name,
    CAST(CASE WHEN status = 'canceled' THEN 'cancelled' ELSE RTRIM(status) END AS VARCHAR(16)) AS status,
    CAST(RTRIM(query_type) AS VARCHAR(32)) AS query_type,
    CAST(COALESCE(execution_time, 0) AS BIGINT) AS execution_time_us,
    CAST(COALESCE(queue_time, 0) AS BIGINT) AS queue_time_us,
    CAST(COALESCE(compile_time, 0) AS BIGINT) AS compile_time_us,
    CAST(COALESCE(returned_rows, 0) AS BIGINT) AS rows_returned,
    CAST(start_time AS TIMESTAMP) AS start_time,
    CAST(end_time AS TIMESTAMP) AS end_time,
    CAST(NULLIF(RTRIM(error_message), '') AS VARCHAR(512)) AS error_message,
    CAST(session_id AS INTEGER) AS session_id,
    CAST(RTRIM(query_text) AS VARCHAR(4000)) AS query_text
FROM pg_catalog.sys_query_history
WHERE user_id > 1
  AND status IN ('success', 'failed', 'canceled')
  AND end_time >= DATEADD(day, -7, GETDATE())
