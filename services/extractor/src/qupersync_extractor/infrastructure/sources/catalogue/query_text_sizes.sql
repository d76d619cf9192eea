-- In how many pieces of 200 bytes the whole text of a query is kept. Locks nothing.
SELECT
    CAST(query_id AS BIGINT) AS query_id,
    CAST(COUNT(*) AS BIGINT) AS pieces
FROM pg_catalog.sys_query_text
GROUP BY query_id
