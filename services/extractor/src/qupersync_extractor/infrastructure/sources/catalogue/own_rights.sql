-- What this user may see of other users' queries. Locks nothing.
SELECT
    CAST(user_id AS INTEGER) AS user_id,
    CASE WHEN superuser OR UPPER(RTRIM(syslog_access)) = 'UNRESTRICTED' THEN TRUE ELSE FALSE END AS sees_all
FROM pg_catalog.svv_user_info
WHERE RTRIM(user_name) = CURRENT_USER
