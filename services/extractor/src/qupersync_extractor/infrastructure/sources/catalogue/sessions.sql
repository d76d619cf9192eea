-- Who connected, session by session; numbers of sessions are used again. Locks nothing.
SELECT
    CAST(session_id AS INTEGER) AS session_id,
    CAST(record_time AS TIMESTAMP) AS record_time,
    CAST(NULLIF(RTRIM(application_name), '') AS VARCHAR(250)) AS application_name
FROM pg_catalog.sys_connection_log
WHERE record_time IS NOT NULL
