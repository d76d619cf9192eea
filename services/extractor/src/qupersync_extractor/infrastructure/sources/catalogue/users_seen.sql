-- Whose queries are seen: a role may let a user see all of them whatever svv_user_info says. Locks nothing.
SELECT
    CAST(MIN(user_id) AS INTEGER) AS least_user_id,
    CAST(MAX(user_id) AS INTEGER) AS greatest_user_id
FROM pg_catalog.sys_query_history
